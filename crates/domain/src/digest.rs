//! SHA-256 digests, and the check of a file against its registration.

use std::fmt;

use crate::refusal::Refusal;

/// A SHA-256 digest, written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Creates a digest from the 32 bytes that SHA-256 yields.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Parses 64 hex digits in either case, with or without a leading `sha256:`. Blank text is `None`.
    ///
    /// # Errors
    /// [`Refusal::Invalid`], naming `field`, for anything else.
    pub fn parse(field: &str, text: &str) -> Result<Option<Self>, Refusal> {
        let trimmed = text.trim();
        let bare = match trimmed.get(..7) {
            Some(prefix) if prefix.eq_ignore_ascii_case("sha256:") => trimmed[7..].trim(),
            _ => trimmed,
        };
        if bare.is_empty() {
            return Ok(None);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(bare, &mut bytes).map_err(|_| {
            Refusal::Invalid(format!("{field} is not a SHA-256 digest; expected 64 hex digits"))
        })?;
        Ok(Some(Self(bytes)))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Size and digest of a file that was read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurement {
    /// Absent if the file is over the limit for digesting.
    pub sha256: Option<Digest>,
    /// Size of the file.
    pub size_bytes: u64,
}

impl Measurement {
    /// Compares the measurement with what a client claimed about the file; `None` makes no claim.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if size or digest differ.
    pub fn confirm(
        &self,
        what: &str,
        claimed_sha256: Option<Digest>,
        claimed_size_bytes: Option<i64>,
    ) -> Result<(), Refusal> {
        if let Some(claimed) = claimed_size_bytes
            && u64::try_from(claimed).ok() != Some(self.size_bytes)
        {
            return Err(Refusal::Invalid(format!(
                "{what}_size_bytes is given as {claimed}, but the file holds {} bytes",
                self.size_bytes
            )));
        }
        if let (Some(claimed), Some(found)) = (claimed_sha256, self.sha256)
            && claimed != found
        {
            return Err(Refusal::Invalid(format!(
                "{what}_sha256 is given as {claimed}, but the file's digest is {found}"
            )));
        }
        Ok(())
    }

    /// Returns the size as a signed integer, the type that the store uses.
    #[must_use]
    pub fn size_for_row(&self) -> i64 {
        i64::try_from(self.size_bytes).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "7056f18469ad00720a4b339385cf6344285621d6662997209da4ed56a8612669";

    #[test]
    fn digests_are_read_in_any_case_with_or_without_prefix() {
        for text in [
            HEX.to_owned(),
            HEX.to_uppercase(),
            format!("sha256:{HEX}"),
            format!("SHA256:{}", HEX.to_uppercase()),
            format!("  sha256: {HEX} \n"),
        ] {
            assert_eq!(Digest::parse("f", &text).unwrap().unwrap().to_string(), HEX, "{text:?}");
        }
    }

    #[test]
    fn blank_text_is_not_a_digest() {
        for text in ["", "   ", "sha256:", " SHA256: "] {
            assert_eq!(Digest::parse("f", text), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_an_error_that_names_the_field() {
        for text in
            ["123", &HEX[1..], &format!("{HEX}0"), &"z".repeat(64), "md5:00", "é23456789", &"é".repeat(32)]
        {
            let refusal = Digest::parse("config_sha256", text).unwrap_err();
            assert!(refusal.to_string().contains("config_sha256"), "{text}");
        }
    }

    #[test]
    fn a_file_is_compared_with_the_claims_about_it() {
        let found = Digest::parse("f", HEX).unwrap();
        let other = Some(Digest::from_bytes([0; 32]));
        let hashed = Measurement { sha256: found, size_bytes: 16 };
        let sized = Measurement { sha256: None, size_bytes: 16 };
        for (measurement, sha256, size, agrees) in [
            (hashed, None, None, true),
            (hashed, found, Some(16), true),
            (hashed, found, Some(3), false),
            (hashed, other, Some(16), false),
            (hashed, None, Some(-16), false),
            (sized, other, Some(16), true),
            (sized, other, Some(17), false),
        ] {
            let checked = measurement.confirm("checkpoint", sha256, size);
            assert_eq!(checked.is_ok(), agrees, "{measurement:?} {sha256:?} {size:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_digest_or_refused(text in r"([sS][hH][aA]256:)?\PC{0,70}") {
            if let Ok(Some(digest)) = Digest::parse("f", &text) {
                assert!(text.to_lowercase().contains(&digest.to_string()));
            }
        }

        #[test]
        fn any_bytes_make_a_digest_that_reads_back(bytes: [u8; 32]) {
            let digest = Digest::from_bytes(bytes);
            assert_eq!(Digest::parse("f", &digest.to_string()), Ok(Some(digest)));
        }
    }
}
