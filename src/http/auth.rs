//! Who calls: keys, and the name a caller has in the audit trail. Decided from the head of a request alone.

use actix_web::http::header::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::domain::steers;

use super::error::ApiError;

/// The longest actor in the audit trail, in characters.
const MAX_ACTOR_CHARS: usize = 200;
/// How much of a key names its holder.
const ACTOR_KEY_CHARS: usize = 4;

/// The keys of this server, as digests: equal in length, so comparing them tells nothing of a key.
#[derive(Debug, Clone)]
pub struct Keys {
    digests: Vec<[u8; 32]>,
    trust_actor_header: bool,
}

impl Keys {
    /// Takes the keys over; they themselves are not kept.
    #[must_use]
    pub fn new(keys: &[String], trust_actor_header: bool) -> Self {
        let digests = keys.iter().map(|key| Sha256::digest(key.as_bytes()).into()).collect();
        Self { digests, trust_actor_header }
    }

    /// The actor a request's head speaks for.
    ///
    /// # Errors
    /// [`ApiError::NoKeyConfigured`], [`ApiError::KeyMissing`], [`ApiError::KeyRefused`]; with a good key
    /// [`ApiError::ActorRefused`].
    pub(super) fn authenticate(&self, head: &HeaderMap) -> Result<String, ApiError> {
        if self.digests.is_empty() {
            return Err(ApiError::NoKeyConfigured);
        }
        let key = presented(head).ok_or(ApiError::KeyMissing)?;
        let digest: [u8; 32] = Sha256::digest(key).into();
        // All are compared, so that the time does not tell which one it was.
        let known =
            self.digests.iter().fold(subtle::Choice::from(0), |known, one| known | one.ct_eq(&digest));
        if !bool::from(known) {
            return Err(ApiError::KeyRefused);
        }
        self.actor(head, key)
    }

    fn actor(&self, head: &HeaderMap, key: &[u8]) -> Result<String, ApiError> {
        let named = head.get("x-actor").filter(|_| self.trust_actor_header).map(text_of);
        match named.as_deref().map(str::trim).filter(|actor| !actor.is_empty()) {
            // Whoever reads the audit trail must see one name on one line, whatever shows it.
            Some(actor) if actor.contains(steers) => Err(ApiError::ActorRefused),
            Some(actor) => Ok(actor.chars().take(MAX_ACTOR_CHARS).collect()),
            None => {
                let prefix: String = String::from_utf8_lossy(key).chars().take(ACTOR_KEY_CHARS).collect();
                Ok(format!("key:{prefix}…"))
            }
        }
    }
}

/// The key of `X-API-Key`, else of `Authorization: Bearer`; blank is none.
fn presented(head: &HeaderMap) -> Option<&[u8]> {
    let key = match head.get("x-api-key") {
        Some(key) => key.as_bytes(),
        None => {
            let credentials = head.get("authorization")?.as_bytes().trim_ascii();
            let (scheme, key) = credentials.split_at_checked("bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)?
        }
    };
    Some(key.trim_ascii()).filter(|key| !key.is_empty())
}

/// A header as text: UTF-8, or else Latin-1, which HTTP once said it was.
fn text_of(value: &HeaderValue) -> String {
    let bytes = value.as_bytes();
    std::str::from_utf8(bytes)
        .map_or_else(|_| bytes.iter().map(|byte| char::from(*byte)).collect(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderName;

    use super::*;

    fn head(fields: &[(&'static str, &[u8])]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap()))
            .collect()
    }

    fn verdict(keys: &[&str], fields: &[(&'static str, &[u8])]) -> String {
        let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
        match Keys::new(&keys, false).authenticate(&head(fields)) {
            Ok(actor) => actor,
            Err(error) => format!("{error:?}"),
        }
    }

    #[test]
    fn keys_come_by_header_or_bearer_token_and_the_header_wins() {
        let key = &["test-key", "k2"][..];
        for (fields, expected) in [
            (&[("x-api-key", &b"test-key"[..])][..], "key:test…"),
            (&[("x-api-key", b" test-key ")], "key:test…"),
            (&[("x-api-key", b"k2")], "key:k2…"),
            (&[("authorization", b"Bearer test-key")], "key:test…"),
            (&[("authorization", b"bearer  test-key ")], "key:test…"),
            (&[("x-api-key", b"wrong"), ("authorization", b"Bearer test-key")], "KeyRefused"),
            (&[("x-api-key", b"test-key"), ("authorization", b"Bearer wrong")], "key:test…"),
            (&[("authorization", b"Bearer wrong")], "KeyRefused"),
            (&[("authorization", b"Basic dGVzdC1rZXk=")], "KeyMissing"),
            (&[("authorization", b"Bearer")], "KeyMissing"),
            (&[("authorization", b"Bearer ")], "KeyMissing"),
            (&[("x-api-key", b"")], "KeyMissing"),
            (&[("x-api-key", b"caf\xe9")], "KeyRefused"),
            (&[("x-api-key", b"test-ke")], "KeyRefused"),
            (&[], "KeyMissing"),
        ] {
            assert_eq!(verdict(key, fields), expected, "{fields:?}");
        }
        assert_eq!(verdict(&[], &[("x-api-key", b"test-key")]), "NoKeyConfigured");
        assert_eq!(verdict(&["schlüssel"], &[("x-api-key", "schlüssel".as_bytes())]), "key:schl…");
    }

    #[test]
    fn the_actor_header_counts_where_it_is_trusted() {
        let long = "é".repeat(300);
        for (sent, trusted, actor) in [
            (&b"alice"[..], true, "alice".to_owned()),
            (b"alice", false, "key:test…".to_owned()),
            (b"  ", true, "key:test…".to_owned()),
            (long.as_bytes(), true, "é".repeat(200)),
            (b"Jos\xe9", true, "José".to_owned()),
            ("José".as_bytes(), true, "José".to_owned()),
        ] {
            let keys = Keys::new(&["test-key".to_owned()], trusted);
            let head = head(&[("x-api-key", b"test-key"), ("x-actor", sent)]);
            assert_eq!(keys.authenticate(&head).unwrap(), actor);
        }
    }

    #[test]
    fn an_actor_that_would_steer_what_shows_it_is_refused_where_it_counts() {
        for sent in ["a\tb", "a\u{9b}31mb", "a\u{85}b", "a\u{202e}b", "a\u{2028}b", "a\u{2066}b"] {
            for (trusted, verdict) in [(true, "Err(ActorRefused)"), (false, "Ok(\"key:test…\")")] {
                let keys = Keys::new(&["test-key".to_owned()], trusted);
                let head = head(&[("x-api-key", b"test-key"), ("x-actor", sent.as_bytes())]);
                assert_eq!(format!("{:?}", keys.authenticate(&head)), verdict, "{sent:?}");
            }
        }
        // In Latin-1, too.
        let keys = Keys::new(&["test-key".to_owned()], true);
        let head = head(&[("x-api-key", b"test-key"), ("x-actor", b"a\x9b31mb")]);
        assert!(matches!(keys.authenticate(&head), Err(ApiError::ActorRefused)));
    }
}
