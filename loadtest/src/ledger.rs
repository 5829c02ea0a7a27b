//! The writes of one caller: the state of each, in one byte.
//!
//! A write is unsure from the moment it is sent until its answer comes.

/// The state of a write, as far as its caller knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteState {
    /// The server answered that it is done.
    Acknowledged,
    /// The server answered that it is not done, or never received it.
    Refused,
    /// No answer shows whether it is done.
    Unsure,
}

/// The promotions of one version. One caller sends all of them, one after the other, so all acknowledged ones have an
/// event if there are as many events.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Promotions {
    pub(crate) acknowledged: u64,
    pub(crate) unsure: u64,
}

/// All writes of one caller.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    /// By number.
    pub(crate) metrics: Vec<WriteState>,
    /// By number.
    pub(crate) registrations: Vec<WriteState>,
    /// Acknowledged registrations: number, and the id in the answer.
    pub(crate) registered: Vec<(usize, u64)>,
    /// For each version that only this caller promotes.
    pub(crate) promotions: Vec<Promotions>,
}

impl Ledger {
    /// Returns the number of all writes in one of the two states that can have an event.
    pub(crate) fn count(&self, state: WriteState) -> u64 {
        let numbered = self.metrics.iter().chain(&self.registrations).filter(|write| **write == state);
        let promotions = self.promotions.iter().map(|own| match state {
            WriteState::Acknowledged => own.acknowledged,
            WriteState::Unsure => own.unsure,
            WriteState::Refused => 0,
        });
        numbered.count() as u64 + promotions.sum::<u64>()
    }
}
