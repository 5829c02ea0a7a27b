//! An API key that does not show itself.

use std::fmt;

use ureq::http::HeaderValue;

use super::ClientError;

/// An API key. It reads `(redacted)` however it is printed; only the client takes it out, for its header.
#[derive(Clone)]
pub struct SecretKey {
    value: HeaderValue,
    /// Where it was found, for a person whose key is refused.
    found_in: Option<String>,
}

impl SecretKey {
    /// Takes a key over, without the space around it.
    ///
    /// # Errors
    /// [`ClientError::BadKey`] for a blank key, or one that a header can't carry.
    pub fn new(text: &str) -> Result<Self, ClientError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ClientError::BadKey("it is blank"));
        }
        // Beyond ASCII a header has no agreed encoding: the server would read another key.
        if !text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
            return Err(ClientError::BadKey("a header only carries printable ASCII characters"));
        }
        let mut value =
            HeaderValue::from_str(text).map_err(|_| ClientError::BadKey("a header can't carry it"))?;
        value.set_sensitive(true);
        Ok(Self { value, found_in: None })
    }

    /// The same key, with where it was found: a flag, a variable, or a file.
    #[must_use]
    pub fn found_in(self, place: impl Into<String>) -> Self {
        Self { found_in: Some(place.into()), ..self }
    }

    pub(super) fn header(&self) -> &HeaderValue {
        &self.value
    }

    /// The key itself, for a header that is written elsewhere.
    pub fn reveal(&self) -> &str {
        // It is printable ASCII, as it was checked to be.
        self.value.to_str().unwrap_or_default()
    }

    pub(super) fn place(&self) -> Option<&str> {
        self.found_in.as_deref()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(redacted)")
    }
}

impl fmt::Display for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_trimmed_and_never_shown() {
        let key = SecretKey::new(" hush 1\n").unwrap();
        assert_eq!(key.header().to_str().unwrap(), "hush 1");
        for shown in [format!("{key}"), format!("{key:?}"), format!("{:#?}", Some(&key))] {
            assert!(!shown.contains("hush"), "{shown}");
        }
    }

    #[test]
    fn a_key_that_a_header_cannot_carry_is_refused_and_not_repeated() {
        for bad in ["", " \t", "hush\nhush", "hush\u{0}", "hüsh", "hush\u{7f}"] {
            let text = SecretKey::new(bad).unwrap_err().to_string();
            assert!(text.contains("check --api-key") && !text.contains("hush"), "{text}");
        }
    }
}
