//! The one place that reads a file and digests it.
//!
//! One pass, in memory that does not grow with the file. The bytes are counted as they come, because the
//! size that a file claims is a promise of the past: one that is still being written must not be
//! registered under a digest that no finished file will ever have.

use std::{io, panic, thread};

use crossbeam_channel::bounded;
use sha2::{Digest as _, Sha256};

use super::{ArtifactError, Opened};
use registry_domain::{Digest, Measurement};

/// What is read at once. Measured on two cores with SHA-NI and 2 GiB in the page cache: 1.38 s with
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

impl Opened {
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
        mut progress: impl FnMut(u64),
    ) -> Result<Measured, ArtifactError> {
        self.measure_while(options, |read_bytes| {
            progress(read_bytes);
            true
        })
    }

    /// The same for as long as `go_on`, which hears how many bytes are done, says so.
    ///
    /// # Errors
    /// [`ArtifactError::Abandoned`] once it does not, else as [`Opened::measure`].
    pub fn measure_while(
        &self,
        options: &MeasureOptions,
        mut go_on: impl FnMut(u64) -> bool,
    ) -> Result<Measured, ArtifactError> {
        self.measure_each(options, |_, read_bytes| go_on(read_bytes))
    }

    /// The same, handing each chunk of the file to `each` too, once it is digested: what was sent on is what
    /// was digested. `each` also hears how many bytes are done with that chunk.
    ///
    /// # Errors
    /// As [`Opened::measure_while`].
    pub fn measure_each(
        &self,
        options: &MeasureOptions,
        each: impl FnMut(&[u8], u64) -> bool,
    ) -> Result<Measured, ArtifactError> {
        let size_bytes = self.size_bytes();
        let digests = options.digest_limit_bytes.is_none_or(|limit| size_bytes <= limit);
        let kept_bytes = usize::try_from(size_bytes).ok().filter(|size| *size <= options.keep_up_to_bytes);
        let mut pass = Pass {
            hasher: digests.then(Sha256::new),
            content: kept_bytes.map(Vec::with_capacity),
            read_bytes: 0,
            abandoned: false,
            each,
        };
        if digests || kept_bytes.is_some() {
            self.run(&mut pass)
                .map_err(|source| ArtifactError::Unreadable { path: self.path().to_owned(), source })?;
            if pass.abandoned {
                return Err(ArtifactError::Abandoned { path: self.path().to_owned() });
            }
            self.confirm_unchanged(pass.read_bytes)?;
        }
        let sha256 = pass.hasher.map(|hasher| Digest::from_bytes(hasher.finalize().into()));
        Ok(Measured { measurement: Measurement { sha256, size_bytes }, content: pass.content })
    }

    fn run(&self, pass: &mut Pass<impl FnMut(&[u8], u64) -> bool>) -> io::Result<()> {
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
    fn run_overlapped(&self, pass: &mut Pass<impl FnMut(&[u8], u64) -> bool>) -> io::Result<()> {
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
                if pass.abandoned {
                    break;
                }
                // The reader may have seen the end of the file and gone; then nobody wants it back.
                let _ = give_back.send(buffer);
            }
            // Where this side stops first, the reader learns of it here.
            drop(give_back);
            reader.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
        })
    }
}

/// What happens to the bytes on their way.
struct Pass<E> {
    hasher: Option<Sha256>,
    content: Option<Vec<u8>>,
    read_bytes: u64,
    abandoned: bool,
    each: E,
}

impl<E: FnMut(&[u8], u64) -> bool> Pass<E> {
    fn take(&mut self, chunk: &[u8]) {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(chunk);
        }
        if let Some(content) = &mut self.content {
            content.extend_from_slice(chunk);
        }
        self.read_bytes += chunk.len() as u64;
        self.abandoned = !(self.each)(chunk, self.read_bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        io::Write as _,
        path::{Path, PathBuf},
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
    fn a_panic_while_digesting_ends_the_reader_too() {
        let folder = folder();
        let (path, _) = file(&folder, (BUFFERS + 4) * CHUNK_BYTES);
        let opened = Opened::open(&path).unwrap();
        let outcome = panic::catch_unwind(panic::AssertUnwindSafe(|| {
            let _ = opened.measure(&MeasureOptions::default(), |_| panic!("on purpose"));
        }));
        assert!(outcome.is_err());
    }

    #[test]
    fn each_chunk_is_handed_on_as_it_was_digested() {
        let folder = folder();
        for length in [0, 5, 3 * CHUNK_BYTES + 7] {
            let (path, bytes) = file(&folder, length);
            let mut handed = Vec::new();
            let measured =
                Opened::open(&path).unwrap().measure_each(&MeasureOptions::default(), |chunk, done| {
                    handed.extend_from_slice(chunk);
                    done == handed.len() as u64
                });
            let digest = Digest::from_bytes(Sha256::digest(&bytes).into());
            assert_eq!(measured.unwrap().measurement.sha256, Some(digest));
            assert!(handed == bytes, "{length}");
        }
    }

    #[test]
    fn a_measurement_is_abandoned_in_the_middle_on_demand() {
        let folder = folder();
        let (path, _) = file(&folder, (BUFFERS + 3) * CHUNK_BYTES);
        let mut heard = 0;
        let abandoned = Opened::open(&path).unwrap().measure_while(&MeasureOptions::default(), |done| {
            heard = done;
            done < 2 * CHUNK_BYTES as u64
        });
        assert!(matches!(abandoned, Err(ArtifactError::Abandoned { .. })), "{abandoned:?}");
        assert_eq!(heard, 2 * CHUNK_BYTES as u64);
    }
}
