//! `registry maintenance`: maintains the database. It needs no server and no key.
//!
//! This decides the order of the actions and when a file replaces another; the store does what happens inside a database.

mod copying;
mod garbage;
mod outcome;
mod postgres;
mod progress;

use std::{
    env, fmt, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use self::{
    garbage::FileVersions,
    outcome::{Outcome, Restored, kept_as_note},
    progress::Display,
};
use super::{exit::Failure, interrupt::Interrupt, print};
use crate::{
    artifact::{FileIdentity, Replacement, folder_of, follow_links, free_bytes},
    registry::system_clock,
    settings,
    store::sqlite::{
        DatabaseLock, LockError, Options,
        maintenance::{
            Copied, MaintenanceError, Report, Source, Watch, is_registry_at_rest, merge_wal, optimize, purge,
            salvage_wal, vacuum,
        },
    },
};

const HELP: &str = "\
Examples:
  Back up, even while a server runs; a verified backup replaces an old one:
    registry maintenance --db-path /var/lib/registry/registry.db --backup /backup/registry.db
  Check the database, or a backup of it:
    registry maintenance --check
    registry maintenance --check --db-path /backup/registry.db
  Restore a backup. Stop the server first; the old database is kept next to the restored one:
    registry maintenance --restore /backup/registry.db --check
  A server refuses to start because its write-ahead log (WAL) is damaged; the WAL is copied aside:
    registry maintenance --salvage-wal --check
  See which deleted versions and models are older than 90 days, then remove them for good. Stop the
  server first:
    registry maintenance --purge-deleted --older-than 90d
    registry maintenance --purge-deleted --older-than 90d --yes
  See which uploaded files no version has any more, then remove them, even while servers run:
    registry maintenance --collect-garbage --artifact-store file:///var/lib/registry/artifacts
    registry maintenance --collect-garbage --artifact-store file:///var/lib/registry/artifacts --yes
  Move the registry into an empty PostgreSQL database. Stop the server first; an interrupted copy
  resumes:
    registry maintenance --copy-to postgres://registry@db.example.org/registry
  And back into a new file, as of the moment it begins:
    registry maintenance --database-url postgres://registry@db.example.org/registry --copy-to new.db
  Check a registry in PostgreSQL while its servers run:
    registry maintenance --check --database-url postgres://registry@db.example.org/registry
  Each night, for a script:
    registry maintenance --backup /backup/registry.db --check --json | jq .backup.size_bytes

Actions given together run in this order: backup, purge, garbage, vacuum, optimize, check.
--restore and --salvage-wal can be combined only with --check, and --copy-to with nothing.

--backup, --check and a purge without --yes change nothing and work while a server runs, and so does
--collect-garbage. Files of versions in the trash stay until these are purged. The other actions
need exclusive access to the file, and are refused while a server runs. A backup is one file, which
needs no -wal beside it. A kill -9 or a second Ctrl-C may leave a file .registry-* in the
destination folder, which can be deleted.

A registry in PostgreSQL has --check, --purge-deleted, --collect-garbage and --copy-to, which work
while its servers run. Back it up with pg_dump. To resume an interrupted copy, run the same command
again. Put a password into PGPASSWORD or the file of PGPASSFILE, or the URL into
CAIA_REGISTRY_DATABASE_URL: other users of this machine can see flags.

Exit codes:
  0  done; a check found no errors, though perhaps warnings
  1  failed, or a check found errors
  2  wrong usage
  5  another process uses the database, such as a server; stop it
  130  ended by Ctrl-C, SIGTERM or a closed terminal; the running action was undone, earlier ones were not. Running
       the same copy again resumes it";

const COPY_CONFLICTS: [&str; 8] =
    ["backup", "restore", "salvage_wal", "check", "purge_deleted", "collect_garbage", "vacuum", "optimize"];

/// Back up, restore, check and compact the database; needs no server.
///
/// Results go to stdout, errors and progress to stderr.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(super) struct Maintenance {
    /// Copy the database to this file, as of one moment, and verify the copy before it replaces an old one
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
    /// Copy the registry into an empty PostgreSQL database, or from PostgreSQL into a new file; every row is compared
    #[arg(long, value_name = "URL|FILE", conflicts_with_all = COPY_CONFLICTS)]
    copy_to: Option<String>,
    /// Replace the database by this backup; refused while a server or another program uses it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["backup", "vacuum", "optimize"])]
    restore: Option<PathBuf>,
    /// If the WAL is damaged, copy it aside and keep what is sound in it
    #[arg(long, alias = "salvage-log", conflicts_with_all = ["backup", "restore", "vacuum", "optimize"])]
    salvage_wal: bool,
    /// Check the database against every rule of the registry; reports what is wrong and what to do
    #[arg(long)]
    check: bool,
    /// Show which deleted versions and models would be removed for good; with --yes, remove them
    #[arg(long, conflicts_with_all = ["restore", "salvage_wal"])]
    purge_deleted: bool,
    /// The minimum age of what is purged, like 30d, 12h or 0d
    #[arg(long, value_name = "AGE", default_value = "30d", value_parser = age, requires = "purge_deleted")]
    older_than: Duration,
    /// Show which blobs of the artifact store no version has, and which uploads were abandoned; with --yes, remove them
    #[arg(long, conflicts_with_all = ["restore", "salvage_wal"])]
    collect_garbage: bool,
    /// The minimum age of what is collected, like 7d; less than 24h is not safe while clients upload
    #[arg(long, value_name = "AGE", default_value = "24h", value_parser = age, requires = "collect_garbage")]
    grace: Duration,
    /// Remove what --purge-deleted and --collect-garbage show
    #[arg(long)]
    yes: bool,
    /// Rewrite the database without the free pages that deleted rows have left; refused while a server runs
    #[arg(long)]
    vacuum: bool,
    /// Refresh the statistics of the query planner, and rebuild what --check finds wrong in counters and indexes
    #[arg(long)]
    optimize: bool,

    /// The database file [env: CAIA_REGISTRY_DB_PATH] [default: ./registry.db]
    #[arg(long, value_name = "FILE")]
    db_path: Option<PathBuf>,
    /// PostgreSQL database in place of a file, as for `registry serve` [env: CAIA_REGISTRY_DATABASE_URL]
    #[arg(long, value_name = "URL", conflicts_with = "db_path")]
    database_url: Option<String>,
    /// The artifact store, as for `registry serve` [env: CAIA_REGISTRY_ARTIFACT_STORE]
    #[arg(long, value_name = "URL", requires = "collect_garbage")]
    artifact_store: Option<String>,
    /// Its folder of unfinished uploads [env: CAIA_REGISTRY_ARTIFACT_UPLOADS]
    #[arg(long, value_name = "DIR", requires = "collect_garbage")]
    artifact_uploads: Option<PathBuf>,
    /// Print results, and a failure, as one JSON object
    #[arg(long)]
    json: bool,
}

impl From<MaintenanceError> for Failure {
    fn from(error: MaintenanceError) -> Self {
        let message = error.to_string();
        match error {
            MaintenanceError::Busy { .. } | MaintenanceError::Lock(LockError::Owned { .. }) => {
                Self::conflict(message)
            }
            MaintenanceError::Interrupted => Self::interrupted(message),
            _ => Self::failed(message),
        }
    }
}

impl Maintenance {
    /// Runs the actions and prints their results.
    pub(super) fn run(self) -> Result<(), Failure> {
        let has_flag = self.check || self.vacuum || self.optimize || self.salvage_wal || self.purge_deleted;
        let has_flag = has_flag || self.collect_garbage;
        if self.backup.is_none() && self.restore.is_none() && self.copy_to.is_none() && !has_flag {
            return Err(Failure::usage(
                "nothing to do; give --backup FILE, --restore FILE, --copy-to URL|FILE, --check, --purge-deleted, \
                 --collect-garbage, --vacuum, --optimize or --salvage-wal",
            ));
        }
        if self.yes && !self.purge_deleted && !self.collect_garbage {
            return Err(Failure::usage(
                "--yes is for --purge-deleted and --collect-garbage; give one of them",
            ));
        }
        let variable = |name: &str| env::var(name).ok();
        let (server, warnings) =
            settings::postgres_options(self.database_url.as_deref(), self.db_path.as_deref(), variable)
                .map_err(Failure::failed)?;
        warn(&warnings);
        if server.is_some() {
            self.expect_for_postgres()?;
        }
        let interrupt = Interrupt::listen()?;
        let display = Display::new();
        let watch = display.watch(move || interrupt.requested());
        let options = settings::sqlite_options(self.db_path.clone(), variable);
        let mut outcome = match &server {
            Some(server) => Outcome::new("database_url", server.to_string()),
            None => Outcome::new("db_path", options.path.to_string_lossy().into_owned()),
        };
        let done = match (&self.copy_to, &server) {
            (Some(to), _) => self.copy(to, server.as_ref(), &options, &watch, &mut outcome),
            (None, Some(server)) => self.work_in_postgres(server, &watch, &mut outcome),
            (None, None) => self.work(&options, &watch, &mut outcome),
        };
        display.end();
        let printed = if self.json {
            print::result(&outcome.into_json(done.as_ref().err().map(Failure::text)))
        } else {
            print::text(outcome.text())
        };
        done.and(printed)
    }

    fn work(&self, options: &Options, watch: &Watch, outcome: &mut Outcome) -> Result<(), Failure> {
        if let Some(from) = &self.restore {
            let show = |db: &str, did: &_, seconds| outcome::restored(db, from, did, seconds);
            outcome.add("restore", || restore(from, options, watch), show)?;
        }
        if self.salvage_wal {
            outcome.add("salvage", || Ok(salvage_wal(options, watch)?), outcome::salvaged)?;
        }
        if let Some(to) = &self.backup {
            let show = |db: &str, did: &_, seconds| outcome::backed_up(db, to, did, seconds);
            outcome.add("backup", || back_up(to, options, watch), show)?;
        }
        if self.purge_deleted {
            let now = system_clock()();
            let before = now.minus(self.older_than);
            let run = || {
                Ok(if self.yes {
                    purge(options, before, now, watch)?
                } else {
                    Source::open(options, watch)?.purgeable(before, watch)?
                })
            };
            let show = |db: &str, did: &_, seconds| outcome::purged(db, did, self.yes, seconds);
            outcome.add("purge", run, show)?;
        }
        if self.collect_garbage {
            let source = Source::open(options, watch)?;
            source.expect_current()?;
            self.collect_garbage(&mut FileVersions(source), watch, outcome)?;
        }
        if self.vacuum {
            let run = || {
                let needed = fs::metadata(&options.path).map_or(0, |found| found.len());
                expect_space(&options.path, needed, "--vacuum writes a second copy")?;
                Ok(vacuum(options, watch)?)
            };
            outcome.add("vacuum", run, outcome::vacuumed)?;
        }
        if self.optimize {
            outcome.add("optimize", || Ok(optimize(options, watch)?), outcome::optimized)?;
        }
        if self.check {
            let run = || Ok(Source::open(options, watch)?.check(watch)?);
            let report = outcome.add("check", run, outcome::checked)?;
            expect_sound(&report, &options.path.display())?;
        }
        Ok(())
    }
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        print::line(&format!("warning: {warning}"));
    }
}

/// Fails if a check has found errors.
fn expect_sound(report: &Report, database: &dyn fmt::Display) -> Result<(), Failure> {
    if report.errors.total == 0 {
        return Ok(());
    }
    let errors = print::counted(report.errors.total, "error");
    Err(Failure::failed(format!("{database} has {errors}, see the report")))
}

/// Reads an age in days, hours or minutes.
fn age(text: &str) -> Result<Duration, String> {
    let unit = text.char_indices().last().map_or(0, |(at, _)| at);
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        _ => return Err("expected a number and d, h or m, like 30d".to_owned()),
    };
    let number: u64 =
        number.parse().map_err(|_| "expected a whole number before the unit, like 30d".to_owned())?;
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

fn back_up(to: &Path, options: &Options, watch: &Watch) -> Result<Copied, Failure> {
    expect_apart(to, options)?;
    // Before long work, so that a folder that can't be written fails at once.
    let replacement = Replacement::like(to, &options.path)?;
    expect_replaceable(to)?;
    let source = Source::open(options, watch)?;
    let size = fs::metadata(&options.path).map_or(0, |found| found.len());
    expect_space(replacement.destination(), size, "the backup is as large as the database")?;
    let copied = source.copy_to(replacement.temporary_path(), watch)?;
    drop(source);
    replacement.persist()?;
    Ok(copied)
}

/// Replaces the database by a verified copy of the backup, with one rename: a crash leaves the old one or the new one.
fn restore(from: &Path, options: &Options, watch: &Watch) -> Result<Restored, Failure> {
    let path = &options.path;
    expect_apart(from, options).map_err(|_| {
        Failure::usage(format!("{} is the database itself; give a backup of it", from.display()))
    })?;
    let lock = DatabaseLock::acquire(options).map_err(MaintenanceError::from)?;
    let source = Source::open(&Options { path: from.to_owned(), ..options.clone() }, watch)?;
    source.verify(watch)?;
    let schema_version = source.schema_version()?;
    let old = fs::metadata(path).ok();
    let replacement = Replacement::like(path, if old.is_some() { path } else { from })?;
    let [size, old_size] =
        [fs::metadata(from).ok().as_ref(), old.as_ref()].map(|file| file.map_or(0, |file| file.len()));
    expect_space(
        replacement.destination(),
        size + old_size,
        "the old database is kept next to the restored one",
    )?;
    let copied = source.copy_to(replacement.temporary_path(), watch)?;
    drop(source);
    if let Some(old) = &old {
        // Root may restore for the user that the server runs as.
        let _ = std::os::unix::fs::chown(replacement.temporary_path(), Some(old.uid()), Some(old.gid()));
        merge_wal(options, watch, &lock).map_err(|error| explain_unmerged(error, path))?;
    }
    let kept_as = set_aside(path, replacement.destination())?;
    replacement.persist().map_err(|error| Failure::from(error).followed_by(&kept_as_note(&kept_as)))?;
    Ok(Restored { kept_as, copied, schema_version })
}

/// Says what to do about a database whose WAL can't be moved into it.
fn explain_unmerged(error: MaintenanceError, path: &Path) -> Failure {
    let path = path.display();
    match error {
        MaintenanceError::Damaged { .. } | MaintenanceError::NotADatabase { .. } => Failure::failed(format!(
            "{path} is too damaged to be kept as a database; move it away yourself, then restore again"
        )),
        MaintenanceError::Wal(fault) => Failure::failed(format!(
            "{path} can't be kept as a database: {fault}. To restore anyway, move it and its WAL away first"
        )),
        error => error.into(),
    }
}

/// Copies the old database to another name in its folder, and moves away files that a lost one left, because a WAL would
/// be read with the restored database.
fn set_aside(path: &Path, database: &Path) -> Result<Vec<PathBuf>, Failure> {
    let aside = aside_name(path);
    let failed =
        |what: &Path, error: io::Error| Failure::failed(format!("{} can't be kept: {error}", what.display()));
    let mut kept_as = Vec::new();
    if database.exists() {
        let copy = Replacement::like(&aside, database)?;
        fs::copy(database, copy.temporary_path()).map_err(|error| failed(database, error))?;
        copy.persist_new()?;
        kept_as.push(aside.clone());
    }
    let [_, beside @ ..] = Options::files_of(database);
    let [_, names @ ..] = Options::files_of(&aside);
    for (stray, name) in beside.iter().zip(names).filter(|(stray, _)| stray.exists()) {
        fs::rename(stray, &name)
            .map_err(|error| failed(stray, error).followed_by(&kept_as_note(&kept_as)))?;
        kept_as.push(name);
    }
    Ok(kept_as)
}

/// Returns the name that keeps the old database, in its folder: `registry.db.before-restore-2026-01-31T130509.250Z`.
fn aside_name(path: &Path) -> PathBuf {
    let now = system_clock()().to_string().replace(' ', "T").replace(':', "");
    let mut name = follow_links(path).into_os_string();
    name.push(format!(".before-restore-{now}Z"));
    PathBuf::from(name)
}

/// Refuses to write to or read from the database's own files, under any name.
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

/// Returns the absolute path with all links resolved, even if the file does not exist.
fn absolute(path: &Path) -> PathBuf {
    let path = follow_links(path);
    let path = std::path::absolute(&path).unwrap_or(path);
    match (path.parent().and_then(|folder| folder.canonicalize().ok()), path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

/// Refuses to replace another file than an older backup, such as one named by mistake, or a database in use, whose WAL
/// would be read with the backup.
fn expect_replaceable(path: &Path) -> Result<(), Failure> {
    let [file, beside @ ..] = Options::files_of(path);
    let shown = path.display();
    if let Some(stray) = beside.iter().find(|file| file.exists()) {
        return Err(Failure::failed(format!(
            "{shown} is in use, or was when its process died: there is a {}; choose another file",
            stray.display()
        )));
    }
    let is_empty = fs::metadata(&file).is_ok_and(|found| found.len() == 0);
    if file.is_file() && !is_empty && !is_registry_at_rest(&file) {
        return Err(Failure::failed(format!(
            "{shown} exists and is not a registry database, so it is not replaced; choose another file, or move it away"
        )));
    }
    Ok(())
}

fn expect_space(path: &Path, needed: u64, why: &str) -> Result<(), Failure> {
    match free_bytes(path) {
        Some(free) if free < needed => Err(Failure::failed(format!(
            "the folder {} has {} free, but {} are needed: {why}; free space there",
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
    fn a_full_folder_is_named_for_a_bare_file_name_too() {
        let refused = expect_space(Path::new("registry.db"), u64::MAX, "it is large").unwrap_err().text();
        assert!(refused.starts_with("the folder . has "), "{refused}");
    }

    #[test]
    fn the_name_of_a_kept_database_tells_the_time() {
        let name = aside_name(Path::new("/no/such/registry.db"));
        let name = name.to_str().unwrap();
        let time = name.strip_prefix("/no/such/registry.db.before-restore-").unwrap();
        assert_eq!((time.len(), &time[10..11], &time[17..18], &time[21..]), (22, "T", ".", "Z"), "{name}");
    }
}
