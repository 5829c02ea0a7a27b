//! A database that may be read and not written: its file, its folder or its disk does not let this user, or is full.
//!
//! SQLite reads a log by an index beside it, which it has to make where there is none. Where no log is left behind, none
//! is needed: the file is then read as one that nobody changes (`immutable`). It is opened anew for each read, so that
//! what others may do to it in between is seen; a write of theirs within the same milliseconds may not be.

use std::{
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{Access, access};

use super::{
    connection::{SqliteReader, prepare},
    opening::{OpenError, Options, inspect_file},
    place, schema,
};

/// What stands for itself in the path of a URI.
const KEPT: AsciiSet = NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');

/// Why a database is served without writing.
#[derive(Debug, Clone)]
pub struct ReadOnly {
    /// What is to be said to who wants to write, and what is to be done; names no path.
    pub why: String,
}

/// Looks whether a database that can't be written can be served for reading.
///
/// # Errors
/// [`OpenError::OldAndUnwritable`] where it would have to be brought up to date first; else what keeps it from being read.
pub fn look_without_writing(options: &Options) -> Result<ReadOnly, OpenError> {
    inspect_file(&options.path)?;
    let why = why_not(&options.path);
    let reader = SqliteReader::open_without_writing(options)?;
    schema::recognize(&reader.connection, &options.path)?;
    let is_current = schema::is_current(&reader.connection);
    if !is_current.map_err(|error| OpenError::from_sqlite(&options.path, &error))? {
        return Err(OpenError::OldAndUnwritable { path: options.path.clone(), why });
    }
    Ok(ReadOnly { why })
}

/// What the system says to writing the file or its folder.
fn why_not(path: &Path) -> String {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let refused = |what: &str, path: &Path| {
        let refusal = access(path, Access::WRITE_OK).err()?;
        let refusal = std::io::Error::from_raw_os_error(refusal.raw_os_error());
        Some(format!(
            "the server may not write {what} ({refusal}); give it write access to the file and its folder"
        ))
    };
    refused("its file", path)
        .or_else(|| refused("the folder of its file", folder))
        .or_else(|| place::is_full(folder).then(|| "its disk is full; free space there".to_owned()))
        .unwrap_or_else(|| "it can only be read here".to_owned())
}

impl SqliteReader {
    /// Opens a database that may not be written, leaving nothing beside it where that can be helped.
    ///
    /// # Errors
    /// [`OpenError::LogUnread`] where it can't be read without writing; else see [`OpenError`].
    pub fn open_without_writing(options: &Options) -> Result<Self, OpenError> {
        let [_, log, _, journal] = options.files();
        let bytes = |path: &PathBuf| fs::metadata(path).ok().map(|metadata| metadata.len());
        if bytes(&log).is_none() && bytes(&journal).is_none() {
            return open(options, true);
        }
        open(options, false).or_else(|error| match (&error, bytes(&log).max(bytes(&journal))) {
            (OpenError::NotWritable { .. } | OpenError::DiskFull { .. }, None | Some(0)) => {
                open(options, true)
            }
            (OpenError::NotWritable { path, why }, _) => {
                Err(OpenError::LogUnread { path: path.clone(), why: why.clone() })
            }
            _ => Err(error),
        })
    }
}

fn open(options: &Options, immutable: bool) -> Result<SqliteReader, OpenError> {
    let failed = |error: rusqlite::Error| OpenError::from_sqlite(&options.path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = if immutable {
        let path = percent_encode(options.path.as_os_str().as_bytes(), &KEPT);
        // An absolute path that begins with two slashes would be read as a host.
        let host = if options.path.is_absolute() { "//" } else { "" };
        let uri = format!("file:{host}{path}?immutable=1");
        Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
    } else {
        Connection::open_with_flags(&options.path, flags)
    };
    let connection = connection.map_err(failed)?;
    prepare(&connection, options).map_err(failed)?;
    connection.pragma_update(None, "query_only", true).map_err(failed)?;
    // What can't be read shows itself at the first statement.
    schema::user_version(&connection).map_err(failed)?;
    Ok(SqliteReader { connection })
}
