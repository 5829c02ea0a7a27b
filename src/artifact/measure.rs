//! The one place that reads a file and digests it.
//!
//! A file is opened once and everything is asked of what was opened, never of the path again, so nobody
//! can swap the file between the check and the reading. The bytes are counted as they come, because the
//! size that a file claims is a promise of the past: one that is still being written must not be
//! registered under a digest that no finished file will ever have.

use std::{
    fs::{self, File, FileType, Metadata, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    panic,
    path::{Path, PathBuf},
    thread,
};

use crossbeam_channel::bounded;
use sha2::{Digest as _, Sha256};

use super::ArtifactError;
use crate::domain::{Digest, Measurement};

/// What is read at once. Measured on two cores with SHA-NI and 2 GiB in the page cache: 1.41 s with
/// 64 KiB, 1.26 s with 256 KiB, 1.22 s with 1 MiB, 1.21 s with 4 MiB; `openssl dgst` takes 1.55 s.
const CHUNK_BYTES: usize = 1 << 20;

/// Chunks under way between reading and digesting. They bound the memory of a measurement: 4 MiB,
/// whatever the file's size.
const BUFFERS: usize = 4;

/// What to do with a file besides counting its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct MeasureOptions {
    /// A larger file is sized and not digested. Without a limit every file is digested.
    pub digest_limit_bytes: Option<u64>,
    /// A file of up to this size is also handed over as it was read.
    pub keep_up_to_bytes: usize,
}

/// What one pass over a file yields.
#[derive(Debug)]
pub struct Measured {
    /// Its size, and its digest where that was wanted.
    pub measurement: Measurement,
    /// The very bytes that were digested; absent where the file is larger than was to be kept.
    pub content: Option<Vec<u8>>,
}

/// Which file it is, whatever its name: two paths with the same identity lead to the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// The number of its file system.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

/// A regular file, open for reading.
#[derive(Debug)]
pub struct Opened {
    path: PathBuf,
    file: File,
    identity: FileIdentity,
    stamp: Stamp,
}

/// What moves when a file is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size_bytes: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// Seconds and nanoseconds. Unlike the time of modification it can't be set back.
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size_bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Opened {
    /// Opens the file at `path`. A FIFO without a writer does not make this wait.
    ///
    /// # Errors
    /// Where there is nothing, nothing that may be read, or no regular file.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ArtifactError> {
        let path = path.into();
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY)
            .open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(error) => return Err(not_opened(path, error)),
        };
        let metadata = match file.metadata() {
            Ok(metadata) => metadata,
            Err(source) => return Err(ArtifactError::Unreadable { path, source }),
        };
        if let Some(kind) = irregular(metadata.file_type()) {
            return Err(ArtifactError::NotRegular { path, kind });
        }
        let identity = FileIdentity { device: metadata.dev(), inode: metadata.ino() };
        Ok(Self { path, file, identity, stamp: Stamp::of(&metadata) })
    }

    /// The path as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which file was opened.
    #[must_use]
    pub fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// Its size in bytes when it was opened.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.stamp.size_bytes
    }

    /// Reads the file once from its first byte to its last. `progress` hears how many bytes are done.
    ///
    /// A file over the limit that is not to be kept is not read at all.
    ///
    /// # Errors
    /// [`ArtifactError::Changed`] where the file changed since it was opened,
    /// [`ArtifactError::Unreadable`] where the system fails to read it.
    pub fn measure(
        &self,
        options: &MeasureOptions,
        progress: impl FnMut(u64),
    ) -> Result<Measured, ArtifactError> {
        let size_bytes = self.size_bytes();
        let digests = options.digest_limit_bytes.is_none_or(|limit| size_bytes <= limit);
        let kept_bytes = usize::try_from(size_bytes).ok().filter(|size| *size <= options.keep_up_to_bytes);
        let mut pass = Pass {
            hasher: digests.then(Sha256::new),
            content: kept_bytes.map(Vec::with_capacity),
            read_bytes: 0,
            progress,
        };
        if digests || kept_bytes.is_some() {
            self.run(&mut pass)
                .map_err(|source| ArtifactError::Unreadable { path: self.path.clone(), source })?;
            self.confirm_unchanged(pass.read_bytes)?;
        }
        let sha256 = pass.hasher.map(|hasher| Digest::from_bytes(hasher.finalize().into()));
        Ok(Measured { measurement: Measurement { sha256, size_bytes }, content: pass.content })
    }

    fn run(&self, pass: &mut Pass<impl FnMut(u64)>) -> io::Result<()> {
        match usize::try_from(self.size_bytes()) {
            Ok(size) if size < CHUNK_BYTES => {
                // One byte more than there should be: a file that has grown shows it by filling it.
                let mut buffer = vec![0; size + 1];
                let filled = self.fill(&mut buffer, 0)?;
                pass.take(&buffer[..filled]);
                Ok(())
            }
            _ => self.run_overlapped(pass),
        }
    }

    /// Reads in a thread of its own while this one digests. The buffers go round between the two.
    fn run_overlapped(&self, pass: &mut Pass<impl FnMut(u64)>) -> io::Result<()> {
        thread::scope(|scope| {
            // Both ends on this side live in this closure: a panic in it drops them, and the reader ends.
            let (give_back, free) = bounded::<Vec<u8>>(BUFFERS);
            let (hand_over, filled) = bounded::<(Vec<u8>, usize)>(BUFFERS);
            for _ in 0..BUFFERS {
                // The channel has room for all of them and its other end is right here.
                let _ = give_back.send(vec![0; CHUNK_BYTES]);
            }
            let reader = thread::Builder::new().name("artifact-reader".to_owned()).spawn_scoped(
                scope,
                move || -> io::Result<()> {
                    let mut offset = 0;
                    // A file that grows as fast as it is read must come to an end too.
                    while offset <= self.size_bytes()
                        && let Ok(mut buffer) = free.recv()
                    {
                        let length = self.fill(&mut buffer, offset)?;
                        offset += length as u64;
                        if length == 0 || hand_over.send((buffer, length)).is_err() {
                            break;
                        }
                    }
                    Ok(())
                },
            )?;
            for (buffer, length) in filled {
                pass.take(&buffer[..length]);
                // The reader may have seen the end of the file and gone; then nobody wants it back.
                let _ = give_back.send(buffer);
            }
            reader.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
        })
    }

    /// Fills `buffer` from `offset` on; less than all of it only at the end of the file.
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn confirm_unchanged(&self, read_bytes: u64) -> Result<(), ArtifactError> {
        let path = || self.path.clone();
        let metadata =
            self.file.metadata().map_err(|source| ArtifactError::Unreadable { path: path(), source })?;
        if read_bytes != self.size_bytes() || Stamp::of(&metadata) != self.stamp {
            return Err(ArtifactError::Changed { path: path() });
        }
        Ok(())
    }
}

/// What happens to the bytes on their way.
struct Pass<P> {
    hasher: Option<Sha256>,
    content: Option<Vec<u8>>,
    read_bytes: u64,
    progress: P,
}

impl<P: FnMut(u64)> Pass<P> {
    fn take(&mut self, chunk: &[u8]) {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(chunk);
        }
        if let Some(content) = &mut self.content {
            content.extend_from_slice(chunk);
        }
        self.read_bytes += chunk.len() as u64;
        (self.progress)(self.read_bytes);
    }
}

fn not_opened(path: PathBuf, source: io::Error) -> ArtifactError {
    if source.kind() == ErrorKind::NotFound {
        return ArtifactError::Missing { path };
    }
    // A socket can't be opened at all, and the system's text for it ("no such device") helps nobody.
    match fs::metadata(&path).ok().and_then(|metadata| irregular(metadata.file_type())) {
        Some(kind) => ArtifactError::NotRegular { path, kind },
        None => ArtifactError::Unreadable { path, source },
    }
}

/// What a file is where it is no regular one, with its article.
pub(super) fn irregular(file_type: FileType) -> Option<&'static str> {
    if file_type.is_file() {
        None
    } else if file_type.is_dir() {
        Some("a directory")
    } else if file_type.is_fifo() {
        Some("a FIFO")
    } else if file_type.is_socket() {
        Some("a socket")
    } else if file_type.is_block_device() || file_type.is_char_device() {
        Some("a device")
    } else {
        Some("of an unknown kind")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        os::unix::net::UnixListener,
        process::Command,
        time::{Duration, SystemTime},
    };

    use tempfile::TempDir;

    use super::*;

    /// `hello`, by `sha256sum`.
    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn folder() -> TempDir {
        tempfile::tempdir().unwrap()
    }

    /// A file of `length` bytes that differ, modified long ago so that any write to it moves its times.
    fn file(folder: &TempDir, length: usize) -> (PathBuf, Vec<u8>) {
        let path = folder.path().join("model.pt");
        let bytes: Vec<u8> = (0..length).map(|at| (at * 31 + at / 251) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        let old = SystemTime::now() - Duration::from_secs(3600);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        (path, bytes)
    }

    fn measure(path: &Path, options: &MeasureOptions) -> Measured {
        Opened::open(path).unwrap().measure(options, |_| {}).unwrap()
    }

    #[test]
    fn a_file_has_the_digest_that_others_compute_for_it() {
        let folder = folder();
        let path = folder.path().join("hello");
        fs::write(&path, "hello").unwrap();
        let measured = measure(&path, &MeasureOptions::default());
        assert_eq!(measured.measurement.sha256.unwrap().to_string(), HELLO);
        assert_eq!(measured.measurement.size_bytes, 5);
    }

    #[test]
    fn files_around_the_size_of_a_chunk_are_digested_whole() {
        let folder = folder();
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, (BUFFERS + 2) * CHUNK_BYTES + 7] {
            let (path, bytes) = file(&folder, length);
            let options = MeasureOptions { keep_up_to_bytes: length, ..MeasureOptions::default() };
            let measured = measure(&path, &options);
            let digest = Digest::from_bytes(Sha256::digest(&bytes).into());
            assert_eq!(measured.measurement, Measurement { sha256: Some(digest), size_bytes: length as u64 });
            assert!(measured.content.as_deref() == Some(&bytes), "{length}");
        }
    }

    #[test]
    fn a_file_over_the_limit_is_sized_only_and_not_read() {
        let folder = folder();
        let (path, bytes) = file(&folder, 10);
        let opened = Opened::open(&path).unwrap();
        for (limit, keep, digested, kept, read) in [
            (Some(10), 0, true, false, true),
            (Some(9), 0, false, false, false),
            (Some(9), 9, false, false, false),
            (Some(9), 10, false, true, true),
            (Some(0), 0, false, false, false),
            (None, 9, true, false, true),
            (None, 10, true, true, true),
        ] {
            let mut heard = 0;
            let options = MeasureOptions { digest_limit_bytes: limit, keep_up_to_bytes: keep };
            let measured = opened.measure(&options, |done| heard = done).unwrap();
            let case = format!("{options:?}");
            assert_eq!(measured.measurement.size_bytes, 10, "{case}");
            assert_eq!(measured.measurement.sha256.is_some(), digested, "{case}");
            assert_eq!(measured.content, kept.then(|| bytes.clone()), "{case}");
            assert_eq!(heard, if read { 10 } else { 0 }, "{case}");
        }
    }

    #[test]
    fn progress_rises_chunk_by_chunk_to_the_size() {
        let folder = folder();
        let (path, _) = file(&folder, 2 * CHUNK_BYTES + 5);
        let mut heard = Vec::new();
        Opened::open(&path).unwrap().measure(&MeasureOptions::default(), |done| heard.push(done)).unwrap();
        let chunk = CHUNK_BYTES as u64;
        assert_eq!(heard, [chunk, 2 * chunk, 2 * chunk + 5]);
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_refused() {
        type Change = fn(&mut File);
        let changes: [(&str, Change); 4] = [
            ("grows", |file| file.set_len(9 * CHUNK_BYTES as u64).unwrap()),
            ("shrinks", |file| file.set_len(1).unwrap()),
            ("is overwritten", |file| file.write_all(b"?").unwrap()),
            ("is overwritten and dated back", |file| {
                let modified = file.metadata().unwrap().modified().unwrap();
                file.write_all(b"?").unwrap();
                file.set_modified(modified).unwrap();
            }),
        ];
        let folder = folder();
        for length in [10, 3 * CHUNK_BYTES] {
            for (what, change) in changes {
                let (path, _) = file(&folder, length);
                let mut writer = File::options().write(true).open(&path).unwrap();
                let opened = Opened::open(&path).unwrap();
                let mut first = true;
                let options = MeasureOptions { keep_up_to_bytes: length, ..MeasureOptions::default() };
                let refused = opened.measure(&options, |_| {
                    if std::mem::take(&mut first) {
                        change(&mut writer);
                    }
                });
                assert!(
                    matches!(refused, Err(ArtifactError::Changed { .. })),
                    "{length} {what}: {refused:?}"
                );
            }
        }
    }

    #[test]
    fn a_file_that_grew_after_it_was_opened_is_refused() {
        let folder = folder();
        for length in [10, CHUNK_BYTES] {
            let (path, _) = file(&folder, length);
            let opened = Opened::open(&path).unwrap();
            File::options().append(true).open(&path).unwrap().write_all(b"more").unwrap();
            let refused = opened.measure(&MeasureOptions::default(), |_| {});
            assert!(matches!(refused, Err(ArtifactError::Changed { .. })), "{length}");
        }
    }

    #[test]
    fn a_file_that_grows_as_fast_as_it_is_read_comes_to_an_end() {
        let folder = folder();
        let (path, _) = file(&folder, CHUNK_BYTES);
        let mut writer = File::options().append(true).open(&path).unwrap();
        let more = vec![0; 2 * CHUNK_BYTES];
        let opened = Opened::open(&path).unwrap();
        let refused = opened.measure(&MeasureOptions::default(), |_| writer.write_all(&more).unwrap());
        assert!(matches!(refused, Err(ArtifactError::Changed { .. })));
    }

    #[test]
    fn what_is_no_regular_file_is_refused_by_its_kind() {
        let folder = folder();
        let fifo = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        for (path, kind) in [
            (folder.path(), "a directory"),
            (fifo.as_path(), "a FIFO"),
            (socket.as_path(), "a socket"),
            (Path::new("/dev/null"), "a device"),
        ] {
            let refused = Opened::open(path).unwrap_err().to_string();
            assert!(refused.contains(&format!("is {kind}, not a regular file")), "{refused}");
            assert!(refused.contains(&*path.to_string_lossy()), "{refused}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let refused = Opened::open("/no/such/model.pt").unwrap_err();
        assert_eq!(refused.to_string(), "/no/such/model.pt does not exist; check the path");
    }

    #[test]
    fn two_names_of_one_file_have_one_identity() {
        let folder = folder();
        let (path, _) = file(&folder, 3);
        let (link, copy) = (folder.path().join("link"), folder.path().join("copy"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        fs::copy(&path, &copy).unwrap();
        let identity = |path: &Path| Opened::open(path).unwrap().identity();
        assert_eq!(identity(&path), identity(&link));
        assert_ne!(identity(&path), identity(&copy));
    }

    #[test]
    fn a_panic_while_digesting_ends_the_reader_too() {
        let folder = folder();
        let (path, _) = file(&folder, (BUFFERS + 4) * CHUNK_BYTES);
        let opened = Opened::open(&path).unwrap();
        let outcome = panic::catch_unwind(panic::AssertUnwindSafe(|| {
            let _ = opened.measure(&MeasureOptions::default(), |_| panic!("on purpose"));
        }));
        assert!(outcome.is_err());
    }
}
