//! The flags of the load, and the plan they make.

use std::{thread::available_parallelism, time::Duration};

use clap::{Args, builder::RangedU64ValueParser, value_parser};
use registry_loadtest::{Limit, Operation, Plan, Weights};

use crate::cli::exit::Failure;

const MIXED: &str = "mixed";
/// More would exhaust the ports of one machine.
const MAX_CONNECTIONS: u64 = 10_000;
/// Versions that are registered before a run.
const MAX_MODELS: u64 = 100_000;
/// Versions that are registered for scenarios that read many.
const MANY_MODELS: usize = 300;
/// The server often runs on the same machine, and needs the cores more.
const MAX_DEFAULT_WORKERS: usize = 8;
const DEFAULT_REQUESTS_PER_CALLER: u64 = 20;
const MAX_SUITE_BYTES: usize = 1000;
const MAX_SECONDS: f64 = 7.0 * 24.0 * 3600.0;
/// Far more than one client can send.
const MAX_RATE: f64 = 10_000_000.0;

#[derive(Debug, Args)]
pub(super) struct Load {
    /// The requests: metrics, read, list, register, promote, mixed, or health (the cheapest request)
    #[arg(long, value_name = "NAME", default_value = "metrics", hide_possible_values = true,
          value_parser = ["metrics", "read", "list", "register", "promote", MIXED, "health"])]
    scenario: String,
    /// The share of each operation in the scenario mixed
    /// [default: read=70,list=10,metrics=15,register=4,promote=1]
    #[arg(long, value_name = "NAME=N,…")]
    weights: Option<Weights>,
    /// Callers, each with its own connection, waiting for each answer; 0.2.0 called them threads
    #[arg(long, visible_alias = "threads", value_name = "N", default_value_t = 10,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_CONNECTIONS))]
    connections: usize,
    /// Threads that the callers share [default: half the cores, at most 8]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// End after this number of requests per caller; 20 if nothing else ends it
    #[arg(long, value_name = "N", group = "end", value_parser = value_parser!(u64).range(1..))]
    requests_per_thread: Option<u64>,
    /// End after this number of requests in all
    #[arg(long, value_name = "N", group = "end", value_parser = value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// End after this time, such as 10s or 2m
    #[arg(long, value_name = "TIME", group = "end", value_parser = duration)]
    duration: Option<Duration>,
    /// Begin with load that is not counted
    #[arg(long, value_name = "TIME", value_parser = duration)]
    warmup: Option<Duration>,
    /// Send this number of requests per second at fixed times; without it, each answer triggers the next request
    #[arg(long, value_name = "R", allow_negative_numbers = true, value_parser = rate)]
    rate: Option<f64>,
    /// Versions to register beforehand [default: 1 for metrics, 300 for reading]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_MODELS))]
    models: Option<usize>,
    /// The suite whose scores are recorded
    #[arg(long, value_name = "NAME", default_value = "smoke-v1")]
    suite: String,
    /// Time to wait for an answer
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    timeout: Duration,
    /// Keep the registered versions in the registry
    #[arg(long)]
    pub(super) keep: bool,
}

impl Load {
    /// # Errors
    /// If flags do not fit together.
    pub(super) fn plan(&self) -> Result<Plan, Failure> {
        let connections = self.connections;
        // A mix has no single operation.
        let operation = Operation::named(&self.scenario);
        let scenario = operation.map_or(MIXED, Operation::name);
        let weights = match (&self.weights, operation) {
            (Some(_), Some(_)) => {
                let text = format!("--weights goes with --scenario mixed, not with {scenario}");
                return Err(Failure::usage(text));
            }
            (Some(weights), None) => weights.clone(),
            (None, Some(operation)) => Weights::only(operation),
            (None, None) => Weights::TYPICAL,
        };
        let cores = available_parallelism().map_or(1, usize::from);
        let workers = self.workers.unwrap_or_else(|| default_workers(cores, connections));
        if !(1..=connections).contains(&workers) {
            return Err(Failure::usage(format!(
                "--workers {workers} is not between 1 and the {connections} connections they share"
            )));
        }
        let models = self.models.unwrap_or_else(|| default_models(operation, connections));
        if weights.include(Operation::Promote) && models < connections {
            return Err(Failure::usage(format!(
                "promotions need a version for each connection, so that each caller has its own: --models {models} is \
                 less than --connections {connections}"
            )));
        }
        let suite = self.suite.trim();
        if suite.is_empty() {
            return Err(Failure::usage("--suite is blank; give a name such as smoke-v1"));
        }
        if suite.len() > MAX_SUITE_BYTES {
            return Err(Failure::usage(format!("--suite is longer than {MAX_SUITE_BYTES} bytes")));
        }
        let limit = match (self.requests, self.duration) {
            (Some(requests), _) => Limit::Requests(requests),
            (None, Some(duration)) => Limit::Duration(duration),
            (None, None) => {
                Limit::RequestsPerCaller(self.requests_per_thread.unwrap_or(DEFAULT_REQUESTS_PER_CALLER))
            }
        };
        Ok(Plan {
            scenario,
            weights,
            connections,
            workers,
            limit,
            warmup: self.warmup.unwrap_or_default(),
            rate: self.rate,
            models,
            suite: suite.to_owned(),
            timeout: self.timeout,
            keep: self.keep,
        })
    }
}

fn default_workers(cores: usize, connections: usize) -> usize {
    (cores / 2).clamp(1, MAX_DEFAULT_WORKERS.min(connections))
}

/// Scores are recorded for one version by default, as 0.2.0 did, so that all writes contend for it.
fn default_models(operation: Option<Operation>, connections: usize) -> usize {
    match operation {
        Some(Operation::Metrics | Operation::Register | Operation::Health) => 1,
        Some(Operation::Promote) => connections,
        Some(Operation::Read | Operation::List) | None => MANY_MODELS.max(connections),
    }
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    const UNKNOWN: &str = "give a number and a unit, such as 10s, 500ms or 2m";
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(UNKNOWN),
    };
    let seconds = number.parse::<f64>().map_err(|_| UNKNOWN)? * seconds;
    match Duration::try_from_secs_f64(seconds) {
        Ok(Duration::ZERO) => Err("it must be longer than 0"),
        Ok(duration) if seconds <= MAX_SECONDS => Ok(duration),
        _ => Err("it must be at most seven days"),
    }
}

fn rate(text: &str) -> Result<f64, &'static str> {
    match text.trim().parse::<f64>() {
        Ok(rate) if rate <= 0.0 => {
            Err("it must be more than 0; leave the flag out to send as fast as answers come")
        }
        Ok(rate) if (1.0 / 86_400.0..=MAX_RATE).contains(&rate) => Ok(rate),
        Ok(rate) if !rate.is_nan() => Err("it must be between one per day and 10000000"),
        _ => Err("give requests per second, such as 500"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_leave_cores_to_the_server_and_are_no_more_than_connections() {
        for (cores, connections, workers) in [(1, 10, 1), (2, 10, 1), (8, 10, 4), (64, 100, 8), (64, 3, 3)] {
            assert_eq!(default_workers(cores, connections), workers, "{cores} {connections}");
        }
    }

    #[test]
    fn scenarios_that_read_prepare_many_and_promotions_one_for_each_caller() {
        assert_eq!(default_models(Some(Operation::Read), 10), 300);
        assert_eq!(default_models(None, 1000), 1000);
        assert_eq!(default_models(Some(Operation::Promote), 7), 7);
        assert_eq!(default_models(Some(Operation::Metrics), 10), 1);
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("1.5", 1500),
            ("2m", 120_000),
            ("1 min", 60_000),
            (" 0.5h ", 1_800_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1s", "1.2.3s", "10 parsecs"] {
            assert!(duration(text).unwrap_err().starts_with("give a number"), "{text}");
        }
        for text in ["8000h", &"9".repeat(400)] {
            assert!(duration(text).unwrap_err().ends_with("seven days"), "{text}");
        }
        assert!(duration("0").is_err() && duration("0ms").is_err());
    }

    #[test]
    fn rates_are_above_zero() {
        assert_eq!(rate("0.5"), Ok(0.5));
        for (text, words) in [
            ("0", "more than 0"),
            ("-3", "more than 0"),
            ("NaN", "give"),
            ("fast", "give"),
            ("inf", "between"),
        ] {
            assert!(rate(text).unwrap_err().contains(words), "{text}");
        }
    }
}
