//! Slows down the guessing of API keys: each address has a token bucket that invalid keys drain.
//!
//! Once a bucket is empty, keys from its address are not checked, so a guess reveals nothing. Keys that were valid from
//! the same address before are still accepted: a client behind the same proxy as an attacker is not locked out.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv6Addr},
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::keys::Digest;

/// Tokens of a full bucket: enough for a client whose key has changed.
const BUCKET_TOKENS: f64 = 20.0;
/// Time in which an address gets one token back.
const REFILL: Duration = Duration::from_secs(1);
/// Buckets in memory. Beyond that, one is dropped for each new address.
const MAX_BUCKETS: usize = 8_192;
/// Valid keys in memory, each with its address. Beyond that, all are dropped and verified again.
const MAX_KNOWN_KEYS: usize = 65_536;

/// The token buckets of all addresses, and the keys that were valid.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
    /// The number of buckets: without any, as is usual, no request takes the lock.
    count: AtomicUsize,
    known: RwLock<HashSet<(IpAddr, Digest)>>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Throttle {
    /// Decides if a key, given by its digest, may be checked.
    ///
    /// # Errors
    /// The time until the address has a token again.
    pub(super) fn admit(&self, peer: IpAddr, digest: &Digest, now: Instant) -> Result<(), Duration> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let peer = network(peer);
        let mut buckets = self.lock();
        let Some(bucket) = buckets.get_mut(&peer) else { return Ok(()) };
        bucket.refill(now);
        if bucket.tokens >= 1.0 || self.is_known(&(peer, *digest)) {
            return Ok(());
        }
        Err(REFILL.mul_f64(1.0 - bucket.tokens))
    }

    /// Remembers that the key was valid.
    pub(super) fn record_valid(&self, peer: IpAddr, digest: &Digest) {
        let key = (network(peer), *digest);
        if self.is_known(&key) {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN_KEYS {
            known.clear();
        }
        known.insert(key);
    }

    /// Takes a token for an invalid key.
    pub(super) fn record_invalid(&self, peer: IpAddr, now: Instant) {
        let peer = network(peer);
        let mut buckets = self.lock();
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(&peer) {
            buckets.retain(|_, bucket| {
                bucket.refill(now);
                bucket.tokens < BUCKET_TOKENS
            });
            if buckets.len() >= MAX_BUCKETS
                && let Some(any) = buckets.keys().next().copied()
            {
                buckets.remove(&any);
            }
        }
        let bucket = buckets.entry(peer).or_insert(Bucket { tokens: BUCKET_TOKENS, at: now });
        bucket.refill(now);
        bucket.tokens = (bucket.tokens - 1.0).max(0.0);
        self.count.store(buckets.len(), Ordering::Relaxed);
    }

    fn is_known(&self, key: &(IpAddr, Digest)) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Bucket>> {
        // No change in here panics half-way.
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    fn refill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at);
        self.tokens = (self.tokens + since.div_duration_f64(REFILL)).min(BUCKET_TOKENS);
        self.at = now.max(self.at);
    }
}

/// Returns the network of an address: a client with one IPv6 address has the whole /64 around it.
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
    fn an_address_that_guesses_waits_and_others_do_not() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let (one, other) = (address("198.51.100.7"), address("198.51.100.8"));
        for _ in 0..20 {
            assert_eq!(throttle.admit(one, &GUESS, now), Ok(()));
            throttle.record_invalid(one, now);
        }
        assert_eq!(throttle.admit(one, &GUESS, now), Err(REFILL));
        assert_eq!(throttle.admit(one, &KEY, now), Err(REFILL));
        assert_eq!(throttle.admit(other, &GUESS, now), Ok(()));
        let later = now + REFILL;
        assert_eq!(throttle.admit(one, &GUESS, later), Ok(()));
        throttle.record_invalid(one, later);
        assert_eq!(throttle.admit(one, &GUESS, later), Err(REFILL));
        assert_eq!(throttle.admit(one, &GUESS, later + 20 * REFILL), Ok(()));
    }

    #[test]
    fn memory_is_bounded_for_any_number_of_addresses() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for number in 0..3 * MAX_BUCKETS as u32 {
            throttle.record_invalid(IpAddr::V4(number.into()), now);
            throttle.record_valid(IpAddr::V4(number.into()), &KEY);
        }
        assert_eq!(throttle.lock().len(), MAX_BUCKETS);
        assert!(throttle.known.read().unwrap().len() <= MAX_KNOWN_KEYS);
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for number in 0..20 {
            throttle.record_invalid(address(&format!("2001:db8::{number:x}")), now);
        }
        assert!(throttle.admit(address("2001:db8::ffff"), &GUESS, now).is_err());
        assert_eq!(throttle.admit(address("2001:db8:0:1::1"), &GUESS, now), Ok(()));
    }
}
