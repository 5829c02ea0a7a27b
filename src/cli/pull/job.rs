//! One pull: which files are there, which are in the cache, and which must be fetched; each is prepared at the destination.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::File,
    io::Write as _,
    os::unix::fs::FileExt as _,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};

use super::{
    super::{exit::Failure, print},
    cache::unusable,
    destination::{Destination, Existing},
    fetch::fetch,
    plan::{Plan, WantedFile},
    shared::{Shared, on_threads},
};
use crate::{artifact::free_bytes, domain::Digest};

/// Bytes that are digested or copied at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Paths that a message names.
const NAMED: usize = 5;

/// How many files came from where.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) kept: u64,
    pub(super) cached: u64,
    pub(super) fetched: u64,
}

/// One pull.
pub(super) struct Job<'j> {
    pub(super) shared: &'j Shared<'j>,
    pub(super) plan: &'j Plan,
    pub(super) is_forced: bool,
    pub(super) is_offline: bool,
    /// True to copy files out of the cache, not to link them.
    pub(super) copies: bool,
    pub(super) limit_bytes: u64,
}

impl Job<'_> {
    /// Prepares all files and makes them visible.
    ///
    /// # Errors
    /// If a file can't be had; then nothing is visible.
    pub(super) fn run(&self, mut destination: Destination) -> Result<Counts, Failure> {
        let (kept, replaced) = self.compare(&destination)?;
        let mut paths: HashMap<Digest, Vec<&str>> = HashMap::new();
        let mut wanted: Vec<WantedFile> = Vec::new();
        for file in self.plan.files.iter().filter(|file| !kept.contains(file.path.as_str())) {
            let known = paths.entry(file.sha256).or_default();
            if known.is_empty() {
                wanted.push(file.clone());
            } else {
                // The same bytes under another path are not fetched again.
                self.shared.advance(file.size_bytes);
            }
            known.push(&file.path);
        }
        let missing = self.take_cached(&destination, wanted, &paths)?;
        let count = |files: &[WantedFile]| {
            files.iter().map(|file| paths.get(&file.sha256).map_or(0, Vec::len) as u64).sum()
        };
        let fetched: u64 = count(&missing);
        self.check_offline(&missing)?;
        if !missing.is_empty() {
            self.make_room(&missing)?;
            if self.shared.cache.is_temporary() {
                destination.keep_cache();
            }
            let stage = |file: &WantedFile, blob: &File| match self.prepare(
                &destination,
                file,
                blob,
                &paths,
                true,
            )? {
                true => Ok(()),
                false => Err(Failure::failed(format!(
                    "{} was written with other bytes than were read; check the disk",
                    destination.shown(&file.path)
                ))),
            };
            fetch(self.shared, missing, &stage)?;
        }
        if self.shared.interrupt.requested() {
            return Err(Failure::interrupted("stopped"));
        }
        let visible: Vec<_> = self
            .plan
            .files
            .iter()
            .map(|file| file.path.as_str())
            .filter(|path| !kept.contains(path))
            .collect();
        let total = visible.len() as u64;
        destination.publish(&visible, |path| replaced.contains(path))?;
        Ok(Counts { kept: kept.len() as u64, cached: total - fetched, fetched })
    }

    /// Compares what is in the folder. Returns the paths of equal files, and of those to replace.
    fn compare(&self, destination: &Destination) -> Result<(HashSet<&str>, HashSet<&str>), Failure> {
        let (kept, differing) = (Mutex::new(HashSet::new()), Mutex::new(Vec::new()));
        let differs = |path, how: String| {
            differing.lock().unwrap_or_else(PoisonError::into_inner).push((path, how));
        };
        let files = Mutex::new(self.plan.files.iter().collect::<VecDeque<_>>());
        on_threads(self.shared, self.shared.connections, || {
            let next = files.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(file) = next else { return Ok(false) };
            let path = file.path.as_str();
            match destination.existing(path)? {
                Existing::Nothing => {}
                Existing::Other("a folder") => {
                    return Err(Failure::conflict(format!(
                        "{} is a folder, and in this version a file; remove it, or choose another folder with --to",
                        destination.shown(path)
                    )));
                }
                Existing::Other(kind) => differs(path, format!("is {kind}")),
                Existing::File(_, size_bytes) if size_bytes != file.size_bytes => {
                    differs(path, format!("has {size_bytes} bytes, in this version {}", file.size_bytes));
                }
                Existing::File(found, _) => {
                    match self.digest(&found, |error| destination.unwritable(path, &error))? {
                        Some(digest) if digest == file.sha256 => {
                            kept.lock().unwrap_or_else(PoisonError::into_inner).insert(path);
                            self.shared.advance(file.size_bytes);
                        }
                        Some(_) => differs(path, "has other bytes".to_owned()),
                        None => {}
                    }
                }
            }
            Ok(true)
        })?;
        let mut differing = differing.into_inner().unwrap_or_else(PoisonError::into_inner);
        differing.sort_unstable();
        if !self.is_forced && !differing.is_empty() {
            let named =
                differing.iter().take(NAMED).map(|(path, how)| format!("{} {how}", destination.shown(path)));
            let named: Vec<_> = named.collect();
            let others = match differing.len().saturating_sub(NAMED) {
                0 => String::new(),
                others => format!(", and {} more", print::counted(others as u64, "file")),
            };
            return Err(Failure::conflict(format!(
                "{}{others}; nothing was changed, and --force replaces such files",
                named.join(", ")
            )));
        }
        let replaced = differing.into_iter().map(|(path, _)| path).collect();
        Ok((kept.into_inner().unwrap_or_else(PoisonError::into_inner), replaced))
    }

    /// Prepares what is in the cache, and returns the other files.
    fn take_cached(
        &self,
        destination: &Destination,
        wanted: Vec<WantedFile>,
        paths: &HashMap<Digest, Vec<&str>>,
    ) -> Result<Vec<WantedFile>, Failure> {
        let shared = self.shared;
        let missing = Mutex::new(Vec::new());
        let wanted = Mutex::new(VecDeque::from(wanted));
        on_threads(shared, shared.connections, || {
            let next = wanted.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(file) = next else { return Ok(false) };
            if let Some(blob) = shared.cache.find(file.sha256, file.size_bytes)? {
                if self.prepare(destination, &file, &blob, paths, false)? {
                    shared.advance(file.size_bytes);
                    return Ok(true);
                }
                if shared.stopped() {
                    return Ok(true);
                }
                print::line(&format!(
                    "warning: {} was damaged in the cache and is removed from it",
                    print::one_line(&file.path)
                ));
                shared.cache.remove(file.sha256)?;
            }
            missing.lock().unwrap_or_else(PoisonError::into_inner).push(file);
            Ok(true)
        })?;
        let mut missing = missing.into_inner().unwrap_or_else(PoisonError::into_inner);
        missing.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        Ok(missing)
    }

    fn check_offline(&self, missing: &[WantedFile]) -> Result<(), Failure> {
        let Some(first) = missing.first().filter(|_| self.is_offline && !self.shared.stopped()) else {
            return Ok(());
        };
        let (name, label) = (print::one_line(&first.path), self.plan.label());
        let what = match missing.len() {
            1 => format!("{name} of {label} is not in the cache"),
            count => format!("{count} files of {label} are not in the cache, such as {name}"),
        };
        Err(Failure::failed(format!("{what}; pull it once without --offline")))
    }

    /// Removes other files from the cache if the disk or the limit is too small.
    fn make_room(&self, missing: &[WantedFile]) -> Result<(), Failure> {
        let cache = self.shared.cache;
        let needed: u64 = missing.iter().map(|file| cache.left_to_fetch(file.sha256, file.size_bytes)).sum();
        let at = cache.path_of(missing.first().map_or(Digest::from_bytes([0; 32]), |file| file.sha256));
        cache.evict(self.limit_bytes.saturating_sub(needed), needed, &self.plan.digests())?;
        match free_bytes(&cache.answers()).filter(|free| *free < needed) {
            Some(free) => Err(Failure::failed(format!(
                "the disk of {} has {} free, and {} are needed; free some space, or choose another cache with --cache",
                at.parent().and_then(|folder| folder.parent()).unwrap_or(&at).display(),
                print::size(free),
                print::size(needed)
            ))),
            None => Ok(()),
        }
    }

    /// Prepares a blob at each of its paths. Returns false if its bytes have another digest, or the pull ends.
    fn prepare(
        &self,
        destination: &Destination,
        file: &WantedFile,
        blob: &File,
        paths: &HashMap<Digest, Vec<&str>>,
        is_verified: bool,
    ) -> Result<bool, Failure> {
        let cache = self.shared.cache;
        let at = cache.path_of(file.sha256);
        let paths = paths.get(&file.sha256).map(Vec::as_slice).unwrap_or_default();
        for (index, path) in paths.iter().enumerate() {
            let is_last = index + 1 == paths.len();
            let is_linked = match cache.is_temporary() {
                true => is_verified && is_last && destination.take(path, &at)?,
                false => !self.copies && destination.link(path, &at, blob, file.size_bytes)?,
            };
            let is_right = if !is_linked {
                self.copy(destination, path, blob)? == Some(file.sha256)
            } else if is_verified || index > 0 {
                true
            } else {
                let linked = destination.prepared_file(path);
                let failed = |error| destination.unwritable(path, &error);
                self.digest(&File::open(linked).map_err(failed)?, failed)? == Some(file.sha256)
            };
            if !is_right {
                paths[..=index].iter().for_each(|path| destination.discard(path));
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Copies a blob and returns the digest of what was written; `None` if the pull ends.
    fn copy(&self, destination: &Destination, path: &str, blob: &File) -> Result<Option<Digest>, Failure> {
        let mut copy = destination.create(path)?;
        let failed = |error| unusable(&self.shared.cache.answers(), &error);
        self.read(blob, failed, |chunk| {
            copy.write_all(chunk).map_err(|error| destination.unwritable(path, &error))
        })
    }

    fn digest(
        &self,
        file: &File,
        failed: impl Fn(std::io::Error) -> Failure,
    ) -> Result<Option<Digest>, Failure> {
        self.read(file, failed, |_| Ok(()))
    }

    /// Reads a file to its end, and returns its digest; `None` if the pull ends.
    fn read(
        &self,
        file: &File,
        failed: impl Fn(std::io::Error) -> Failure,
        mut each: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<Option<Digest>, Failure> {
        let length = file.metadata().map_err(&failed)?.len();
        let mut chunk = vec![0; usize::try_from(length).unwrap_or(usize::MAX).clamp(1, CHUNK_BYTES)];
        let (mut hasher, mut at) = (Sha256::new(), 0);
        loop {
            if self.shared.stopped() {
                return Ok(None);
            }
            match file.read_at(&mut chunk, at).map_err(&failed)? {
                0 => return Ok(Some(Digest::from_bytes(hasher.finalize().into()))),
                length => {
                    hasher.update(&chunk[..length]);
                    each(&chunk[..length])?;
                    at += length as u64;
                }
            }
        }
    }
}
