//! The name of one object: `s3://bucket/key` and its like.
//!
//! A URI that exists can be asked for. Keys are taken as they are written, as the stores' own tools take
//! them: `%20` is three characters, not a space.

use std::{fmt, str::FromStr};

use super::ObjectError;

/// Whose store it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `s3://`: Amazon S3, or whatever speaks its protocol.
    S3,
    /// `gs://`: Google Cloud Storage.
    Gs,
    /// `az://`: Azure Blob Storage; the bucket is a container of the account in the variables.
    Az,
}

impl Scheme {
    /// As it is written before `://`.
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

impl ObjectUri {
    /// Reads a URI.
    ///
    /// # Errors
    /// [`ObjectError::BadUri`], saying what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ObjectError> {
        let text = text.trim();
        read(text).map_err(|reason| ObjectError::BadUri { uri: shown(text), reason })
    }

    /// Whether `text` names an object of a store that is known here, however badly.
    #[must_use]
    pub fn is_meant_by(text: &str) -> bool {
        text.trim().split_once("://").is_some_and(|(scheme, _)| Scheme::parse(scheme).is_some())
    }

    /// Whose store it is.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The bucket; for Azure the container.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The name of the object within its bucket.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What follows the last `/` of the key.
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

impl FromStr for ObjectUri {
    type Err = ObjectError;

    fn from_str(text: &str) -> Result<Self, ObjectError> {
        Self::parse(text)
    }
}

/// A text that names no object, without what may be a user and a password. The password may hold a slash.
fn shown(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let before_slash = rest.split('/').next().unwrap_or_default();
    match rest.rsplit_once('@') {
        Some((_, behind)) if before_slash.contains([':', '@']) => format!("{scheme}://…@{behind}"),
        _ => text.to_owned(),
    }
}

fn read(text: &str) -> Result<ObjectUri, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err("it has no scheme; one like s3://bucket/key is wanted".to_owned());
    };
    let Some(scheme) = Scheme::parse(scheme) else {
        return Err(format!("nothing here can reach {scheme}://; s3://, gs:// and az:// are known"));
    };
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err("it names no bucket".to_owned());
    }
    if let Some(odd) = bucket.chars().find(|c| !(c.is_ascii_alphanumeric() || "-_.".contains(*c))) {
        return Err(format!("{odd:?} can't stand in the name of a bucket"));
    }
    if bucket.chars().all(|c| c == '.') {
        return Err("the name of its bucket is nothing but dots".to_owned());
    }
    if key.is_empty() {
        return Err("it names a bucket and no object in it".to_owned());
    }
    if key.ends_with('/') {
        return Err("it ends with a slash, as folders do; an object's key is wanted".to_owned());
    }
    if key.len() > MAX_KEY_BYTES {
        return Err(format!("its key is longer than {MAX_KEY_BYTES} bytes"));
    }
    if let Some(odd) = key.chars().find(|c| c.is_control() || "?#".contains(*c)) {
        return Err(format!("{odd:?} can't stand in a key here"));
    }
    // The client of the stores would drop or refuse these, and an object with such a name would be another one.
    if key.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("its key has an empty segment, or one that is nothing but a dot or two".to_owned());
    }
    Ok(ObjectUri { scheme, bucket: bucket.to_owned(), key: key.to_owned() })
}

/// The longest key that S3, GCS and Azure all take.
const MAX_KEY_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_shown_as_it_was_given() {
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
    fn what_names_no_object_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "no scheme"),
            ("model.pt", "no scheme"),
            ("/s3/b/k", "no scheme"),
            ("ftp://b/k", "nothing here can reach ftp://"),
            ("s3://", "no bucket"),
            ("s3:///k", "no bucket"),
            ("s3://b", "no object"),
            ("s3://b/", "no object"),
            ("s3://b/a/", "ends with a slash"),
            ("s3://key:secret@b/k", "':' can't stand in the name of a bucket"),
            ("s3://b c/k", "' ' can't stand"),
            ("s3://../k", "nothing but dots"),
            ("s3://b//k", "empty segment"),
            ("s3://b/a/../k", "a dot or two"),
            ("s3://b/./k", "a dot or two"),
            ("s3://b/k?versionId=1", "'?' can't stand in a key"),
            ("s3://b/k#1", "'#' can't stand"),
            ("s3://b/k\u{1b}[2J", "can't stand"),
        ] {
            let refused = ObjectUri::parse(text).unwrap_err();
            assert!(matches!(refused, ObjectError::BadUri { .. }), "{text}");
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
    fn an_object_is_told_from_a_path() {
        for (text, meant) in
            [("s3://b", true), ("GS://", true), ("ftp://x/y", false), ("a/b", false), ("s3:/b", false)]
        {
            assert_eq!(ObjectUri::is_meant_by(text), meant, "{text}");
        }
    }
}
