//! Who calls: keys, and the name a caller has in the audit trail. Decided from the head of a request alone.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use actix_web::http::header::{HeaderMap, HeaderValue};

use crate::domain::steers;

use super::{
    error::ApiError,
    keys::{Keys, digest_of},
    throttle::{Throttle, Verdict},
};

/// The longest actor in the audit trail, in characters.
const MAX_ACTOR_CHARS: usize = 200;
/// How much of a key names its holder.
const ACTOR_KEY_CHARS: usize = 4;

/// Who may call, and how a caller is named.
#[derive(Debug)]
pub(super) struct Doorkeeper {
    keys: Keys,
    throttle: Throttle,
    trust_actor_header: bool,
}

impl Doorkeeper {
    pub(super) fn new(keys: Keys, trust_actor_header: bool) -> Self {
        Self { keys, throttle: Throttle::default(), trust_actor_header }
    }

    /// The actor a request's head speaks for. `peer` is the client it came from.
    ///
    /// # Errors
    /// [`ApiError::NoKeyConfigured`], [`ApiError::KeyMissing`], [`ApiError::KeyRefused`], [`ApiError::TooManyFailures`];
    /// with a good key [`ApiError::ActorRefused`].
    pub(super) fn authenticate(&self, head: &HeaderMap, peer: Option<IpAddr>) -> Result<String, ApiError> {
        if self.keys.are_none() {
            return Err(ApiError::NoKeyConfigured);
        }
        let key = presented(head).ok_or(ApiError::KeyMissing)?;
        let (digest, now) = (digest_of(key), Instant::now());
        // A connection without an address is none that anybody could guess over.
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        if let Verdict::NotBefore(wait) = self.throttle.admit(peer, &digest, now) {
            return Err(ApiError::TooManyFailures { seconds: wait.as_secs_f64().ceil().max(1.0) as u64 });
        }
        if !self.keys.include(&digest) {
            self.throttle.wrong(peer, now);
            return Err(ApiError::KeyRefused);
        }
        self.throttle.right(peer, &digest, now);
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
        match Doorkeeper::new(Keys::of(keys.iter().copied()), false).authenticate(&head(fields), None) {
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
    fn whoever_guesses_is_not_judged_any_more() {
        let doorkeeper = Doorkeeper::new(Keys::of(["test-key"]), false);
        let peer = Some("198.51.100.7".parse().unwrap());
        let judged = |key: &'static [u8]| match doorkeeper.authenticate(&head(&[("x-api-key", key)]), peer) {
            Ok(actor) => actor,
            Err(error) => format!("{error:?}"),
        };
        let guesses: Vec<_> = (0..25).map(|_| judged(b"guess")).collect();
        assert!(guesses[..20].iter().all(|verdict| verdict == "KeyRefused"), "{guesses:?}");
        assert_eq!(guesses[24], "TooManyFailures { seconds: 1 }");
        assert_eq!(judged(b"test-key"), "TooManyFailures { seconds: 1 }");
        assert_eq!(
            doorkeeper.authenticate(&head(&[]), peer).unwrap_err().to_string(),
            ApiError::KeyMissing.to_string()
        );
        let other = Some("198.51.100.8".parse().unwrap());
        assert!(doorkeeper.authenticate(&head(&[("x-api-key", b"test-key")]), other).is_ok());
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
            let doorkeeper = Doorkeeper::new(Keys::of(["test-key"]), trusted);
            let head = head(&[("x-api-key", b"test-key"), ("x-actor", sent)]);
            assert_eq!(doorkeeper.authenticate(&head, None).unwrap(), actor);
        }
    }

    #[test]
    fn an_actor_that_would_steer_what_shows_it_is_refused_where_it_counts() {
        for sent in ["a\tb", "a\u{9b}31mb", "a\u{85}b", "a\u{202e}b", "a\u{2028}b", "a\u{2066}b"] {
            for (trusted, verdict) in [(true, "Err(ActorRefused)"), (false, "Ok(\"key:test…\")")] {
                let doorkeeper = Doorkeeper::new(Keys::of(["test-key"]), trusted);
                let head = head(&[("x-api-key", b"test-key"), ("x-actor", sent.as_bytes())]);
                assert_eq!(format!("{:?}", doorkeeper.authenticate(&head, None)), verdict, "{sent:?}");
            }
        }
        // In Latin-1, too.
        let doorkeeper = Doorkeeper::new(Keys::of(["test-key"]), true);
        let head = head(&[("x-api-key", b"test-key"), ("x-actor", b"a\x9b31mb")]);
        assert!(matches!(doorkeeper.authenticate(&head, None), Err(ApiError::ActorRefused)));
    }
}
