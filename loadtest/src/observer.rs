//! Listens to the workers while the load is on: what has ended over time, how it goes now, and whether there is still
//! a server.

use std::{
    collections::VecDeque,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use crate::{
    Halt,
    ledger::Ledger,
    plan::{Extent, Plan},
    run::{Stage, Watch},
    series::{SLICE, Series, Slice},
    tally::{Tally, fold, slice_histogram},
    workers::{Shared, Told},
};

/// How often whoever watches is told.
const TELL: Duration = Duration::from_millis(100);
/// A server that nobody can connect to for so long is gone. One that is only restarted is back before.
const GONE_AFTER: Duration = Duration::from_secs(2);
/// How long answers are waited for once someone ended the run.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// What "now" means on the progress line, in slices.
const NOW_SLICES: i64 = 10;

/// How the load goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Live {
    /// Nothing is counted yet.
    pub warming_up: bool,
    /// Since the load began.
    pub elapsed: Duration,
    /// Where time ends it: when, with the warm-up.
    pub end: Option<Duration>,
    /// Where a number of requests ends it: that number.
    pub requests: Option<u64>,
    /// Requests that ended, and failed, so far.
    pub done: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Of the last second: answered well, and how fast in nanoseconds.
    pub per_second: f64,
    #[allow(missing_docs, reason = "as above")]
    pub p50_ns: u64,
    #[allow(missing_docs, reason = "as above")]
    pub p99_ns: u64,
}

/// Listens to the workers, and tells whoever watches.
pub(crate) struct Observer<'a> {
    plan: &'a Plan,
    start: Instant,
    pub(crate) series: Series,
    pub(crate) tally: Tally,
    pub(crate) ledgers: Vec<Option<Ledger>>,
    pub(crate) abandoned: u64,
    /// The last slices, for what "now" is.
    recent: VecDeque<(i64, Slice)>,
    done: u64,
    failed: u64,
    working: usize,
    /// When nobody could connect for the first and the last time, since somebody was answered.
    unreachable: Option<(Instant, Instant)>,
}

impl<'a> Observer<'a> {
    pub(crate) fn new(plan: &'a Plan, start: Instant) -> Self {
        Self {
            plan,
            start,
            series: Series::default(),
            tally: Tally::new(),
            ledgers: vec![None; plan.connections],
            abandoned: 0,
            recent: VecDeque::new(),
            done: 0,
            failed: 0,
            working: plan.workers,
            unreachable: None,
        }
    }

    /// Until all workers have ended. Returns what cut the run short, and when.
    pub(crate) fn watch(
        &mut self,
        shared: &Shared,
        told: &Receiver<Told>,
        watch: &Watch,
        tell: &mut dyn FnMut(Stage),
    ) -> Option<(Halt, Instant)> {
        let mut halted: Option<(Halt, Instant)> = None;
        let mut next_tell = Instant::now();
        while self.working > 0 {
            match told.recv_timeout(TELL) {
                Ok(told) => self.hear(told),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = Instant::now();
            if now < next_tell {
                continue;
            }
            next_tell = now + TELL;
            tell(Stage::Loading(self.live(now)));
            match halted {
                None => {
                    // One try that failed is none, however long ago: at a low rate the next comes late.
                    let gone = self.unreachable.is_some_and(|(first, last)| last - first >= GONE_AFTER);
                    let halt = (watch.stop)().or(gone.then_some(Halt::ServerGone));
                    if let Some(halt) = halt {
                        halted = Some((halt, now));
                        shared.stop();
                    }
                }
                Some((_, since)) if now - since >= LAST_ANSWERS => shared.give_up(),
                Some(_) => {}
            }
        }
        halted
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Ready(_) => {}
            Told::Slice(number, slice) => {
                self.done += slice.done + slice.failed;
                self.failed += slice.failed;
                let answered = slice.done + slice.failed > slice.unreachable;
                self.unreachable = match (answered, slice.unreachable) {
                    (true, _) => None,
                    (false, 0) => self.unreachable,
                    (false, _) => {
                        let now = Instant::now();
                        Some((self.unreachable.map_or(now, |(first, _)| first), now))
                    }
                };
                self.recent.push_back((number, slice.clone()));
                let newest = self.recent.iter().map(|(number, _)| *number).max().unwrap_or_default();
                self.recent.retain(|(number, _)| *number > newest - NOW_SLICES);
                if let Ok(number) = u64::try_from(number) {
                    self.series.add(number, slice);
                }
            }
            Told::Done(worked) => {
                self.working -= 1;
                self.tally.add(worked.tally);
                self.abandoned += worked.abandoned;
                for (caller, ledger) in worked.ledgers {
                    self.ledgers[caller] = Some(ledger);
                }
            }
        }
    }

    fn live(&self, now: Instant) -> Live {
        let elapsed = now - self.start;
        let warmup = self.plan.warmup;
        let (mut done, mut latency) = (0, slice_histogram());
        for (_, slice) in &self.recent {
            done += slice.done;
            fold(&mut latency, &slice.latency);
        }
        // Those slices may be of the warm-up too.
        let window = elapsed.clamp(SLICE, SLICE * NOW_SLICES.unsigned_abs() as u32);
        let callers = self.plan.connections as u64;
        Live {
            warming_up: elapsed < warmup,
            elapsed,
            end: match self.plan.extent {
                Extent::Duration(duration) => Some(warmup + duration),
                _ => None,
            },
            requests: match self.plan.extent {
                Extent::Requests(count) => Some(count),
                Extent::RequestsPerCaller(count) => Some(count.saturating_mul(callers)),
                Extent::Duration(_) => None,
            },
            done: self.done,
            failed: self.failed,
            per_second: done as f64 / window.as_secs_f64(),
            p50_ns: latency.value_at_quantile(0.5),
            p99_ns: latency.value_at_quantile(0.99),
        }
    }
}
