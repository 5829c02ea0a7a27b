//! Uploads of a model's files into the registry's artifact store, several at a time.
//!
//! Where an interrupted upload continues is noted in a file of the cache, so that the next run continues it.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    env, fs,
    io::{self, Read, Seek as _, SeekFrom},
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    cli::{
        exit::Failure,
        interrupt::Interrupt,
        model_files::ModelFiles,
        print, progress,
        publish_error::{ErrorClass, PublishError},
    },
    client::{BlobError, BlobStore, Source},
    domain::{Digest, Manifest, ManifestFile},
};

/// Files that are uploaded at the same time. Most of the time of small ones is waiting.
const THREADS: usize = 8;

/// Uploads the files that the store does not have. Returns how many that were, and their bytes.
///
/// # Errors
/// The first failure. What has arrived stays in the store for another run.
pub(super) fn upload(
    store: &BlobStore,
    files: &ModelFiles,
    manifest: &Manifest,
    interrupt: &Interrupt,
) -> Result<(u64, u64), PublishError> {
    // A blob is stored once, even if several files have its bytes.
    let blobs: BTreeMap<String, &ManifestFile> =
        manifest.files().iter().map(|file| (file.sha256.to_string(), file)).collect();
    let blobs: Vec<_> = blobs.into_values().collect();
    let total = blobs.iter().map(|file| file.size_bytes.unsigned_abs()).sum();
    let bar = progress::only_bar(&files.path, total);
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let (count, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    let failure = Mutex::new(None::<PublishError>);
    let advance = |bytes: u64| bar.set(done.fetch_add(bytes, Ordering::Relaxed) + bytes);
    let one = |file: &ManifestFile| -> Result<(), PublishError> {
        let size_bytes = file.size_bytes.unsigned_abs();
        if store.has(file.sha256)? {
            advance(size_bytes);
            return Ok(());
        }
        let path = files.named(&file.path).map(|found| found.path.clone()).unwrap_or_default();
        let note = Note::of(store, file.sha256);
        let source = FileSource {
            path,
            size_bytes,
            interrupt,
            note: &note,
            arrived: RefCell::default(),
            advance: &advance,
        };
        store.upload(file.sha256, &source, note.read()).map_err(|error| failed(error, file, interrupt))?;
        note.remove();
        count.fetch_add(1, Ordering::Relaxed);
        bytes.fetch_add(size_bytes, Ordering::Relaxed);
        Ok(())
    };
    let work = || {
        while let Some(file) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = if interrupt.requested() { Err(interrupted()) } else { one(file) };
            let Ok(mut failure) = failure.lock() else { return };
            if let Err(error) = result {
                failure.get_or_insert(error);
            }
            if failure.is_some() {
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..THREADS.min(blobs.len()) {
            scope.spawn(work);
        }
        work();
    });
    drop(bar);
    match failure.into_inner() {
        Ok(None) => Ok((count.into_inner(), bytes.into_inner())),
        Ok(Some(failure)) => Err(failure),
        Err(_) => Err(PublishError {
            class: ErrorClass::Setup,
            failure: Failure::failed("a thread that uploads files has failed"),
        }),
    }
}

fn interrupted() -> PublishError {
    PublishError {
        class: ErrorClass::Interrupted,
        failure: Failure::interrupted(
            "interrupted; nothing was registered, and the same command continues the upload",
        ),
    }
}

fn failed(error: BlobError, file: &ManifestFile, interrupt: &Interrupt) -> PublishError {
    match error {
        BlobError::Stopped(_) if interrupt.requested() => interrupted(),
        BlobError::Stopped(error) => PublishError {
            class: ErrorClass::NotReady,
            failure: Failure::failed(format!(
                "{:?} could not be read to its end: {error}; run the same command again once it is whole",
                file.path
            )),
        },
        BlobError::Client(error) => {
            let PublishError { class, failure } = PublishError::from(error)
                .after(&format!("{} was not uploaded: ", print::one_line(&file.path)));
            let failure =
                failure.followed_by("; nothing was registered, and the same command continues the upload");
            PublishError { class, failure }
        }
    }
}

/// A file whose bytes are uploaded.
struct FileSource<'s> {
    path: PathBuf,
    size_bytes: u64,
    interrupt: &'s Interrupt,
    note: &'s Note,
    /// The bytes that have arrived, and where the upload continues.
    arrived: RefCell<(u64, String)>,
    advance: &'s (dyn Fn(u64) + Sync),
}

impl Source for FileSource<'_> {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + '_>> {
        let mut file = fs::File::open(&self.path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(Stoppable { file, interrupt: self.interrupt }))
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn is_stopped(&self) -> bool {
        self.interrupt.requested()
    }

    fn progress(&self, arrived_bytes: u64, location: &str) {
        let mut arrived = self.arrived.borrow_mut();
        (self.advance)(arrived_bytes.saturating_sub(arrived.0));
        arrived.0 = arrived.0.max(arrived_bytes);
        if !location.is_empty() && arrived.1 != location {
            location.clone_into(&mut arrived.1);
            self.note.write(location);
        }
    }
}

/// A file that can't be read any more once the user stops the command.
struct Stoppable<'i> {
    file: fs::File,
    interrupt: &'i Interrupt,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.interrupt.requested() {
            // Not `ErrorKind::Interrupted`, after which readers try again.
            return Err(io::Error::other("interrupted"));
        }
        self.file.read(buffer)
    }
}

/// The file that says where the upload of a blob continues. Without it the upload begins again.
struct Note(Option<PathBuf>);

impl Note {
    fn of(store: &BlobStore, digest: Digest) -> Self {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        Self(cache.map(|cache| cache.join("registry/uploads").join(format!("{}-{digest}", store.id()))))
    }

    fn read(&self) -> Option<String> {
        fs::read_to_string(self.0.as_ref()?).ok().filter(|location| location.starts_with('/'))
    }

    fn write(&self, location: &str) {
        let Some(path) = &self.0 else { return };
        // A cache that can't be written only costs the beginning of a later run.
        let _ = path.parent().map(fs::create_dir_all);
        let _ = fs::write(path, location);
    }

    fn remove(&self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}
