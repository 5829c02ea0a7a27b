//! Who calls, and what the caller may do.

use serde_json::json;

use crate::{
    glob::Glob,
    json::Value,
    refusal::Refusal,
    scope::{Scope, ScopeKind},
    text_enum::text_enum,
    timestamp::Timestamp,
};

/// The maximum number of scopes, and of patterns of models, of a caller.
const MAX_ENTRIES: usize = 64;

text_enum! {
    /// How a caller is known.
    PrincipalKind {
        /// By an API key.
        Key = "key",
        /// As a person, by an identity provider.
        Person = "person",
        /// As a workload, such as a job of a CI system, by an identity provider.
        Workload = "workload",
    }
}

/// What a caller may do, with which models, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The rights.
    pub scopes: Vec<Scope>,
    /// The models that the caller may change; all if there is no pattern.
    pub models: Vec<Glob>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

impl Grant {
    /// Creates the right to do everything.
    #[must_use]
    pub fn everything() -> Self {
        Self { scopes: vec![Scope::Admin], models: Vec::new(), expires_at: None }
    }

    /// Reads scopes and patterns of models. One that is given twice is kept once.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if there is no scope, one is unknown, or there are too many.
    pub fn parse(
        scopes: &[String],
        models: &[String],
        expires_at: Option<Timestamp>,
    ) -> Result<Self, Refusal> {
        if scopes.is_empty() {
            return Err(Refusal::Invalid("scopes is empty; give at least one, like read".to_owned()));
        }
        for (field, entries) in [("scopes", scopes), ("models", models)] {
            if entries.len() > MAX_ENTRIES {
                return Err(Refusal::Invalid(format!(
                    "{field} has {} entries, and at most {MAX_ENTRIES} are allowed; give fewer, with *",
                    entries.len()
                )));
            }
        }
        let mut grant = Self { scopes: Vec::new(), models: Vec::new(), expires_at };
        for scope in scopes {
            let scope = Scope::parse(scope)?;
            if !grant.scopes.contains(&scope) {
                grant.scopes.push(scope);
            }
        }
        for model in models {
            let model = Glob::parse("models", model)?;
            if !grant.models.contains(&model) {
                grant.models.push(model);
            }
        }
        Ok(grant)
    }

    /// Returns the scopes as texts.
    #[must_use]
    pub fn scope_names(&self) -> Vec<String> {
        self.scopes.iter().map(Scope::to_string).collect()
    }

    /// Returns the patterns as texts.
    #[must_use]
    pub fn model_names(&self) -> Vec<String> {
        self.models.iter().map(Glob::to_string).collect()
    }

    /// Returns scopes, patterns and end for an event.
    pub(crate) fn values(&self) -> Value {
        json!({
            "scopes": self.scope_names(),
            "models": self.model_names(),
            "expires_at": self.expires_at.map(Timestamp::to_rfc3339),
        })
    }

    /// Returns true if it includes this scope.
    #[must_use]
    pub fn has(&self, needed: &Scope) -> bool {
        self.scopes.iter().any(|scope| scope.covers(needed))
    }

    /// Returns true if it includes some scope of this kind.
    #[must_use]
    pub fn has_kind(&self, kind: ScopeKind) -> bool {
        self.scopes.iter().map(Scope::kind).any(|ours| ours == kind || ours == ScopeKind::Admin)
    }

    /// Returns true if it includes changes of this model.
    #[must_use]
    pub fn includes_model(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|pattern| pattern.matches(model))
    }

    /// Checks that it includes all that another grant does, so that its owner may give that to someone else.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] names the first thing that it lacks.
    pub fn check_covers(&self, other: &Self) -> Result<(), Refusal> {
        let lacks = |what: String| {
            Err(Refusal::Forbidden(format!(
                "a key may have no more rights than the one that creates it, which lacks {what}"
            )))
        };
        if let Some(scope) = other.scopes.iter().find(|scope| !self.has(scope)) {
            return lacks(format!("the scope {scope}"));
        }
        if !self.models.is_empty() {
            if other.models.is_empty() {
                return lacks(format!(
                    "models other than {}; give models too",
                    self.model_names().join(", ")
                ));
            }
            let is_ours = |theirs: &&Glob| self.models.iter().any(|ours| ours.covers(theirs));
            if let Some(pattern) = other.models.iter().find(|theirs| !is_ours(theirs)) {
                return lacks(format!("the models {pattern}"));
            }
        }
        match (self.expires_at, other.expires_at) {
            (Some(ours), None) => lacks(format!("rights after {}; give an earlier end", ours.to_rfc3339())),
            (Some(ours), Some(theirs)) if theirs > ours => {
                lacks(format!("rights after {}; give an earlier end", ours.to_rfc3339()))
            }
            _ => Ok(()),
        }
    }
}

/// A caller whose identity was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The name in the audit trail, if the request brings no other: `key:ci`.
    pub name: String,
    /// How it is known.
    pub kind: PrincipalKind,
    /// What it may do.
    pub grant: Grant,
    /// The stored key that it used, if it was one.
    pub key: Option<UsedKey>,
}

/// A stored key, as it was when a request began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedKey {
    /// Its id.
    pub id: i64,
    /// When it got its present secret, if that is not the first one.
    pub rotated_at: Option<String>,
}

impl Principal {
    /// Creates a caller that may do everything, known by a key.
    #[must_use]
    pub fn administrator(name: impl Into<String>) -> Self {
        Self { name: name.into(), kind: PrincipalKind::Key, grant: Grant::everything(), key: None }
    }

    /// Checks that the caller has a scope and, if a model is given, may change that one.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] names what is missing.
    pub fn require(&self, needed: &Scope, model: Option<&str>) -> Result<(), Refusal> {
        if !self.grant.has(needed) {
            return Err(self.lacks(&needed.to_string()));
        }
        model.map_or(Ok(()), |model| self.require_model(model))
    }

    /// Checks that the caller may change a model, whatever its scopes are.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] names the models that it may change.
    pub fn require_model(&self, model: &str) -> Result<(), Refusal> {
        if self.grant.includes_model(model) {
            return Ok(());
        }
        Err(Refusal::Forbidden(format!(
            "{} may change only models that match {}, and not {model:?}",
            self.name,
            self.grant.model_names().join(", ")
        )))
    }

    /// Checks that the caller has a scope of one of these kinds.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] names them.
    pub fn require_kind(&self, kinds: &[ScopeKind]) -> Result<(), Refusal> {
        if kinds.iter().any(|kind| self.grant.has_kind(*kind)) {
            return Ok(());
        }
        let names: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
        Err(self.lacks(&names.join(" or ")))
    }

    /// Creates the refusal of a call that needs these scopes.
    fn lacks(&self, needed: &str) -> Refusal {
        Refusal::Forbidden(format!("{} lacks the scope {needed}; use a key that has it", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &str) -> Vec<String> {
        texts.split_whitespace().map(str::to_owned).collect()
    }

    fn grant(scopes: &str, models: &str, expires_at: Option<i64>) -> Grant {
        let expires_at = expires_at.map(Timestamp::from_unix_millis);
        Grant::parse(&texts(scopes), &texts(models), expires_at).unwrap()
    }

    #[test]
    fn a_grant_covers_what_has_no_more_scopes_models_or_time() {
        let ours = grant("read promote:* keys", "team/* x", Some(10));
        for (theirs, lacks) in [
            (grant("read", "team/a", Some(10)), None),
            (grant("read promote:staging", "team/* x", Some(9)), None),
            (grant("read evaluate", "x", Some(1)), Some("the scope evaluate")),
            (grant("admin", "x", Some(1)), Some("the scope admin")),
            (grant("read", "", Some(1)), Some("models other than team/*, x")),
            (grant("read", "team*", Some(1)), Some("the models team*")),
            (grant("read", "x", Some(11)), Some("rights after 1970-01-01T00:00:00.010Z")),
            (grant("read", "x", None), Some("rights after")),
        ] {
            let checked = ours.check_covers(&theirs).map_err(|refusal| refusal.to_string());
            match lacks {
                None => assert_eq!(checked, Ok(()), "{theirs:?}"),
                Some(lacks) => assert!(checked.unwrap_err().contains(lacks), "{theirs:?}"),
            }
            assert_eq!(Grant::everything().check_covers(&theirs), Ok(()));
        }
    }

    #[test]
    fn a_principal_is_refused_with_the_name_of_what_it_lacks() {
        let grant = grant("read promote:staging", "team/*", None);
        let principal = Principal { grant, ..Principal::administrator("key:ci") };
        let staging = Scope::of_status(crate::Status::Staging);
        assert_eq!(principal.require(&staging, Some("team/a")), Ok(()));
        assert_eq!(principal.require(&Scope::Read, None), Ok(()));
        let refused = |scope: &str, model| {
            let needed = Scope::parse(scope).unwrap();
            principal.require(&needed, Some(model)).unwrap_err().to_string()
        };
        assert_eq!(
            refused("promote:production", "team/a"),
            "key:ci lacks the scope promote:production; use a key that has it"
        );
        assert_eq!(
            refused("promote:staging", "other"),
            "key:ci may change only models that match team/*, and not \"other\""
        );
    }

    #[test]
    fn a_grant_has_at_least_one_scope_and_not_too_many() {
        for (scopes, models) in [
            (Vec::new(), Vec::new()),
            (vec!["read".to_owned(); MAX_ENTRIES + 1], Vec::new()),
            (texts("read"), vec!["x".to_owned(); MAX_ENTRIES + 1]),
            (texts("read"), vec!["x".repeat(1 << 20)]),
            (texts("rule"), Vec::new()),
        ] {
            assert!(matches!(Grant::parse(&scopes, &models, None), Err(Refusal::Invalid(_))));
        }
        assert_eq!(grant("read read", "x x", None), grant("read", "x", None));
    }
}
