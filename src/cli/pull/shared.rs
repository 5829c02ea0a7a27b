//! What all threads of a pull share: where bytes come from and go to, the progress, and the end.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use super::{
    super::{exit::Failure, interrupt::Interrupt, progress::OnlyBar},
    cache::Cache,
    source::Source,
};

/// What all threads of a pull share.
pub(in crate::cli) struct Shared<'p> {
    pub(in crate::cli) cache: &'p Cache,
    pub(in crate::cli) source: &'p Source,
    pub(in crate::cli) interrupt: &'p Interrupt,
    pub(in crate::cli) bar: OnlyBar,
    pub(in crate::cli) done_bytes: AtomicU64,
    pub(in crate::cli) fetched_bytes: AtomicU64,
    pub(in crate::cli) connections: u64,
    stop: AtomicBool,
    failure: Mutex<Option<Failure>>,
}

impl<'p> Shared<'p> {
    pub(in crate::cli) fn new(
        cache: &'p Cache,
        source: &'p Source,
        interrupt: &'p Interrupt,
        bar: OnlyBar,
        connections: u64,
    ) -> Self {
        Self {
            cache,
            source,
            interrupt,
            bar,
            connections,
            done_bytes: AtomicU64::new(0),
            fetched_bytes: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    /// Returns true once the pull ends early.
    pub(in crate::cli) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.interrupt.requested()
    }

    /// Ends the pull; its first failure counts.
    pub(in crate::cli) fn fail(&self, failure: Failure) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Counts bytes that are done.
    pub(in crate::cli) fn advance(&self, bytes: u64) {
        self.bar.set(self.done_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes);
    }

    pub(super) fn retreat(&self, bytes: u64) {
        self.bar.set(self.done_bytes.fetch_sub(bytes, Ordering::Relaxed).saturating_sub(bytes));
    }

    /// # Errors
    /// The failure that ended the pull.
    pub(in crate::cli) fn outcome(&self) -> Result<(), Failure> {
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }
}

/// Runs `work` on this many threads until it returns false or the pull ends.
///
/// # Errors
/// The first failure of `work`.
pub(in crate::cli) fn on_threads(
    shared: &Shared<'_>,
    threads: u64,
    work: impl Fn() -> Result<bool, Failure> + Sync,
) -> Result<(), Failure> {
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !shared.stopped() {
                    match work() {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(failure) => shared.fail(failure),
                    }
                }
            });
        }
    });
    shared.outcome()
}
