//! Authentication: checks the key in a request's headers and names the caller for the audit trail.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use actix_web::http::header::{HeaderMap, HeaderValue};

use crate::domain::is_unsafe_to_display;

use super::{
    error::ApiError,
    keys::{Keys, digest_of},
    throttle::Throttle,
};

/// The longest actor in the audit trail, in characters.
const MAX_ACTOR_CHARS: usize = 200;
/// How much of a key the audit trail shows.
const ACTOR_KEY_CHARS: usize = 4;

/// Decides who may call, and how the audit trail names a caller.
#[derive(Debug)]
pub(super) struct Authenticator {
    keys: Keys,
    throttle: Throttle,
    trust_actor_header: bool,
}

impl Authenticator {
    pub(super) fn new(keys: Keys, trust_actor_header: bool) -> Self {
        Self { keys, throttle: Throttle::default(), trust_actor_header }
    }

    /// Returns the actor of a request with these headers from the client `peer`.
    ///
    /// # Errors
    /// [`ApiError::NoKeyConfigured`], [`ApiError::KeyMissing`], [`ApiError::KeyRefused`], [`ApiError::TooManyFailures`];
    /// with a valid key [`ApiError::ActorRefused`].
    pub(super) fn authenticate(&self, head: &HeaderMap, peer: Option<IpAddr>) -> Result<String, ApiError> {
        if self.keys.is_empty() {
            return Err(ApiError::NoKeyConfigured);
        }
        let key = presented(head).ok_or(ApiError::KeyMissing)?;
        let (digest, now) = (digest_of(key), Instant::now());
        // Only sockets without an address lack a peer; they share one throttle.
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        if let Err(wait) = self.throttle.admit(peer, &digest, now) {
            return Err(ApiError::TooManyFailures { seconds: wait.as_secs_f64().ceil().max(1.0) as u64 });
        }
        if !self.keys.include(&digest) {
            self.throttle.wrong(peer, now);
            return Err(ApiError::KeyRefused);
        }
        self.throttle.right(peer, &digest);
        self.actor(head, key)
    }

    fn actor(&self, head: &HeaderMap, key: &[u8]) -> Result<String, ApiError> {
        let named = head.get("x-actor").filter(|_| self.trust_actor_header).map(text_of);
        match named.as_deref().map(str::trim).filter(|actor| !actor.is_empty()) {
            // Control characters could make the audit trail show another name than it holds.
            Some(actor) if actor.contains(is_unsafe_to_display) => Err(ApiError::ActorRefused),
            Some(actor) => Ok(actor.chars().take(MAX_ACTOR_CHARS).collect()),
            None => {
                let prefix: String = String::from_utf8_lossy(key).chars().take(ACTOR_KEY_CHARS).collect();
                Ok(format!("key:{prefix}…"))
            }
        }
    }
}

/// Returns the key of `X-API-Key` or, if that is absent or blank, of `Authorization: Bearer`.
fn presented(head: &HeaderMap) -> Option<&[u8]> {
    let not_blank = |key: &&[u8]| !key.is_empty();
    let own = head.get("x-api-key").map(|key| key.as_bytes().trim_ascii()).filter(not_blank);
    own.or_else(|| {
        let credentials = head.get("authorization")?.as_bytes().trim_ascii();
        let (scheme, key) = credentials.split_at_checked("bearer ".len())?;
        let is_bearer = scheme.eq_ignore_ascii_case(b"bearer ");
        is_bearer.then(|| key.trim_ascii()).filter(not_blank)
    })
}

/// Decodes a header as UTF-8 or else as Latin-1, the original encoding of HTTP headers.
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
        match Authenticator::new(Keys::of(keys.iter().copied()), false).authenticate(&head(fields), None) {
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
            (&[("x-api-key", b" "), ("authorization", b"Bearer test-key")], "key:test…"),
            (&[("x-api-key", b""), ("authorization", b"Bearer wrong")], "KeyRefused"),
            (&[("x-api-key", b" "), ("authorization", b"Bearer ")], "KeyMissing"),
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
    fn after_many_wrong_keys_none_is_checked() {
        let authenticator = Authenticator::new(Keys::of(["test-key"]), false);
        let peer = Some("198.51.100.7".parse().unwrap());
        let verdict =
            |key: &'static [u8]| match authenticator.authenticate(&head(&[("x-api-key", key)]), peer) {
                Ok(actor) => actor,
                Err(error) => format!("{error:?}"),
            };
        let guesses: Vec<_> = (0..25).map(|_| verdict(b"guess")).collect();
        assert!(guesses[..20].iter().all(|verdict| verdict == "KeyRefused"), "{guesses:?}");
        assert_eq!(guesses[24], "TooManyFailures { seconds: 1 }");
        assert_eq!(verdict(b"test-key"), "TooManyFailures { seconds: 1 }");
        assert_eq!(
            authenticator.authenticate(&head(&[]), peer).unwrap_err().to_string(),
            ApiError::KeyMissing.to_string()
        );
        let other = Some("198.51.100.8".parse().unwrap());
        assert!(authenticator.authenticate(&head(&[("x-api-key", b"test-key")]), other).is_ok());
    }

    #[test]
    fn the_actor_header_counts_if_it_is_trusted() {
        let long = "é".repeat(300);
        for (sent, trusted, actor) in [
            (&b"alice"[..], true, "alice".to_owned()),
            (b"alice", false, "key:test…".to_owned()),
            (b"  ", true, "key:test…".to_owned()),
            (long.as_bytes(), true, "é".repeat(200)),
            (b"Jos\xe9", true, "José".to_owned()),
            ("José".as_bytes(), true, "José".to_owned()),
        ] {
            let authenticator = Authenticator::new(Keys::of(["test-key"]), trusted);
            let head = head(&[("x-api-key", b"test-key"), ("x-actor", sent)]);
            assert_eq!(authenticator.authenticate(&head, None).unwrap(), actor);
        }
    }

    #[test]
    fn an_actor_that_is_unsafe_to_display_is_refused_if_it_is_trusted() {
        for sent in ["a\tb", "a\u{9b}31mb", "a\u{85}b", "a\u{202e}b", "a\u{2028}b", "a\u{2066}b"] {
            for (trusted, verdict) in [(true, "Err(ActorRefused)"), (false, "Ok(\"key:test…\")")] {
                let authenticator = Authenticator::new(Keys::of(["test-key"]), trusted);
                let head = head(&[("x-api-key", b"test-key"), ("x-actor", sent.as_bytes())]);
                assert_eq!(format!("{:?}", authenticator.authenticate(&head, None)), verdict, "{sent:?}");
            }
        }
        // In Latin-1, too.
        let authenticator = Authenticator::new(Keys::of(["test-key"]), true);
        let head = head(&[("x-api-key", b"test-key"), ("x-actor", b"a\x9b31mb")]);
        assert!(matches!(authenticator.authenticate(&head, None), Err(ApiError::ActorRefused)));
    }
}
