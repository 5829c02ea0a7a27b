//! The URI of an object, such as `s3://bucket/key`.
//!
//! Every [`ObjectUri`] can be requested. Keys are literal, as in the stores' own tools: `%20` is three characters, not a
//! space.

use std::fmt;

/// The protocol of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `s3://`: Amazon S3, or another server with its protocol.
    S3,
    /// `gs://`: Google Cloud Storage.
    Gs,
    /// `az://`: Azure Blob Storage; the bucket is a container of the account that the variables name.
    Az,
}

impl Scheme {
    /// Returns the text before `://`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gs => "gs",
            Self::Az => "az",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "s3" => Some(Self::S3),
            "gs" | "gcs" => Some(Self::Gs),
            "az" => Some(Self::Az),
            _ => None,
        }
    }
}

/// `s3://bucket/key`, `gs://bucket/key` or `az://container/key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectUri {
    scheme: Scheme,
    bucket: String,
    key: String,
}

/// Why a text is not the URI of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{uri:?} is not the URI of an object: {reason}")]
pub struct UriError {
    /// The text, without a password.
    uri: String,
    reason: String,
}

impl UriError {
    pub(super) fn new(uri: &str, reason: impl Into<String>) -> Self {
        Self { uri: redacted(uri), reason: reason.into() }
    }

    /// Returns what is wrong, without the text.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }
}

impl ObjectUri {
    /// Parses a URI.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let text = text.trim();
        parse(text).map_err(|reason| UriError::new(text, reason))
    }

    /// Returns true if `text` has the scheme of a supported store, even if the rest is invalid.
    #[must_use]
    pub fn has_known_scheme(text: &str) -> bool {
        text.trim().split_once("://").is_some_and(|(scheme, _)| Scheme::parse(scheme).is_some())
    }

    /// Returns the protocol of its store.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the bucket; for Azure the container.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Returns the object's name in its bucket.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the key after its last `/`.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or(&self.key)
    }
}

impl fmt::Display for ObjectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/{}", self.scheme.as_str(), self.bucket, self.key)
    }
}

/// Removes a user and a password from a text that is not a valid URI. The password may contain a slash.
fn redacted(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let before_slash = rest.split('/').next().unwrap_or_default();
    match rest.rsplit_once('@') {
        Some((_, after)) if before_slash.contains([':', '@']) => format!("{scheme}://…@{after}"),
        _ => text.to_owned(),
    }
}

fn parse(text: &str) -> Result<ObjectUri, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err("it has no scheme; expected one like s3://bucket/key".to_owned());
    };
    let Some(scheme) = Scheme::parse(scheme) else {
        return Err(format!("{scheme}:// is not supported; use s3://, gs:// or az://"));
    };
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err("it names no bucket".to_owned());
    }
    if let Some(odd) = bucket.chars().find(|c| !(c.is_ascii_alphanumeric() || "-_.".contains(*c))) {
        return Err(format!("the name of a bucket can't contain {odd:?}"));
    }
    if bucket.chars().all(|c| c == '.') {
        return Err("the name of its bucket consists of dots".to_owned());
    }
    if key.is_empty() {
        return Err("it names a bucket, but no object in it".to_owned());
    }
    if key.ends_with('/') {
        return Err("it ends with a slash like a folder; expected the key of an object".to_owned());
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(format!("its key is longer than {MAX_KEY_BYTES} bytes"));
    }
    if let Some(odd) = key.chars().find(|c| c.is_control() || "?#".contains(*c)) {
        return Err(format!("a key can't contain {odd:?}"));
    }
    // The stores' client drops or refuses these segments, so the request would be for another object.
    if key.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("its key has a segment that is empty, \".\" or \"..\"".to_owned());
    }
    Ok(ObjectUri { scheme, bucket: bucket.to_owned(), key: key.to_owned() })
}

/// The longest key that S3, GCS and Azure all accept.
const MAX_KEY_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_displayed_as_it_was_given() {
        for (text, scheme, bucket, key, shown) in [
            ("s3://b/k", Scheme::S3, "b", "k", "s3://b/k"),
            (" S3://my.bucket_1/a/b c/%20ü+=&.pt\n", Scheme::S3, "my.bucket_1", "a/b c/%20ü+=&.pt", ""),
            ("gs://b/a/k", Scheme::Gs, "b", "a/k", "gs://b/a/k"),
            ("gcs://b/k", Scheme::Gs, "b", "k", "gs://b/k"),
            ("az://container/k", Scheme::Az, "container", "k", "az://container/k"),
        ] {
            let uri = ObjectUri::parse(text).unwrap();
            assert_eq!((uri.scheme(), uri.bucket(), uri.key()), (scheme, bucket, key));
            if !shown.is_empty() {
                assert_eq!(uri.to_string(), shown);
            }
            assert_eq!(ObjectUri::parse(&uri.to_string()).unwrap(), uri);
        }
        assert_eq!(ObjectUri::parse("s3://b/a/model.pt").unwrap().file_name(), "model.pt");
    }

    #[test]
    fn a_text_that_names_no_object_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "no scheme"),
            ("model.pt", "no scheme"),
            ("/s3/b/k", "no scheme"),
            ("ftp://b/k", "ftp:// is not supported"),
            ("s3://", "no bucket"),
            ("s3:///k", "no bucket"),
            ("s3://b", "no object"),
            ("s3://b/", "no object"),
            ("s3://b/a/", "ends with a slash"),
            ("s3://key:secret@b/k", "the name of a bucket can't contain ':'"),
            ("s3://b c/k", "can't contain ' '"),
            ("s3://../k", "consists of dots"),
            ("s3://b//k", "a segment that is empty"),
            ("s3://b/a/../k", "a segment that is empty"),
            ("s3://b/./k", "a segment that is empty"),
            ("s3://b/k?versionId=1", "a key can't contain '?'"),
            ("s3://b/k#1", "can't contain '#'"),
            ("s3://b/k\u{1b}[2J", "can't contain"),
        ] {
            let refused = ObjectUri::parse(text).unwrap_err();
            assert!(refused.to_string().contains(reason), "{text}: {refused}");
        }
        for text in
            ["s3://AKIA:s3cretkey@bkt/x", "s3://AKIA:s3cret/key@bkt/x", "ftp://AKIA@bkt:s3cretkey@bkt/x"]
        {
            let refused = ObjectUri::parse(text).unwrap_err().to_string();
            assert!(!refused.contains("s3cret") && !refused.contains("AKIA"), "{refused}");
            assert!(refused.contains("://…@bkt/x\" is not the URI"), "{refused}");
        }
        assert!(ObjectUri::parse("s3://b/a@b/").unwrap_err().to_string().contains("s3://b/a@b/"));
        let long = format!("s3://b/{}", "k".repeat(MAX_KEY_BYTES + 1));
        assert!(ObjectUri::parse(&long).unwrap_err().to_string().contains("longer than 1024"));
    }

    #[test]
    fn the_uri_of_an_object_is_distinguished_from_a_path() {
        for (text, expected) in
            [("s3://b", true), ("GS://", true), ("ftp://x/y", false), ("a/b", false), ("s3:/b", false)]
        {
            assert_eq!(ObjectUri::has_known_scheme(text), expected, "{text}");
        }
    }
}
