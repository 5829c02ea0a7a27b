//! A run from begin to end: check, prepare, load, read back, tidy up.
//!
//! An error after the first request is a part of the report.

use std::{
    ops::Range,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hdrhistogram::Histogram;

use crate::{
    Error, Halt,
    calls::Stop,
    ledger::Ledger,
    observer::{Observer, Progress},
    plan::{Limit, Operation, Pace, Plan},
    prepare::{self, Model},
    readback::{self, Written},
    report::{self, Bytes, EndedBy, Latency, Outcome, RateReport, Report, Versions, Warmup},
    scenario::Requests,
    series::Series,
    tally::{Tally, fold, histogram, record_many},
    target::Target,
    workers::{self, Shared, WorkerMessage},
};

/// How often a wait for connections checks that the run goes on.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// The waits of requests that were not sent are sampled evenly: an impossible rate leaves billions.
const MAX_WAITS: u64 = 1_000_000;

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

/// The surroundings of a run.
pub struct Watch {
    /// Called at intervals.
    pub stop: Stop,
    /// The server ends after the run with all its data, so versions need not be deleted.
    pub server_is_ours: bool,
}

/// Makes the run.
///
/// # Errors
/// If it could not begin. Versions that were already registered are deleted, if possible.
pub fn run(
    plan: &Plan,
    target: &Target,
    watch: &Watch,
    report: &mut dyn FnMut(Stage),
) -> Result<Outcome, Error> {
    prepare::check(plan, target, &watch.stop)?;
    let mut rng = fastrand::Rng::new();
    let name = prepare::fresh_name(&mut rng);
    let prepared = prepare::register(plan, target, &name, &watch.stop, |done| {
        report(Stage::Preparing(done, plan.models));
    });
    let loaded = prepared.and_then(|models| {
        let loaded = load(plan, target, &name, &models, rng.u64(..), watch, report)?;
        Ok((models, loaded))
    });
    let (models, mut loaded) = match loaded {
        Ok(loaded) => loaded,
        Err(cause) => {
            return Err(match tidy_up(plan, target, &name, watch, report) {
                Some(Err(why)) => Error::LeftBehind { name, why: why.to_string(), cause: Box::new(cause) },
                _ => cause,
            });
        }
    };
    let model_id = models.first().map(|model| model.id).unwrap_or_default();
    let versions = Versions { name: name.clone(), prepared: models.len(), deleted: None, error: None };
    let written = Written { ledgers: loaded.ledgers, models };
    let checked = if written.is_empty() {
        readback::Checked {
            readback: readback::Readback { complete: true, missing: Some(0), ..Default::default() },
            production: None,
            halted: None,
        }
    } else {
        let jobs = written.jobs();
        let stop = stop_after(&watch.stop);
        readback::read(plan, target, &name, written, &stop, |done| report(Stage::ReadingBack(done, jobs)))
    };
    if checked.halted == Some(Halt::Interrupted) {
        loaded.measured.ended_by = EndedBy::Interrupt;
    }
    let versions = match tidy_up(plan, target, &name, watch, report) {
        None => versions,
        Some(Ok(deleted)) => Versions { deleted: Some(deleted), ..versions },
        Some(Err(error)) => {
            if matches!(error, Error::Halted(Halt::Interrupted)) {
                loaded.measured.ended_by = EndedBy::Interrupt;
            }
            Versions { error: Some(error.to_string()), ..versions }
        }
    };
    Ok(outcome(plan, loaded.measured, checked, model_id, versions))
}

/// After the run was ended early, the same reason does not end what follows. A second interrupt ends the process.
fn stop_after(stop: &Stop) -> Stop {
    match stop() {
        None => Arc::clone(stop),
        Some(_) => Arc::new(|| None),
    }
}

/// Deletes the run's versions, unless they are kept or end with their server.
fn tidy_up(
    plan: &Plan,
    target: &Target,
    name: &str,
    watch: &Watch,
    report: &mut dyn FnMut(Stage),
) -> Option<Result<usize, Error>> {
    if plan.keep || watch.server_is_ours {
        return None;
    }
    let stop = stop_after(&watch.stop);
    Some(prepare::tidy(plan, target, name, &stop, |done| report(Stage::TidyingUp(done))))
}

/// The measurements of the load.
struct Measured {
    tally: Tally,
    series: Series,
    ended_by: EndedBy,
    abandoned: u64,
    started: SystemTime,
    /// Without the warm-up.
    runtime: Duration,
    rate: Option<RateResult>,
}

/// The open loop at the end of the run.
struct RateResult {
    asked: f64,
    due: u64,
    unsent: u64,
    /// How long the first request that was not sent had waited at the end.
    oldest_unsent: Duration,
    /// How long all of those had waited: the least that their latencies would have been.
    waited: Histogram<u64>,
}

struct Loaded {
    measured: Measured,
    ledgers: Vec<Ledger>,
}

fn load(
    plan: &Plan,
    target: &Target,
    name: &str,
    models: &[Model],
    seed: u64,
    watch: &Watch,
    report: &mut dyn FnMut(Stage),
) -> Result<Loaded, Error> {
    let requests = Arc::new(Requests::new(plan, target, name, models));
    let shared = Arc::new(Shared::new(plan, target, requests, seed));
    let (sender, messages) = channel();
    let threads = workers::start(&shared, &sender)?;
    drop(sender);
    let mut ready = 0;
    while ready < threads.len() {
        let error = match messages.recv_timeout(CHECK_EVERY) {
            Ok(WorkerMessage::Ready(Ok(()))) => {
                ready += 1;
                continue;
            }
            Err(RecvTimeoutError::Timeout) => match (watch.stop)() {
                None => continue,
                Some(halt) => Error::Halted(halt),
            },
            Ok(WorkerMessage::Ready(Err(error))) => error,
            _ => Error::Client(std::io::Error::other("a worker ended before it began")),
        };
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
    let halt = observer.watch(&shared, &messages, watch, report);
    shared.stop();
    for thread in threads.into_iter().chain(pacer) {
        let _ = thread.join();
    }
    let Observer { series, tally, ledgers, abandoned, .. } = observer;
    let counted_from = start + plan.warmup;
    let ended_by = match (halt, plan.limit) {
        (Some((Halt::Interrupted, _)), _) => EndedBy::Interrupt,
        (Some((Halt::ServerGone, _)), _) => EndedBy::ServerGone,
        (None, Limit::Duration(_)) => EndedBy::Duration,
        (None, _) => EndedBy::Requests,
    };
    let cut = halt.map_or(Duration::ZERO, |(_, at)| at.saturating_duration_since(counted_from));
    let rate = shared.schedule.map(|schedule| {
        let end = halt.map_or(Duration::MAX, |(_, at)| at - start);
        let due =
            if halt.is_none() && schedule.end.is_none() { schedule.total } else { schedule.due_by(end) };
        let warming = schedule.due_by(plan.warmup).min(due);
        // Unsent requests of the warm-up do not count.
        let taken = shared.taken().clamp(warming, due);
        let end = schedule.end.unwrap_or(end).min(end);
        let wait_of = |number| end.saturating_sub(schedule.time_of(number));
        let oldest_unsent = if taken < due { wait_of(taken) } else { Duration::ZERO };
        let waited = spread(taken..due, wait_of);
        let asked = match plan.pace {
            Pace::Open(rate) => rate.per_second(),
            Pace::Closed => 0.0,
        };
        RateResult { asked, due: due - warming, unsent: due - taken, oldest_unsent, waited }
    });
    // A run by time lasts that time, not only until its last answer.
    let asked = match (halt, plan.limit) {
        (None, Limit::Duration(duration)) => duration,
        _ => Duration::ZERO,
    };
    let runtime = tally.last_end.max(cut).max(asked);
    let ledgers = ledgers.into_iter().map(Option::unwrap_or_default).collect();
    let measured = Measured { tally, series, ended_by, abandoned, started, runtime, rate };
    Ok(Loaded { measured, ledgers })
}

/// The spans of these requests. Each sample counts for all requests up to the next one.
fn spread(numbers: Range<u64>, span_of: impl Fn(u64) -> Duration) -> Histogram<u64> {
    let mut spans = histogram();
    let apart = (numbers.end - numbers.start).div_ceil(MAX_WAITS).max(1);
    let mut number = numbers.start;
    while number < numbers.end {
        record_many(&mut spans, span_of(number), apart.min(numbers.end - number));
        number += apart;
    }
    spans
}

fn outcome(
    plan: &Plan,
    measured: Measured,
    checked: readback::Checked,
    model_id: u64,
    versions: Versions,
) -> Outcome {
    let Measured { tally, series, ended_by, abandoned, started, runtime, rate } = measured;
    let mut total = tally.total();
    let unsent = rate.as_ref().map_or(0, |rate| rate.unsent);
    if let Some(rate) = &rate {
        fold(&mut total.latency, &rate.waited);
    }
    let (success, failed) = (total.success, total.failed);
    let epoch = started.duration_since(UNIX_EPOCH).unwrap_or_default();
    let per_second = report::per_second(success, runtime);
    let rate = rate.map(|rate| RateReport {
        asked: rate.asked,
        reached: per_second,
        due: rate.due,
        unsent: rate.unsent,
        oldest_unsent_ms: (rate.oldest_unsent.as_secs_f64() * 1e6).round() / 1000.0,
        lateness_ms: Latency::of(&tally.lateness),
        service_ms: Latency::of(&total.service),
    });
    let production_ok = checked.production.as_ref().is_none_or(|production| production.ok);
    let complete = matches!(ended_by, EndedBy::Requests | EndedBy::Duration) && abandoned == 0 && unsent == 0;
    // If the gate refused every promotion, promoting was not tested.
    let promote = tally.operations[Operation::Promote.index()].as_ref();
    let promoted = promote.is_none_or(|promote| promote.refused == 0 || promote.success > 0);
    let mut latencies = vec![("all".to_owned(), total.latency.clone())];
    if rate.is_some() {
        latencies.push(("since sent".to_owned(), total.service.clone()));
    }
    if plan.weights.operations().count() > 1 {
        for (operation, tally) in crate::Operation::ALL.into_iter().zip(&tally.operations) {
            if let Some(tally) = tally {
                latencies.push((operation.name().to_owned(), tally.latency.clone()));
            }
        }
    }
    let report = Report {
        ok: complete
            && promoted
            && success > 0
            && failed == 0
            && production_ok
            && checked.readback.is_ok()
            && versions.error.is_none(),
        requests_total: success + failed + total.refused,
        requests_success: success,
        requests_failed: failed,
        locked_errors: tally.locked,
        status_code_counts: report::statuses(&tally),
        exception_type_counts: tally.kinds.iter().map(|(kind, count)| (kind.to_string(), *count)).collect(),
        latency_ms: Latency::of(&total.latency),
        errors_sample: tally.errors.clone(),
        model_id,
        started_at_epoch: report::seconds(epoch),
        ended_at_epoch: report::seconds(epoch + runtime),
        runtime_seconds: report::seconds(runtime),
        requests_per_second: per_second,
        scenario: plan.scenario.name(),
        connections: plan.connections,
        workers: plan.workers,
        ended_by,
        requests_abandoned: abandoned,
        requests_refused: total.refused,
        failed_latency_ms: Latency::of_some(&total.failed_latency),
        rate,
        warmup: (!plan.warmup.is_zero()).then(|| Warmup {
            seconds: report::seconds(plan.warmup),
            requests: tally.warmup_requests,
            failed: tally.warmup_failed,
        }),
        bytes: Bytes { sent: tally.sent_bytes, received: tally.received_bytes },
        operations: report::operations(&tally),
        readback: checked.readback,
        production: checked.production,
        versions,
    };
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
