//! The requests of a run, and the meaning of their answers.
//!
//! A caller writes its requests into a buffer that it keeps, so it allocates nothing during the run.

use std::{io::Write as _, sync::Arc};

use fastrand::Rng;

use crate::{
    http::{Answer, ExchangeError},
    ledger::{Ledger, Promotions, WriteState},
    plan::{Operation, Plan, Weights},
    tally::Failure,
    target::Target,
};

/// The maximum length of an answer that the report repeats.
const MAX_ERROR_CHARS: usize = 300;

/// The ingredients of a run's requests.
pub(crate) struct Requests {
    target: Target,
    weights: Weights,
    callers: usize,
    /// The ids of the prepared versions.
    models: Vec<u64>,
    name: String,
    /// As JSON.
    suite: String,
    lists: Vec<String>,
}

impl Requests {
    pub(crate) fn new(plan: &Plan, target: &Target, name: &str, models: &[u64]) -> Self {
        Self {
            target: target.clone(),
            weights: plan.weights.clone(),
            callers: plan.connections,
            models: models.to_owned(),
            name: name.to_owned(),
            suite: serde_json::Value::from(plan.suite.as_str()).to_string(),
            lists: LISTS.map(|query| query.replace("NAME", name)).into(),
        }
    }
}

/// Queries as a person browses: first and later pages, filters, orders, searches.
const LISTS: [&str; 8] = [
    "limit=50",
    "name=NAME&limit=50",
    "name=NAME&limit=50&offset=50",
    "tag=loadtest-even&limit=50",
    "name=NAME&status=experimental&sort=updated_at&limit=50",
    "name=NAME&sort=training_step&order=asc&limit=20&offset=40",
    "q=loadtest%20prepared&limit=50",
    "q=NAME&tag=loadtest-odd&limit=10",
];

/// Returns the index of the version to which a caller's write of this number goes.
pub(crate) fn model_of(caller: usize, number: usize, models: usize) -> usize {
    (caller + number) % models.max(1)
}

/// Returns the version string of a registration.
pub(crate) fn version_of(caller: usize, number: usize) -> String {
    format!("r{caller}-{number}")
}

/// One caller, with one request at a time, and its ledger.
pub(crate) struct Caller {
    requests: Arc<Requests>,
    index: usize,
    rng: Rng,
    /// The request that was sent: its operation, and the number of the write among writes of its kind, or the index of the
    /// promoted version among the caller's own.
    pending: Option<(Operation, usize)>,
    promotions_sent: usize,
    /// The body of the request.
    body: Vec<u8>,
    pub(crate) ledger: Ledger,
}

impl Caller {
    pub(crate) fn new(requests: &Arc<Requests>, index: usize, seed: u64) -> Self {
        let own = (index..requests.models.len()).step_by(requests.callers.max(1)).count();
        Self {
            requests: Arc::clone(requests),
            index,
            rng: Rng::with_seed(seed ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            pending: None,
            promotions_sent: 0,
            body: Vec::new(),
            ledger: Ledger { promotions: vec![Promotions::default(); own], ..Ledger::default() },
        }
    }

    /// Writes the next request into `request`.
    pub(crate) fn compose(&mut self, request: &mut Vec<u8>) -> Operation {
        let Self { requests, index: caller, rng, body, ledger, .. } = self;
        let Requests { target, models, name, suite, lists, .. } = &**requests;
        let operation = requests.weights.pick(|total| rng.u32(..total));
        let mut number = 0;
        body.clear();
        // Writing to a vector can't fail.
        match operation {
            Operation::Read => {
                let id = models[rng.usize(..models.len())];
                target.write(request, "GET", format_args!("/models/{id}"), None);
            }
            Operation::List => {
                let query = &lists[rng.usize(..lists.len())];
                target.write(request, "GET", format_args!("/models?{query}"), None);
            }
            Operation::Health => target.write(request, "GET", "/health", None),
            Operation::Metrics => {
                number = ledger.metrics.len();
                ledger.metrics.push(WriteState::Unsure);
                let id = models[model_of(*caller, number, models.len())];
                let scores = format_args!(r#"{{"score":0.5,"caller":{caller},"sequence":{number}}}"#);
                let _ = write!(body, r#"{{"suite":{suite},"metrics":{scores}}}"#);
                target.write(request, "POST", format_args!("/models/{id}/metrics"), Some(body));
            }
            Operation::Register => {
                number = ledger.registrations.len();
                ledger.registrations.push(WriteState::Unsure);
                let version = version_of(*caller, number);
                let _ = write!(
                    body,
                    r#"{{"name":"{name}","version":"{version}","artifact_uri":"s3://loadtest/model.pt","#
                );
                body.extend_from_slice(br#""tags":["loadtest"],"params":124439808,"training_step":1000}"#);
                target.write(request, "POST", "/models", Some(body));
            }
            Operation::Promote => {
                number = self.promotions_sent % ledger.promotions.len();
                self.promotions_sent += 1;
                ledger.promotions[number].unsure += 1;
                let id = models[*caller + number * requests.callers];
                let path = format_args!("/models/{id}/promote?to_status=production");
                target.write(request, "POST", path, Some(b""));
            }
        }
        self.pending = Some((operation, number));
        operation
    }

    /// Records the answer to that request in the ledger. Returns why it failed, if it did.
    pub(crate) fn record(&mut self, answer: &Result<Answer<'_>, ExchangeError>) -> Option<Failure> {
        let (operation, number) = self.pending.take()?;
        let (state, failure) = classify(operation, answer);
        let done = state == WriteState::Acknowledged;
        match operation {
            Operation::Metrics => self.ledger.metrics[number] = state,
            Operation::Register if done => {
                let Some(id) = answer.as_ref().ok().and_then(|answer| id_in(answer.body)) else {
                    // Without its id it can't be read back.
                    return Some(Failure::of_answer("the answer to a registration has no id".to_owned()));
                };
                self.ledger.registrations[number] = state;
                self.ledger.registered.push((number, id));
            }
            Operation::Register => self.ledger.registrations[number] = state,
            Operation::Promote => {
                let own = &mut self.ledger.promotions[number];
                own.unsure -= u64::from(state != WriteState::Unsure);
                own.acknowledged += u64::from(done);
            }
            Operation::Read | Operation::List | Operation::Health => {}
        }
        failure
    }
}

impl Failure {
    fn of_answer(text: String) -> Self {
        Self { kind: None, unreachable: false, locked: false, text }
    }
}

/// Returns the state of the write, and the failure if the answer is one.
fn classify(
    operation: Operation,
    answer: &Result<Answer<'_>, ExchangeError>,
) -> (WriteState, Option<Failure>) {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let unreachable = error.before_sending();
            let state = if unreachable { WriteState::Refused } else { WriteState::Unsure };
            let text = format!("{}: {error}", error.name());
            let failure = Failure { kind: Some(error.name()), unreachable, locked: false, text };
            return (state, Some(failure));
        }
    };
    match answer.status {
        200..=299 => (WriteState::Acknowledged, None),
        // The gate may refuse a promotion, which is not a failure.
        409 if operation == Operation::Promote => (WriteState::Refused, None),
        status => {
            let body = String::from_utf8_lossy(answer.body);
            // As a word, since "blocked" means something else.
            let locked =
                body.split(|c: char| !c.is_ascii_alphanumeric()).any(|w| w.eq_ignore_ascii_case("locked"));
            let text: String = body.trim().chars().take(MAX_ERROR_CHARS).collect();
            let failure = Failure { locked, ..Failure::of_answer(format!("{status}: {text}")) };
            // A server may fail after the write is done.
            let state = if status >= 500 { WriteState::Unsure } else { WriteState::Refused };
            (state, Some(failure))
        }
    }
}

/// Returns the id at the start of a version's answer; if it is elsewhere, the whole answer is parsed.
pub(crate) fn id_in(body: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Named {
        id: u64,
    }
    if let Some(rest) = body.strip_prefix(b"{\"id\":") {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if let (1..=19, Some(b',')) = (digits, rest.get(digits)) {
            return std::str::from_utf8(&rest[..digits]).ok()?.parse().ok();
        }
    }
    serde_json::from_slice::<Named>(body).ok().map(|named| named.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_at_any_place() {
        for (body, id) in [
            (r#"{"id":42,"name":"m"}"#, Some(42)),
            (r#"{ "name": "m", "id": 7 }"#, Some(7)),
            (r#"{"id":"42"}"#, None),
            (r#"{"id":4"#, None),
            ("", None),
        ] {
            assert_eq!(id_in(body.as_bytes()), id, "{body}");
        }
    }

    #[test]
    fn the_meaning_of_an_answer_depends_on_the_operation() {
        let answer = |status, body: &'static str| {
            Ok(Answer { status, next: None, body: body.as_bytes(), bytes: body.len() })
        };
        let locked = r#"{"detail":"database is locked"}"#;
        for (operation, answer, state, failed, is_locked) in [
            (Operation::Metrics, answer(200, "{}"), WriteState::Acknowledged, false, false),
            (Operation::Promote, answer(409, "{}"), WriteState::Refused, false, false),
            (Operation::Metrics, answer(409, "{}"), WriteState::Refused, true, false),
            (Operation::Metrics, answer(503, locked), WriteState::Unsure, true, true),
            (Operation::Metrics, answer(503, "{}"), WriteState::Unsure, true, false),
            (Operation::Metrics, answer(503, r#"{"detail":"blocked"}"#), WriteState::Unsure, true, false),
            (Operation::Read, answer(404, "{}"), WriteState::Refused, true, false),
            (Operation::Metrics, answer(302, ""), WriteState::Refused, true, false),
            (Operation::Metrics, Err(ExchangeError::Timeout), WriteState::Unsure, true, false),
            (Operation::Metrics, Err(ExchangeError::ConnectTimeout), WriteState::Refused, true, false),
        ] {
            let (found, failure) = classify(operation, &answer);
            let is = (found, failure.is_some(), failure.is_some_and(|failure| failure.locked));
            assert_eq!(is, (state, failed, is_locked), "{operation:?} {answer:?}");
        }
    }
}
