//! Scopes: what a caller may do. A scope that a caller has, and one that an operation needs, are the same type.

use std::fmt;

use crate::{glob::Glob, refusal::Refusal, status::Status, text_enum::text_enum};

/// One right of a caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Read everything.
    Read,
    /// Register versions and models, and change what describes them.
    Register,
    /// Change scores: whatever changes `metrics.suites`.
    Evaluate,
    /// Give a version this status; `None` for any.
    Promote(Option<Status>),
    /// Point aliases of these names to a version, or delete them.
    Alias(Glob),
    /// Approve promotions.
    Approve,
    /// Delete, and restore what was deleted.
    Delete,
    /// Change policies.
    Policies,
    /// Change webhooks.
    Webhooks,
    /// Create, rotate and revoke keys that have no more rights than the caller.
    Keys,
    /// Do everything.
    Admin,
}

text_enum! {
    /// The kinds of scopes, each in the form in which it is given.
    #[allow(missing_docs, reason = "named as the variants of `Scope`")]
    ScopeKind {
        Read = "read",
        Register = "register",
        Evaluate = "evaluate",
        Promote = "promote:STATUS",
        Alias = "alias:NAME",
        Approve = "approve",
        Delete = "delete",
        Policies = "policies",
        Webhooks = "webhooks",
        Keys = "keys",
        Admin = "admin",
    }
}

impl Scope {
    /// Reads a scope: `read`, `promote:staging`, `promote:*`, `alias:champion-*`.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] says which scopes there are.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let (kind, part) = match text.split_once(':') {
            Some((kind, part)) => (kind, Some(part)),
            None => (text, None),
        };
        Ok(match (kind, part) {
            ("promote", Some("*")) => Self::Promote(None),
            ("promote", Some(status)) => Self::Promote(Some(Status::parse(status).ok_or_else(|| {
                let statuses = Status::NAMES.join(", ");
                Refusal::Invalid(format!("{text:?} names no status; give one of {statuses}, or promote:*"))
            })?)),
            ("alias", Some(aliases)) => Self::Alias(Glob::parse("scopes", aliases)?),
            ("promote", None) => {
                return Err(Refusal::Invalid(
                    "the scope promote needs a status, like promote:staging, or promote:*".to_owned(),
                ));
            }
            ("alias", None) => {
                return Err(Refusal::Invalid(
                    "the scope alias needs a name, like alias:champion, or alias:*".to_owned(),
                ));
            }
            ("read", None) => Self::Read,
            ("register", None) => Self::Register,
            ("evaluate", None) => Self::Evaluate,
            ("approve", None) => Self::Approve,
            ("delete", None) => Self::Delete,
            ("policies", None) => Self::Policies,
            ("webhooks", None) => Self::Webhooks,
            ("keys", None) => Self::Keys,
            ("admin", None) => Self::Admin,
            _ => {
                let shown: String = text.chars().take(100).collect();
                return Err(Refusal::Invalid(format!(
                    "{shown:?} is not a scope; give some of {}",
                    ScopeKind::NAMES.join(", ")
                )));
            }
        })
    }

    /// Creates the scope that an alias with this name needs.
    #[must_use]
    pub fn of_alias(name: &str) -> Self {
        Self::Alias(Glob::exactly(name))
    }

    /// Creates the scope that a status needs.
    #[must_use]
    pub fn of_status(to: Status) -> Self {
        Self::Promote(Some(to))
    }

    /// Returns true if a caller with this scope may do what needs `other`.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Admin, _) | (Self::Promote(None), Self::Promote(_)) => true,
            (Self::Alias(ours), Self::Alias(theirs)) => ours.covers(theirs),
            _ => self == other,
        }
    }

    /// Returns its kind.
    #[must_use]
    pub fn kind(&self) -> ScopeKind {
        match self {
            Self::Read => ScopeKind::Read,
            Self::Register => ScopeKind::Register,
            Self::Evaluate => ScopeKind::Evaluate,
            Self::Promote(_) => ScopeKind::Promote,
            Self::Alias(_) => ScopeKind::Alias,
            Self::Approve => ScopeKind::Approve,
            Self::Delete => ScopeKind::Delete,
            Self::Policies => ScopeKind::Policies,
            Self::Webhooks => ScopeKind::Webhooks,
            Self::Keys => ScopeKind::Keys,
            Self::Admin => ScopeKind::Admin,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promote(Some(status)) => write!(f, "promote:{status}"),
            Self::Promote(None) => f.write_str("promote:*"),
            Self::Alias(aliases) => write!(f, "alias:{aliases}"),
            plain => f.write_str(plain.kind().as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 16] = [
        "read",
        "register",
        "evaluate",
        "promote:experimental",
        "promote:staging",
        "promote:production",
        "promote:archived",
        "promote:*",
        "alias:champion",
        "alias:*",
        "approve",
        "delete",
        "policies",
        "webhooks",
        "keys",
        "admin",
    ];

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    #[test]
    fn each_scope_is_shown_as_it_is_read_and_nothing_else_is_read() {
        for text in ALL {
            assert_eq!(scope(text).to_string(), text);
        }
        for text in
            ["", "Read", "read:", "promote", "promote:", "promote:live", "alias", "alias:", "keys:*", "*"]
        {
            assert!(matches!(Scope::parse(text), Err(Refusal::Invalid(_))), "{text}");
        }
        let error = Scope::parse(&"x".repeat(1 << 20)).unwrap_err().to_string();
        assert!(error.len() < 500, "{} bytes", error.len());
    }

    #[test]
    fn only_admin_and_the_stars_cover_another_scope() {
        for ours in ALL {
            for theirs in ALL {
                let covers = ours == theirs
                    || ours == "admin"
                    || ours == "promote:*" && theirs.starts_with("promote:")
                    || ours == "alias:*" && theirs.starts_with("alias:");
                assert_eq!(scope(ours).covers(&scope(theirs)), covers, "{ours} {theirs}");
            }
        }
        assert!(scope("alias:team-*").covers(&Scope::of_alias("team-a")));
        assert!(!scope("alias:team-*").covers(&Scope::of_alias("champion")));
    }
}
