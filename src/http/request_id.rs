//! The id of a request: the client's own, or a random one. Its answer and its log line have it.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that a client may choose.
const MAX_BYTES: usize = 128;

/// Returns the client's own id if it is safe in a log and a header, else a new one.
pub(super) fn of(head: &HeaderMap) -> HeaderValue {
    let is_safe = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=MAX_BYTES).contains(&bytes.len())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte))
    };
    head.get(HEADER).filter(is_safe).cloned().unwrap_or_else(|| {
        // Hex digits can stand in a header.
        HeaderValue::from_str(&random()).unwrap_or(HeaderValue::from_static("-"))
    })
}

/// Returns an id that is unique for all practical purposes.
pub(super) fn random() -> String {
    hex::encode(fastrand::u128(..).to_be_bytes())
}
