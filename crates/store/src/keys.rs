//! Stored API keys as rows, the same in both stores.
//!
//! A row that no server of this version writes gives a key without any right: a newer server or another tool may have written it.

use registry_domain::{
    ApiKey, Grant, KeyFilter, KeyQuery, KeyRef, Timestamp,
    json::Value,
    key::{SecretDigest, check_key_name},
};

/// The columns of a key, in the order of [`KeyRow`].
macro_rules! key_columns {
    () => {
        "id, name, digest, scopes, models, expires_at, created_by, created_at, rotated_at, last_used_at, revoked_at, revoked_by"
    };
}
pub(crate) use key_columns;

pub(crate) const CORRECT: &str = "revoke the key with `registry key revoke ID`, and create another one";

/// A key as its columns have it.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyRow {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) digest: Vec<u8>,
    /// JSON: a list of texts.
    pub(crate) scopes: String,
    /// JSON: a list of texts.
    pub(crate) models: String,
    pub(crate) expires_at: Option<String>,
    pub(crate) created_by: String,
    pub(crate) created_at: String,
    pub(crate) rotated_at: Option<String>,
    pub(crate) last_used_at: Option<String>,
    pub(crate) revoked_at: Option<String>,
    pub(crate) revoked_by: Option<String>,
}

impl KeyRow {
    pub(crate) fn of(key: &ApiKey) -> Self {
        let list = |texts: Vec<String>| Value::from(texts).to_string();
        Self {
            id: key.id,
            name: key.name.clone(),
            digest: key.digest.to_vec(),
            scopes: list(key.grant.scope_names()),
            models: list(key.grant.model_names()),
            expires_at: key.grant.expires_at.as_ref().map(Timestamp::to_string),
            created_by: key.created_by.clone(),
            created_at: key.created_at.clone(),
            rotated_at: key.rotated_at.clone(),
            last_used_at: key.last_used_at.clone(),
            revoked_at: key.revoked_at.clone(),
            revoked_by: key.revoked_by.clone(),
        }
    }

    fn grant(&self) -> Result<Grant, String> {
        let list = |column: &str, text: &str| -> Result<Vec<String>, String> {
            serde_json::from_str(text).map_err(|_| format!("{column} is not a list of texts: {text:.100}"))
        };
        let time = |text: &String| {
            Timestamp::parse(text).ok_or_else(|| format!("expires_at is not a time: {text:.100}"))
        };
        let expires_at = self.expires_at.as_ref().map(time).transpose()?;
        let (scopes, models) = (list("scopes", &self.scopes)?, list("models", &self.models)?);
        Grant::parse(&scopes, &models, expires_at).map_err(|refusal| refusal.to_string())
    }

    fn secret_digest(&self) -> Option<SecretDigest> {
        SecretDigest::try_from(self.digest.as_slice()).ok()
    }

    /// Returns what is wrong with the key.
    pub(crate) fn problem(&self) -> Option<String> {
        let is_time =
            |time: &Option<String>| time.as_deref().is_none_or(|time| Timestamp::parse(time).is_some());
        if let Err(refusal) = check_key_name(&self.name) {
            return Some(format!("its name is wrong: {refusal}"));
        }
        if self.secret_digest().is_none() {
            return Some(format!("its digest has {} bytes, and a SHA-256 has 32", self.digest.len()));
        }
        let times = [&Some(self.created_at.clone()), &self.rotated_at, &self.last_used_at, &self.revoked_at];
        if !times.into_iter().all(is_time) {
            return Some("one of its times is not a time".to_owned());
        }
        self.grant().err().map(|problem| format!("it grants nothing: {problem}"))
    }
}

impl From<KeyRow> for ApiKey {
    fn from(row: KeyRow) -> Self {
        let nothing = Grant { scopes: Vec::new(), models: Vec::new(), expires_at: None };
        Self {
            // No secret has a digest of zeros.
            digest: row.secret_digest().unwrap_or_default(),
            grant: row.grant().unwrap_or(nothing),
            id: row.id,
            name: row.name,
            created_by: row.created_by,
            created_at: row.created_at,
            rotated_at: row.rotated_at,
            last_used_at: row.last_used_at,
            revoked_at: row.revoked_at,
            revoked_by: row.revoked_by,
        }
    }
}

/// Returns the condition of a query, for both stores: `$1` is the id after which it begins, `$2` a name or null, `$3` an id or null.
pub(crate) fn condition(query: &KeyQuery) -> (&'static str, Option<&str>, Option<i64>) {
    match &query.filter {
        KeyFilter::All => ("$2 IS NULL AND $3 IS NULL", None, None),
        KeyFilter::Live => ("$2 IS NULL AND $3 IS NULL AND revoked_at IS NULL", None, None),
        KeyFilter::One(KeyRef::Id(id)) => ("$2 IS NULL AND id = $3", None, Some(*id)),
        KeyFilter::One(KeyRef::Name(name)) => {
            ("name = $2 AND $3 IS NULL AND revoked_at IS NULL", Some(name), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> KeyRow {
        KeyRow {
            id: 1,
            name: "ci".to_owned(),
            digest: vec![1; 32],
            scopes: r#"["read","promote:*"]"#.to_owned(),
            models: r#"["team/*"]"#.to_owned(),
            expires_at: Some("2026-01-31 13:05:09.250".to_owned()),
            created_at: "2026-01-01 00:00:00.000".to_owned(),
            ..KeyRow::default()
        }
    }

    #[test]
    fn a_row_that_is_not_sound_is_found_and_grants_nothing() {
        assert_eq!(row().problem(), None);
        assert_eq!(ApiKey::from(row()).grant.scope_names(), ["read", "promote:*"]);
        for (problem, grants_nothing, row) in [
            ("its name is wrong", false, KeyRow { name: "1".to_owned(), ..row() }),
            ("its digest has 31 bytes", false, KeyRow { digest: vec![1; 31], ..row() }),
            ("one of its times", false, KeyRow { revoked_at: Some("now".to_owned()), ..row() }),
            ("it grants nothing", true, KeyRow { scopes: r#"["read","rule"]"#.to_owned(), ..row() }),
            ("it grants nothing", true, KeyRow { scopes: "[]".to_owned(), ..row() }),
            ("it grants nothing", true, KeyRow { models: "*".to_owned(), ..row() }),
            ("it grants nothing", true, KeyRow { expires_at: Some("never".to_owned()), ..row() }),
        ] {
            assert!(row.problem().unwrap().starts_with(problem), "{row:?}");
            assert_eq!(ApiKey::from(row).grant.scopes.is_empty(), grants_nothing, "{problem}");
        }
    }
}
