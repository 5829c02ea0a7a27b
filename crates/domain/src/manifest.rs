//! The manifest of a version: its files, which are immutable from registration on, and the digest of all of them.

use std::collections::{HashMap, hash_map::Entry};

use sha2::{Digest as _, Sha256};

use crate::{
    digest::Digest,
    files::{FileRole, VersionFile},
    refusal::Refusal,
    text::fold,
    version::{ManifestSummary, Version},
};

/// The maximum number of files of a version.
pub const MAX_FILES: usize = 100_000;
/// The maximum length of a path.
pub const MAX_PATH_BYTES: usize = 1_024;
/// The maximum length of a name in a path, which file systems share.
const MAX_SEGMENT_BYTES: usize = 255;
/// How many hex digits of a digest a revision has, as many as a commit of Git.
const REVISION_DIGITS: usize = 40;

/// A file of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// Unique within the manifest; see [`check_path`].
    pub path: String,
    /// Its size in bytes; never negative.
    pub size_bytes: i64,
    /// Its digest.
    pub sha256: Digest,
    /// What it is for.
    pub role: FileRole,
}

impl From<&ManifestFile> for VersionFile {
    fn from(file: &ManifestFile) -> Self {
        Self {
            path: file.path.clone(),
            size_bytes: Some(file.size_bytes),
            sha256: Some(file.sha256.to_string()),
            role: file.role,
        }
    }
}

/// The files of a version, by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    files: Vec<ManifestFile>,
    total_bytes: i64,
    /// Computed once, since many files take a while.
    digest: Digest,
}

impl Manifest {
    /// Creates a manifest of these files, which may come in any order.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for too many files, an invalid path or size, two files of one path, and paths that can't be
    /// together in every file system.
    pub fn new(mut files: Vec<ManifestFile>) -> Result<Self, Refusal> {
        if files.len() > MAX_FILES {
            return Err(Refusal::Invalid(format!(
                "a version has at most {MAX_FILES} files, and these are {}; pack small ones into an archive",
                files.len()
            )));
        }
        let mut total_bytes = 0_i64;
        for file in &files {
            check_path(&file.path)?;
            let sum = (file.size_bytes >= 0).then(|| total_bytes.checked_add(file.size_bytes)).flatten();
            total_bytes = sum.ok_or_else(|| {
                Refusal::Invalid(format!("{:?} can't have {} bytes", file.path, file.size_bytes))
            })?;
        }
        check_collisions(files.iter().map(|file| file.path.as_str()))?;
        files.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        let digest = digest_of(files.iter().map(|file| (file.path.as_str(), file.sha256)));
        Ok(Self { files, total_bytes, digest })
    }

    /// Creates the manifest of a version again from its files.
    ///
    /// # Errors
    /// As [`Manifest::new`], and [`Refusal::Invalid`] for a file without a size or a digest, which no manifest has.
    pub fn of(files: Vec<VersionFile>) -> Result<Self, Refusal> {
        let whole = |file: VersionFile| {
            let sha256 = Digest::parse("sha256", file.sha256.as_deref().unwrap_or_default())?;
            let (sha256, size_bytes) = sha256
                .zip(file.size_bytes)
                .ok_or_else(|| Refusal::Invalid(format!("{:?} has no size or no digest", file.path)))?;
            Ok(ManifestFile { path: file.path, size_bytes, sha256, role: file.role })
        };
        Self::new(files.into_iter().map(whole).collect::<Result<_, Refusal>>()?)
    }

    /// Returns the files by path, compared byte by byte.
    #[must_use]
    pub fn files(&self) -> &[ManifestFile] {
        &self.files
    }

    /// Returns the digest of all files; see [`digest_of`].
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns what the version's row has of it.
    #[must_use]
    pub fn summary(&self, is_stored: bool) -> ManifestSummary {
        let files = i64::try_from(self.files.len()).unwrap_or(i64::MAX);
        ManifestSummary { files, total_bytes: self.total_bytes, is_stored }
    }

    /// Returns the file that stands for the version where only one can: the only file, or the only one with weights.
    #[must_use]
    pub fn checkpoint(&self) -> Option<&ManifestFile> {
        if let [file] = self.files.as_slice() {
            return Some(file);
        }
        let mut weights = self.weights();
        weights.next().filter(|_| weights.next().is_none())
    }

    /// Returns the bytes of all weights, if there are any.
    #[must_use]
    pub fn weights_bytes(&self) -> Option<i64> {
        self.weights().map(|file| file.size_bytes).reduce(|sum, size| sum + size)
    }

    fn weights(&self) -> impl Iterator<Item = &ManifestFile> {
        self.files.iter().filter(|file| file.role == FileRole::Weights)
    }

    /// Returns the configuration of the model: `config.json`.
    #[must_use]
    pub fn config(&self) -> Option<&ManifestFile> {
        self.files.iter().find(|file| file.path == "config.json" && self.files.len() > 1)
    }
}

/// Returns the digest of files: of one file its own, otherwise SHA-256 over the raw digests in the order of their paths. This is
/// the root that the OpenSSF Model Signing specification signs.
///
/// Paths are compared name by name, so `a/b` comes before `a-b`.
#[must_use]
pub fn digest_of<'f>(files: impl IntoIterator<Item = (&'f str, Digest)>) -> Digest {
    let mut files: Vec<_> = files.into_iter().collect();
    if let [(_, digest)] = files.as_slice() {
        return *digest;
    }
    files.sort_unstable_by(|(one, _), (other, _)| one.split('/').cmp(other.split('/')));
    let mut hasher = Sha256::new();
    for (_, digest) in files {
        hasher.update(digest.as_bytes());
    }
    Digest::from_bytes(hasher.finalize().into())
}

/// Computes the digest of a version without a manifest, whose files are in its row. `None` if a file has no digest, or there is no
/// file.
#[must_use]
pub fn computed_digest<S: AsRef<str>>(version: &Version<S>) -> Option<String> {
    let files = VersionFile::of(version);
    let digest = |file: &VersionFile| Digest::parse("sha256", file.sha256.as_deref()?).ok().flatten();
    let digests: Option<Vec<_>> =
        files.iter().map(|file| Some((file.path.as_str(), digest(file)?))).collect();
    digests.filter(|files| !files.is_empty()).map(|files| digest_of(files).to_string())
}

/// Sets the digest of a version without a manifest.
pub(crate) fn refresh_digest(version: &mut Version) {
    if version.manifest.is_none() {
        version.digest = computed_digest(version);
    }
}

/// Returns the revision of a digest: its first 40 hex digits, as Hugging Face clients expect of a commit.
#[must_use]
pub fn revision_of(digest: &str) -> &str {
    digest.get(..REVISION_DIGITS).unwrap_or(digest)
}

/// Returns true if the text is a revision: 40 hex digits in lower case.
#[must_use]
pub fn is_revision(text: &str) -> bool {
    text.len() == REVISION_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Checks the path of a file: relative, with `/` between names that every file system can store.
///
/// # Errors
/// [`Refusal::Invalid`] says what to change.
pub fn check_path(path: &str) -> Result<(), Refusal> {
    let problem = if path.is_empty() {
        "is empty; name the file".to_owned()
    } else if path.len() > MAX_PATH_BYTES {
        format!("has {} bytes, and at most {MAX_PATH_BYTES} are allowed; choose a shorter one", path.len())
    } else if path.starts_with('/') || has_drive(path) {
        "is absolute; give it relative to the model's folder".to_owned()
    } else if path.contains('\\') {
        "has a backslash; write / between folders, and rename a file whose name has one".to_owned()
    } else if path.chars().any(char::is_control) {
        "has a control character; rename the file".to_owned()
    } else if let Some(name) = path.split('/').find(|name| name.len() > MAX_SEGMENT_BYTES) {
        format!("has a name of {} bytes, and at most {MAX_SEGMENT_BYTES} are allowed; rename it", name.len())
    } else if let Some(name) = path.split('/').find(|name| ["", ".", ".."].contains(name)) {
        format!("has the part {name:?}; give the path without it")
    } else {
        return Ok(());
    };
    let shown: String = path.chars().take(100).collect();
    Err(Refusal::Invalid(format!("the path {shown:?} {problem}")))
}

/// Returns true if the path begins with a drive of Windows.
fn has_drive(path: &str) -> bool {
    matches!(path.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic())
}

/// Refuses paths that occur twice, differ only in case, or name a file that is also a folder.
fn check_collisions<'p>(paths: impl Iterator<Item = &'p str>) -> Result<(), Refusal> {
    let mut files: HashMap<String, &str> = HashMap::new();
    for path in paths {
        match files.entry(fold(path)) {
            Entry::Vacant(entry) => drop(entry.insert(path)),
            Entry::Occupied(other) if *other.get() == path => {
                return Err(Refusal::Invalid(format!("{path:?} is listed twice; list each file once")));
            }
            Entry::Occupied(other) => {
                return Err(Refusal::Invalid(format!(
                    "{:?} and {path:?} differ only in case, which not every file system can store; rename one",
                    other.get()
                )));
            }
        }
    }
    for (folded, path) in &files {
        let mut folders = folded.match_indices('/').filter_map(|(at, _)| folded.get(..at));
        if let Some(file) = folders.find_map(|folder| files.get(folder)) {
            return Err(Refusal::Invalid(format!(
                "{file:?} is a file, and by {path:?} also a folder; rename one"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> ManifestFile {
        let sha256 = Digest::from_bytes(Sha256::digest(path).into());
        ManifestFile { path: path.to_owned(), size_bytes: 3, sha256, role: FileRole::of_path(path) }
    }

    fn manifest(paths: &[&str]) -> Result<Manifest, Refusal> {
        Manifest::new(paths.iter().map(|path| file(path)).collect())
    }

    #[test]
    fn a_path_is_relative_and_can_be_stored_everywhere() {
        let long_name = format!("a/{}", "n".repeat(256));
        let long_path = "folder/".repeat(147);
        for (path, problem) in [
            ("", "is empty"),
            ("/etc/passwd", "is absolute"),
            ("C:/models/a", "is absolute"),
            ("c:a", "is absolute"),
            ("..", "has the part \"..\""),
            ("a/../b", "has the part \"..\""),
            ("./a", "has the part \".\""),
            ("a//b", "has the part \"\""),
            ("a/", "has the part \"\""),
            ("a\\b", "has a backslash"),
            ("a\0b", "has a control character"),
            ("a\nb", "has a control character"),
            (long_name.as_str(), "has a name of 256 bytes"),
            (long_path.as_str(), "has 1029 bytes"),
        ] {
            let refusal = check_path(path).unwrap_err().to_string();
            assert!(refusal.contains(problem), "{path:?}: {refusal}");
        }
        for path in ["a", "a/b.c", "..a", "a..", "...", ".hidden", "na me/ü", "ab:c", "1_Pooling/config.json"]
        {
            assert_eq!(check_path(path), Ok(()), "{path:?}");
        }
    }

    #[test]
    fn paths_that_can_not_be_together_are_refused_and_both_are_named() {
        for (paths, problem) in [
            (["a", "a"], "\"a\" is listed twice"),
            (["A/x", "a/X"], "\"A/x\" and \"a/X\" differ only in case"),
            (["É", "é"], "\"É\" and \"é\" differ only in case"),
            (["a/b", "a"], "\"a\" is a file, and by \"a/b\" also a folder"),
            (["A", "a/b/c"], "\"A\" is a file, and by \"a/b/c\" also a folder"),
        ] {
            let refusal = manifest(&paths).unwrap_err().to_string();
            assert!(refusal.contains(problem), "{paths:?}: {refusal}");
        }
        for paths in [["a", "ab"], ["a.b", "a/b"], ["a/b", "a/c"], ["A/b", "a/c"]] {
            assert!(manifest(&paths).is_ok(), "{paths:?}");
        }
    }

    #[test]
    fn sizes_are_not_negative_and_fit_together() {
        for sizes in [[-1, 0], [i64::MAX, 1]] {
            let files = sizes.into_iter().zip(["a", "b"]);
            let files = files.map(|(size_bytes, path)| ManifestFile { size_bytes, ..file(path) }).collect();
            assert!(matches!(Manifest::new(files), Err(Refusal::Invalid(_))), "{sizes:?}");
        }
    }

    #[test]
    fn a_version_has_up_to_a_hundred_thousand_files() {
        let files = |count: usize| (0..count).map(|at| file(&format!("{at}/f"))).collect();
        let summary = Manifest::new(files(MAX_FILES)).unwrap().summary(true);
        assert_eq!(summary, ManifestSummary { files: 100_000, total_bytes: 300_000, is_stored: true });
        assert!(Manifest::new(files(MAX_FILES + 1)).is_err());
        assert_eq!(manifest(&[]).unwrap().summary(false).files, 0);
    }

    #[test]
    fn the_digest_is_the_root_of_the_signing_specification() {
        // Computed by the order of paths of the package model-signing 1.1.1.
        let paths = [
            "config.json",
            "model-00001.safetensors",
            "model/weights.bin",
            "model.json",
            "tokenizer/vocab.txt",
            "tokenizer-extra/a",
        ];
        let several = "83d6fae9e337e8f09b50842f5075f967bdabeb3a7e4e1502aec396fe21bc6836";
        assert_eq!(manifest(&paths).unwrap().digest().to_string(), several);
        let mut reversed = paths;
        reversed.reverse();
        assert_eq!(manifest(&reversed).unwrap().digest().to_string(), several);
        assert_eq!(manifest(&["a"]).unwrap().digest(), file("a").sha256);
        let none = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(manifest(&[]).unwrap().digest().to_string(), none);
        assert_eq!(revision_of(none), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4");
        assert_eq!(revision_of("short"), "short");
    }

    #[test]
    fn one_file_may_stand_for_the_version() {
        for (paths, checkpoint, weights, config) in [
            (&[][..], None, None, None),
            (&["config.json"], Some("config.json"), None, None),
            (&["a.txt"], Some("a.txt"), None, None),
            (
                &["config.json", "model.safetensors", "tokenizer.json"],
                Some("model.safetensors"),
                Some(3),
                Some("config.json"),
            ),
            (&["a.safetensors", "b.safetensors", "x/config.json"], None, Some(6), None),
            (&["a.txt", "b.txt"], None, None, None),
        ] {
            let manifest = manifest(paths).unwrap();
            assert_eq!(manifest.checkpoint().map(|file| file.path.as_str()), checkpoint, "{paths:?}");
            assert_eq!(manifest.weights_bytes(), weights, "{paths:?}");
            assert_eq!(manifest.config().map(|file| file.path.as_str()), config, "{paths:?}");
        }
    }
}
