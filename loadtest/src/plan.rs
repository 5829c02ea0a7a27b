//! The settings of a run. It must not know the server, the form of requests, or flags.

use std::{str::FromStr, time::Duration};

const MAX_WEIGHT: u32 = 1_000_000;

/// A kind of request, in the order of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Reads one version by its id.
    Read,
    /// Reads pages of versions: plain, filtered, sorted, searched.
    List,
    /// Records scores: a write with its event.
    Metrics,
    /// Registers new versions of one name.
    Register,
    /// Promotes versions of one name, which demotes the one before.
    Promote,
    /// `GET /health`, which needs neither key nor database: the highest rate of server and client.
    Health,
}

impl Operation {
    const ALL: [Self; 6] =
        [Self::Read, Self::List, Self::Metrics, Self::Register, Self::Promote, Self::Health];

    /// Returns the operation of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }

    /// Returns its name in weights and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::List => "list",
            Self::Metrics => "metrics",
            Self::Register => "register",
            Self::Promote => "promote",
            Self::Health => "health",
        }
    }
}

/// The share of each operation; at least one is more than 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights([u32; Operation::ALL.len()]);

impl Weights {
    /// Typical use: mostly reads, some writes, few promotions.
    pub const TYPICAL: Self = Self([70, 10, 15, 4, 1, 0]);

    /// Only this operation.
    #[must_use]
    pub fn only(operation: Operation) -> Self {
        let mut weights = [0; Operation::ALL.len()];
        weights[operation as usize] = 1;
        Self(weights)
    }

    /// Returns true if the operation occurs.
    #[must_use]
    pub fn include(&self, operation: Operation) -> bool {
        self.0[operation as usize] > 0
    }

    /// Returns true if more than one operation occurs.
    pub(crate) fn are_mixed(&self) -> bool {
        self.0.iter().filter(|weight| **weight > 0).count() > 1
    }

    /// Returns the next operation. `draw` returns a random number below its argument.
    pub(crate) fn pick(&self, draw: impl FnOnce(u32) -> u32) -> Operation {
        let mut drawn = draw(self.0.iter().sum());
        for (operation, weight) in Operation::ALL.into_iter().zip(self.0) {
            match drawn.checked_sub(weight) {
                Some(rest) => drawn = rest,
                None => return operation,
            }
        }
        Operation::Health
    }
}

impl FromStr for Weights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || {
            let names = Operation::ALL.map(Operation::name).join(", ");
            format!("give them as read=70,metrics=30; known are {names}")
        };
        let mut weights = [None; Operation::ALL.len()];
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').ok_or_else(unknown)?;
            let operation = Operation::named(name.trim()).ok_or_else(unknown)?;
            let weight = weight.trim().parse().ok().filter(|weight| *weight <= MAX_WEIGHT);
            let weight: u32 = weight.ok_or(format!("a weight is a whole number from 0 to {MAX_WEIGHT}"))?;
            if weights[operation as usize].replace(weight).is_some() {
                return Err(format!("{} is given twice", operation.name()));
            }
        }
        let weights = weights.map(Option::unwrap_or_default);
        if weights.iter().all(|weight| *weight == 0) {
            return Err("at least one weight must be more than 0".to_owned());
        }
        Ok(Self(weights))
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

/// A run. Counts are at least 1, and workers are at most as many as connections.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its name in the report.
    pub scenario: &'static str,
    /// What the callers do.
    pub weights: Weights,
    /// Callers, each with its connection.
    pub connections: usize,
    /// Threads that the callers share.
    pub workers: usize,
    /// When the run ends.
    pub limit: Limit,
    /// The time of uncounted load before the run.
    pub warmup: Duration,
    /// Requests per second in the open loop; `None` for the closed loop.
    pub rate: Option<f64>,
    /// Versions that are registered beforehand. Promotions need one for each caller.
    pub models: usize,
    /// The suite whose scores are recorded.
    pub suite: String,
    /// How long to wait for an answer.
    pub timeout: Duration,
    /// Do not delete the registered versions afterwards, for example since they end with their server.
    pub keep: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_gets_its_share_of_the_draws() {
        let weights: Weights = "read=3, promote=1,list=0,metrics=2".parse().unwrap();
        let picked: Vec<_> = (0..6)
            .map(|drawn| {
                weights.pick(|total| {
                    assert_eq!(total, 6);
                    drawn
                })
            })
            .collect();
        let (read, metrics) = (Operation::Read, Operation::Metrics);
        assert_eq!(picked, [read, read, read, metrics, metrics, Operation::Promote]);
        for operation in Operation::ALL {
            assert_eq!(Weights::only(operation).pick(|_| 0), operation);
        }
    }

    #[test]
    fn invalid_weights_are_refused() {
        for (text, words) in [
            ("read=0,list=0", "at least one"),
            ("read=1,read=2", "read is given twice"),
            ("read=-1", "a whole number"),
            ("read=1.5", "a whole number"),
            ("read=1000001", "a whole number"),
            ("", "known are read, list"),
            ("read", "known are read"),
            ("delete=1", "known are read"),
            ("read=1,,", "known are read"),
        ] {
            let error = text.parse::<Weights>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
