//! A run from beginning to end: check, prepare, load, read back, tidy up.
//!
//! Whatever goes wrong after the first request was sent ends in a report of what was seen.

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
    observer::{Live, Observer},
    plan::{Extent, Operation, Pace, Plan},
    prepare::{self, Model},
    readback::{self, Written},
    report::{self, Bytes, EndedBy, Latency, Outcome, RateReport, Report, Versions, Warmup},
    scenario::Requests,
    series::Series,
    tally::{Tally, fold, histogram, record_many},
    target::Target,
    workers::{self, Shared, Told},
};

/// While connections are opened, how often it is asked whether the run is to end.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Of requests that were never sent so many waiting times are looked at, evenly spread: a rate that nobody can keep
/// leaves billions.
const MAX_WAITS: u64 = 1_000_000;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stage {
    /// Versions are registered: so many of so many.
    Preparing(usize, usize),
    /// The load is on.
    Loading(Live),
    /// The audit trail is read: so many versions of so many.
    ReadingBack(usize, usize),
    /// Versions are deleted: so many so far.
    TidyingUp(usize),
}

/// Who makes a run, apart from the plan.
pub struct Watch {
    /// Asked every now and then.
    pub stop: Stop,
    /// Whether the server goes when the run is over, with all that it holds.
    pub server_is_ours: bool,
}

/// Makes the run.
///
/// # Errors
/// Where it could not begin. What was prepared by then is taken away again, as far as that is possible.
pub fn run(
    plan: &Plan,
    target: &Target,
    watch: &Watch,
    tell: &mut dyn FnMut(Stage),
) -> Result<Outcome, Error> {
    prepare::check(plan, target, &watch.stop)?;
    let mut rng = fastrand::Rng::new();
    let name = prepare::fresh_name(&mut rng);
    let prepared = prepare::register(plan, target, &name, &watch.stop, |done| {
        tell(Stage::Preparing(done, plan.models));
    });
    let loaded = prepared.and_then(|models| {
        let loaded = load(plan, target, &name, &models, rng.u64(..), watch, tell)?;
        Ok((models, loaded))
    });
    let (models, mut loaded) = match loaded {
        Ok(loaded) => loaded,
        Err(cause) => {
            return Err(match tidy_up(plan, target, &name, watch, tell) {
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
        let stop = later(&watch.stop);
        readback::read(plan, target, &name, written, &stop, |done| tell(Stage::ReadingBack(done, jobs)))
    };
    if checked.halted == Some(Halt::Interrupted) {
        loaded.seen.ended_by = EndedBy::Interrupt;
    }
    let versions = match tidy_up(plan, target, &name, watch, tell) {
        None => versions,
        Some(Ok(deleted)) => Versions { deleted: Some(deleted), ..versions },
        Some(Err(error)) => {
            if matches!(error, Error::Halted(Halt::Interrupted)) {
                loaded.seen.ended_by = EndedBy::Interrupt;
            }
            Versions { error: Some(error.to_string()), ..versions }
        }
    };
    Ok(outcome(plan, loaded.seen, checked, model_id, versions))
}

/// Once the run was ended from outside, the same wish does not end what follows. A second one comes from whoever is
/// tired of waiting, and ends the process.
fn later(stop: &Stop) -> Stop {
    match stop() {
        None => Arc::clone(stop),
        Some(_) => Arc::new(|| None),
    }
}

/// Deletes the run's versions, unless they are to stay or go with their server.
fn tidy_up(
    plan: &Plan,
    target: &Target,
    name: &str,
    watch: &Watch,
    tell: &mut dyn FnMut(Stage),
) -> Option<Result<usize, Error>> {
    if plan.keep || watch.server_is_ours {
        return None;
    }
    // Whoever ended the run wants its versions gone all the same.
    let stop = later(&watch.stop);
    Some(prepare::tidy(plan, target, name, &stop, |done| tell(Stage::TidyingUp(done))))
}

/// What was seen while the load was on.
struct Seen {
    tally: Tally,
    series: Series,
    ended_by: EndedBy,
    abandoned: u64,
    started: SystemTime,
    /// From the start of the measured part to its end.
    runtime: Duration,
    rate: Option<Kept>,
}

/// What became of a rate.
struct Kept {
    asked: f64,
    due: u64,
    unsent: u64,
    /// How long the first that was not sent had waited at the end.
    oldest_unsent: Duration,
    /// How long those that were not sent had waited at the end: the least that their latencies would have been.
    waited: Histogram<u64>,
}

struct Loaded {
    seen: Seen,
    ledgers: Vec<Ledger>,
}

fn load(
    plan: &Plan,
    target: &Target,
    name: &str,
    models: &[Model],
    seed: u64,
    watch: &Watch,
    tell: &mut dyn FnMut(Stage),
) -> Result<Loaded, Error> {
    let requests = Arc::new(Requests::new(plan, target, name, models));
    let shared = Arc::new(Shared::new(plan, target, requests, seed));
    let (teller, told) = channel();
    let threads = workers::start(&shared, &teller)?;
    drop(teller);
    let mut ready = 0;
    while ready < threads.len() {
        let error = match told.recv_timeout(LOOK_AGAIN) {
            Ok(Told::Ready(Ok(()))) => {
                ready += 1;
                continue;
            }
            Err(RecvTimeoutError::Timeout) => match (watch.stop)() {
                None => continue,
                Some(halt) => Error::Halted(halt),
            },
            Ok(Told::Ready(Err(error))) => error,
            _ => Error::Client(std::io::Error::other("a worker ended before it began")),
        };
        shared.give_up();
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
    let halt = observer.watch(&shared, &told, watch, tell);
    // Nobody waits on it any more.
    shared.stop();
    for thread in threads.into_iter().chain(pacer) {
        let _ = thread.join();
    }
    let Observer { series, tally, ledgers, abandoned, .. } = observer;
    let measured = start + plan.warmup;
    let ended_by = match (halt, plan.extent) {
        (Some((Halt::Interrupted, _)), _) => EndedBy::Interrupt,
        (Some((Halt::ServerGone, _)), _) => EndedBy::ServerGone,
        (None, Extent::Duration(_)) => EndedBy::Duration,
        (None, _) => EndedBy::Requests,
    };
    let cut = halt.map_or(Duration::ZERO, |(_, at)| at.saturating_duration_since(measured));
    let rate = shared.schedule.map(|schedule| {
        let end = halt.map_or(Duration::MAX, |(_, at)| at - start);
        let due =
            if halt.is_none() && schedule.end.is_none() { schedule.total } else { schedule.due_by(end) };
        let warming = schedule.due_by(plan.warmup).min(due);
        // Those of the warm-up that were not sent are no part of what is measured.
        let taken = shared.taken().clamp(warming, due);
        let end = schedule.end.unwrap_or(end).min(end);
        let wait_of = |number| end.saturating_sub(schedule.time_of(number));
        let oldest_unsent = if taken < due { wait_of(taken) } else { Duration::ZERO };
        let waited = spread(taken..due, wait_of);
        let asked = match plan.pace {
            Pace::Open(rate) => rate.per_second(),
            Pace::Closed => 0.0,
        };
        Kept { asked, due: due - warming, unsent: due - taken, oldest_unsent, waited }
    });
    // A span that was asked for is over at its end, and not with its last answer.
    let asked = match (halt, plan.extent) {
        (None, Extent::Duration(duration)) => duration,
        _ => Duration::ZERO,
    };
    let runtime = tally.last_end.max(cut).max(asked);
    let ledgers = ledgers.into_iter().map(Option::unwrap_or_default).collect();
    let seen = Seen { tally, series, ended_by, abandoned, started, runtime, rate };
    Ok(Loaded { seen, ledgers })
}

/// The spans of these requests, each of those that are looked at standing for as many as lie to the next.
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
    seen: Seen,
    checked: readback::Checked,
    model_id: u64,
    versions: Versions,
) -> Outcome {
    let Seen { tally, series, ended_by, abandoned, started, runtime, rate } = seen;
    let mut total = tally.total();
    let unsent = rate.as_ref().map_or(0, |kept| kept.unsent);
    if let Some(kept) = &rate {
        fold(&mut total.latency, &kept.waited);
    }
    let (success, failed) = (total.success, total.failed);
    let epoch = started.duration_since(UNIX_EPOCH).unwrap_or_default();
    let per_second = report::per_second(success, runtime);
    let rate = rate.map(|kept| RateReport {
        asked: kept.asked,
        reached: per_second,
        due: kept.due,
        unsent: kept.unsent,
        oldest_unsent_ms: (kept.oldest_unsent.as_secs_f64() * 1e6).round() / 1000.0,
        lateness_ms: Latency::of(&tally.lateness),
        service_ms: Latency::of(&total.service),
    });
    let production_ok = checked.production.as_ref().is_none_or(|production| production.ok);
    let whole = matches!(ended_by, EndedBy::Requests | EndedBy::Duration) && abandoned == 0 && unsent == 0;
    // A gate that is closed to everything was loaded, and promoting was not.
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
        ok: whole
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
        failed_latency_ms: report::failed_latency(&total.failed_latency),
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
    fn of_any_number_of_requests_all_count_and_none_is_kept_by_itself() {
        for count in [0, 1, 1_000, MAX_WAITS, MAX_WAITS + 1, 7 * MAX_WAITS + 3, 1 << 50] {
            let spans = spread(5..5 + count, |number| Duration::from_micros(1_000_005 - number % 1_000_000));
            assert_eq!(spans.len(), count);
        }
        let waits = spread(0..2 * MAX_WAITS, Duration::from_micros);
        for (quantile, millis) in [(0.25, 500.0), (0.5, 1_000.0), (0.75, 1_500.0)] {
            let kept = waits.value_at_quantile(quantile) as f64 / 1e6;
            // A histogram keeps three digits.
            assert!((kept / millis - 1.0).abs() < 1e-3, "{quantile}: {kept}");
        }
    }
}
