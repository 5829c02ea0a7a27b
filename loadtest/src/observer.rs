//! Collects the workers' messages during the load: the run over time, its progress, and whether the server still runs.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use crate::{
    Halt,
    calls::Stop,
    ledger::Ledger,
    plan::{Limit, Plan},
    series::{SLICE, Series, Slice},
    tally::Tally,
    workers::{Shared, WorkerMessage},
};

/// The interval of progress reports.
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// A server that refuses all connections for this long is gone. A restart is shorter.
const GONE_AFTER: Duration = Duration::from_secs(2);
/// The wait for answers after the run was ended.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// The slices that the rate on the progress line covers.
const NOW_SLICES: i64 = 10;

/// The stage of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stage {
    /// Registering versions: the number done, and of how many.
    Preparing(usize, usize),
    /// Sending requests.
    Loading(Progress),
    /// Reading the audit trail: versions done, and of how many.
    ReadingBack(usize, usize),
    /// Deleting versions: the number done.
    TidyingUp(usize),
}

/// The progress of the load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// True in the warm-up.
    pub warming_up: bool,
    /// Since the start of the load.
    pub elapsed: Duration,
    /// The end with the warm-up, if time ends the run.
    pub end: Option<Duration>,
    /// The number of requests, if that ends the run.
    pub requests: Option<u64>,
    /// Requests that have ended.
    pub done: u64,
    /// Requests that have failed.
    pub failed: u64,
    /// Successful requests of the last second, and their latencies in nanoseconds.
    pub per_second: f64,
    #[allow(missing_docs, reason = "as above")]
    pub p50_ns: u64,
    #[allow(missing_docs, reason = "as above")]
    pub p99_ns: u64,
}

/// Collects messages, and reports progress.
pub(crate) struct Observer<'a> {
    plan: &'a Plan,
    start: Instant,
    pub(crate) series: Series,
    pub(crate) tally: Tally,
    /// By caller.
    pub(crate) ledgers: Vec<Ledger>,
    pub(crate) abandoned: u64,
    /// The last slices, for the current rate.
    recent: Vec<(i64, Slice)>,
    done: u64,
    failed: u64,
    working: usize,
    /// The first and the last failed connection since the last answer.
    unreachable: Option<(Instant, Instant)>,
}

impl<'a> Observer<'a> {
    pub(crate) fn new(plan: &'a Plan, start: Instant) -> Self {
        Self {
            plan,
            start,
            series: Series::default(),
            tally: Tally::new(),
            ledgers: vec![Ledger::default(); plan.connections],
            abandoned: 0,
            recent: Vec::new(),
            done: 0,
            failed: 0,
            working: plan.workers,
            unreachable: None,
        }
    }

    /// Collects until all workers have ended. Returns why and when the run was cut short.
    pub(crate) fn watch(
        &mut self,
        shared: &Shared,
        messages: &Receiver<WorkerMessage>,
        stop: &Stop,
        report: &mut dyn FnMut(Stage),
    ) -> Option<(Halt, Instant)> {
        let mut halted: Option<(Halt, Instant)> = None;
        let mut next_report = Instant::now();
        while self.working > 0 {
            match messages.recv_timeout(REPORT_EVERY) {
                Ok(message) => self.receive(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = Instant::now();
            if now < next_report {
                continue;
            }
            next_report = now + REPORT_EVERY;
            report(Stage::Loading(self.progress(now)));
            match halted {
                None => {
                    // One failure is not enough, since at a low rate the next request comes late.
                    let gone = self.unreachable.is_some_and(|(first, last)| last - first >= GONE_AFTER);
                    let halt = stop().or(gone.then_some(Halt::ServerGone));
                    if let Some(halt) = halt {
                        halted = Some((halt, now));
                        shared.stop();
                    }
                }
                Some((_, since)) if now - since >= LAST_ANSWERS => shared.abandon(),
                Some(_) => {}
            }
        }
        halted
    }

    fn receive(&mut self, message: WorkerMessage) {
        match message {
            WorkerMessage::Ready(_) => {}
            WorkerMessage::Slice(number, slice) => {
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
                if let Ok(number) = u64::try_from(number) {
                    self.series.add(number, &slice);
                }
                self.recent.push((number, slice));
                let newest = self.recent.iter().map(|(number, _)| *number).max().unwrap_or_default();
                self.recent.retain(|(number, _)| *number > newest - NOW_SLICES);
            }
            WorkerMessage::Done(result) => {
                self.working -= 1;
                self.tally.add(result.tally);
                self.abandoned += result.abandoned;
                for (caller, ledger) in result.ledgers {
                    self.ledgers[caller] = ledger;
                }
            }
        }
    }

    fn progress(&self, now: Instant) -> Progress {
        let elapsed = now - self.start;
        let warmup = self.plan.warmup;
        let mut recent = Slice::new();
        self.recent.iter().for_each(|(_, slice)| recent.add(slice));
        // The slices may belong to the warm-up.
        let window = elapsed.clamp(SLICE, SLICE * NOW_SLICES as u32);
        let callers = self.plan.connections as u64;
        let (end, requests) = match self.plan.limit {
            Limit::Duration(duration) => (Some(warmup + duration), None),
            Limit::Requests(count) => (None, Some(count)),
            Limit::RequestsPerCaller(count) => (None, Some(count.saturating_mul(callers))),
        };
        Progress {
            warming_up: elapsed < warmup,
            elapsed,
            end,
            requests,
            done: self.done,
            failed: self.failed,
            per_second: recent.done as f64 / window.as_secs_f64(),
            p50_ns: recent.latency.value_at_quantile(0.5),
            p99_ns: recent.latency.value_at_quantile(0.99),
        }
    }
}
