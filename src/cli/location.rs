//! The location of an artifact: a local file, or an object in a store.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use url::Url;

use crate::artifact::objects::{ObjectError, ObjectUri};

/// A location that can be read from this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Location {
    File(PathBuf),
    Object(ObjectUri),
}

impl Location {
    /// Parses an argument: a path, `file://` with an absolute path, or the URI of an object. The URI of a known store is
    /// never read as a path, even if such a file exists; `./` before it makes it a path.
    ///
    /// # Errors
    /// If it is another kind of URI, or names no object.
    pub(super) fn given(given: &OsStr) -> Result<Self, ObjectError> {
        // Only a path can be other than UTF-8.
        let Some(text) = given.to_str() else { return Ok(Self::File(PathBuf::from(given))) };
        if let Some(path) = path_of(text) {
            return Ok(Self::File(path));
        }
        let has_scheme = text.split_once("://").is_some_and(|(scheme, _)| !scheme.contains(['.', '/']));
        let is_uri = has_scheme && !Path::new(text).exists();
        if is_uri || ObjectUri::has_known_scheme(text) {
            return Ok(Self::Object(ObjectUri::parse(text)?));
        }
        Ok(Self::File(PathBuf::from(given)))
    }

    /// Parses the registered URI of an artifact; `None` if it can't be read from this machine.
    pub(super) fn registered(uri: &str) -> Option<Self> {
        path_of(uri).map(Self::File).or_else(|| ObjectUri::parse(uri).ok().map(Self::Object))
    }
}

/// Returns the path of a `file://` URI, unless it names another host.
fn path_of(uri: &str) -> Option<PathBuf> {
    let url = Url::parse(uri.trim()).ok().filter(|url| url.scheme() == "file")?;
    url.to_file_path().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(uri: &str) -> Option<Location> {
        Some(Location::Object(ObjectUri::parse(uri).unwrap()))
    }

    fn file(path: &str) -> Option<Location> {
        Some(Location::File(PathBuf::from(path)))
    }

    #[test]
    fn a_registered_uri_is_a_file_an_object_or_out_of_reach() {
        for (uri, expected) in [
            ("file:///a/m%20x.pt", file("/a/m x.pt")),
            (" s3://b/k ", object("s3://b/k")),
            ("gs://b/k", object("gs://b/k")),
            ("file://elsewhere/m.pt", None),
            ("sha256:aa", None),
            ("/a/m.pt", None),
            ("https://h/m.pt", None),
            ("s3://b", None),
        ] {
            assert_eq!(Location::registered(uri), expected, "{uri}");
        }
    }

    #[test]
    fn an_argument_is_a_path_unless_it_is_a_uri() {
        for (text, expected) in [
            ("m.pt", file("m.pt")),
            ("/a/m:1.pt", file("/a/m:1.pt")),
            ("file:///a/m.pt", file("/a/m.pt")),
            ("s3://b/k", object("s3://b/k")),
            ("./s3://b/k", file("./s3://b/k")),
            ("s3://b", None),
            ("https://h/m.pt", None),
        ] {
            assert_eq!(Location::given(OsStr::new(text)).ok(), expected, "{text}");
        }
    }
}
