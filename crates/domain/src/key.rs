//! API keys that the registry stores: by the digest of a secret that it shows once.

use sha2::{Digest as _, Sha256};

use crate::{
    event::{EventDraft, EventKind},
    json::Value,
    principal::{Grant, Principal, PrincipalKind, UsedKey},
    refusal::Refusal,
    timestamp::Timestamp,
};

/// How the token of a stored key begins.
const PREFIX: &str = "reg_";
/// The longest name, in characters.
pub const MAX_KEY_NAME_CHARS: usize = 64;
/// Random bytes of a secret.
pub const SECRET_BYTES: usize = 32;

/// The SHA-256 of a secret.
pub type SecretDigest = [u8; 32];

/// A key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id, which is part of the token; 0 until it is stored.
    pub id: i64,
    /// Unique among keys that are not revoked.
    pub name: String,
    /// Of its secret.
    pub digest: SecretDigest,
    /// What it may do.
    pub grant: Grant,
    /// The actor that created it.
    pub created_by: String,
    /// UTC, as all times.
    pub created_at: String,
    /// When it got its present secret, if that is not its first.
    pub rotated_at: Option<String>,
    /// About when it was used last, to a minute or so.
    pub last_used_at: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// Who revoked it.
    pub revoked_by: Option<String>,
}

/// Which stored keys to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFilter {
    /// Those that are not revoked.
    Live,
    /// All.
    All,
    /// The one that a reference names.
    One(KeyRef),
}

/// A page of stored keys, by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyQuery {
    /// Which keys.
    pub filter: KeyFilter,
    /// Only keys with a higher id.
    pub after: i64,
    /// Keys on a page.
    pub limit: u32,
}

impl KeyQuery {
    /// The list in cursors.
    pub const LIST_NAME: &'static str = "keys";
}

/// Names a stored key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRef {
    /// By its id.
    Id(i64),
    /// By the name of one that is not revoked.
    Name(String),
}

impl KeyRef {
    /// Reads an id or a name, which never begins with a digit.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Id)
    }

    /// Creates the refusal for a reference that names no key.
    #[must_use]
    pub fn missing(&self) -> Refusal {
        Refusal::NotFound(match self {
            Self::Id(id) => format!("there is no key with id {id}"),
            Self::Name(name) => format!("there is no key {name:?}, or it is revoked"),
        })
    }
}

impl ApiKey {
    /// Returns the caller that this key makes known.
    #[must_use]
    pub fn principal(&self) -> Principal {
        let name = actor_of(&self.name);
        let key = UsedKey { id: self.id, rotated_at: self.rotated_at.clone() };
        Principal { name, kind: PrincipalKind::Key, grant: self.grant.clone(), key: Some(key) }
    }

    /// Checks that the key can be rotated or revoked.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] if it is revoked.
    pub fn check_live(&self) -> Result<(), Refusal> {
        match &self.revoked_at {
            None => Ok(()),
            Some(at) => Err(Refusal::Conflict(format!(
                "the key {:?} was revoked at {at} UTC; create another one",
                self.name
            ))),
        }
    }

    /// Creates the event of a change of this key: `{id, name, scopes, models, expires_at}`.
    #[must_use]
    pub fn event(&self, kind: EventKind) -> EventDraft {
        let mut payload = self.grant.values();
        payload["id"] = self.id.into();
        payload["name"] = Value::from(self.name.as_str());
        EventDraft::new(kind, &payload)
    }
}

/// Returns how the audit trail names a key.
#[must_use]
pub fn actor_of(name: &str) -> String {
    format!("key:{name}")
}

/// Checks the name of a key: it begins with a letter, so that it is no id.
///
/// # Errors
/// [`Refusal::Invalid`] says what is wrong.
pub fn check_key_name(name: &str) -> Result<(), Refusal> {
    if is_key_name(name) {
        return Ok(());
    }
    let shown: String = name.chars().take(MAX_KEY_NAME_CHARS).collect();
    Err(Refusal::Invalid(format!(
        "{shown:?} can't name a key; begin with a letter, then use letters, digits and . _ @ -, at most {MAX_KEY_NAME_CHARS}"
    )))
}

/// Returns true if a key may have this name.
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '@' | '-');
    name.len() <= MAX_KEY_NAME_CHARS
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(is_allowed)
}

/// Checks the end of a new or rotated key.
///
/// # Errors
/// [`Refusal::Invalid`] if it is not in the future.
pub fn check_expiry(expires_at: Option<Timestamp>, now: Timestamp) -> Result<(), Refusal> {
    match expires_at {
        Some(end) if end <= now => Err(Refusal::Invalid(format!(
            "expires_at is {}, which is not in the future; give a later time, or leave it out",
            end.to_rfc3339()
        ))),
        _ => Ok(()),
    }
}

/// Returns the token of a key, and the digest of its secret.
#[must_use]
pub fn token(id: i64, secret: &[u8; SECRET_BYTES]) -> String {
    format!("{PREFIX}{id}_{}", hex::encode(secret))
}

/// Returns the digest of a secret.
#[must_use]
pub fn digest_of(secret: &[u8; SECRET_BYTES]) -> SecretDigest {
    Sha256::digest(secret).into()
}

/// Reads a token. Returns the id, and the digest of the secret, if the text has the form of a token.
#[must_use]
pub fn parse_token(text: &[u8]) -> Option<(i64, SecretDigest)> {
    let rest = text.strip_prefix(PREFIX.as_bytes())?;
    let end = rest.iter().position(|byte| *byte == b'_')?;
    let (id, secret) = (rest.get(..end)?, rest.get(end + 1..)?);
    let id = std::str::from_utf8(id).ok()?.parse().ok()?;
    let mut bytes = [0; SECRET_BYTES];
    hex::decode_to_slice(secret, &mut bytes).ok()?;
    Some((id, digest_of(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_nothing_like_it_does() {
        let secret = [7; SECRET_BYTES];
        let token = token(12, &secret);
        assert_eq!(token, format!("reg_12_{}", "07".repeat(32)));
        assert_eq!(parse_token(token.as_bytes()), Some((12, digest_of(&secret))));
        for other in [
            "",
            "reg_",
            "reg_12",
            "reg_12_",
            "reg__00",
            &token[1..],
            &token[..token.len() - 1],
            &format!("{token}0"),
            &token.replace("12", "x"),
            &token.replace("07", "zz"),
        ] {
            assert_eq!(parse_token(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_name_begins_with_a_letter_and_is_short_and_plain() {
        for (name, good) in [
            ("ci", true),
            ("a.b_c@d-1", true),
            ("A", true),
            ("", false),
            ("1ci", false),
            ("-ci", false),
            ("c i", false),
            ("cü", false),
            ("c\u{202e}i", false),
            ("c:i", false),
            (&"x".repeat(64), true),
            (&"x".repeat(65), false),
        ] {
            assert_eq!(check_key_name(name).is_ok(), good, "{name}");
        }
        assert_eq!(KeyRef::parse("12"), KeyRef::Id(12));
        assert_eq!(KeyRef::parse("ci"), KeyRef::Name("ci".to_owned()));
    }

    #[test]
    fn an_end_is_in_the_future() {
        let at = |millis| Timestamp::from_unix_millis(millis);
        for (end, good) in [(None, true), (Some(at(11)), true), (Some(at(10)), false), (Some(at(1)), false)] {
            assert_eq!(check_expiry(end, at(10)).is_ok(), good);
        }
    }
}
