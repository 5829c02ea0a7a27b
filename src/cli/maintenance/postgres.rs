//! The actions on a registry in PostgreSQL, beside its servers.

use super::{
    Maintenance, expect_sound,
    outcome::{self, Outcome},
};
use crate::{
    cli::exit::Failure,
    registry::system_clock,
    store::{
        maintenance::{Purged, Watch},
        postgres::{
            Options,
            maintenance::{MaintenanceError, VersionFiles, check, purge, purgeable, verify_audit},
        },
    },
};

impl From<MaintenanceError> for Failure {
    fn from(error: MaintenanceError) -> Self {
        let message = error.to_string();
        match error {
            MaintenanceError::Busy => Self::conflict(message),
            MaintenanceError::Interrupted => Self::interrupted(message),
            _ => Self::failed(message),
        }
    }
}

impl Maintenance {
    /// Refuses actions that only a file needs, and says what to use instead.
    pub(super) fn expect_for_postgres(&self) -> Result<(), Failure> {
        let autovacuum = "autovacuum does this; to do it now, run VACUUM (ANALYZE) with psql";
        for (is_given, flag, instead) in [
            (self.backup.is_some(), "--backup", "use pg_dump, or base backups with an archive of the WAL"),
            (self.restore.is_some(), "--restore", "use pg_restore, with an empty database"),
            (self.salvage_wal, "--salvage-wal", "PostgreSQL recovers its own WAL when it starts"),
            (self.vacuum, "--vacuum", autovacuum),
            (self.optimize, "--optimize", autovacuum),
        ] {
            if is_given {
                return Err(Failure::usage(format!(
                    "{flag} is for a database file; for PostgreSQL, {instead}"
                )));
            }
        }
        Ok(())
    }

    /// Runs the actions in the order in which they run for a file.
    pub(super) fn work_in_postgres(
        &self,
        options: &Options,
        watch: &Watch,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        if self.purge_deleted {
            self.purge(options, watch, outcome)?;
        }
        if self.collect_garbage {
            self.collect_garbage(&mut VersionFiles::open(options)?, watch, outcome)?;
        }
        if self.check {
            let report = outcome.add("check", || Ok(check(options, watch)?), outcome::checked)?;
            expect_sound(&report, options)?;
        }
        if self.verify_audit {
            self.verify_audit(outcome, options, |visit| Ok(verify_audit(options, watch, visit)?))?;
        }
        Ok(())
    }

    /// Purges in many transactions. If it stops in between, what it has purged is shown with the failure.
    fn purge(&self, options: &Options, watch: &Watch, outcome: &mut Outcome) -> Result<(), Failure> {
        let now = system_clock()();
        let before = now.minus(self.older_than);
        let mut stopped = None;
        let run = || {
            if !self.yes {
                return Ok(purgeable(options, before, watch)?);
            }
            let mut purged = Purged::default();
            match purge(options, before, now, watch, &mut purged) {
                Err(error) if purged == Purged::default() => return Err(error.into()),
                done => stopped = done.err(),
            }
            Ok(purged)
        };
        outcome
            .add("purge", run, |database, did, seconds| outcome::purged(database, did, self.yes, seconds))?;
        match stopped {
            None => Ok(()),
            Some(MaintenanceError::Interrupted) => Err(Failure::interrupted(
                "the purge was cancelled; what it lists is removed for good, and the rest is unchanged",
            )),
            Some(error) => Err(error.into()),
        }
    }
}
