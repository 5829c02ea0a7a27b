//! A run from start to end: check, prepare, load, read back, tidy up.
//!
//! An error after the first request becomes part of the report.

use std::{
    io,
    ops::Range,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hdrhistogram::Histogram;

use crate::{
    Error, Halt,
    calls::{Session, Stop},
    histogram::{fold, histogram, record},
    ledger::Ledger,
    observer::{Observer, Stage},
    plan::{Limit, Operation, Plan},
    prepare,
    readback::{self, Checked, Written},
    report::{self, Bytes, EndedBy, Latency, Outcome, RateReport, Report, Versions, Warmup},
    scenario::Requests,
    schedule::Schedule,
    series::Series,
    tally::{OperationTally, Tally},
    target::Target,
    workers::{self, Shared, WorkerMessage},
};

/// How often a wait for connections checks that the run continues.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// The waits of requests that were not sent are sampled evenly: an impossible rate leaves billions.
const MAX_WAITS: u64 = 1_000_000;

/// Executes the run, and calls `stop` and `report` at intervals.
///
/// # Errors
/// If it could not begin. Versions that were already registered are deleted, if possible.
pub fn run(
    plan: &Plan,
    target: &Target,
    stop: &Stop,
    report: &mut dyn FnMut(Stage),
) -> Result<Outcome, Error> {
    let session = Session { plan, target, stop: Arc::clone(stop) };
    prepare::check(&session)?;
    let mut rng = fastrand::Rng::new();
    let name = prepare::fresh_name(&mut rng);
    let prepared = prepare::register(&session, &name, |done| report(Stage::Preparing(done, plan.models)));
    let loaded = prepared.and_then(|models| {
        let loaded = load(&session, &name, &models, rng.u64(..), report)?;
        Ok((models, loaded))
    });
    let session = resumed(session);
    let (models, mut loaded) = match loaded {
        Ok(loaded) => loaded,
        Err(cause) => {
            return Err(match tidy_up(session, &name, report) {
                Err(why) => Error::LeftBehind { name, why: why.to_string(), cause: Box::new(cause) },
                Ok(_) => cause,
            });
        }
    };
    let mut versions = Versions { name, prepared: models.len(), deleted: None, error: None };
    let model_id = models.first().copied().unwrap_or_default();
    let written = Written { ledgers: std::mem::take(&mut loaded.ledgers), models };
    let checked = readback::read(&session, &versions.name, written, |done, jobs| {
        report(Stage::ReadingBack(done, jobs));
    });
    let mut interrupted = checked.halted == Some(Halt::Interrupted);
    match tidy_up(resumed(session), &versions.name, report) {
        Ok(deleted) => versions.deleted = deleted,
        Err(error) => {
            interrupted |= matches!(error, Error::Halted(Halt::Interrupted));
            versions.error = Some(error.to_string());
        }
    }
    if interrupted {
        loaded.ended_by = EndedBy::Interrupt;
    }
    Ok(outcome(plan, loaded, checked, model_id, versions))
}

/// Returns a session for the steps after a run that was ended early, which the same reason must not end. A second
/// interrupt ends the process.
fn resumed(session: Session<'_>) -> Session<'_> {
    let stopped = (session.stop)().is_some();
    if stopped { Session { stop: Arc::new(|| None), ..session } } else { session }
}

/// Deletes the run's versions unless they are kept, and returns how many.
fn tidy_up(session: Session<'_>, name: &str, report: &mut dyn FnMut(Stage)) -> Result<Option<usize>, Error> {
    if session.plan.keep {
        return Ok(None);
    }
    prepare::tidy(&session, name, |done| report(Stage::TidyingUp(done))).map(Some)
}

/// The load, once it has ended.
struct Loaded {
    tally: Tally,
    /// All operations together. The latencies include the waits of requests that were not sent.
    total: OperationTally,
    ledgers: Vec<Ledger>,
    series: Series,
    ended_by: EndedBy,
    abandoned: u64,
    started: SystemTime,
    /// Without the warm-up.
    runtime: Duration,
    rate: Option<RateReport>,
}

fn load(
    session: &Session<'_>,
    name: &str,
    models: &[u64],
    seed: u64,
    report: &mut dyn FnMut(Stage),
) -> Result<Loaded, Error> {
    let Session { plan, target, stop } = session;
    let requests = Arc::new(Requests::new(plan, target, name, models));
    let shared = Arc::new(Shared::new(plan, target, requests, seed));
    let (sender, messages) = channel();
    let threads = workers::start(&shared, &sender)?;
    drop(sender);
    if let Err(error) = await_connections(threads.len(), &messages, stop) {
        shared.abandon();
        return Err(error);
    }
    let start = shared.open_the_gate().into_std();
    let started = SystemTime::now() + plan.warmup;
    let pacer = shared.schedule.map(|schedule| {
        let shared = Arc::clone(&shared);
        thread::Builder::new()
            .name("pacer".to_owned())
            .spawn(move || workers::pace(&shared, schedule, start.into()))
    });
    let pacer = pacer.transpose()?;
    let mut observer = Observer::new(plan, start);
    let halt = observer.watch(&shared, &messages, stop, report);
    shared.stop();
    for thread in threads.into_iter().chain(pacer) {
        let _ = thread.join();
    }
    let Observer { series, tally, ledgers, abandoned, .. } = observer;
    let ended_by = match (halt, plan.limit) {
        (Some((Halt::Interrupted, _)), _) => EndedBy::Interrupt,
        (Some((Halt::ServerGone, _)), _) => EndedBy::ServerGone,
        (None, Limit::Duration(_)) => EndedBy::Duration,
        (None, _) => EndedBy::Requests,
    };
    let halted_at = halt.map(|(_, at)| at - start);
    // A run by time lasts that time, not only until its last answer.
    let least = match (halted_at, plan.limit) {
        (Some(at), _) => at.saturating_sub(plan.warmup),
        (None, Limit::Duration(duration)) => duration,
        (None, _) => Duration::ZERO,
    };
    let runtime = tally.last_end.max(least);
    let mut total = tally.total();
    let rate = shared
        .schedule
        .map(|schedule| rate_report(plan, schedule, shared.taken(), halted_at, runtime, &tally, &mut total));
    Ok(Loaded { tally, total, ledgers, series, ended_by, abandoned, started, runtime, rate })
}

/// Waits until all workers have opened their connections.
fn await_connections(workers: usize, messages: &Receiver<WorkerMessage>, stop: &Stop) -> Result<(), Error> {
    let mut ready = 0;
    while ready < workers {
        match messages.recv_timeout(CHECK_EVERY) {
            Ok(WorkerMessage::Ready(opened)) => {
                opened?;
                ready += 1;
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Some(halt) = stop() {
                    return Err(Error::Halted(halt));
                }
            }
            _ => return Err(Error::Client(io::Error::other("a worker ended before it began"))),
        }
    }
    Ok(())
}

/// Counts the requests of the open loop that were not sent, and adds their waits to the latencies of `total`.
fn rate_report(
    plan: &Plan,
    schedule: Schedule,
    taken: u64,
    halted_at: Option<Duration>,
    runtime: Duration,
    tally: &Tally,
    total: &mut OperationTally,
) -> RateReport {
    let due = match (halted_at, schedule.end) {
        (None, None) => schedule.total,
        _ => schedule.due_by(halted_at.unwrap_or(Duration::MAX)),
    };
    let warming = schedule.due_by(plan.warmup).min(due);
    // Unsent requests of the warm-up do not count.
    let taken = taken.clamp(warming, due);
    let ends = [schedule.end, halted_at].into_iter().flatten();
    let end = ends.min().unwrap_or(Duration::MAX);
    let wait_of = |number| end.saturating_sub(schedule.time_of(number));
    fold(&mut total.latency, &spread(taken..due, wait_of));
    let oldest_unsent = if taken < due { wait_of(taken) } else { Duration::ZERO };
    RateReport {
        asked: plan.rate.unwrap_or_default(),
        reached: report::per_second(total.success, runtime),
        due: due - warming,
        unsent: due - taken,
        oldest_unsent_ms: (oldest_unsent.as_secs_f64() * 1e6).round() / 1e3,
        lateness_ms: Latency::of(&tally.lateness),
        service_ms: Latency::of(&total.service),
    }
}

/// Returns the spans of these requests. Each sample counts for all requests up to the next one.
fn spread(numbers: Range<u64>, span_of: impl Fn(u64) -> Duration) -> Histogram<u64> {
    let mut spans = histogram();
    let apart = (numbers.end - numbers.start).div_ceil(MAX_WAITS).max(1);
    let mut number = numbers.start;
    while number < numbers.end {
        record(&mut spans, span_of(number), apart.min(numbers.end - number));
        number += apart;
    }
    spans
}

fn outcome(plan: &Plan, loaded: Loaded, checked: Checked, model_id: u64, versions: Versions) -> Outcome {
    let Loaded { tally, total, series, ended_by, abandoned, started, runtime, rate, .. } = loaded;
    let (success, failed) = (total.success, total.failed);
    let epoch = started.duration_since(UNIX_EPOCH).unwrap_or_default();
    let all_sent = rate.as_ref().is_none_or(|rate| rate.unsent == 0);
    let complete = matches!(ended_by, EndedBy::Requests | EndedBy::Duration) && abandoned == 0 && all_sent;
    // If the gate refused every promotion, promoting was not tested.
    let promote = tally.operations.get(&Operation::Promote);
    let promoted = promote.is_none_or(|promote| promote.refused == 0 || promote.success > 0);
    let kept = checked.readback.is_ok() && checked.production.as_ref().is_none_or(|production| production.ok);
    let report = Report {
        ok: complete && promoted && success > 0 && failed == 0 && kept && versions.error.is_none(),
        requests_total: success + failed + total.refused,
        requests_success: success,
        requests_failed: failed,
        locked_errors: tally.locked,
        latency_ms: Latency::of(&total.latency),
        model_id,
        started_at_epoch: report::seconds(epoch),
        ended_at_epoch: report::seconds(epoch + runtime),
        runtime_seconds: report::seconds(runtime),
        requests_per_second: report::per_second(success, runtime),
        scenario: plan.scenario,
        connections: plan.connections,
        workers: plan.workers,
        ended_by,
        requests_abandoned: abandoned,
        requests_refused: total.refused,
        failed_latency_ms: Latency::of_some(&total.failed_latency),
        warmup: (!plan.warmup.is_zero()).then(|| Warmup {
            seconds: report::seconds(plan.warmup),
            requests: tally.warmup_requests,
            failed: tally.warmup_failed,
        }),
        bytes: Bytes { sent: tally.sent_bytes, received: tally.received_bytes },
        operations: report::operations(&tally),
        status_code_counts: tally.statuses,
        exception_type_counts: tally.kinds,
        errors_sample: tally.errors,
        readback: checked.readback,
        production: checked.production,
        versions,
        rate,
    };
    let mut latencies = vec![("all".to_owned(), total.latency)];
    if report.rate.is_some() {
        latencies.push(("since sent".to_owned(), total.service));
    }
    if plan.weights.are_mixed() {
        let operations = tally.operations.into_iter();
        latencies.extend(operations.map(|(operation, tally)| (operation.name().to_owned(), tally.latency)));
    }
    Outcome { report, latencies, intervals: series.intervals(runtime) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_requests_count_and_only_samples_are_kept() {
        for count in [0, 1, 1_000, MAX_WAITS, MAX_WAITS + 1, 7 * MAX_WAITS + 3, 1 << 50] {
            let spans = spread(5..5 + count, |number| Duration::from_micros(1_000_005 - number % 1_000_000));
            assert_eq!(spans.len(), count);
        }
        let waits = spread(0..2 * MAX_WAITS, Duration::from_micros);
        for (quantile, millis) in [(0.25, 500.0), (0.5, 1_000.0), (0.75, 1_500.0)] {
            let kept = waits.value_at_quantile(quantile) as f64 / 1e6;
            // A histogram has three digits.
            assert!((kept / millis - 1.0).abs() < 1e-3, "{quantile}: {kept}");
        }
    }
}
