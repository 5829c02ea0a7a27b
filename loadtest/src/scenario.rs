//! The requests of a run, and what their answers mean.
//!
//! Requests are prepared before the run. During the run a caller only writes digits into them, so it allocates nothing.

use std::{ops::Range, sync::Arc, time::Duration};

use fastrand::Rng;

use crate::{
    http::{Answer, ExchangeError},
    ledger::{Ledger, Promotions, WriteState},
    plan::{Operation, Plan, Weights},
    prepare::Model,
    tally::Failure,
    target::Target,
};

/// The longest part of an answer that the report repeats.
const MAX_ERROR_CHARS: usize = 300;
const NUMBER_DIGITS: usize = 15;
const CALLER_DIGITS: usize = 5;

/// The requests of a run, as bytes.
pub(crate) struct Requests {
    weights: Weights,
    callers: usize,
    models: usize,
    read: Vec<Vec<u8>>,
    promote: Vec<Vec<u8>>,
    /// Heads, one per version; the body is the same for all.
    metrics: Vec<Vec<u8>>,
    metrics_body: Template,
    register: Vec<u8>,
    register_body: Template,
    list: Vec<Vec<u8>>,
    health: Vec<u8>,
}

impl Requests {
    pub(crate) fn new(plan: &Plan, target: &Target, name: &str, models: &[Model]) -> Self {
        let metrics_body = Template::of_metrics(&plan.suite);
        let register_body = Template::of_registration(name);
        let each = |method: &str, tail: &str, body: Option<usize>| {
            models
                .iter()
                .map(|model| target.head(method, &format!("/models/{}{tail}", model.id), body))
                .collect()
        };
        let list = LISTS
            .iter()
            .map(|query| target.head("GET", &format!("/models?{}", query.replace("NAME", name)), None));
        Self {
            weights: plan.weights.clone(),
            callers: plan.connections,
            models: models.len(),
            read: each("GET", "", None),
            promote: each("POST", "/promote?to_status=production", Some(0)),
            metrics: each("POST", "/metrics", Some(metrics_body.bytes.len())),
            metrics_body,
            register: target.head("POST", "/models", Some(register_body.bytes.len())),
            register_body,
            list: list.collect(),
            health: target.head("GET", "/health", None),
        }
    }

    pub(crate) fn health(&self) -> &[u8] {
        &self.health
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

/// The index of the version to which a caller's write of this number goes.
pub(crate) fn model_of(caller: usize, number: u64, models: usize) -> usize {
    let models = models.max(1) as u64;
    usize::try_from((caller as u64 + number) % models).unwrap_or_default()
}

/// The version string of a registration.
pub(crate) fn version_of(caller: usize, number: u64) -> String {
    format!("r{caller:0CALLER_DIGITS$}-{number:0NUMBER_DIGITS$}")
}

/// A body with places for numbers, padded so that its length is constant.
struct Template {
    bytes: Vec<u8>,
    caller: Range<usize>,
    number: Range<usize>,
    pad: u8,
}

impl Template {
    /// JSON allows spaces before a number, but no zeros.
    fn of_metrics(suite: &str) -> Self {
        let suite = serde_json::Value::from(suite);
        let (caller, number) = (" ".repeat(CALLER_DIGITS), " ".repeat(NUMBER_DIGITS));
        let text = format!(
            "{{\"suite\":{suite},\"metrics\":{{\"score\":0.5,\"caller\":{caller},\"sequence\":{number}}}}}"
        );
        Self::new(text, &format!("{caller},\"sequence\":{number}}}}}"), ",\"sequence\":", b' ')
    }

    fn of_registration(name: &str) -> Self {
        let version = version_of(0, 0);
        let text = format!(
            "{{\"name\":\"{name}\",\"artifact_uri\":\"s3://loadtest/model.pt\",\"tags\":[\"loadtest\"],\
             \"params\":124439808,\"training_step\":1000,\"version\":\"{version}\"}}"
        );
        Self::new(text, &format!("{}\"}}", &version[1..]), "-", b'0')
    }

    /// The text ends with `tail`: the place of the caller, `between`, the place of the number, and more.
    fn new(text: String, tail: &str, between: &str, pad: u8) -> Self {
        let start = text.len() - tail.len();
        let number = start + CALLER_DIGITS + between.len();
        Self {
            bytes: text.into_bytes(),
            caller: start..start + CALLER_DIGITS,
            number: number..number + NUMBER_DIGITS,
            pad,
        }
    }

    fn append_to(&self, request: &mut Vec<u8>, caller: usize, number: u64) {
        let start = request.len();
        request.extend_from_slice(&self.bytes);
        let body = &mut request[start..];
        write_digits(&mut body[self.caller.clone()], caller as u64, self.pad);
        write_digits(&mut body[self.number.clone()], number, self.pad);
    }
}

fn write_digits(place: &mut [u8], mut number: u64, pad: u8) {
    let mut first = true;
    for digit in place.iter_mut().rev() {
        *digit = if number > 0 || first { b'0' + (number % 10) as u8 } else { pad };
        number /= 10;
        first = false;
    }
}

/// The request that a caller has sent.
#[derive(Debug, Clone, Copy)]
struct Pending {
    operation: Operation,
    /// The number of the write among those of its kind, or the index of the promoted version among the caller's own.
    number: u64,
}

/// One caller, with one request at a time, and its ledger.
pub(crate) struct Caller {
    requests: Arc<Requests>,
    index: usize,
    rng: Rng,
    pending: Option<Pending>,
    promotions_sent: u64,
    pub(crate) ledger: Ledger,
}

impl Caller {
    pub(crate) fn new(requests: &Arc<Requests>, index: usize, seed: u64) -> Self {
        let Requests { models, callers, .. } = **requests;
        let own = (index..models).step_by(callers.max(1)).count();
        Self {
            requests: Arc::clone(requests),
            index,
            rng: Rng::with_seed(seed ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            pending: None,
            promotions_sent: 0,
            ledger: Ledger { promotions: vec![Promotions::default(); own], ..Ledger::default() },
        }
    }

    /// Writes the next request into `request`.
    pub(crate) fn compose(&mut self, request: &mut Vec<u8>) -> Operation {
        let requests = Arc::clone(&self.requests);
        let operation = requests.weights.pick(|total| self.rng.u32(..total));
        request.clear();
        let mut number = 0;
        match operation {
            Operation::Read => request.extend_from_slice(&requests.read[self.rng.usize(..requests.models)]),
            Operation::List => {
                request.extend_from_slice(&requests.list[self.rng.usize(..requests.list.len())])
            }
            Operation::Health => request.extend_from_slice(&requests.health),
            Operation::Metrics => {
                number = self.ledger.metrics.begin();
                let model = model_of(self.index, number, requests.models);
                request.extend_from_slice(&requests.metrics[model]);
                requests.metrics_body.append_to(request, self.index, number);
            }
            Operation::Register => {
                number = self.ledger.registrations.begin();
                request.extend_from_slice(&requests.register);
                requests.register_body.append_to(request, self.index, number);
            }
            Operation::Promote => {
                number = self.promotions_sent % self.ledger.promotions.len().max(1) as u64;
                self.promotions_sent += 1;
                if let Some(own) = self.ledger.promotions.get_mut(slot(number)) {
                    own.unsure += 1;
                }
                request.extend_from_slice(&requests.promote[self.index + slot(number) * requests.callers]);
            }
        }
        self.pending = Some(Pending { operation, number });
        operation
    }

    /// Records the answer to that request in the ledger, with the times since the run began. Returns why it failed, if it
    /// did.
    pub(crate) fn record(
        &mut self,
        answer: &Result<Answer<'_>, ExchangeError>,
        (sent, answered): (Duration, Duration),
    ) -> Option<Failure> {
        let Pending { operation, number } = self.pending.take()?;
        let (state, failure) = judge(operation, answer);
        match operation {
            Operation::Metrics => self.ledger.metrics.set(number, state),
            Operation::Register => {
                let id = answer.as_ref().ok().and_then(|answer| id_in(answer.body));
                match (state, id) {
                    (WriteState::Acknowledged, Some(id)) => {
                        self.ledger.registrations.set(number, state);
                        self.ledger.registered.push((number, id));
                    }
                    // Without its id it can't be read back.
                    (WriteState::Acknowledged, None) => {
                        return Some(Failure::of_answer("the answer to a registration has no id".to_owned()));
                    }
                    (state, _) => self.ledger.registrations.set(number, state),
                }
            }
            Operation::Promote => {
                if let Some(own) = self.ledger.promotions.get_mut(slot(number)) {
                    own.unsure -= u64::from(state != WriteState::Unsure);
                    if state == WriteState::Acknowledged {
                        own.acknowledged += 1;
                        own.last = Some((sent, answered));
                    }
                }
            }
            Operation::Read | Operation::List | Operation::Health => {}
        }
        failure
    }
}

fn slot(number: u64) -> usize {
    usize::try_from(number).unwrap_or_default()
}

impl Failure {
    fn of_answer(text: String) -> Self {
        Self { kind: None, unreachable: false, locked: false, text }
    }
}

/// The state of the write, and the failure if the answer is one.
fn judge(operation: Operation, answer: &Result<Answer<'_>, ExchangeError>) -> (WriteState, Option<Failure>) {
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

/// The id at the begin of a version's answer; if it is elsewhere, the whole answer is parsed.
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
    use serde_json::{Value, json};

    use super::*;

    fn body_of(template: &Template, caller: usize, number: u64) -> Value {
        let mut body = Vec::new();
        template.append_to(&mut body, caller, number);
        assert_eq!(body.len(), template.bytes.len());
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn bodies_are_json_of_constant_length() {
        for (caller, number) in [(0, 0), (7, 10), (9999, 999_999_999_999_999)] {
            let body = body_of(&Template::of_metrics("a \"suite\""), caller, number);
            let metrics = json!({"score": 0.5, "caller": caller, "sequence": number});
            assert_eq!(body, json!({"suite": "a \"suite\"", "metrics": metrics}));
            let body = body_of(&Template::of_registration("loadtest-1"), caller, number);
            assert_eq!(body["version"], version_of(caller, number));
        }
    }

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
            let (found, failure) = judge(operation, &answer);
            let is = (found, failure.is_some(), failure.is_some_and(|failure| failure.locked));
            assert_eq!(is, (state, failed, is_locked), "{operation:?} {answer:?}");
        }
    }

    #[test]
    fn writes_go_to_each_version_in_turn() {
        let hit: Vec<_> = (0..4).map(|number| model_of(1, number, 3)).collect();
        assert_eq!(hit, [1, 2, 0, 1]);
    }
}
