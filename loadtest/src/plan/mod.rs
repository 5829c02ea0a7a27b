//! What a run is asked to do, checked once: a [`Plan`] that exists makes sense.
//!
//! Pure. It must not know where the server is, nor what a request looks like.

use std::time::Duration;

mod values;
mod weights;

pub use values::{BadValue, Rate, Span};
pub use weights::Weights;

/// Connections beyond this are more than one machine's ports and a single client can make sense of.
pub const MAX_CONNECTIONS: usize = 10_000;
/// Versions that are registered before a run.
pub const MAX_MODELS: usize = 100_000;
/// How many versions are prepared where the scenario wants to see different ones.
const MANY_MODELS: usize = 300;
/// Client threads by default: the server, which often runs on the same machine, needs the cores more.
const MAX_DEFAULT_WORKERS: usize = 8;
const DEFAULT_REQUESTS_PER_CALLER: u64 = 20;

/// What the callers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Always the same.
    Only(Operation),
    /// All but `health`, by [`Weights`].
    Mixed,
}

impl Scenario {
    /// All of them, as the help lists them.
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
    /// Scores are recorded: a write with its event.
    Metrics,
    /// One version by its id.
    Read,
    /// Pages of versions: plain, filtered, sorted, searched.
    List,
    /// New versions of one name.
    Register,
    /// Versions of one name take production from each other.
    Promote,
    /// `GET /health`: neither a key nor a database, so the most that server and client can do.
    Health,
}

impl Operation {
    /// All of them, in the order in which reports show them.
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

    /// Where it stands in [`Operation::ALL`].
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

/// When a run has done what it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Each caller sends so many.
    RequestsPerCaller(u64),
    /// So many in all.
    Requests(u64),
    /// Nothing new is begun after so long.
    Duration(Duration),
}

/// What decides when the next request is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// The answer to the one before: each caller waits for it.
    Closed,
    /// The clock: requests are due at fixed times, whatever the answers do.
    Open(Rate),
}

/// A run as it is asked for. What is absent has a default.
#[derive(Debug, Clone)]
pub struct Order {
    /// What the callers do.
    pub scenario: Scenario,
    /// How often each does what, for [`Scenario::Mixed`].
    pub weights: Option<Weights>,
    /// Callers, with a connection each.
    pub connections: usize,
    /// Threads that the callers share.
    pub workers: Option<usize>,
    /// See [`Extent`]; at most one of the three.
    pub requests_per_caller: Option<u64>,
    /// See [`Extent`].
    pub requests: Option<u64>,
    /// See [`Extent`].
    pub duration: Option<Span>,
    /// Load of which nothing is counted, before the rest.
    pub warmup: Option<Span>,
    /// Requests a second that are due, for the open loop.
    pub rate: Option<Rate>,
    /// Versions that are registered beforehand.
    pub models: Option<usize>,
    /// Which scores are written.
    pub suite: String,
    /// How long an answer may take.
    pub timeout: Span,
    /// Whether what was registered is left in the registry.
    pub keep: bool,
    /// The cores of this machine.
    pub cores: usize,
}

/// A run that makes sense.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "as in the order")]
pub struct Plan {
    pub scenario: Scenario,
    pub weights: Weights,
    pub connections: usize,
    pub workers: usize,
    pub extent: Extent,
    pub warmup: Duration,
    pub pace: Pace,
    pub models: usize,
    pub suite: String,
    pub timeout: Duration,
    pub keep: bool,
}

/// What contradicts itself in an order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum PlanError {
    #[error("--connections {0} is not between 1 and {MAX_CONNECTIONS}")]
    Connections(usize),
    #[error("--workers {workers} is not between 1 and the {connections} connections they share")]
    Workers { workers: usize, connections: usize },
    #[error("--models {0} is not between 1 and {MAX_MODELS}")]
    Models(usize),
    #[error("a run ends by {0} or by {1}, not by both; leave one out")]
    Ends(&'static str, &'static str),
    #[error("{0} 0 is a run of nothing; give at least 1")]
    Nothing(&'static str),
    #[error("--weights goes with --scenario mixed, not with {0}")]
    WeightsWithout(&'static str),
    #[error(
        "promotions need a version for each connection, so that each caller's own are told apart: \
         --models {models} is less than --connections {connections}"
    )]
    FewerModelsThanCallers { models: usize, connections: usize },
    #[error("--suite is blank; give a name such as smoke-v1")]
    BlankSuite,
    #[error("--suite is longer than {MAX_SUITE_BYTES} bytes")]
    LongSuite,
}

const MAX_SUITE_BYTES: usize = 1000;

impl TryFrom<Order> for Plan {
    type Error = PlanError;

    fn try_from(order: Order) -> Result<Self, PlanError> {
        let connections = order.connections;
        if !(1..=MAX_CONNECTIONS).contains(&connections) {
            return Err(PlanError::Connections(connections));
        }
        let default_workers = (order.cores / 2).clamp(1, MAX_DEFAULT_WORKERS.min(connections));
        let workers = order.workers.unwrap_or(default_workers);
        if !(1..=connections).contains(&workers) {
            return Err(PlanError::Workers { workers, connections });
        }
        if let (Some(_), false) = (&order.weights, order.scenario == Scenario::Mixed) {
            return Err(PlanError::WeightsWithout(order.scenario.name()));
        }
        let weights = order.weights.clone().unwrap_or_else(|| order.scenario.weights());
        let models = models(&order, &weights)?;
        let suite = order.suite.trim().to_owned();
        match suite.len() {
            0 => return Err(PlanError::BlankSuite),
            length if length > MAX_SUITE_BYTES => return Err(PlanError::LongSuite),
            _ => {}
        }
        Ok(Self {
            scenario: order.scenario,
            weights,
            connections,
            workers,
            extent: extent(&order)?,
            warmup: order.warmup.map_or(Duration::ZERO, Span::duration),
            pace: order.rate.map_or(Pace::Closed, Pace::Open),
            models,
            suite,
            timeout: order.timeout.duration(),
            keep: order.keep,
        })
    }
}

fn extent(order: &Order) -> Result<Extent, PlanError> {
    const PER_CALLER: &str = "--requests-per-thread";
    const IN_ALL: &str = "--requests";
    const DURATION: &str = "--duration";
    let some = |count: u64, flag| if count == 0 { Err(PlanError::Nothing(flag)) } else { Ok(count) };
    match (order.requests_per_caller, order.requests, order.duration) {
        (Some(_), Some(_), _) => Err(PlanError::Ends(PER_CALLER, IN_ALL)),
        (Some(_), None, Some(_)) => Err(PlanError::Ends(PER_CALLER, DURATION)),
        (None, Some(_), Some(_)) => Err(PlanError::Ends(IN_ALL, DURATION)),
        (Some(count), None, None) => some(count, PER_CALLER).map(Extent::RequestsPerCaller),
        (None, Some(count), None) => some(count, IN_ALL).map(Extent::Requests),
        (None, None, Some(duration)) => Ok(Extent::Duration(duration.duration())),
        (None, None, None) => Ok(Extent::RequestsPerCaller(DEFAULT_REQUESTS_PER_CALLER)),
    }
}

/// 0.2.0's check writes to one version, and so do writes of scores by default: that is where they meet.
fn models(order: &Order, weights: &Weights) -> Result<usize, PlanError> {
    let connections = order.connections;
    let promotes = weights.of(Operation::Promote) > 0;
    let default = match order.scenario {
        Scenario::Only(Operation::Metrics | Operation::Register | Operation::Health) => 1,
        Scenario::Only(Operation::Promote) => connections,
        Scenario::Only(Operation::Read | Operation::List) | Scenario::Mixed => MANY_MODELS.max(connections),
    };
    let models = order.models.unwrap_or(default);
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

    fn order(scenario: Scenario) -> Order {
        Order {
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
        let plan = Plan::try_from(order(Scenario::Only(Operation::Metrics))).unwrap();
        assert_eq!((plan.connections, plan.workers, plan.models), (10, 1, 1));
        assert_eq!((plan.extent, plan.pace), (Extent::RequestsPerCaller(20), Pace::Closed));
        assert_eq!((plan.suite.as_str(), plan.warmup), ("smoke-v1", Duration::ZERO));
    }

    #[test]
    fn workers_leave_cores_to_the_server_and_are_no_more_than_connections() {
        for (cores, connections, workers) in [(1, 10, 1), (2, 10, 1), (8, 10, 4), (64, 100, 8), (64, 3, 3)] {
            let order = Order { cores, connections, ..order(Scenario::Only(Operation::Metrics)) };
            assert_eq!(Plan::try_from(order).unwrap().workers, workers, "{cores} {connections}");
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
            let order = Order { connections, ..order(scenario) };
            assert_eq!(Plan::try_from(order).unwrap().models, models, "{scenario:?}");
        }
    }

    #[test]
    fn a_run_ends_in_one_way() {
        let span = || Some("1s".parse().unwrap());
        for (change, expected) in [
            (Order { requests: Some(7), ..order(Scenario::Only(Operation::Read)) }, Extent::Requests(7)),
            (
                Order { duration: span(), ..order(Scenario::Only(Operation::Read)) },
                Extent::Duration(Duration::from_secs(1)),
            ),
        ] {
            assert_eq!(Plan::try_from(change).unwrap().extent, expected);
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_the_flags_in_question() {
        let span = || Some("1s".parse().unwrap());
        let base = || order(Scenario::Only(Operation::Metrics));
        for (order, words) in [
            (Order { connections: 0, ..base() }, "--connections 0"),
            (Order { connections: 10_001, ..base() }, "--connections 10001"),
            (Order { workers: Some(0), ..base() }, "--workers 0"),
            (Order { workers: Some(11), ..base() }, "--workers 11"),
            (Order { models: Some(0), ..base() }, "--models 0"),
            (Order { requests: Some(0), ..base() }, "--requests 0"),
            (Order { requests_per_caller: Some(0), ..base() }, "--requests-per-thread 0"),
            (Order { requests: Some(1), duration: span(), ..base() }, "--requests or by --duration"),
            (Order { requests: Some(1), requests_per_caller: Some(1), ..base() }, "not by both"),
            (Order { duration: span(), requests_per_caller: Some(1), ..base() }, "or by --duration"),
            (Order { weights: Some(Weights::default()), ..base() }, "not with metrics"),
            (Order { models: Some(9), ..order(Scenario::Only(Operation::Promote)) }, "--models 9 is less"),
            (Order { models: Some(9), ..order(Scenario::Mixed) }, "--models 9 is less"),
            (Order { suite: "  ".to_owned(), ..base() }, "--suite is blank"),
            (Order { suite: "x".repeat(1001), ..base() }, "longer than 1000"),
        ] {
            let text = Plan::try_from(order).unwrap_err().to_string();
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn operations_know_where_they_stand() {
        for (index, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation.index(), index);
        }
    }
}
