//! The share of the server's limits that a connection uses, released when it is dropped.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::telemetry::Connections;

/// KiB of partial heads that all connections may hold together. actix holds up to 128 KiB for each, so without this bound
/// ten thousand clients without a key could make the server hold 1.3 GB.
pub(super) const MAX_HELD_KIB: usize = 16 << 10;
/// Bytes of a partial head that every connection may hold: more than nearly all heads have.
const FREE_HELD_BYTES: usize = 4 << 10;

/// Counts its connection as open, and what the connection holds.
pub(super) struct ConnectionGuard {
    _permit: OwnedSemaphorePermit,
    counts: Connections,
    held: Option<OwnedSemaphorePermit>,
    holdable_kib: Arc<Semaphore>,
}

impl ConnectionGuard {
    pub(super) fn new(
        permit: OwnedSemaphorePermit,
        counts: Connections,
        holdable_kib: Arc<Semaphore>,
    ) -> Self {
        counts.open.inc();
        Self { _permit: permit, counts, held: None, holdable_kib }
    }

    /// Records the bytes of a partial head. Returns false if all connections together would hold too many.
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        self.held = None;
        let kib = bytes.saturating_sub(FREE_HELD_BYTES).div_ceil(1024);
        if kib > 0 {
            let kib = u32::try_from(kib).unwrap_or(u32::MAX);
            self.held = Arc::clone(&self.holdable_kib).try_acquire_many_owned(kib).ok();
        }
        kib == 0 || self.held.is_some()
    }

    /// Counts a connection that was closed for this reason.
    pub(super) fn count_refusal(&self, reason: &'static str) {
        self.counts.refused(reason).inc();
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.counts.open.dec();
    }
}

#[cfg(test)]
mod tests {
    use crate::telemetry::Telemetry;

    use super::*;

    #[test]
    fn partial_heads_are_bounded_together() {
        let (permits, holdable) = (Arc::new(Semaphore::new(1_000)), Arc::new(Semaphore::new(MAX_HELD_KIB)));
        let counts = Telemetry::new(&[]).connections;
        let guard = || {
            let permit = Arc::clone(&permits).try_acquire_owned().unwrap();
            ConnectionGuard::new(permit, counts.clone(), Arc::clone(&holdable))
        };
        let mut guards: Vec<_> = (0..1_000).map(|_| guard()).collect();
        let refused = guards.iter_mut().map(|guard| guard.hold(60 << 10)).filter(|held| !held).count();
        assert!((600..1_000).contains(&refused), "{refused}");
        assert!(guards[0].hold(4 << 10), "an ordinary head is always accepted");
        assert!(guards[1].hold(0), "a complete head is held no longer");
        drop(guards);
        assert_eq!((holdable.available_permits(), permits.available_permits()), (MAX_HELD_KIB, 1_000));
    }
}
