//! The garbage of the artifact store, beside its servers.

use std::{env, time::SystemTime};

use super::{
    Maintenance,
    outcome::{self, Outcome},
    warn,
};
use crate::{
    artifact::blobs::{BlobError, Blobs, Garbage, Judge},
    cli::exit::Failure,
    domain::Digest,
    registry::MIN_GRACE,
    settings,
    store::{
        maintenance::{Stage, Watch},
        postgres::maintenance::VersionFiles,
        sqlite::maintenance::Source,
    },
};

/// Tells which blobs versions have.
pub(super) trait Versions {
    fn have(&mut self, sha256: &str, is_fresh: bool) -> Result<bool, Failure>;
}

/// The versions in a database file.
pub(super) struct FileVersions(pub(super) Source);

impl Versions for FileVersions {
    fn have(&mut self, sha256: &str, is_fresh: bool) -> Result<bool, Failure> {
        Ok(self.0.has_file(sha256, is_fresh)?)
    }
}

impl Versions for VersionFiles {
    fn have(&mut self, sha256: &str, _: bool) -> Result<bool, Failure> {
        Ok(self.contain(sha256)?)
    }
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        Self::failed(error)
    }
}

struct Versioned<'v, V> {
    versions: &'v mut V,
    watch: &'v Watch,
}

impl<V: Versions> Judge for Versioned<'_, V> {
    type Error = Failure;

    fn is_used(&mut self, digest: Digest, is_fresh: bool) -> Result<bool, Failure> {
        self.versions.have(&digest.to_string(), is_fresh)
    }

    fn progress(&mut self, blobs: u64) -> Result<(), Failure> {
        self.watch.report(Stage::Reading("blobs"), blobs, 0);
        if self.watch.cancelled() {
            return Err(Failure::interrupted(
                "it was cancelled; what was removed is gone, and the rest is unchanged",
            ));
        }
        Ok(())
    }
}

impl Maintenance {
    /// Shows the garbage of the artifact store and, with `--yes`, removes it.
    pub(super) fn collect_garbage(
        &self,
        versions: &mut impl Versions,
        watch: &Watch,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let variable = |name: &str| env::var(name).ok();
        let (store, uploads) = (self.artifact_store.clone(), self.artifact_uploads.clone());
        let options = settings::artifact_options(store, uploads, variable).map_err(Failure::failed)?;
        let options = options.ok_or_else(|| {
            Failure::usage("--collect-garbage needs --artifact-store URL (CAIA_REGISTRY_ARTIFACT_STORE)")
        })?;
        if self.yes && self.grace < MIN_GRACE {
            warn(&["with --grace below 24h, clients that upload now may lose files that they found there"
                .to_owned()]);
        }
        let before = SystemTime::now().checked_sub(self.grace).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut garbage = Garbage::default();
        let mut stopped = None;
        let run = || {
            let blobs = Blobs::open(&options, &variable)?;
            let mut judge = Versioned { versions, watch };
            let collected = blobs.collect_garbage(before, self.yes, &mut judge, &mut garbage);
            match collected {
                Err(error) if garbage.blobs.is_empty() || !self.yes => return Err(error),
                done => stopped = done.err(),
            }
            Ok(std::mem::take(&mut garbage))
        };
        let place = options.location.to_string();
        outcome.add("garbage", run, |_, did, seconds| outcome::collected(&place, did, self.yes, seconds))?;
        stopped.map_or(Ok(()), Err)
    }
}
