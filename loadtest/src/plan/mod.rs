//! The settings of a run, checked once: every [`Plan`] is valid.
//!
//! Pure. It must not know the server or the form of requests.

use std::time::Duration;

mod values;
mod weights;

pub use values::{Rate, Span, ValueError};
pub use weights::Weights;

/// More than this would exhaust the ports of one machine.
pub const MAX_CONNECTIONS: usize = 10_000;
/// Versions that are registered before a run.
pub const MAX_MODELS: usize = 100_000;
/// Versions that are registered for scenarios that read many.
const MANY_MODELS: usize = 300;
/// Client threads by default. The server often runs on the same machine, and needs the cores more.
const MAX_DEFAULT_WORKERS: usize = 8;
const DEFAULT_REQUESTS_PER_CALLER: u64 = 20;

/// What the callers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// One operation.
    Only(Operation),
    /// All operations except `health`, by [`Weights`].
    Mixed,
}

impl Scenario {
    /// All scenarios, in the order of the help.
    pub const ALL: [Self; 7] = [
        Self::Only(Operation::Metrics),
        Self::Only(Operation::Read),
        Self::Only(Operation::List),
        Self::Only(Operation::Register),
        Self::Only(Operation::Promote),
        Self::Mixed,
        Self::Only(Operation::Health),
    ];

    /// Its name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Only(operation) => operation.name(),
            Self::Mixed => "mixed",
        }
    }

    fn weights(self) -> Weights {
        match self {
            Self::Only(operation) => Weights::only(operation),
            Self::Mixed => Weights::default(),
        }
    }
}

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Records scores: a write with its event.
    Metrics,
    /// Reads one version by its id.
    Read,
    /// Reads pages of versions: plain, filtered, sorted, searched.
    List,
    /// Registers new versions of one name.
    Register,
    /// Promotes versions of one name, which demotes the one before.
    Promote,
    /// `GET /health`, which needs neither key nor database: the highest rate of server and client.
    Health,
}

impl Operation {
    /// All operations, in the order of reports.
    pub const ALL: [Self; 6] =
        [Self::Read, Self::List, Self::Metrics, Self::Register, Self::Promote, Self::Health];

    /// Its name in weights and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Read => "read",
            Self::List => "list",
            Self::Register => "register",
            Self::Promote => "promote",
            Self::Health => "health",
        }
    }

    /// Its index in [`Operation::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::Read => 0,
            Self::List => 1,
            Self::Metrics => 2,
            Self::Register => 3,
            Self::Promote => 4,
            Self::Health => 5,
        }
    }
}

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// After this number for each caller.
    RequestsPerCaller(u64),
    /// After this number in all.
    Requests(u64),
    /// After this time no request is begun.
    Duration(Duration),
}

/// When the next request is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// After the answer to the one before, for each caller.
    Closed,
    /// At fixed times, whatever the server does.
    Open(Rate),
}

/// The settings as the user gives them. An absent one has a default.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the callers do.
    pub scenario: Scenario,
    /// The share of each operation, for [`Scenario::Mixed`].
    pub weights: Option<Weights>,
    /// Callers, each with its connection.
    pub connections: usize,
    /// Threads that the callers share.
    pub workers: Option<usize>,
    /// See [`Limit`]; at most one of three.
    pub requests_per_caller: Option<u64>,
    /// See [`Limit`].
    pub requests: Option<u64>,
    /// See [`Limit`].
    pub duration: Option<Span>,
    /// The time of uncounted load before the run.
    pub warmup: Option<Span>,
    /// Requests per second, for the open loop.
    pub rate: Option<Rate>,
    /// Versions that are registered beforehand.
    pub models: Option<usize>,
    /// The suite whose scores are recorded.
    pub suite: String,
    /// The longest time for an answer.
    pub timeout: Span,
    /// Keep the registered versions.
    pub keep: bool,
    /// The cores of this machine.
    pub cores: usize,
}

/// A valid run.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "as in the options")]
pub struct Plan {
    pub scenario: Scenario,
    pub weights: Weights,
    pub connections: usize,
    pub workers: usize,
    pub limit: Limit,
    pub warmup: Duration,
    pub pace: Pace,
    pub models: usize,
    pub suite: String,
    pub timeout: Duration,
    pub keep: bool,
}

/// Why options are invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum PlanError {
    #[error("--connections {0} is not between 1 and {MAX_CONNECTIONS}")]
    Connections(usize),
    #[error("--workers {workers} is not between 1 and the {connections} connections they share")]
    Workers { workers: usize, connections: usize },
    #[error("--models {0} is not between 1 and {MAX_MODELS}")]
    Models(usize),
    #[error("a run ends by {0} or by {1}, not by both; remove one")]
    Ends(&'static str, &'static str),
    #[error("{0} must be at least 1")]
    Nothing(&'static str),
    #[error("--weights goes with --scenario mixed, not with {0}")]
    WeightsWithout(&'static str),
    #[error(
        "promotions need a version for each connection, so that each caller has its own: \
         --models {models} is less than --connections {connections}"
    )]
    FewerModelsThanCallers { models: usize, connections: usize },
    #[error("--suite is blank; give a name such as smoke-v1")]
    BlankSuite,
    #[error("--suite is longer than {MAX_SUITE_BYTES} bytes")]
    LongSuite,
}

const MAX_SUITE_BYTES: usize = 1000;

impl TryFrom<Options> for Plan {
    type Error = PlanError;

    fn try_from(options: Options) -> Result<Self, PlanError> {
        let connections = options.connections;
        if !(1..=MAX_CONNECTIONS).contains(&connections) {
            return Err(PlanError::Connections(connections));
        }
        let default_workers = (options.cores / 2).clamp(1, MAX_DEFAULT_WORKERS.min(connections));
        let workers = options.workers.unwrap_or(default_workers);
        if !(1..=connections).contains(&workers) {
            return Err(PlanError::Workers { workers, connections });
        }
        if let (Some(_), false) = (&options.weights, options.scenario == Scenario::Mixed) {
            return Err(PlanError::WeightsWithout(options.scenario.name()));
        }
        let weights = options.weights.clone().unwrap_or_else(|| options.scenario.weights());
        let models = models(&options, &weights)?;
        let suite = options.suite.trim().to_owned();
        match suite.len() {
            0 => return Err(PlanError::BlankSuite),
            length if length > MAX_SUITE_BYTES => return Err(PlanError::LongSuite),
            _ => {}
        }
        Ok(Self {
            scenario: options.scenario,
            weights,
            connections,
            workers,
            limit: limit(&options)?,
            warmup: options.warmup.map_or(Duration::ZERO, Span::duration),
            pace: options.rate.map_or(Pace::Closed, Pace::Open),
            models,
            suite,
            timeout: options.timeout.duration(),
            keep: options.keep,
        })
    }
}

fn limit(options: &Options) -> Result<Limit, PlanError> {
    const PER_CALLER: &str = "--requests-per-thread";
    const IN_ALL: &str = "--requests";
    const DURATION: &str = "--duration";
    let some = |count: u64, flag| if count == 0 { Err(PlanError::Nothing(flag)) } else { Ok(count) };
    match (options.requests_per_caller, options.requests, options.duration) {
        (Some(_), Some(_), _) => Err(PlanError::Ends(PER_CALLER, IN_ALL)),
        (Some(_), None, Some(_)) => Err(PlanError::Ends(PER_CALLER, DURATION)),
        (None, Some(_), Some(_)) => Err(PlanError::Ends(IN_ALL, DURATION)),
        (Some(count), None, None) => some(count, PER_CALLER).map(Limit::RequestsPerCaller),
        (None, Some(count), None) => some(count, IN_ALL).map(Limit::Requests),
        (None, None, Some(duration)) => Ok(Limit::Duration(duration.duration())),
        (None, None, None) => Ok(Limit::RequestsPerCaller(DEFAULT_REQUESTS_PER_CALLER)),
    }
}

/// Scores are recorded for one version by default, as 0.2.0 did, so that all writes meet there.
fn models(options: &Options, weights: &Weights) -> Result<usize, PlanError> {
    let connections = options.connections;
    let promotes = weights.of(Operation::Promote) > 0;
    let default = match options.scenario {
        Scenario::Only(Operation::Metrics | Operation::Register | Operation::Health) => 1,
        Scenario::Only(Operation::Promote) => connections,
        Scenario::Only(Operation::Read | Operation::List) | Scenario::Mixed => MANY_MODELS.max(connections),
    };
    let models = options.models.unwrap_or(default);
    if !(1..=MAX_MODELS).contains(&models) {
        return Err(PlanError::Models(models));
    }
    if promotes && models < connections {
        return Err(PlanError::FewerModelsThanCallers { models, connections });
    }
    Ok(models)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(scenario: Scenario) -> Options {
        Options {
            scenario,
            weights: None,
            connections: 10,
            workers: None,
            requests_per_caller: None,
            requests: None,
            duration: None,
            warmup: None,
            rate: None,
            models: None,
            suite: " smoke-v1 ".to_owned(),
            timeout: "10s".parse().unwrap(),
            keep: false,
            cores: 2,
        }
    }

    #[test]
    fn the_default_is_the_check_of_0_2_0() {
        let plan = Plan::try_from(options(Scenario::Only(Operation::Metrics))).unwrap();
        assert_eq!((plan.connections, plan.workers, plan.models), (10, 1, 1));
        assert_eq!((plan.limit, plan.pace), (Limit::RequestsPerCaller(20), Pace::Closed));
        assert_eq!((plan.suite.as_str(), plan.warmup), ("smoke-v1", Duration::ZERO));
    }

    #[test]
    fn workers_leave_cores_to_the_server_and_are_no_more_than_connections() {
        for (cores, connections, workers) in [(1, 10, 1), (2, 10, 1), (8, 10, 4), (64, 100, 8), (64, 3, 3)] {
            let options = Options { cores, connections, ..options(Scenario::Only(Operation::Metrics)) };
            assert_eq!(Plan::try_from(options).unwrap().workers, workers, "{cores} {connections}");
        }
    }

    #[test]
    fn scenarios_that_read_prepare_many_and_promotions_one_for_each_caller() {
        for (scenario, connections, models) in [
            (Scenario::Only(Operation::Read), 10, 300),
            (Scenario::Mixed, 1000, 1000),
            (Scenario::Only(Operation::Promote), 7, 7),
            (Scenario::Only(Operation::Register), 10, 1),
        ] {
            let options = Options { connections, ..options(scenario) };
            assert_eq!(Plan::try_from(options).unwrap().models, models, "{scenario:?}");
        }
    }

    #[test]
    fn a_run_ends_in_one_way() {
        let span = || Some("1s".parse().unwrap());
        for (change, expected) in [
            (Options { requests: Some(7), ..options(Scenario::Only(Operation::Read)) }, Limit::Requests(7)),
            (
                Options { duration: span(), ..options(Scenario::Only(Operation::Read)) },
                Limit::Duration(Duration::from_secs(1)),
            ),
        ] {
            assert_eq!(Plan::try_from(change).unwrap().limit, expected);
        }
    }

    #[test]
    fn an_invalid_plan_is_refused_with_the_flag() {
        let span = || Some("1s".parse().unwrap());
        let base = || options(Scenario::Only(Operation::Metrics));
        for (options, words) in [
            (Options { connections: 0, ..base() }, "--connections 0"),
            (Options { connections: 10_001, ..base() }, "--connections 10001"),
            (Options { workers: Some(0), ..base() }, "--workers 0"),
            (Options { workers: Some(11), ..base() }, "--workers 11"),
            (Options { models: Some(0), ..base() }, "--models 0"),
            (Options { requests: Some(0), ..base() }, "--requests must"),
            (Options { requests_per_caller: Some(0), ..base() }, "--requests-per-thread must"),
            (Options { requests: Some(1), duration: span(), ..base() }, "--requests or by --duration"),
            (Options { requests: Some(1), requests_per_caller: Some(1), ..base() }, "not by both"),
            (Options { duration: span(), requests_per_caller: Some(1), ..base() }, "or by --duration"),
            (Options { weights: Some(Weights::default()), ..base() }, "not with metrics"),
            (
                Options { models: Some(9), ..options(Scenario::Only(Operation::Promote)) },
                "--models 9 is less",
            ),
            (Options { models: Some(9), ..options(Scenario::Mixed) }, "--models 9 is less"),
            (Options { suite: "  ".to_owned(), ..base() }, "--suite is blank"),
            (Options { suite: "x".repeat(1001), ..base() }, "longer than 1000"),
        ] {
            let text = Plan::try_from(options).unwrap_err().to_string();
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn operations_know_their_index() {
        for (index, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation.index(), index);
        }
    }
}
