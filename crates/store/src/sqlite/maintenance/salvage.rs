//! Going on with what a damaged log still has.
//!
//! The log is cut behind its last sound transaction, from where SQLite goes on by itself; what it was is copied aside first, so
//! nothing is lost that was not lost already. The database itself is not written.

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::PathBuf,
};

use rustix::fs::{FlockOperation, fcntl_lock};

use super::{MaintenanceError, Source, Watch, expect_file};
use crate::sqlite::{
    log::{self, LogFault},
    opening::Options,
};

/// What became of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvaged {
    /// The log as it was; none where there was nothing to be salvaged, or nothing left to be copied.
    pub kept_as: Option<PathBuf>,
    /// Transactions that are in the log still.
    pub transactions: u64,
    /// What could not be kept, in words; none where the log was sound.
    pub lost: Option<String>,
}

/// Cuts a damaged log behind what is sound in it, and verifies what that makes of the database.
///
/// # Errors
/// [`MaintenanceError::Held`] where another process has the database open; [`MaintenanceError::Log`] where the log is
/// not damaged but another's; [`MaintenanceError::Damaged`] where what is left does not hold together.
pub fn salvage_log(options: &Options, watch: &Watch) -> Result<Salvaged, MaintenanceError> {
    expect_file(&options.path)?;
    let alone = lock(options)?;
    let [_, log, index, _] = options.files();
    let looked = log::look_to_salvage(options)?;
    let Some(fault) = looked.fault else {
        return Ok(Salvaged { kept_as: None, transactions: looked.transactions, lost: None });
    };
    let lost = match &fault {
        LogFault::Damaged { behind, .. } => format!("{behind} transactions at and behind the damage"),
        LogFault::Cut { has, known, .. } => format!("{} pages that the log no longer has", known - has),
        _ => return Err(fault.into()),
    };
    let failed =
        |error: std::io::Error| MaintenanceError::Failed { path: log.clone(), why: error.to_string() };
    let kept_as = match log::copy_aside(&log, "damaged") {
        Ok(copy) => Some(copy),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    if kept_as.is_some() {
        let cut = File::options().write(true).open(&log).and_then(|file| {
            file.set_len(looked.sound_bytes)?;
            file.sync_all()
        });
        cut.map_err(failed)?;
    }
    // It knows of what is gone. SQLite makes it anew.
    match fs::remove_file(&index) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    drop(alone);
    Source::open(options, watch)?.verify(watch)?;
    Ok(Salvaged { kept_as, transactions: looked.transactions, lost: Some(lost) })
}

/// Keeps everybody out: each connection holds a lock on the file as long as it keeps a log.
fn lock(options: &Options) -> Result<File, MaintenanceError> {
    let path = options.path.clone();
    let file = File::options().read(true).write(true).open(&path);
    let file =
        file.map_err(|error| MaintenanceError::Closed { path: path.clone(), why: error.to_string() })?;
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(std::io::Error::from) {
        Ok(()) => Ok(file),
        // POSIX leaves it to the system which of the two it is.
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::PermissionDenied) => {
            Err(MaintenanceError::Held { path })
        }
        Err(error) => Err(MaintenanceError::Failed { path, why: error.to_string() }),
    }
}
