//! The writer, and who stands in for it while the database may not be written: that one answers every write with the
//! reason, and looks now and then whether it has gone.

use std::{
    iter,
    sync::PoisonError,
    time::{Duration, Instant},
};

use crate::{
    domain::Timestamp,
    store::{
        StoreError,
        sqlite::{Options, ReadOnly, SqliteWriter},
    },
};

use super::{
    mailbox::Serve,
    reader::Writable,
    writer::{WriteJob, Writer, WriterParts},
};

/// How often it is tried to open the database for writing; reads wait for that, some milliseconds.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Who takes the writes.
pub(super) enum Desk {
    /// The database is open for writing.
    Open(Box<Writer>),
    /// It is not.
    Shut(Box<Shut>),
}

pub(super) struct Shut {
    pub(super) found: ReadOnly,
    pub(super) options: Options,
    pub(super) now: Timestamp,
    pub(super) writable: Writable,
    pub(super) looked: Instant,
    pub(super) parts: WriterParts,
}

impl Shut {
    fn look_again(&mut self) -> Option<Writer> {
        if self.looked.elapsed() < LOOK_AGAIN {
            return None;
        }
        self.looked = Instant::now();
        // No reader has it open now, with what it found when it could not be written.
        let mut writable = self.writable.write().unwrap_or_else(PoisonError::into_inner);
        match SqliteWriter::open(&self.options, self.now) {
            Ok(store) => {
                *writable = true;
                tracing::info!("the database can be written now");
                Some(Writer::new(store, self.options.clone(), self.parts.clone()))
            }
            Err(error) => {
                tracing::debug!(%error, "the database still can't be written");
                None
            }
        }
    }

    fn refusal(&self) -> StoreError {
        StoreError::Unwritable(format!("{}: the server looks again by itself", self.found.why))
    }
}

impl Serve for Desk {
    type Job = Box<dyn WriteJob>;

    fn serve(&mut self, first: Self::Job, waiting: &mut dyn Iterator<Item = Self::Job>) {
        if let Self::Shut(shut) = self {
            let Some(writer) = shut.look_again() else {
                let refusal = shut.refusal();
                iter::once(first).chain(waiting).for_each(|job| job.answer(Err(refusal.clone())));
                return;
            };
            *self = Self::Open(Box::new(writer));
        }
        if let Self::Open(writer) = self {
            writer.serve(first, waiting);
        }
    }

    fn idle(&mut self) -> Option<Duration> {
        match self {
            Self::Open(writer) => writer.idle(),
            Self::Shut(_) => None,
        }
    }

    fn linger(&self) -> Duration {
        match self {
            Self::Open(writer) => writer.linger(),
            Self::Shut(_) => Duration::ZERO,
        }
    }

    fn close(&mut self) {
        if let Self::Open(writer) = self {
            writer.close();
        }
    }
}
