//! What one caller has written, compactly: two bits a write of scores or a registration, and 16 bytes more for each
//! registration's number and id.
//!
//! A write counts as unsure from the moment it goes out. Its answer settles it, and a caller that never gets one
//! has nothing to do.

use std::time::Duration;

/// Bits that are all 0 until they are set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    pub(crate) fn get(&self, at: u64) -> bool {
        let word = usize::try_from(at / 64).ok().and_then(|word| self.0.get(word));
        word.is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Sets a bit and tells whether it was set before.
    pub(crate) fn set(&mut self, at: u64) -> bool {
        let Ok(word) = usize::try_from(at / 64) else { return false };
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let before = self.0[word];
        self.0[word] |= 1 << (at % 64);
        before == self.0[word]
    }

    fn clear(&mut self, at: u64) {
        if let Some(word) = usize::try_from(at / 64).ok().and_then(|word| self.0.get_mut(word)) {
            *word &= !(1 << (at % 64));
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

/// How a write ended, as far as its caller knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The server says that it is done.
    Acknowledged,
    /// The server says that it is not done, or never saw it.
    Refused,
    /// Nobody said anything.
    Unsure,
}

/// The writes of one kind that one caller has numbered from 0.
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbered {
    begun: u64,
    acknowledged: Bits,
    unsure: Bits,
}

impl Numbered {
    /// The number of the next write.
    pub(crate) fn begin(&mut self) -> u64 {
        let number = self.begun;
        self.begun += 1;
        self.unsure.set(number);
        number
    }

    pub(crate) fn settle(&mut self, number: u64, settled: Settled) {
        if settled != Settled::Unsure {
            self.unsure.clear(number);
        }
        if settled == Settled::Acknowledged {
            self.acknowledged.set(number);
        }
    }

    /// Whether this write may have happened although nobody said so.
    pub(crate) fn is_unsure(&self, number: u64) -> bool {
        self.unsure.get(number)
    }

    pub(crate) fn is_acknowledged(&self, number: u64) -> bool {
        self.acknowledged.get(number)
    }

    /// The numbers of acknowledged writes, lowest first.
    pub(crate) fn acknowledged(&self) -> impl Iterator<Item = u64> {
        (0..self.begun).filter(|number| self.acknowledged.get(*number))
    }

    pub(crate) fn acknowledged_count(&self) -> u64 {
        self.acknowledged.count()
    }

    pub(crate) fn unsure_count(&self) -> u64 {
        self.unsure.count()
    }
}

/// The promotions of one version. One caller makes them all, one after the other, so the n-th acknowledged one
/// has its own event exactly if there are n events.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Promoted {
    pub(crate) acknowledged: u64,
    pub(crate) unsure: u64,
    /// When the last acknowledged one was sent and answered, since the run began.
    pub(crate) last: Option<(Duration, Duration)>,
}

/// All that one caller has written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    pub(crate) metrics: Numbered,
    pub(crate) registrations: Numbered,
    /// The id that the registry gave to an acknowledged registration.
    pub(crate) registered: Vec<(u64, u64)>,
    /// For each version that only this caller promotes.
    pub(crate) promoted: Vec<Promoted>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_unsure_until_its_answer_comes() {
        let mut writes = Numbered::default();
        for (expected, settled) in
            [Some(Settled::Acknowledged), Some(Settled::Refused), Some(Settled::Unsure), None]
                .iter()
                .enumerate()
        {
            let number = writes.begin();
            assert_eq!(number, expected as u64);
            assert!(writes.is_unsure(number));
            if let Some(settled) = settled {
                writes.settle(number, *settled);
            }
        }
        assert_eq!(writes.acknowledged().collect::<Vec<_>>(), [0]);
        assert_eq!((writes.acknowledged_count(), writes.unsure_count()), (1, 2));
        assert!(!writes.is_unsure(1) && writes.is_unsure(2) && writes.is_unsure(3));
    }

    #[test]
    fn bits_are_independent_of_each_other() {
        let mut bits = Bits::default();
        for at in [0, 63, 64, 1000] {
            assert!(!bits.get(at) && !bits.set(at) && bits.set(at) && bits.get(at));
        }
        assert!(!bits.get(65) && !bits.get(u64::MAX));
        assert_eq!(bits.count(), 4);
        bits.clear(63);
        bits.clear(u64::MAX);
        assert_eq!((bits.get(63), bits.count()), (false, 3));
    }
}
