//! Compares the files of manifests with what the versions' rows have of them.

use std::{collections::HashMap, mem::take};

use registry_domain::{
    Digest, FileRole, VersionId, VersionRow,
    manifest::{check_path, computed_digest, digest_of},
};

/// The digest of each version with a manifest, which may be in the trash.
pub(crate) const DIGESTS: &str = "SELECT id, digest FROM models WHERE file_count IS NOT NULL \
    UNION ALL SELECT id, digest FROM deleted_models WHERE file_count IS NOT NULL";
/// All files, the files of a version together.
pub(crate) const FILES: &str =
    "SELECT version_id, path, size_bytes, sha256, role FROM manifest_files ORDER BY version_id, path";

pub(crate) const WRONG_DIGEST: &str = "its digest is not the one of its files";

/// Returns true if a version without a manifest has the digest of its checkpoint and configuration.
pub(crate) fn has_own_digest(version: &VersionRow<'_>) -> bool {
    version.manifest.is_some() || version.digest.as_deref() == computed_digest(version).as_deref()
}

/// Follows the rows of [`FILES`], and keeps the first version that is wrong.
#[derive(Default)]
pub(crate) struct Manifests {
    /// By version, without those whose files were read.
    digests: HashMap<VersionId, Option<String>>,
    version: VersionId,
    files: Vec<(String, Digest)>,
    is_sound: bool,
    found: Option<(VersionId, String)>,
}

impl Manifests {
    /// Adds a row of [`DIGESTS`].
    pub(crate) fn expect(&mut self, version: VersionId, digest: Option<String>) {
        self.digests.insert(version, digest);
    }

    /// Adds the next row of [`FILES`].
    pub(crate) fn follow(
        &mut self,
        version: VersionId,
        path: &str,
        size_bytes: i64,
        sha256: &str,
        role: &str,
    ) {
        if version != self.version {
            self.end_version();
            (self.version, self.is_sound) = (version, true);
        }
        let digest = Digest::parse("sha256", sha256).ok().flatten();
        match digest.filter(|digest| digest.to_string() == sha256) {
            Some(digest)
                if size_bytes >= 0 && FileRole::parse(role).is_some() && check_path(path).is_ok() =>
            {
                self.files.push((path.to_owned(), digest));
            }
            _ => self.is_sound = false,
        }
    }

    fn end_version(&mut self) {
        let files = take(&mut self.files);
        // The files of a version that does not exist break another rule.
        let Some(expected) = self.digests.remove(&self.version) else { return };
        let digest = digest_of(files.iter().map(|(path, digest)| (path.as_str(), *digest)));
        let problem = if !self.is_sound {
            "a file of its manifest has an invalid path, size, digest or role"
        } else if expected == Some(digest.to_string()) {
            return;
        } else {
            WRONG_DIGEST
        };
        self.found.get_or_insert((self.version, problem.to_owned()));
    }

    /// Ends the rows. Returns the first version that is wrong, with its problem.
    pub(crate) fn end(mut self) -> Option<(VersionId, String)> {
        self.end_version();
        let empty = digest_of([]).to_string();
        let without_files = self.digests.into_iter().find(|(_, digest)| digest.as_ref() != Some(&empty));
        self.found.or(without_files.map(|(version, _)| (version, WRONG_DIGEST.to_owned())))
    }
}
