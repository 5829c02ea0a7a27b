//! Authentication: checks the key in a request's headers and names the caller for the audit trail.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Instant,
};

use actix_web::http::header::{HeaderMap, HeaderValue};
use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};

use crate::{
    domain::{
        Principal, is_unsafe_to_display,
        key::{SecretDigest, parse_token},
    },
    registry::{KeyCheck, Registry},
};

use super::{
    error::ApiError,
    keys::{Keys, digest_of},
    throttle::Throttle,
};

/// The longest actor in the audit trail, in characters.
const MAX_ACTOR_CHARS: usize = 200;
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

    /// Returns the caller of a request with these headers from the client `peer`. The password of `Authorization: Basic` may be the
    /// key too, if `is_basic_allowed`.
    ///
    /// # Errors
    /// [`ApiError::NoKeyConfigured`], [`ApiError::KeyMissing`], [`ApiError::KeyRefused`], [`ApiError::KeyExpired`],
    /// [`ApiError::TooManyFailures`]; with a valid key [`ApiError::ActorRefused`].
    pub(super) fn authenticate(
        &self,
        registry: &Registry,
        head: &HeaderMap,
        peer: Option<IpAddr>,
        is_basic_allowed: bool,
    ) -> Result<Authenticated, ApiError> {
        if self.keys.is_empty() && registry.has_no_keys() {
            return Err(ApiError::NoKeyConfigured);
        }
        let key = presented(head).or_else(|| password(head).filter(|_| is_basic_allowed));
        let key = key.ok_or(ApiError::KeyMissing)?;
        let stored = parse_token(&key);
        let (digest, now) = (stored.map_or_else(|| digest_of(&key), |(_, digest)| digest), Instant::now());
        // Only sockets without an address lack a peer; they share one throttle.
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        if let Err(wait) = self.throttle.admit(peer, &digest, now) {
            return Err(ApiError::TooManyFailures { seconds: wait.as_secs_f64().ceil().max(1.0) as u64 });
        }
        let principal = self.owner(registry, &key, stored);
        let principal = principal.inspect_err(|_| self.throttle.record_invalid(peer, now))?;
        self.throttle.record_valid(peer, &digest);
        let actor = self.named_actor(head)?;
        Ok(Authenticated { principal, actor })
    }

    /// Returns true if the key in these headers is still valid. It was valid when a long answer began.
    pub(super) fn is_still_valid(&self, registry: &Registry, head: &HeaderMap) -> bool {
        presented(head).is_some_and(|key| self.owner(registry, &key, parse_token(&key)).is_ok())
    }

    /// Returns the owner of a key, which may be the token of a stored key.
    fn owner(
        &self,
        registry: &Registry,
        key: &[u8],
        stored: Option<(i64, SecretDigest)>,
    ) -> Result<Arc<Principal>, ApiError> {
        match stored.map(|(id, digest)| registry.check_key(id, &digest)) {
            Some(KeyCheck::Valid(principal)) => Ok(principal),
            Some(KeyCheck::Expired(end)) => Err(ApiError::KeyExpired(end.to_rfc3339())),
            // A key of the environment may look like a token.
            Some(KeyCheck::Unknown) | None => self.keys.owner(&digest_of(key)).ok_or(ApiError::KeyRefused),
        }
    }

    /// Returns true if a key of the environment has this name.
    pub(super) fn has_name(&self, name: &str) -> bool {
        self.keys.has_name(name)
    }

    /// Returns the name that the request brings, if that is trusted.
    fn named_actor(&self, head: &HeaderMap) -> Result<Option<String>, ApiError> {
        let named = head.get("x-actor").filter(|_| self.trust_actor_header).map(text_of);
        match named.as_deref().map(str::trim).filter(|actor| !actor.is_empty()) {
            // Control characters could make the audit trail display a different name than it stores.
            Some(actor) if actor.contains(is_unsafe_to_display) => Err(ApiError::ActorRefused),
            Some(actor) => Ok(Some(actor.chars().take(MAX_ACTOR_CHARS).collect())),
            None => Ok(None),
        }
    }
}

/// A caller whose key is valid.
pub(super) struct Authenticated {
    pub(super) principal: Arc<Principal>,
    /// The name in the audit trail, if it is not the one of the principal.
    pub(super) actor: Option<String>,
}

/// Returns the key of `X-API-Key` or, if that is absent or blank, of `Authorization: Bearer`.
fn presented(head: &HeaderMap) -> Option<Cow<'_, [u8]>> {
    let not_blank = |key: &&[u8]| !key.is_empty();
    let own = head.get("x-api-key").map(|key| key.as_bytes().trim_ascii()).filter(not_blank);
    own.or_else(|| credentials(head, b"bearer ").filter(not_blank)).map(Cow::Borrowed)
}

/// Returns the password of `Authorization: Basic`, which follows the first colon.
fn password(head: &HeaderMap) -> Option<Cow<'_, [u8]>> {
    let decoded = BASE64.decode(credentials(head, b"basic ")?).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let password = decoded.get(colon + 1..)?.trim_ascii();
    (!password.is_empty()).then(|| Cow::Owned(password.to_vec()))
}

/// Returns what follows this scheme, with a blank after it, in `Authorization`.
fn credentials<'h>(head: &'h HeaderMap, scheme: &[u8]) -> Option<&'h [u8]> {
    let credentials = head.get("authorization")?.as_bytes().trim_ascii();
    let (sent, rest) = credentials.split_at_checked(scheme.len())?;
    sent.eq_ignore_ascii_case(scheme).then(|| rest.trim_ascii())
}

/// Decodes a header as UTF-8 or else as Latin-1, the original encoding of HTTP headers.
fn text_of(value: &HeaderValue) -> String {
    let bytes = value.as_bytes();
    std::str::from_utf8(bytes)
        .map_or_else(|_| bytes.iter().map(|byte| char::from(*byte)).collect(), str::to_owned)
}
