//! The backup that precedes an upgrade of the schema.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{MaintenanceError, Source, Watch};
use crate::sqlite::{
    options::{Options, folder_of, with_suffix},
    watched_files::free_bytes,
};

/// Bytes that are compared at once.
const CHUNK_BYTES: usize = 1 << 16;
/// The bytes of a SQLite header with the journal mode, the change counter, and the writer's version.
const VARYING_HEADER_BYTES: [std::ops::Range<usize>; 3] = [18..20, 24..28, 92..100];

/// Makes a verified backup like `registry.db.before-upgrade-0.3.0` next to the database. It never overwrites a file, and
/// reuses a backup of the same state, so that an upgrade that is interrupted repeatedly leaves one backup.
///
/// The caller owns the database and may have it open.
///
/// # Errors
/// [`MaintenanceError::NoSpace`] and others; no backup is left then, and the database is unchanged.
pub(in crate::sqlite) fn back_up_before_upgrade(options: &Options) -> Result<PathBuf, MaintenanceError> {
    let watch = Watch::new(|| false, |_| {});
    let [path, wal, ..] = options.files();
    let failed = |error: io::Error| MaintenanceError::Failed { path: path.clone(), why: error.to_string() };
    let folder = folder_of(&path);
    let found = fs::metadata(&path).map_err(failed)?;
    // The copy includes what only the WAL has.
    let needed = found.len() + fs::metadata(&wal).map_or(0, |wal| wal.len());
    if let Some(free) = free_bytes(folder).filter(|free| *free < needed) {
        return Err(MaintenanceError::NoSpace { folder: folder.to_owned(), free, needed });
    }
    tracing::info!(path = %path.display(), bytes = found.len(), "the database has an older schema; backing it up before its upgrade");
    let mut copy = tempfile::Builder::new()
        .prefix(".registry-")
        .permissions(Permissions::from_mode(found.permissions().mode()))
        .tempfile_in(folder)
        .map_err(failed)?;
    Source::of_owner(options, &watch)?.copy_to(copy.path(), &watch)?;
    copy.as_file().sync_all().map_err(failed)?;
    let version = env!("CARGO_PKG_VERSION");
    for number in 1_u32.. {
        let again = if number == 1 { String::new() } else { format!("-{number}") };
        let backup = with_suffix(&path, &format!(".before-upgrade-{version}{again}"));
        match copy.persist_noclobber(&backup) {
            Ok(_) => {
                // Some file systems can't sync a folder.
                let _ = File::open(folder).and_then(|folder| folder.sync_all());
                return Ok(backup);
            }
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                if are_equal(error.file.path(), &backup).unwrap_or(false) {
                    return Ok(backup);
                }
                copy = error.file;
            }
            Err(error) => return Err(failed(error.error)),
        }
    }
    unreachable!("a name is free")
}

/// Compares two databases of one file each. The journal mode and the counters of changes may differ: an upgrade that was
/// interrupted has turned the WAL on already.
fn are_equal(one: &Path, other: &Path) -> io::Result<bool> {
    if fs::metadata(one)?.len() != fs::metadata(other)?.len() {
        return Ok(false);
    }
    let mut files = [File::open(one)?, File::open(other)?];
    let mut chunks = [Vec::new(), Vec::new()];
    let mut is_first = true;
    loop {
        for (file, chunk) in files.iter_mut().zip(&mut chunks) {
            chunk.clear();
            file.take(CHUNK_BYTES as u64).read_to_end(chunk)?;
            for at in VARYING_HEADER_BYTES.into_iter().flatten().filter(|_| is_first) {
                if let Some(byte) = chunk.get_mut(at) {
                    *byte = 0;
                }
            }
        }
        let [ours, theirs] = &chunks;
        if ours != theirs || ours.is_empty() {
            return Ok(ours == theirs);
        }
        is_first = false;
    }
}
