//! A file that arrives in pieces, over several connections: it is written and digested in order.
//!
//! So what is written is always the beginning of the file, and an interrupted pull resumes at its end. Pieces that arrive early
//! wait in memory, within a window.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{Sender, bounded};
use sha2::{Digest as _, Sha256};

use super::{
    super::exit::Failure,
    cache::{Partial, unusable},
    plan::WantedFile,
};
use crate::domain::Digest;

/// Bytes of a piece: what one request asks for, and what is in memory at a time for each connection.
pub(super) const PIECE_BYTES: u64 = 8 << 20;
/// Pieces between writing and digesting.
const DIGEST_QUEUE: usize = 2;
/// Bytes that are read at once when a file is resumed.
const CHUNK_BYTES: usize = 1 << 20;
/// How often a connection that is ahead looks if the pull has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A file that arrives.
pub(super) struct Assembly {
    pub(super) file: WantedFile,
    /// Where it began; more than 0 if it was resumed.
    pub(super) resumed_at: u64,
    progress: Mutex<Progress>,
    written: Condvar,
    /// Used by the one that writes. `None` once the file is complete.
    output: Mutex<Option<Output>>,
    /// How far ahead of what is written a piece may be, in bytes.
    window_bytes: u64,
    /// True if the first piece shows if its server sends ranges.
    probes: bool,
}

struct Progress {
    claimed: u64,
    written: u64,
    waiting: BTreeMap<u64, Vec<u8>>,
    is_writing: bool,
}

struct Output {
    partial: Partial,
    hashing: Hashing,
}

/// The digest of what is written: of a small file here, of a large one in a thread of its own.
enum Hashing {
    Here(Box<Sha256>),
    There(Sender<Vec<u8>>, JoinHandle<Sha256>),
}

/// What came of a piece.
pub(super) enum Delivered {
    /// More is to come.
    Open,
    /// All is written; the digest is of all bytes.
    Complete(Partial, Digest),
    /// The pull ends.
    Stopped,
}

impl Assembly {
    /// Begins a file, after what is written of it already.
    pub(super) fn begin(
        file: WantedFile,
        partial: Partial,
        connections: u64,
        probes: bool,
        stopped: impl Fn() -> bool,
    ) -> Result<Self, Failure> {
        let (hasher, resumed_at) = resume(&partial, file.size_bytes, stopped)?;
        let hashing =
            if file.size_bytes <= PIECE_BYTES { Hashing::Here(Box::new(hasher)) } else { there(hasher)? };
        let progress = Progress {
            claimed: resumed_at,
            written: resumed_at,
            waiting: BTreeMap::new(),
            is_writing: false,
        };
        Ok(Self {
            file,
            resumed_at,
            progress: Mutex::new(progress),
            written: Condvar::new(),
            output: Mutex::new(Some(Output { partial, hashing })),
            window_bytes: (connections + 2) * PIECE_BYTES,
            probes,
        })
    }

    /// Claims the next piece; `None` if there is none to claim now.
    pub(super) fn claim(&self) -> Option<Range<u64>> {
        let mut progress = locked(&self.progress);
        let start = progress.claimed;
        if self.probes && start > self.resumed_at && progress.written == self.resumed_at {
            return None;
        }
        if start >= self.file.size_bytes || start >= progress.written + self.window_bytes {
            return None;
        }
        progress.claimed = (start + PIECE_BYTES).min(self.file.size_bytes);
        Some(start..progress.claimed)
    }

    /// Claims all that is left from `end` on, for a server that sends only whole files. Returns false if another connection has
    /// claimed a part of it.
    pub(super) fn claim_rest(&self, end: u64) -> bool {
        let mut progress = locked(&self.progress);
        let is_free = progress.claimed == end;
        if is_free {
            progress.claimed = self.file.size_bytes;
        }
        is_free
    }

    /// Takes a piece that begins at `at`. Waits if it is too far ahead.
    pub(super) fn deliver(
        &self,
        at: u64,
        piece: Vec<u8>,
        stopped: impl Fn() -> bool,
    ) -> Result<Delivered, Failure> {
        let mut progress = locked(&self.progress);
        while at >= progress.written + self.window_bytes {
            if stopped() {
                return Ok(Delivered::Stopped);
            }
            let waited = self.written.wait_timeout(progress, LOOK_INTERVAL);
            progress = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        progress.waiting.insert(at, piece);
        if progress.is_writing {
            return Ok(Delivered::Open);
        }
        progress.is_writing = true;
        loop {
            let at = progress.written;
            let Some(piece) = progress.waiting.remove(&at) else { break };
            drop(progress);
            let length = piece.len() as u64;
            self.write(at, piece)?;
            progress = locked(&self.progress);
            progress.written += length;
            self.written.notify_all();
        }
        progress.is_writing = false;
        if progress.written < self.file.size_bytes {
            return Ok(Delivered::Open);
        }
        drop(progress);
        self.finish()
    }

    /// Completes the file if there is nothing to fetch: it is empty, or an interrupted pull fetched all of it.
    pub(super) fn complete_at_once(&self) -> Result<Option<Delivered>, Failure> {
        let is_complete = locked(&self.progress).written == self.file.size_bytes;
        if is_complete { self.finish().map(Some) } else { Ok(None) }
    }

    fn write(&self, at: u64, piece: Vec<u8>) -> Result<(), Failure> {
        let mut output = locked(&self.output);
        let Some(output) = output.as_mut() else { return Ok(()) };
        let written = output.partial.file.write_all_at(&piece, at);
        written.map_err(|error| unusable(output.partial.path(), &error))?;
        match &mut output.hashing {
            Hashing::Here(hasher) => hasher.update(&piece),
            // Fails only if the thread panicked, which `finish` reports.
            Hashing::There(pieces, _) => drop(pieces.send(piece)),
        }
        Ok(())
    }

    fn finish(&self) -> Result<Delivered, Failure> {
        let Some(Output { partial, hashing }) = locked(&self.output).take() else {
            return Ok(Delivered::Open);
        };
        let hasher = match hashing {
            Hashing::Here(hasher) => *hasher,
            Hashing::There(pieces, thread) => {
                drop(pieces);
                thread.join().map_err(|_| Failure::failed("the thread of a digest panicked; pull again"))?
            }
        };
        Ok(Delivered::Complete(partial, Digest::from_bytes(hasher.finalize().into())))
    }
}

/// Digests what is written already. Returns where it ends.
fn resume(partial: &Partial, size_bytes: u64, stopped: impl Fn() -> bool) -> Result<(Sha256, u64), Failure> {
    let failed = |error: io::Error| unusable(partial.path(), &error);
    let mut hasher = Sha256::new();
    let written = partial.file.metadata().map_err(failed)?.len();
    if written > size_bytes {
        partial.file.set_len(0).map_err(failed)?;
        return Ok((hasher, 0));
    }
    let mut chunk = vec![0; usize::try_from(written).unwrap_or(usize::MAX).min(CHUNK_BYTES)];
    let mut at = 0;
    while at < written && !stopped() {
        match partial.file.read_at(&mut chunk, at).map_err(failed)? {
            0 => break,
            length => {
                hasher.update(&chunk[..length]);
                at += length as u64;
            }
        }
    }
    Ok((hasher, at))
}

fn there(mut hasher: Sha256) -> Result<Hashing, Failure> {
    let (pieces, received) = bounded::<Vec<u8>>(DIGEST_QUEUE);
    let digest = move || {
        for piece in received {
            hasher.update(&piece);
        }
        hasher
    };
    let thread = thread::Builder::new().name("digest".to_owned()).spawn(digest);
    let thread =
        thread.map_err(|error| Failure::failed(format!("no thread for a digest: {error}; try again")))?;
    Ok(Hashing::There(pieces, thread))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
