//! The files of a model on this machine: found, checked, and digested several at a time.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use super::{exit::Failure, print, progress};
use crate::{
    artifact::{ArtifactError, FoundFile, FoundFiles, OpenFile, expect_no_writer, list_files},
    domain::{Digest, FileRole, Manifest, ManifestFile},
};

/// Files that are digested at the same time, unless there are fewer cores.
const MAX_THREADS: usize = 16;

/// The files of a model, before they are read.
#[derive(Debug)]
pub(super) struct ModelFiles {
    /// The file or the folder.
    pub(super) path: PathBuf,
    /// True if `path` is a folder.
    pub(super) is_folder: bool,
    /// By name.
    pub(super) files: Vec<FoundFile>,
    /// The names of what is kept out.
    pub(super) ignored: Vec<String>,
    /// True if files that only resume a training are among them.
    pub(super) with_training_state: bool,
}

impl ModelFiles {
    /// Finds the files: those of a folder, or the one file.
    ///
    /// # Errors
    /// If there is none, or one can't be registered.
    pub(super) fn find(path: &Path, with_training_state: bool) -> Result<Self, Failure> {
        if !path.is_dir() {
            let file = OpenFile::open(path)?;
            let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
                Failure::failed(format!("the name of {} is not UTF-8; rename the file", path.display()))
            })?;
            let found =
                FoundFile { name: name.to_owned(), path: path.to_owned(), size_bytes: file.size_bytes() };
            let (path, files, ignored) = (path.to_owned(), vec![found], Vec::new());
            return Ok(Self { path, is_folder: false, files, ignored, with_training_state });
        }
        let FoundFiles { files, ignored } = list_files(path, with_training_state)?;
        if files.is_empty() {
            let why = if ignored.is_empty() { "" } else { " besides those that are kept out" };
            return Err(Failure::failed(format!(
                "{} has no files{why}; give the model's folder",
                path.display()
            )));
        }
        Ok(Self { path: path.to_owned(), is_folder: true, files, ignored, with_training_state })
    }

    /// Prints what is kept out of the folder, if anything is.
    pub(super) fn print_ignored(&self) {
        if !self.ignored.is_empty() {
            print::line(&format!("kept out: {}", some_of(&self.ignored)));
        }
    }

    /// Checks that the folder has the same files as when they were found.
    ///
    /// # Errors
    /// If a file came, went or has another size.
    pub(super) fn confirm_unchanged(&self) -> Result<(), ArtifactError> {
        if self.is_folder && list_files(&self.path, self.with_training_state)?.files != self.files {
            return Err(ArtifactError::Changed { path: self.path.clone() });
        }
        Ok(())
    }

    pub(super) fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }

    /// Returns the file with this name.
    pub(super) fn named(&self, name: &str) -> Option<&FoundFile> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Checks that each file is whole: not empty, no pointer of Git LFS, not cut off, not being written, and of an index all
    /// shards.
    ///
    /// # Errors
    /// All that are not; of those that are being written, the first.
    pub(super) fn check_complete(&self) -> Result<(), Failure> {
        expect_no_writer(self.files.iter().map(|file| file.path.as_path()))?;
        let mut problems = Vec::new();
        let names: HashSet<&str> = self.files.iter().map(|file| file.name.as_str()).collect();
        for file in &self.files {
            if let Err(problem) = check_complete(file, &names, self.is_folder) {
                problems.push(problem);
            }
        }
        problems.into_iter().reduce(Failure::and).map_or(Ok(()), Err)
    }

    /// Reads all files, several at a time, as long as `go_on` returns true.
    ///
    /// # Errors
    /// The first failure.
    pub(super) fn digest(&self, go_on: impl Fn() -> bool + Sync) -> Result<Manifest, Failure> {
        let mut order: Vec<usize> = (0..self.files.len()).collect();
        // The largest first, so that no thread is left alone with one at the end.
        order.sort_by_key(|at| std::cmp::Reverse(self.files.get(*at).map(|file| file.size_bytes)));
        let bar = progress::only_bar(&self.path, self.total_bytes());
        let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
        let results = Mutex::new((Vec::with_capacity(order.len()), None::<Failure>));
        let failed = |failure| {
            if let Ok(mut results) = results.lock() {
                results.1.get_or_insert(failure);
            }
        };
        let work = || {
            while let Some(file) =
                order.get(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| self.files.get(*at))
            {
                if results.lock().is_ok_and(|results| results.1.is_some()) {
                    return;
                }
                let mut before = 0;
                let digested = digest(file, |read| {
                    bar.set(done.fetch_add(read - before, Ordering::Relaxed) + read - before);
                    before = read;
                    go_on()
                });
                match (digested, results.lock()) {
                    (Ok(digested), Ok(mut results)) => results.0.push(digested),
                    (Err(failure), guard) => {
                        drop(guard);
                        failed(failure);
                    }
                    (Ok(_), Err(_)) => {}
                }
            }
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 1..cores.min(MAX_THREADS).min(order.len()) {
                scope.spawn(work);
            }
            work();
        });
        drop(bar);
        let (files, failure) =
            results.into_inner().map_err(|_| Failure::failed("a thread that digests files has failed"))?;
        failure.map_or(Ok(()), Err)?;
        Manifest::new(files).map_err(|refusal| Failure::failed(refusal.to_string()))
    }
}

fn check_complete(file: &FoundFile, names: &HashSet<&str>, is_folder: bool) -> Result<(), Failure> {
    let open = OpenFile::open(&file.path)?;
    // A package may have an empty `__init__.py`; a model with an empty file of its own was not written to its end.
    if open.size_bytes() == 0 && FileRole::of_path(&file.name) != FileRole::Other {
        return Err(Failure::failed(format!(
            "{} is empty; publish it once it has been written",
            file.path.display()
        )));
    }
    open.check_complete()?;
    if !is_folder {
        return expect_model(&open);
    }
    let Some(shards) = open.shards()? else { return Ok(()) };
    let folder = file.name.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
    let missing: Vec<_> =
        shards.into_iter().filter(|shard| !names.contains(format!("{folder}{shard}").as_str())).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "{} names files that are not there: {}; add them, or wait until they are written",
        file.path.display(),
        some_of(&missing)
    )))
}

fn digest(file: &FoundFile, mut each: impl FnMut(u64) -> bool) -> Result<ManifestFile, Failure> {
    let open = OpenFile::open(&file.path)?;
    let measured = open.measure(|_, read| each(read)).map_err(|error| match error {
        ArtifactError::Abandoned { .. } => {
            Failure::interrupted("interrupted; nothing was uploaded or registered")
        }
        error => error.into(),
    })?;
    Ok(ManifestFile {
        path: file.name.clone(),
        size_bytes: measured.size_for_row(),
        sha256: measured.sha256.unwrap_or_else(|| Digest::from_bytes([0; 32])),
        role: FileRole::of_path(&file.name),
    })
}

/// Refuses a file that only stands for a model: a pointer of Git LFS, or an index of shards.
///
/// # Errors
/// Says what to give instead.
pub(super) fn expect_model(file: &OpenFile) -> Result<(), Failure> {
    if let Err(error @ ArtifactError::LfsPointer { .. }) = file.check_complete() {
        return Err(error.into());
    }
    let Some(shards) = file.shards()? else { return Ok(()) };
    Err(Failure::failed(format!(
        "{} is an index of {}, not a model; give the folder",
        file.path().display(),
        print::counted(shards.len() as u64, "file")
    )))
}

/// `a, b and 3 more`
pub(super) fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
