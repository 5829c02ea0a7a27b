//! `registry maintenance`: maintains the database. It needs no server and no key.
//!
//! This decides the order of the actions and when a file replaces another; the store does what happens inside a database.

mod auditing;
mod copying;
mod garbage;
mod outcome;
mod postgres;
mod progress;
mod replacing;

use std::{env, fmt, fs, path::PathBuf, time::Duration};

use clap::Args;

use self::{
    garbage::FileVersions,
    outcome::Outcome,
    progress::Display,
    replacing::{back_up, expect_space, restore},
};
use super::{age::age, exit::Failure, interrupt::Interrupt, print};
use crate::{
    registry::system_clock,
    settings,
    store::sqlite::{
        LockError, Options,
        maintenance::{MaintenanceError, Report, Source, Watch, optimize, purge, salvage_wal, vacuum},
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
  Verify the audit trail, and compare it with a copy that is kept elsewhere:
    registry maintenance --verify-audit --against trail-2026-11-29.jsonl
  Each night, for a script:
    registry maintenance --backup /backup/registry.db --check --json | jq .backup.size_bytes

Actions given together run in this order: backup, purge, garbage, vacuum, optimize, check,
verify-audit.
--restore and --salvage-wal can be combined only with --check and --verify-audit, and --copy-to with
nothing.

--backup, --check, --verify-audit and a purge without --yes change nothing and work while a server
runs, and so does --collect-garbage. Files of versions in the trash stay until these are purged. The other actions
need exclusive access to the file, and are refused while a server runs. A backup is one file, which
needs no -wal beside it. A kill -9 or a second Ctrl-C may leave a file .registry-* in the
destination folder, which can be deleted.

A registry in PostgreSQL has --check, --verify-audit, --purge-deleted, --collect-garbage and
--copy-to, which work while its servers run. Back it up with pg_dump. To resume an interrupted copy, run the same command
again. Put a password into PGPASSWORD or the file of PGPASSFILE, or the URL into
CAIA_REGISTRY_DATABASE_URL: other users of this machine can see flags.

Exit codes:
  0  done; a check found no errors, though perhaps warnings
  1  failed, or a check found errors, or the audit trail does not fit
  2  wrong usage
  5  another process uses the database, such as a server; stop it
  130  ended by Ctrl-C, SIGTERM or a closed terminal; the running action was undone, earlier ones were not. Running
       the same copy again resumes it";

const COPY_CONFLICTS: [&str; 9] = [
    "backup",
    "restore",
    "salvage_wal",
    "check",
    "verify_audit",
    "purge_deleted",
    "collect_garbage",
    "vacuum",
    "optimize",
];

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
    /// Verify the hash chains of the audit trail; names each event that was changed, removed, added or reordered
    #[arg(long)]
    verify_audit: bool,
    /// Compare the audit trail with this export of `registry events export`, which shows also what a chain alone can't
    #[arg(long, value_name = "EXPORT", requires = "verify_audit")]
    against: Option<PathBuf>,
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
        let has_flag = has_flag || self.collect_garbage || self.verify_audit;
        if self.backup.is_none() && self.restore.is_none() && self.copy_to.is_none() && !has_flag {
            return Err(Failure::usage(
                "nothing to do; give --backup FILE, --restore FILE, --copy-to URL|FILE, --check, --verify-audit, --purge-deleted, \
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
        if self.verify_audit {
            self.verify_audit(outcome, &options.path.display(), |visit| {
                Ok(Source::open(options, watch)?.verify_audit(watch, visit)?)
            })?;
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
