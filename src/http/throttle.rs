//! Guessing keys is slow: each address has a small budget of wrong ones, which comes back with time.
//!
//! Once it is spent, keys from there are not judged at all, so that a guess tells nothing. Keys that were right from there
//! lately go on being taken: whoever shares an address (a proxy, an office) with somebody who guesses is not locked out.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;

use super::keys::Digest;

/// Wrong keys in a row that cost nothing: a client with an old key, and some more.
const BURST: f64 = 20.0;
/// After how long one more may be wrong.
const REFILL: Duration = Duration::from_secs(1);
/// Addresses that are remembered. Beyond that one is forgotten for each that comes.
const MAX_SUSPECTS: usize = 8_192;
/// Right keys that are remembered with the addresses they came from, likewise.
const MAX_REGULARS: usize = 8_192;
/// How long they are remembered, and how often that is noted at most.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3_600);
const NOTED_EVERY: Duration = Duration::from_secs(3_600);

/// Who has sent wrong keys lately, and who right ones.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    suspects: Mutex<HashMap<IpAddr, Suspect>>,
    /// How many those are: where there are none, as is usual, nobody takes the lock.
    count: AtomicUsize,
    /// Right keys by the address they came from, and when that was noted. Read by every request and seldom replaced.
    regulars: ArcSwap<HashMap<(IpAddr, Digest), Instant>>,
}

#[derive(Debug)]
struct Suspect {
    /// Wrong keys that it may still send.
    budget: f64,
    at: Instant,
}

/// Whether a key may be judged.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Judge,
    /// It was right before.
    Known,
    /// Not before so much time has passed.
    NotBefore(Duration),
}

impl Throttle {
    /// What is to be done with a key, by its digest, from this address.
    pub(super) fn admit(&self, peer: IpAddr, digest: &Digest, now: Instant) -> Verdict {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Verdict::Judge;
        }
        let peer = network(peer);
        let mut suspects = self.lock();
        let Some(suspect) = suspects.get_mut(&peer) else { return Verdict::Judge };
        suspect.refill(now);
        if suspect.budget >= 1.0 {
            Verdict::Judge
        } else if self.regulars.load().contains_key(&(peer, *digest)) {
            Verdict::Known
        } else {
            Verdict::NotBefore(REFILL.mul_f64(1.0 - suspect.budget))
        }
    }

    /// The key was right.
    pub(super) fn right(&self, peer: IpAddr, digest: &Digest, now: Instant) {
        let (regulars, regular) = (self.regulars.load(), (network(peer), *digest));
        let since = |at: &Instant| now.saturating_duration_since(*at);
        if regulars.get(&regular).is_some_and(|at| since(at) < NOTED_EVERY) {
            return;
        }
        let mut regulars = HashMap::clone(&regulars);
        if regulars.len() >= MAX_REGULARS {
            regulars.retain(|_, at| since(at) < REMEMBERED);
            if regulars.len() >= MAX_REGULARS
                && let Some(oldest) = regulars.iter().min_by_key(|(_, at)| **at).map(|(one, _)| *one)
            {
                regulars.remove(&oldest);
            }
        }
        regulars.insert(regular, now);
        // Where somebody else notes another at just this moment, one of them is noted with its next request.
        self.regulars.store(Arc::new(regulars));
    }

    /// The key was wrong.
    pub(super) fn wrong(&self, peer: IpAddr, now: Instant) {
        let mut suspects = self.lock();
        let peer = network(peer);
        if suspects.len() >= MAX_SUSPECTS && !suspects.contains_key(&peer) {
            suspects.retain(|_, suspect| {
                suspect.refill(now);
                suspect.budget < BURST
            });
            if suspects.len() >= MAX_SUSPECTS
                && let Some(some) = suspects.keys().next().copied()
            {
                suspects.remove(&some);
            }
        }
        let fresh = || Suspect { budget: BURST, at: now };
        let suspect = suspects.entry(peer).or_insert_with(fresh);
        suspect.refill(now);
        suspect.budget = (suspect.budget - 1.0).max(0.0);
        self.count.store(suspects.len(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Suspect>> {
        // Nothing in here panics half-way through a change.
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Suspect {
    fn refill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at);
        self.budget = (self.budget + since.div_duration_f64(REFILL)).min(BURST);
        self.at = now.max(self.at);
    }
}

/// Whoever has one IPv6 address has the 2^64 beside it too.
fn network(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Digest = [7; 32];
    const GUESS: Digest = [8; 32];

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn whoever_guesses_waits_and_others_do_not() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let (one, other) = (address("198.51.100.7"), address("198.51.100.8"));
        for _ in 0..20 {
            assert_eq!(throttle.admit(one, &GUESS, now), Verdict::Judge);
            throttle.wrong(one, now);
        }
        assert_eq!(throttle.admit(one, &GUESS, now), Verdict::NotBefore(REFILL));
        assert_eq!(throttle.admit(one, &KEY, now), Verdict::NotBefore(REFILL));
        assert_eq!(throttle.admit(other, &GUESS, now), Verdict::Judge);
        let later = now + REFILL;
        assert_eq!(throttle.admit(one, &GUESS, later), Verdict::Judge);
        throttle.wrong(one, later);
        assert_eq!(throttle.admit(one, &GUESS, later), Verdict::NotBefore(REFILL));
        assert_eq!(throttle.admit(one, &GUESS, later + 20 * REFILL), Verdict::Judge);
    }

    #[test]
    fn a_key_that_was_right_from_there_goes_on_being_right() {
        let (throttle, now, peer) = (Throttle::default(), Instant::now(), address("198.51.100.7"));
        throttle.right(peer, &KEY, now);
        for _ in 0..30 {
            throttle.wrong(peer, now);
        }
        assert_eq!(throttle.admit(peer, &KEY, now), Verdict::Known);
        assert!(matches!(throttle.admit(peer, &GUESS, now), Verdict::NotBefore(_)));
        let other = address("198.51.100.8");
        for _ in 0..30 {
            throttle.wrong(other, now);
        }
        assert!(matches!(throttle.admit(other, &KEY, now), Verdict::NotBefore(_)), "it was right elsewhere");
    }

    #[test]
    fn those_who_come_back_are_remembered_longer_than_others_and_take_bounded_room() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let regular = |number: u32| IpAddr::V4(number.into());
        for number in 0..MAX_REGULARS as u32 {
            throttle.right(regular(number), &KEY, now);
        }
        let later = now + 2 * NOTED_EVERY;
        throttle.right(regular(0), &KEY, later);
        throttle.right(regular(u32::MAX), &KEY, later);
        let regulars = throttle.regulars.load();
        assert_eq!(regulars.len(), MAX_REGULARS);
        assert!([0, u32::MAX].iter().all(|number| regulars.contains_key(&(regular(*number), KEY))));
    }

    #[test]
    fn any_number_of_addresses_takes_bounded_room() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for number in 0..3 * MAX_SUSPECTS as u32 {
            throttle.wrong(IpAddr::V4(number.into()), now);
        }
        assert_eq!(throttle.lock().len(), MAX_SUSPECTS);
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for number in 0..20 {
            throttle.wrong(address(&format!("2001:db8::{number:x}")), now);
        }
        assert!(matches!(throttle.admit(address("2001:db8::ffff"), &GUESS, now), Verdict::NotBefore(_)));
        assert_eq!(throttle.admit(address("2001:db8:0:1::1"), &GUESS, now), Verdict::Judge);
    }
}
