//! An API key that is never displayed.

use std::fmt;

use ureq::http::HeaderValue;

use crate::error::ClientError;

/// An API key. It is formatted as `(redacted)`; only the client reads it, for its header.
#[derive(Clone)]
pub struct SecretKey {
    value: HeaderValue,
    /// Where it comes from, for the error if it is refused.
    source: Option<String>,
}

impl SecretKey {
    /// Trims and checks a key.
    ///
    /// # Errors
    /// [`ClientError::BadKey`] for a blank key, or one that a header can't carry.
    pub fn new(text: &str) -> Result<Self, ClientError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ClientError::BadKey("it is blank"));
        }
        // A header has no agreed encoding beyond ASCII, so the server would read another key.
        if !text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
            return Err(ClientError::BadKey("a header only carries printable ASCII characters"));
        }
        let mut value =
            HeaderValue::from_str(text).map_err(|_| ClientError::BadKey("a header can't carry it"))?;
        value.set_sensitive(true);
        Ok(Self { value, source: None })
    }

    /// Returns this key with its source: a flag, a variable, or a file.
    #[must_use]
    pub fn from_source(self, source: impl Into<String>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    pub(super) fn header(&self) -> &HeaderValue {
        &self.value
    }

    /// Returns the key itself, for a header that another client sends.
    pub fn reveal(&self) -> &str {
        // `new` accepts only printable ASCII.
        self.value.to_str().unwrap_or_default()
    }

    pub(super) fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_trimmed_and_never_shown() {
        let key = SecretKey::new(" hush 1\n").unwrap();
        assert_eq!(key.header().to_str().unwrap(), "hush 1");
        for shown in [format!("{key:?}"), format!("{:#?}", Some(&key))] {
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
