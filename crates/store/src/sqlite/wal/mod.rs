//! The write-ahead log (WAL) of a database, read before SQLite recovers it.
//!
//! SQLite recovers a WAL without reporting what it drops: it ignores everything after damage, replays a WAL onto a
//! file it was not written for, and deletes a WAL next to an empty database. This module refuses those cases, since each
//! would lose acknowledged writes. It must not read while this process has a connection to the database: closing a
//! descriptor of the file would drop SQLite's locks.

mod scan;

use std::{
    fs::{self, File},
    io::{self, BufReader, ErrorKind, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

pub(super) use self::scan::Tail;
use self::scan::{HEADER_BYTES, WalScan, scan};
use super::options::{Options, Synchronous, with_suffix};

/// How much of the database's header is read.
const DATABASE_HEADER_BYTES: u64 = 100;
/// The bytes of the header that say if the database uses a WAL, one for readers and one for writers.
const JOURNAL_MODES: std::ops::Range<usize> = 18..20;
const WITHOUT_WAL: [u8; 2] = [1, 1];
const DEFAULT_PAGE_BYTES: u32 = 4_096;
const READ_BUFFER_BYTES: usize = 1 << 18;

/// Why a database and its WAL must not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum WalError {
    #[error(
        "{} is damaged: {sound} transactions in it are sound, and {later} that were committed after those can't be read; nothing was changed. `registry maintenance --salvage-wal` copies the WAL aside and keeps what is sound; a backup may have more", .wal.display())]
    Damaged { wal: PathBuf, sound: u64, later: u64 },
    #[error(
        "{} is missing or empty, but its WAL {} has {transactions} transactions; put the database back beside it, or move the WAL away to start with an empty database", .path.display(), .wal.display())]
    DatabaseMissing { path: PathBuf, wal: PathBuf, transactions: u64 },
    #[error(
        "{} is not the WAL of {} ({why}); nothing was changed. If the database was replaced by a copy, move the WAL away; otherwise put back the database that it belongs to", .wal.display(), .path.display())]
    Foreign { path: PathBuf, wal: PathBuf, why: &'static str },
    #[error(
        "{} has {links} names (hard links), and writes under one name are lost to the others, since each has its own WAL; keep one name, or copy the file and use the copy", .path.display())]
    HardLinks { path: PathBuf, links: u64 },
    #[error("{} can't be read ({why}); check its disk and its permissions", .file.display())]
    Unreadable { file: PathBuf, why: String },
}

/// Inspects the WAL of a database that this process has not opened.
///
/// # Errors
/// If opening the database would lose what was committed, or damage it.
pub(super) fn inspect(options: &Options) -> Result<WalScan, WalError> {
    let [path, wal, ..] = options.files();
    let header = database_header(&path)?;
    let found = read(&wal, &header)?;
    let (sound, committed) = (found.transactions, found.transactions + found.dropped_commits);
    if header.is_empty() {
        return if committed == 0 {
            Ok(found)
        } else {
            Err(WalError::DatabaseMissing { path, wal, transactions: committed })
        };
    }
    let foreign = |why| Err(WalError::Foreign { path: path.clone(), wal: wal.clone(), why });
    if header.get(JOURNAL_MODES) == Some(&WITHOUT_WAL) {
        return if sound == 0 {
            Ok(found)
        } else {
            foreign("the database is one without a WAL, such as a backup")
        };
    }
    match fs::metadata(&path).map_or(1, |found| found.nlink()) {
        0 | 1 => {}
        links => return Err(WalError::HardLinks { path, links }),
    }
    if sound > 0 && found.page_bytes != page_bytes(&header) {
        return foreign("its pages have another size");
    }
    if found.tail == Tail::Damaged {
        return Err(WalError::Damaged { wal, sound, later: found.dropped_commits });
    }
    Ok(found)
}

/// Inspects the WAL for the process that owns the database and is about to have SQLite recover it. With
/// [`Synchronous::Normal`] a loss of power may leave a gap with committed transactions after it: those are then
/// dropped, and a copy of the WAL is kept.
///
/// # Errors
/// As [`inspect`].
pub(super) fn inspect_to_recover(options: &Options) -> Result<(), WalError> {
    let [_, wal, ..] = options.files();
    let found = match inspect(options) {
        Err(WalError::Damaged { sound, later, .. }) if options.synchronous == Synchronous::Normal => {
            let copy = salvage(options)?.kept_as.unwrap_or_default();
            tracing::warn!(
                wal = %wal.display(), copy = %copy.display(), kept = sound, dropped = later,
                "the WAL has a gap, as a loss of power can leave with `--synchronous normal`; the transactions after it \
                 are dropped, and the copy still has what is left of them"
            );
            return Ok(());
        }
        inspected => inspected?,
    };
    let transactions = found.transactions;
    if found.tail == Tail::Torn {
        tracing::warn!(
            wal = %wal.display(), transactions,
            "the last transaction in the WAL is incomplete and is dropped: a loss of power or a failed sync leaves one that \
             was not acknowledged"
        );
    }
    if transactions > 0 {
        tracing::info!(
            transactions,
            "the database was not closed cleanly; its WAL is sound up to its last commit and is recovered"
        );
    }
    Ok(())
}

/// The result of salvaging a damaged WAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvaged {
    /// The copy of the WAL as it was; none if the WAL was sound.
    pub kept_as: Option<PathBuf>,
    /// Transactions that are still in the WAL.
    pub transactions: u64,
    /// Committed transactions that could not be kept.
    pub lost_transactions: u64,
}

/// Copies a damaged WAL aside and truncates it after its last sound transaction. A sound WAL stays as it is.
///
/// # Errors
/// [`WalError`], if the WAL is not damaged but can't be used, or a file can't be read or written.
pub(super) fn salvage(options: &Options) -> Result<Salvaged, WalError> {
    let [path, wal, ..] = options.files();
    match inspect(options) {
        Ok(found) => {
            let transactions = found.transactions;
            return Ok(Salvaged { kept_as: None, transactions, lost_transactions: 0 });
        }
        Err(WalError::Damaged { .. }) => {}
        Err(other) => return Err(other),
    }
    let found = read(&wal, &database_header(&path)?)?;
    let failed = |error: io::Error| WalError::Unreadable { file: wal.clone(), why: error.to_string() };
    let copy = copy_aside(&wal).map_err(failed)?;
    let file = File::options().write(true).open(&wal).map_err(failed)?;
    file.set_len(found.sound_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(Salvaged {
        kept_as: Some(copy),
        transactions: found.transactions,
        lost_transactions: found.dropped_commits,
    })
}

/// Copies the WAL to the first free name like `registry.db-wal.damaged`, with its permissions, and syncs the copy.
fn copy_aside(wal: &Path) -> io::Result<PathBuf> {
    let mut number = 0_u32;
    let (copy, mut to) = loop {
        let suffix = if number == 0 { ".damaged".to_owned() } else { format!(".damaged-{number}") };
        let name = with_suffix(wal, &suffix);
        match File::create_new(&name) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            created => break (name, created?),
        }
    };
    let mut from = File::open(wal)?;
    to.set_permissions(from.metadata()?.permissions())?;
    io::copy(&mut from, &mut to)?;
    to.sync_all()?;
    Ok(copy)
}

/// Reads the start of the database; empty if there is no database.
fn database_header(path: &Path) -> Result<Vec<u8>, WalError> {
    let mut header = Vec::new();
    match File::open(path).and_then(|file| file.take(DATABASE_HEADER_BYTES).read_to_end(&mut header)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(WalError::Unreadable { file: path.to_owned(), why: error.to_string() })
        }
        _ => Ok(header),
    }
}

fn page_bytes(header: &[u8]) -> u32 {
    match header.get(16..18).map(|size| u32::from(size[0]) << 8 | u32::from(size[1])) {
        Some(1) => 65_536,
        Some(size) if size >= 512 => size,
        _ => DEFAULT_PAGE_BYTES,
    }
}

/// Scans the WAL. One that is missing, too short for a header, or not readable by this user holds nothing; SQLite itself
/// reports the last case.
fn read(wal: &Path, header: &[u8]) -> Result<WalScan, WalError> {
    let scanned = File::open(wal).and_then(|file| {
        let long = file.metadata()?.len() >= HEADER_BYTES as u64;
        let mut reader = BufReader::with_capacity(READ_BUFFER_BYTES, file);
        if long { scan(&mut reader, page_bytes(header)) } else { Ok(WalScan::default()) }
    });
    match scanned {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            Ok(WalScan::default())
        }
        Err(error) => Err(WalError::Unreadable { file: wal.to_owned(), why: error.to_string() }),
        Ok(found) => Ok(found),
    }
}

#[cfg(test)]
mod tests;
