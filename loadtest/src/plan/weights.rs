//! How often each operation is sent.

use std::str::FromStr;

use super::{Operation, ValueError};

const MAX_WEIGHT: u32 = 1_000_000;

/// The share of each operation; at least one is more than 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights([u32; Operation::ALL.len()]);

/// Typical use: mostly reads, some writes, few promotions.
impl Default for Weights {
    fn default() -> Self {
        let mut weights = [0; Operation::ALL.len()];
        for (operation, weight) in [
            (Operation::Read, 70),
            (Operation::List, 10),
            (Operation::Metrics, 15),
            (Operation::Register, 4),
            (Operation::Promote, 1),
        ] {
            weights[operation.index()] = weight;
        }
        Self(weights)
    }
}

impl Weights {
    /// Only this operation.
    #[must_use]
    pub fn only(operation: Operation) -> Self {
        let mut weights = [0; Operation::ALL.len()];
        weights[operation.index()] = 1;
        Self(weights)
    }

    /// The weight of an operation.
    #[must_use]
    pub fn of(&self, operation: Operation) -> u32 {
        self.0[operation.index()]
    }

    /// The operations that occur.
    pub fn operations(&self) -> impl Iterator<Item = Operation> {
        Operation::ALL.into_iter().filter(|operation| self.of(*operation) > 0)
    }

    /// The next operation. `draw` returns a random number below its argument; it is not called for a single operation.
    pub(crate) fn pick(&self, draw: impl FnOnce(u32) -> u32) -> Operation {
        let total: u32 = self.0.iter().sum();
        let mut kinds = self.operations();
        let first = kinds.next().unwrap_or(Operation::Health);
        if kinds.next().is_none() {
            return first;
        }
        let mut drawn = draw(total);
        for operation in self.operations() {
            match drawn.checked_sub(self.of(operation)) {
                Some(rest) => drawn = rest,
                None => return operation,
            }
        }
        first
    }
}

impl FromStr for Weights {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let unknown = || ValueError::NoWeights(Operation::ALL.map(Operation::name).join(", "));
        let mut weights = [None; Operation::ALL.len()];
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').ok_or_else(unknown)?;
            let operation = Operation::ALL.into_iter().find(|operation| operation.name() == name.trim());
            let operation = operation.ok_or_else(unknown)?;
            let weight = weight.trim().parse().ok().filter(|weight| *weight <= MAX_WEIGHT);
            let weight: u32 = weight.ok_or(ValueError::NoWeight)?;
            if weights[operation.index()].replace(weight).is_some() {
                return Err(ValueError::Twice(operation.name()));
            }
        }
        let weights = weights.map(Option::unwrap_or_default);
        if weights.iter().all(|weight| *weight == 0) {
            return Err(ValueError::NoneWeighs);
        }
        Ok(Self(weights))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_gets_its_share_of_the_draws() {
        let weights: Weights = "read=3, promote=1,list=0,metrics=2".parse().unwrap();
        let mut counts = [0; Operation::ALL.len()];
        for drawn in 0..6 {
            counts[weights
                .pick(|total| {
                    assert_eq!(total, 6);
                    drawn
                })
                .index()] += 1;
        }
        for (operation, expected) in
            [(Operation::Read, 3), (Operation::Promote, 1), (Operation::List, 0), (Operation::Metrics, 2)]
        {
            assert_eq!(counts[operation.index()], expected, "{operation:?}");
        }
    }

    #[test]
    fn a_single_operation_needs_no_draw() {
        let pick = Weights::only(Operation::List).pick(|_| panic!("no draw is needed"));
        assert_eq!(pick, Operation::List);
    }

    #[test]
    fn invalid_weights_are_refused() {
        for (text, error) in [
            ("read=0,list=0", ValueError::NoneWeighs),
            ("read=1,read=2", ValueError::Twice("read")),
            ("read=-1", ValueError::NoWeight),
            ("read=1.5", ValueError::NoWeight),
            ("read=1000001", ValueError::NoWeight),
        ] {
            assert_eq!(text.parse::<Weights>(), Err(error), "{text}");
        }
        for text in ["", "read", "delete=1", "read=1,,"] {
            assert!(matches!(text.parse::<Weights>(), Err(ValueError::NoWeights(_))), "{text}");
        }
    }
}
