//! Copies of a log that is about to lose something.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::{BUFFER_BYTES, Dropped, Found};
use crate::sqlite::opening::Options;

/// Keeps a copy of a log of which something is dropped, just before the first write: SQLite then overwrites it from the end of
/// the last sound transaction, and what lay behind is void, as each frame has the checksum of all before it. Should it
/// have been acknowledged, it can still be looked into. Nothing is copied as long as the database can't be written.
///
/// # Errors
/// As SQLite's, where it can't be written.
pub(in super::super) fn keep_dropped(
    connection: &Connection,
    options: &Options,
    found: Found,
) -> rusqlite::Result<()> {
    if found.dropped == Dropped::Nothing {
        return Ok(());
    }
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let [_, log, ..] = options.files();
    let (copy, error) = match copy_aside(&log, "torn") {
        Ok(copy) => (copy.display().to_string(), String::new()),
        Err(error) => ("none".to_owned(), error.to_string()),
    };
    let log = log.display();
    match found.dropped {
        Dropped::Nothing => {}
        Dropped::Torn => tracing::warn!(
            %log, copy, error,
            "the last transaction in the log is not whole, as a loss of power or a failed sync leaves one that was not acknowledged; it is \
             dropped, and the copy of the log can be deleted"
        ),
        Dropped::Transactions(transactions) => tracing::warn!(
            %log, copy, error, transactions, kept = found.transactions,
            "the log has a hole, as a loss of power leaves one with `--synchronous normal`; the transactions at it and behind it are \
             dropped, and the copy of the log still has what is left of them"
        ),
        Dropped::Pages(pages) => tracing::warn!(
            %log, copy, error, pages, kept = found.transactions,
            "the log lacks pages that were committed, as a loss of power leaves it with `--synchronous normal`; their transactions are \
             dropped, and the copy of the log can be deleted"
        ),
    }
    connection.execute_batch("ROLLBACK")
}

/// Copies a log to the first name that is free, `registry.db-wal.torn` and the like, with its rights and down to the disk; not
/// where a copy of just these bytes is there.
pub(in super::super) fn copy_aside(log: &Path, why: &str) -> io::Result<PathBuf> {
    let mut number = 0_u32;
    let (copy, mut to) = loop {
        let mut name = log.as_os_str().to_owned();
        name.push(if number == 0 { format!(".{why}") } else { format!(".{why}-{number}") });
        let name = PathBuf::from(name);
        match File::create_new(&name) {
            Ok(file) => break (name, file),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if are_alike(log, &name).unwrap_or(false) {
                    return Ok(name);
                }
                number += 1;
            }
            Err(error) => return Err(error),
        }
    };
    let mut from = File::open(log)?;
    let copied = to
        .set_permissions(from.metadata()?.permissions())
        .and_then(|()| io::copy(&mut from, &mut to))
        .and_then(|_| to.sync_all());
    if let Err(error) = copied {
        let _ = fs::remove_file(&copy);
        return Err(error);
    }
    if let Some(folder) = copy.parent() {
        // Some file systems can't sync a folder; the copy is there all the same.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(copy)
}

/// Whether two files hold the same bytes.
fn are_alike(one: &Path, other: &Path) -> io::Result<bool> {
    let (found, sought) = (fs::metadata(other)?, fs::metadata(one)?);
    if !found.is_file() || found.len() != sought.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    loop {
        ours.clear();
        theirs.clear();
        (&mut one).take(BUFFER_BYTES as u64).read_to_end(&mut ours)?;
        (&mut other).take(BUFFER_BYTES as u64).read_to_end(&mut theirs)?;
        if ours != theirs || ours.is_empty() {
            return Ok(ours == theirs);
        }
    }
}
