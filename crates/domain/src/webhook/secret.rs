//! Secrets, and the signatures that they make.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::Form;

/// What secrets of Standard Webhooks begin with, before base64.
const PREFIX: &str = "whsec_";
/// How many bytes a secret may have.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// How many random bytes a secret is made of.
pub const RANDOM_BYTES: usize = 32;

/// What calls are signed with. It is never shown but to whom it is given, so its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Returns the secret with this text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Makes a secret of random bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(format!("{PREFIX}{}", BASE64_STANDARD.encode(bytes)))
    }

    /// Returns the text, to be shown to the one who gets the secret.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Checks that it is one of Standard Webhooks.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        if self.key().is_some_and(|key| BYTES.contains(&key.len())) {
            return Ok(());
        }
        Err(format!(
            "is not a secret of Standard Webhooks; give {PREFIX} and the base64 of {} to {} random bytes, or leave it out and \
             take the one that the server makes",
            BYTES.start(),
            BYTES.end()
        ))
    }

    fn key(&self) -> Option<Vec<u8>> {
        BASE64_STANDARD.decode(self.0.strip_prefix(PREFIX)?).ok()
    }

    /// Returns the signature of a call: `v1,` and the base64 of HMAC-SHA256 over id, time in seconds and body, joined by points.
    #[must_use]
    pub fn sign(&self, form: Form, id: &str, seconds: i64, body: &str) -> String {
        let key = match form {
            Form::V1 => self.key().unwrap_or_default(),
            Form::Mlflow => self.0.as_bytes().to_vec(),
        };
        // HMAC takes a key of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else { return String::new() };
        mac.update(format!("{id}.{seconds}.{body}").as_bytes());
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_one_of_the_specification() {
        // The example of the Standard Webhooks libraries.
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let signature =
            secret.sign(Form::V1, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_has_its_prefix_and_24_to_64_bytes_and_is_never_printed() {
        for (text, good) in [
            (Secret::of_bytes(&[7; 24]).0, true),
            (Secret::of_bytes(&[7; 64]).0, true),
            (Secret::of_bytes(&[7; 23]).0, false),
            (Secret::of_bytes(&[7; 65]).0, false),
            ("whsec_".to_owned(), false),
            ("whsec_!!!!".to_owned(), false),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(), false),
            (String::new(), false),
        ] {
            let secret = Secret::new(text.clone());
            assert_eq!(secret.check().is_ok(), good, "{text}");
            assert_eq!(format!("{secret:?}"), "Secret(…)");
        }
    }
}
