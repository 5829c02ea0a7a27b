//! What one caller has written: the state of each write, one byte each.
//!
//! A write is unsure from the moment it is sent until its answer comes.

use std::time::Duration;

/// The state of a write, as far as its caller knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteState {
    /// The server answered that it is done.
    Acknowledged,
    /// The server answered that it is not done, or never received it.
    Refused,
    /// There is no answer that decides it.
    Unsure,
}

/// The writes of one kind, which one caller has numbered from 0.
#[derive(Debug, Clone, Default)]
pub(crate) struct Writes(Vec<WriteState>);

impl Writes {
    /// Adds a write that is about to be sent, and returns its number.
    pub(crate) fn begin(&mut self) -> u64 {
        self.0.push(WriteState::Unsure);
        self.0.len() as u64 - 1
    }

    pub(crate) fn set(&mut self, number: u64, state: WriteState) {
        if let Some(write) = usize::try_from(number).ok().and_then(|at| self.0.get_mut(at)) {
            *write = state;
        }
    }

    /// The state of a write; `None` if none has this number.
    pub(crate) fn get(&self, number: u64) -> Option<WriteState> {
        usize::try_from(number).ok().and_then(|at| self.0.get(at)).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The numbers of acknowledged writes, lowest first.
    pub(crate) fn acknowledged(&self) -> impl Iterator<Item = u64> {
        (0..).zip(&self.0).filter(|(_, state)| **state == WriteState::Acknowledged).map(|(number, _)| number)
    }

    pub(crate) fn count(&self, state: WriteState) -> u64 {
        self.0.iter().filter(|write| **write == state).count() as u64
    }
}

/// The promotions of one version. One caller makes all of them, one after the other, so all acknowledged ones have an
/// event if there are as many events.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Promotions {
    pub(crate) acknowledged: u64,
    pub(crate) unsure: u64,
    /// When the last acknowledged one was sent and answered, since the run began.
    pub(crate) last: Option<(Duration, Duration)>,
}

/// All writes of one caller.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    pub(crate) metrics: Writes,
    pub(crate) registrations: Writes,
    /// Acknowledged registrations: number, and the id in the answer.
    pub(crate) registered: Vec<(u64, u64)>,
    /// For each version that only this caller promotes.
    pub(crate) promotions: Vec<Promotions>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_unsure_until_its_answer_comes() {
        use WriteState::{Acknowledged, Refused, Unsure};
        let mut writes = Writes::default();
        for number in 0..4 {
            assert_eq!((writes.begin(), writes.get(number)), (number, Some(Unsure)));
        }
        for (number, state) in [(0, Acknowledged), (1, Refused), (2, Unsure), (9, Acknowledged)] {
            writes.set(number, state);
        }
        assert_eq!(writes.acknowledged().collect::<Vec<_>>(), [0]);
        assert_eq!((writes.count(Acknowledged), writes.count(Unsure)), (1, 2));
        assert_eq!((writes.get(1), writes.get(9)), (Some(Refused), None));
    }
}
