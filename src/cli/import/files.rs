//! Copies the files of MLflow versions into the registry's artifact store.
//!
//! A file is digested on its way through this machine, and uploaded unless the store has it. So a run that is repeated transfers
//! little from this machine, and a version is registered with all its files or without any.

use std::{
    collections::HashMap,
    io,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;

use super::{
    arrived::Arrived,
    places::{CopyError, Place, Places},
};
use crate::{
    cli::{exit::Failure, interrupt::Interrupt, registration},
    client::{
        BlobError, BlobStore, Client, ClientError, Source as _,
        mlflow::{MlflowFile, MlflowVersion},
    },
    domain::{Digest, FileRole, Manifest, ManifestFile},
};

/// The files of a version.
#[derive(Debug, Clone)]
pub(super) struct Copied {
    /// As a registration lists them; null in a dry run.
    pub(super) files: Value,
    /// Their bytes, as far as MLflow says them in a dry run.
    pub(super) size_bytes: u64,
}

/// Copies files. Threads share it.
pub(super) struct Files<'a> {
    client: &'a Client,
    places: Places<'a>,
    interrupt: &'a Interrupt,
    is_dry_run: bool,
    /// What was copied from each location: copies of a version have the same one.
    copied: Mutex<HashMap<String, Copied>>,
}

impl<'a> Files<'a> {
    /// Checks that the registry has an artifact store.
    ///
    /// # Errors
    /// If it has none, or can't be reached.
    pub(super) fn new(
        client: &'a Client,
        places: Places<'a>,
        interrupt: &'a Interrupt,
        is_dry_run: bool,
    ) -> Result<Self, Failure> {
        if client.blob_store("model")?.is_none() {
            return Err(Failure::failed(
                "this registry has no artifact store for the files; start it with --artifact-store, or leave out \
                 --with-artifacts",
            ));
        }
        Ok(Self { client, places, interrupt, is_dry_run, copied: Mutex::default() })
    }

    /// Copies the files of a version, which MLflow says are at `location`.
    pub(super) fn copy(&self, version: &MlflowVersion, location: &str) -> Result<Copied, CopyError> {
        let known = || self.copied.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(copied) = known().get(location) {
            return Ok(copied.clone());
        }
        let (place, files) = self.places.find(version, location)?;
        let files: Vec<_> = files.into_iter().map(|file| (named(&file, location), file)).collect();
        expect_good_names(&files)?;
        let copied = if self.is_dry_run {
            let size_bytes = files.iter().filter_map(|(_, file)| file.size_bytes).sum();
            Copied { files: Value::Null, size_bytes }
        } else {
            let store = self.client.blob_store(&version.model).map_err(ended)?.ok_or_else(|| {
                CopyError::Ended(Failure::failed("the registry has no artifact store any more"))
            })?;
            let files = files.iter().map(|(name, file)| self.copy_file(&store, &place, name, file));
            let manifest = Manifest::new(files.collect::<Result<_, _>>()?)
                .map_err(|refusal| CopyError::Impossible(refusal.to_string()))?;
            let size_bytes = manifest.files().iter().map(|file| file.size_bytes.unsigned_abs()).sum();
            Copied { files: registration::files(&manifest), size_bytes }
        };
        known().insert(location.to_owned(), copied.clone());
        Ok(copied)
    }

    fn copy_file(
        &self,
        store: &BlobStore,
        place: &Place,
        name: &str,
        file: &MlflowFile,
    ) -> Result<ManifestFile, CopyError> {
        let arrived = match place {
            Place::Disk(folder) => Arrived::on_disk(&folder.join(&file.path), self.interrupt)
                .map_err(|error| self.stopped(&format!("{name:?} can't be read"), &error))?,
            place => self.places.fetch(place, file)?,
        };
        let size_bytes = arrived.size_bytes();
        if let Some(listed) = file.size_bytes.filter(|listed| *listed != size_bytes) {
            return Err(CopyError::Impossible(format!(
                "{name:?} has {listed} bytes in MLflow's list, and {size_bytes} arrived"
            )));
        }
        let sha256 = arrived.digest();
        if !store.has(sha256).map_err(ended)? {
            store.upload(sha256, &arrived, None).map_err(|error| match error {
                BlobError::Client(error) => ended(error),
                BlobError::Stopped(error) => self.stopped(&format!("{name:?} can't be read again"), &error),
            })?;
        }
        let size_bytes = i64::try_from(size_bytes).unwrap_or(i64::MAX);
        Ok(ManifestFile { path: name.to_owned(), size_bytes, sha256, role: FileRole::of_path(name) })
    }

    /// Returns why reading ended: because the user stops the command, or by this error.
    fn stopped(&self, what: &str, error: &io::Error) -> CopyError {
        if self.interrupt.requested() {
            return CopyError::Ended(super::interrupted());
        }
        CopyError::Impossible(format!("{what}: {error}"))
    }
}

fn ended(error: ClientError) -> CopyError {
    CopyError::Ended(error.into())
}

/// Returns the path of a file in the version; of a single file its name.
fn named(file: &MlflowFile, location: &str) -> String {
    let name = || location.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    if file.path.is_empty() { name() } else { file.path.clone() }
}

/// Refuses names that no version can have, before anything is transferred.
fn expect_good_names(files: &[(String, MlflowFile)]) -> Result<(), CopyError> {
    let file = |(name, _): &(String, MlflowFile)| ManifestFile {
        path: name.clone(),
        size_bytes: 0,
        sha256: Digest::from_bytes([0; 32]),
        role: FileRole::Other,
    };
    let checked = Manifest::new(files.iter().map(file).collect());
    checked.map(drop).map_err(|refusal| CopyError::Impossible(refusal.to_string()))
}
