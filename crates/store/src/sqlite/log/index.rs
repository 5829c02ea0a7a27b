//! The index of a log, the file `-shm`: whether a process uses it, and how much of the log it knows.
//!
//! SQLite makes it anew whenever nobody uses it, so it decides nothing; but a process that was killed has left in it how much
//! it had committed. It is written after the log is synced, so what it knows and the log does not have was lost since.

use std::{fs::File, io::Read as _, path::Path};

use rustix::process::{Flock, FlockType, fcntl_getlk};

/// Where each connection holds a lock as long as it is open (`UNIX_SHM_DMS`).
const IN_USE_BYTE: u64 = 128;
/// Two copies of what it knows of the log, and then how much of that is in the database.
const COPY_BYTES: usize = 48;
const HEAD_BYTES: usize = 2 * COPY_BYTES + 4;
const VERSION: u32 = 3_007_000;

/// What an index knows of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Index {
    /// Which log it is about.
    pub(super) salts: [u8; 8],
    /// Frames that were committed.
    pub(super) frames: u64,
    /// Of those, frames that were moved into the database.
    pub(super) moved: u64,
}

/// Whether another process has the database open. Asking takes no lock.
pub(super) fn is_in_use(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let asked = Flock { start: IN_USE_BYTE, length: 1, ..Flock::from(FlockType::WriteLock) };
    matches!(fcntl_getlk(&file, &asked), Ok(Some(held)) if held.typ != FlockType::Unlocked)
}

/// What the index at `path` knows; nothing where there is none, or it is not in order.
pub(super) fn read(path: &Path) -> Option<Index> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    File::open(path).ok()?.take(HEAD_BYTES as u64).read_to_end(&mut head).ok()?;
    parse(&head)
}

fn parse(head: &[u8]) -> Option<Index> {
    let (one, rest) = head.split_at_checked(COPY_BYTES)?;
    let (other, moved) = rest.split_at_checked(COPY_BYTES)?;
    // Its numbers are in the order of this machine.
    let number = |bytes: &[u8], at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let mut sums = [0_u32; 2];
    for at in (0..40).step_by(8) {
        sums[0] = sums[0].wrapping_add(number(one, at)?).wrapping_add(sums[1]);
        sums[1] = sums[1].wrapping_add(number(one, at + 4)?).wrapping_add(sums[0]);
    }
    let is_whole = one == other
        && number(one, 0)? == VERSION
        && *one.get(12)? == 1
        && sums == [number(one, 40)?, number(one, 44)?];
    is_whole.then_some(Index {
        salts: one.get(32..40)?.try_into().ok()?,
        frames: number(one, 16)?.into(),
        moved: number(moved, 0)?.into(),
    })
}
