//! The paths by which MLflow's client names files that are in the registry's artifact store: `versions/ID/PATH`.
//!
//! Its client encodes a path once in one call and twice in another. An id has no character for which that matters, and stays the
//! same when the model gets another name.

use crate::{
    manifest::check_path,
    refusal::Refusal,
    version::{Version, VersionId},
};

/// The first name of every path.
const VERSIONS: &str = "versions";
/// How the URI of an artifact begins that only the registry has.
const ONLY_HERE: &str = "sha256:";

/// A version, or a file or folder of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPath {
    /// The version.
    pub version: VersionId,
    /// The path in the version; empty for all its files.
    pub path: String,
}

impl StoredPath {
    /// Reads a path.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if it leads out of a folder, or no file can have it; [`Refusal::NotFound`] if it names no version.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let missing = || {
            Refusal::NotFound(format!(
                "there is nothing at {:?}; the files of a version are below the location that get-download-uri gives",
                text.chars().take(100).collect::<String>()
            ))
        };
        if text.is_empty() {
            return Err(missing());
        }
        // A path of a file may be as long as a whole one.
        let (folder, path) =
            text.match_indices('/').nth(1).map_or((text, None), |(at, _)| (&text[..at], text.get(at + 1..)));
        for part in [Some(folder), path].into_iter().flatten() {
            check_path(part).map_err(|refusal| Refusal::Invalid(format!("Invalid path: {refusal}")))?;
        }
        let id = folder.split_once('/').filter(|(first, _)| *first == VERSIONS).map(|(_, id)| id);
        let id = id.filter(|id| id.bytes().all(|byte| byte.is_ascii_digit()));
        let version = id.and_then(|id| id.parse().ok()).ok_or_else(missing)?;
        Ok(Self { version, path: path.unwrap_or_default().to_owned() })
    }

    /// Returns the folder of a version's files.
    #[must_use]
    pub fn folder(version: VersionId) -> String {
        format!("{VERSIONS}/{version}")
    }
}

/// Returns true if the registry has the bytes of a version.
#[must_use]
pub fn is_stored<S>(version: &Version<S>) -> bool {
    version.manifest.is_some_and(|manifest| manifest.is_stored)
}

/// Returns true if a version's artifact was registered without a location, since only the registry has its bytes.
#[must_use]
pub fn is_only_here<S: AsRef<str>>(version: &Version<S>) -> bool {
    is_stored(version) && version.artifact_uri.as_ref().is_none_or(|uri| uri.as_ref().starts_with(ONLY_HERE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_version_and_perhaps_a_file_of_it() {
        for (text, version, path) in [
            ("versions/17", 17, ""),
            ("versions/17/", 17, ""),
            ("versions/17/MLmodel", 17, "MLmodel"),
            ("versions/17/data/a b%20.bin/", 17, "data/a b%20.bin"),
            ("versions/0/versions/1", 0, "versions/1"),
        ] {
            assert_eq!(StoredPath::parse(text), Ok(StoredPath { version, path: path.to_owned() }), "{text}");
        }
        let longest = vec!["n".repeat(204); 5].join("/");
        assert_eq!(StoredPath::parse(&format!("versions/1/{longest}")).unwrap().path, longest);
        let folder = StoredPath::folder(17);
        assert_eq!(StoredPath::parse(&folder), Ok(StoredPath { version: 17, path: String::new() }));
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_invalid_and_one_without_a_version_names_nothing() {
        for text in [
            "versions/17/../18/x",
            "versions/../x",
            "..",
            "/versions/17",
            "//versions/17",
            "versions//17",
            "versions/17/a\\b",
            "versions/17/\u{0}",
            "versions/17/./x",
            "C:/x",
        ] {
            assert!(matches!(StoredPath::parse(text), Err(Refusal::Invalid(_))), "{text:?}");
        }
        for text in [
            "",
            "/",
            "versions",
            "versions/x",
            "versions/-1",
            "versions/99999999999999999999",
            "0/run/artifacts",
        ] {
            assert!(matches!(StoredPath::parse(text), Err(Refusal::NotFound(_))), "{text:?}");
        }
    }
}
