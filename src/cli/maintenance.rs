//! `registry maintenance`: looks after the database file. It needs no server and no key.
//!
//! This decides what is done in which order, and when a file takes another's place; what happens inside a
//! database is the store's.

mod outcome;
mod progress;

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;

use self::{
    outcome::{BackedUp, Outcome, Restored, Timed, told},
    progress::Display,
};
use super::{
    exit::{self, Failure},
    interrupt::Interrupt,
    print,
};
use crate::{
    artifact::{ArtifactError, FileIdentity, Replacement, folder_of, followed, free_bytes},
    registry::system_clock,
    settings,
    store::sqlite::{
        Options,
        maintenance::{
            Abandoned, Copied, Exclusive, MaintenanceError, Source, Watch, is_registry_at_rest, optimize,
            salvage_log, vacuum,
        },
    },
};

const HELP: &str = "\
Examples:
  A backup, while the server writes or not; an old one is replaced by a verified one only:
    registry maintenance --db-path /var/lib/registry/registry.db --backup /backup/registry.db
  Is the database sound, or a backup of it:
    registry maintenance --check
    registry maintenance --check --db-path /backup/registry.db
  Back to a backup. Stop the server first; what the database held is kept beside it:
    registry maintenance --restore /backup/registry.db --check
  A server that does not start since its write-ahead log is damaged; the log is copied aside:
    registry maintenance --salvage-log --check
  Each night, for a script:
    registry maintenance --backup /backup/registry.db --optimize --json | jq .backup.size_bytes

What is given together is done in this order: backup, vacuum, optimize, check. --restore and --salvage-log go
with --check only.
Backup and check change nothing, and a server goes on beside them. While --vacuum runs, a server's writes wait
and may be refused; stop it where the database is large. A backup is one file, which needs no -wal beside it.
A kill -9 or a second Ctrl-C may leave a file .registry-* in the folder of what was written, which can be deleted.

Exit codes:
  0  done; a check found no errors, though perhaps warnings
  1  failed, or a check found errors
  2  the command line makes no sense
  5  another process holds the database, such as a server that is to be restored under; stop it
  130  ended by Ctrl-C, SIGTERM or a closed terminal; what was begun was undone, and what was done before it stands";

/// Back up, restore, check and compact the database file; needs no server.
///
/// What was done goes to stdout, errors and progress to stderr.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct Maintenance {
    /// Copy the database to this file, as of one moment, and verify the copy before it replaces an old one
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
    /// Make the database what this backup holds; refused while a server, or anybody else, has it open
    #[arg(long, value_name = "FILE", conflicts_with_all = ["backup", "vacuum", "optimize"])]
    restore: Option<PathBuf>,
    /// Where the write-ahead log is damaged: copy it aside, and go on with what is sound in it
    #[arg(long, conflicts_with_all = ["backup", "restore", "vacuum", "optimize"])]
    salvage_log: bool,
    /// Hold the database against every rule of the registry, and tell what is wrong and what to do
    #[arg(long)]
    check: bool,
    /// Rewrite the database without the room that deleted rows have left
    #[arg(long)]
    vacuum: bool,
    /// Refresh what SQLite knows of the data to plan its queries, and empty the write-ahead log
    #[arg(long)]
    optimize: bool,

    /// The database file [env: CAIA_REGISTRY_DB_PATH] [default: ./registry.db]
    #[arg(long, value_name = "FILE")]
    db_path: Option<PathBuf>,
    /// Tell what was done, and what failed, as one JSON object
    #[arg(long)]
    json: bool,
}

impl From<MaintenanceError> for Failure {
    fn from(error: MaintenanceError) -> Self {
        let message = error.to_string();
        match error {
            MaintenanceError::Held { .. } | MaintenanceError::Bereft { .. } => Self::conflict(message),
            MaintenanceError::Interrupted => Self::interrupted(message),
            _ => Self::failed(message),
        }
    }
}

impl Maintenance {
    /// Does what was asked for, and tells of it.
    ///
    /// # Errors
    /// The first thing that failed; what was done before it is told all the same.
    pub fn run(self) -> Result<(), Failure> {
        let has_flag = self.check || self.vacuum || self.optimize || self.salvage_log;
        if self.backup.is_none() && self.restore.is_none() && !has_flag {
            return Err(Failure::usage(
                "nothing to do; give --backup FILE, --restore FILE, --check, --vacuum, --optimize or --salvage-log",
            ));
        }
        let interrupt = Interrupt::listen()?;
        let display = Display::new();
        let watch = display.watch(move || interrupt.requested());
        let options = settings::sqlite_options(self.db_path.clone(), |name| env::var(name).ok());
        let mut outcome = Outcome::new(&options.path);
        let done = self.work(&options, &watch, &mut outcome);
        display.end();
        let printed = if self.json {
            print::result(&outcome.to_json(done.as_ref().err().map(Failure::text).as_deref()))
        } else {
            print::text(&outcome.to_text()).map(drop)
        };
        done.and(printed)
    }

    fn work(&self, options: &Options, watch: &Watch, outcome: &mut Outcome) -> Result<(), Failure> {
        let path = &options.path;
        if let Some(from) = &self.restore {
            let restored = act("the restore", outcome, || restore(from, options, watch))?;
            outcome.restore.insert(restored).did.expect_settled(path)?;
        }
        if self.salvage_log {
            outcome.salvage = Some(act("the salvage", outcome, || Ok(salvage_log(options, watch)?))?);
        }
        if let Some(to) = &self.backup {
            outcome.backup = Some(act("the backup", outcome, || back_up(to, options, watch))?);
        }
        if self.vacuum {
            outcome.vacuum = Some(act("the vacuum", outcome, || {
                let needed = fs::metadata(path).map_or(0, |found| found.len());
                expect_room(path, needed, "--vacuum writes the database anew")?;
                Ok(vacuum(options, watch)?)
            })?);
        }
        if self.optimize {
            outcome.optimize = Some(act("the optimize", outcome, || Ok(optimize(options, watch)?))?);
        }
        if self.check {
            let checked = act("the check", outcome, || Ok(Source::open(options, watch)?.check(watch)?))?;
            let errors = outcome.check.insert(checked).did.errors.total;
            if errors > 0 {
                let (path, errors) = (path.display(), print::counted(errors, "error"));
                return Err(Failure::failed(format!("{path} has {errors}, see the report")));
            }
        }
        Ok(())
    }
}

/// Does one action. Where it is given up, that says which, and that those before it stand.
fn act<T>(
    name: &str,
    before: &Outcome,
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<Timed<T>, Failure> {
    let began = Instant::now();
    let did = work().map_err(|failure| match failure.code() {
        exit::INTERRUPTED => {
            let stands = if before.is_empty() { "" } else { "; what was done before it stands" };
            Failure::interrupted(format!("{name} was given up, and what was begun was undone{stands}"))
        }
        _ => failure,
    })?;
    Ok(Timed { did, seconds: began.elapsed().as_secs_f64() })
}

fn back_up(to: &Path, options: &Options, watch: &Watch) -> Result<BackedUp, Failure> {
    expect_apart(to, options)?;
    // Before long work it is known whether anything can be written there.
    let replacement = Replacement::like(to, &options.path)?;
    expect_replaceable(to)?;
    let source = Source::open(options, watch)?;
    let size = fs::metadata(&options.path).map_or(0, |found| found.len());
    expect_room(replacement.destination(), size, "the backup is as large as the database")?;
    let copied = source.copy_to(replacement.temporary_path(), watch)?;
    drop(source);
    replacement.put_in_place()?;
    Ok(BackedUp { path: to.to_owned(), copied })
}

fn restore(from: &Path, options: &Options, watch: &Watch) -> Result<Restored, Failure> {
    let path = &options.path;
    expect_apart(from, options).map_err(|_| {
        Failure::usage(format!("{} is the database itself; give a backup of it", from.display()))
    })?;
    let source = Source::open(&Options { path: from.to_owned(), ..options.clone() }, watch)?;
    source.verify(watch)?;
    let size = fs::metadata(from).map_or(0, |found| found.len());
    let schema_version = source.schema_version()?;
    let RestoredTo { copied, kept_as, unsettled } = if path.exists() {
        let kept = fs::metadata(path).map_or(0, |found| found.len());
        // The new pages, the old ones in the journal, and the copy that is kept.
        expect_room(path, size + 2 * kept, "the old database is kept")?;
        restore_over(&source, options, watch).map_err(|failure| beyond_opening(failure, path))?
    } else {
        expect_room(path, size, "the database is as large as the backup")?;
        restore_anew(&source, from, path, watch)?
    };
    Ok(Restored { from: from.to_owned(), kept_as, unsettled, copied, schema_version })
}

/// What a restore left behind.
struct RestoredTo {
    copied: Copied,
    kept_as: Vec<PathBuf>,
    /// What failed once the database was restored already.
    unsettled: Option<MaintenanceError>,
}

/// Why a restore over a database failed: told apart, since what is too damaged to be kept needs other advice.
#[derive(Debug)]
enum NotRestored {
    Database(MaintenanceError),
    Other(Failure),
}

fn beyond_opening(failure: NotRestored, path: &Path) -> Failure {
    match failure {
        NotRestored::Database(MaintenanceError::Damaged { .. } | MaintenanceError::NotADatabase { .. }) => {
            Failure::failed(format!(
                "{} is too damaged to be kept as a database; move it away yourself, then restore again",
                path.display()
            ))
        }
        NotRestored::Database(MaintenanceError::Log(fault)) => Failure::failed(format!(
            "{} can't be kept as a database: {fault}. To restore all the same, move it and its log away first",
            path.display()
        )),
        NotRestored::Database(error) => error.into(),
        NotRestored::Other(failure) => failure,
    }
}

impl From<MaintenanceError> for NotRestored {
    fn from(error: MaintenanceError) -> Self {
        Self::Database(error)
    }
}

impl From<ArtifactError> for NotRestored {
    fn from(error: ArtifactError) -> Self {
        Self::Other(error.into())
    }
}

/// Over a database that is there, of which a copy is kept.
fn restore_over(source: &Source, options: &Options, watch: &Watch) -> Result<RestoredTo, NotRestored> {
    let path = &options.path;
    let database = Exclusive::open(options, watch)?;
    let kept = set_aside(path);
    let replacement = Replacement::like(&kept, path)?;
    database.copy_to(replacement.temporary_path(), watch)?;
    replacement.put_in_free_place()?;
    let replaced = database.replace_with(source, watch).map_err(|error| match error {
        MaintenanceError::Interrupted => {
            // The database is as it was, so nobody needs a second one.
            let _ = fs::remove_file(&kept);
            NotRestored::Database(error)
        }
        error => NotRestored::Other(Failure::from(error).followed_by(&told(std::slice::from_ref(&kept)))),
    })?;
    Ok(RestoredTo { copied: replaced.copied, kept_as: vec![kept], unsettled: replaced.unsettled })
}

/// Where there is no database, perhaps because it was lost or moved away. A log that was left behind belonged
/// to that one; beside the restored database it would be taken for its own. It is never taken from a process
/// that goes on without the name of its file.
fn restore_anew(source: &Source, from: &Path, path: &Path, watch: &Watch) -> Result<RestoredTo, Failure> {
    let replacement = Replacement::like(path, from)?;
    // Known before long work, and still so when the log is moved away.
    let _abandoned = Abandoned::confirm(replacement.destination())?;
    let copied = source.copy_to(replacement.temporary_path(), watch)?;
    let aside = set_aside(path);
    let [_, beside @ ..] = Options::files_of(replacement.destination());
    let [_, names @ ..] = Options::files_of(&aside);
    let mut kept_as = Vec::new();
    for (stray, name) in beside.iter().zip(names).filter(|(stray, _)| stray.exists()) {
        fs::rename(stray, &name).map_err(|error| {
            let message = format!("{} can't be moved away: {error}", stray.display());
            Failure::failed(message).followed_by(&told(&kept_as))
        })?;
        kept_as.push(name);
    }
    replacement.put_in_free_place().map_err(|error| Failure::from(error).followed_by(&told(&kept_as)))?;
    Ok(RestoredTo { copied, kept_as, unsettled: None })
}

/// The name under which what was there is kept, beside it and spelled as it is: `registry.db.before-restore-2026-01-31T130509.250Z`.
fn set_aside(path: &Path) -> PathBuf {
    let now = system_clock()().to_string().replace(' ', "T").replace(':', "");
    let mut name = followed(path).into_os_string();
    name.push(format!(".before-restore-{now}Z"));
    PathBuf::from(name)
}

/// Refuses to write over, or read from, the database's own files, by whatever name.
fn expect_apart(other: &Path, options: &Options) -> Result<(), Failure> {
    let own = options.files();
    let identity = FileIdentity::at(other);
    let [resolved, ..] = Options::files_of(&absolute(other));
    let is_own = own
        .iter()
        .any(|file| absolute(file) == resolved || identity.is_some() && FileIdentity::at(file) == identity);
    if is_own {
        let other = other.display();
        return Err(Failure::usage(format!("{other} belongs to the database itself; give another file")));
    }
    Ok(())
}

/// Absolute and with its links and those of its folder followed, whether the file is there or not.
fn absolute(path: &Path) -> PathBuf {
    let path = followed(path);
    let path = std::path::absolute(&path).unwrap_or(path);
    match (path.parent().and_then(|folder| folder.canonicalize().ok()), path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

/// A backup takes the place of an older one, not of whatever else a slip of the hand may name, nor of a
/// database that is in use: the log beside it would be taken for the new one's.
fn expect_replaceable(path: &Path) -> Result<(), Failure> {
    let [file, beside @ ..] = Options::files_of(path);
    let shown = path.display();
    if let Some(log) = beside.iter().find(|file| file.exists()) {
        return Err(Failure::failed(format!(
            "{shown} is in use, or was when its process died: {} lies beside it; choose another file",
            log.display()
        )));
    }
    let is_empty = fs::metadata(&file).is_ok_and(|found| found.len() == 0);
    if file.is_file() && !is_empty && !is_registry_at_rest(&file) {
        return Err(Failure::failed(format!(
            "{shown} is there and no registry's database, so it is not replaced; choose another file, or move it away"
        )));
    }
    Ok(())
}

fn expect_room(path: &Path, needed: u64, why: &str) -> Result<(), Failure> {
    match free_bytes(path) {
        Some(free) if free < needed => Err(Failure::failed(format!(
            "the folder {} has room for {}, but {} are needed: {why}; make room there",
            folder_of(path).display(),
            print::size(free),
            print::size(needed),
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_no_room_is_said_of_a_bare_name_too() {
        let refused = expect_room(Path::new("registry.db"), u64::MAX, "it is large").unwrap_err().text();
        assert!(refused.starts_with("the folder . has room for "), "{refused}");
    }

    #[test]
    fn the_name_of_what_is_kept_tells_when_it_was_set_aside() {
        let name = set_aside(Path::new("/no/such/registry.db"));
        let name = name.to_str().unwrap();
        let time = name.strip_prefix("/no/such/registry.db.before-restore-").unwrap();
        assert_eq!((time.len(), &time[10..11], &time[17..18], &time[21..]), (22, "T", ".", "Z"), "{name}");
    }
}
