//! The rules of the Hugging Face pull API: which version a revision names, and what a client learns about one.

use crate::{
    files::{Entry, VersionFile},
    manifest::{is_revision, revision_of},
    tags::Tags,
    version::{Version, VersionId, VersionRef},
};

/// The revision that clients ask for unless they are given another.
pub const MAIN: &str = "main";

/// What a client asked for and the registry does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The model, by its name.
    #[error("there is no model {0:?}")]
    Model(String),
    /// The revision, with what to do.
    #[error("{0}")]
    Revision(String),
    /// The file or folder.
    #[error("{message}")]
    Entry {
        /// What is missing, and what to do.
        message: String,
        /// The revision that will never have it; `None` if its bytes may still be uploaded.
        revision: Option<String>,
    },
}

impl Missing {
    /// Returns the error for a revision of a model that names no version.
    #[must_use]
    pub fn revision(name: &str, revision: &str) -> Self {
        if revision == MAIN {
            return Self::Revision(format!("{name:?} has no version yet; register one"));
        }
        Self::Revision(format!(
            "{name:?} has no version with the alias, label or revision {revision:?}; give one of those, or {MAIN}"
        ))
    }
}

/// Returns the references that a revision may stand for, in the order in which they are tried.
///
/// A revision of 40 digits comes before a label of the same form, because a client that has it relies on its bytes. [`MAIN`] is the
/// production version. If there is none, it is the newest one, which only the store knows.
#[must_use]
pub fn references(name: &str, revision: &str) -> Vec<VersionRef> {
    let (name, text) = (name.to_owned(), revision.to_owned());
    if revision == MAIN {
        return vec![VersionRef::production(name)];
    }
    let mut references = Vec::with_capacity(3);
    if is_revision(revision) {
        references.push(VersionRef::Revision(name.clone(), text.clone()));
    }
    references.push(VersionRef::Alias(name.clone(), text.clone()));
    references.push(VersionRef::Label(name, text));
    references
}

/// A version as its clients see it: a commit with files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The version.
    pub id: VersionId,
    /// Its number.
    pub number: i64,
    /// Its label.
    pub label: String,
    /// 40 hex digits.
    pub revision: String,
    /// UTC, as stored.
    pub created_at: String,
    /// UTC, as stored.
    pub updated_at: String,
    /// Who registered it.
    pub created_by: Option<String>,
    /// Where its artifact is, unless that is only the registry.
    pub artifact_uri: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// Its tags.
    pub tags: Tags,
    /// Bytes of all files, if they are known.
    pub total_bytes: Option<i64>,
    /// The files of a version without a manifest.
    pub derived_files: Option<Vec<VersionFile>>,
}

impl Commit {
    /// Returns what clients see of a version.
    ///
    /// # Errors
    /// [`Missing::Revision`] if it has no digest, and so no revision.
    pub fn of<S: AsRef<str>>(version: &Version<S>) -> Result<Self, Missing> {
        let own = |text: &'_ Option<S>| text.as_ref().map(|text| text.as_ref().to_owned());
        let Some(digest) = &version.digest else {
            return Err(Missing::Revision(format!(
                "version number {} of {:?} has no SHA-256, and so no revision; publish it with its files",
                version.number,
                version.name.as_ref()
            )));
        };
        let derived = version.manifest.is_none().then(|| VersionFile::of(version));
        let total_bytes = match (&derived, version.manifest) {
            (Some(files), _) => files.iter().map(|file| file.size_bytes).sum(),
            (None, manifest) => manifest.map(|manifest| manifest.total_bytes),
        };
        Ok(Self {
            id: version.id,
            number: version.number,
            label: version.label.as_ref().to_owned(),
            revision: revision_of(digest.as_ref()).to_owned(),
            created_at: version.created_at.as_ref().to_owned(),
            updated_at: version.updated_at.as_ref().to_owned(),
            created_by: own(&version.created_by),
            artifact_uri: own(&version.artifact_uri),
            description: own(&version.description),
            tags: Tags::of(version),
            total_bytes,
            derived_files: derived,
        })
    }

    /// Returns the error for a path that this version does not have.
    #[must_use]
    pub fn without(&self, path: &str) -> Missing {
        Missing::Entry {
            message: format!("version {:?} has no file or folder {path:?}", self.label),
            revision: Some(self.revision.clone()),
        }
    }

    /// Returns the error for a file whose bytes the registry does not have.
    #[must_use]
    pub fn not_stored(&self, path: &str) -> Missing {
        let place = match &self.artifact_uri {
            Some(uri) => format!("its artifact is at {uri}; get it there, or with `registry pull`"),
            None => "publish it with its bytes".to_owned(),
        };
        let message = format!("this server does not have the bytes of {path:?}: {place}");
        Missing::Entry { message, revision: None }
    }

    /// Returns the entry of a path among the files of a version without a manifest.
    #[must_use]
    pub fn derived_entry(&self, path: &str) -> Option<Entry> {
        let files = self.derived_files.as_ref()?;
        let folder = format!("{path}/");
        files.iter().find_map(|file| {
            if file.path == path {
                return Some(Entry::File(file.clone()));
            }
            file.path.starts_with(&folder).then(|| Entry::Folder(folder.clone()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::tests::sample;

    const REVISION: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4";

    #[test]
    fn a_revision_is_main_or_forty_digits_or_an_alias_or_a_label() {
        let production = || VersionRef::production("m".to_owned());
        let alias = |text: &str| VersionRef::Alias("m".to_owned(), text.to_owned());
        let label = |text: &str| VersionRef::Label("m".to_owned(), text.to_owned());
        assert_eq!(references("m", "main"), [production()]);
        assert_eq!(references("m", "production"), [production(), label("production")]);
        assert_eq!(references("m", "v1"), [alias("v1"), label("v1")]);
        let revision = VersionRef::Revision("m".to_owned(), REVISION.to_owned());
        assert_eq!(references("m", REVISION), [revision, alias(REVISION), label(REVISION)]);
    }

    #[test]
    fn a_version_without_a_digest_has_no_revision() {
        let mut version = sample();
        version.artifact_uri = Some("s3://b/f/model.bin".to_owned());
        version.checkpoint_path.clone_from(&version.artifact_uri);
        let missing = Commit::of(&version).unwrap_err();
        assert!(missing.to_string().contains("version number 1 of \"m\" has no SHA-256"), "{missing}");
        version.digest = Some(format!("{REVISION}{}", "0".repeat(24)));
        version.checkpoint_size_bytes = Some(7);
        let commit = Commit::of(&version).unwrap();
        assert_eq!((commit.revision.as_str(), commit.total_bytes), (REVISION, Some(7)));
        assert_eq!(commit.derived_entry("model.bin").unwrap().path(), "model.bin");
        assert_eq!(commit.derived_entry("model"), None);
    }

    #[test]
    fn a_file_that_is_elsewhere_may_still_come_and_one_that_is_missing_may_not() {
        let mut version = sample();
        version.digest = Some("0".repeat(64));
        let commit = Commit::of(&version).unwrap();
        assert!(matches!(commit.without("a"), Missing::Entry { revision: Some(_), .. }));
        let elsewhere = commit.not_stored("a");
        assert!(matches!(&elsewhere, Missing::Entry { revision: None, .. }));
        assert!(elsewhere.to_string().contains("s3://b/m"), "{elsewhere}");
    }
}
