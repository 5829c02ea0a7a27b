//! Who is let in: as many connections as there is room for. Whoever comes beyond that is told so at once.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix_web::rt::net::TcpStream;
use tokio::time::timeout;

use crate::telemetry::Connections;

use super::{
    super::error::ApiError,
    Connection, Deadlines, Stream,
    refusing::Farewell,
    tls::{self, Tls},
};

/// Connections that are being refused at the same time; further ones are closed without a word.
const MAX_REFUSALS: usize = 128;
/// Descriptors for what is no connection: the listener, the event loops, the log, the database and its readers, digests.
const RESERVED_DESCRIPTORS: u64 = 64;
/// Descriptors of a reader: the database, its log and the log's index are shared, but each opens them for itself.
const DESCRIPTORS_PER_THREAD: u64 = 4;

/// Bytes of heads that are not whole yet, of all connections together. HTTP's library holds as much again.
const MAX_HELD_BYTES: usize = 16 << 20;
/// So much of a head any connection may hold: more than nearly every one has.
const FREE_HELD_BYTES: usize = 4 << 10;

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// At most so many.
    pub connections: usize,
    /// Whether that is less than was asked for, because the system gives no more descriptors.
    pub cut: bool,
}

impl Capacity {
    /// What is possible of `wanted` connections with so many descriptors, beside `threads` that use files.
    #[must_use]
    pub fn within(wanted: usize, descriptors: u64, threads: usize) -> Self {
        let reserved = RESERVED_DESCRIPTORS + MAX_REFUSALS as u64 + DESCRIPTORS_PER_THREAD * threads as u64;
        // Even on a system that gives nearly none, somebody can look after the server.
        let possible = usize::try_from(descriptors.saturating_sub(reserved)).unwrap_or(usize::MAX).max(8);
        Self { connections: wanted.min(possible), cut: possible < wanted }
    }
}

/// Lets connections in; clones share the count.
#[derive(Clone)]
pub(in crate::http) struct Admission {
    most: usize,
    open: Arc<AtomicUsize>,
    held_bytes: Arc<AtomicUsize>,
    refusals: Arc<AtomicUsize>,
    tls: Option<Tls>,
    deadlines: Deadlines,
    counts: Connections,
}

/// A place among those that there are; given back when it is dropped.
struct Place(Arc<AtomicUsize>);

/// The place of a connection that was let in, which counts as open.
pub(super) struct Seat {
    _place: Place,
    counts: Connections,
    /// What is held here, and what by all together.
    held_bytes: (usize, Arc<AtomicUsize>),
}

impl Seat {
    fn take(place: Place, counts: Connections, held_bytes: Arc<AtomicUsize>) -> Self {
        counts.open.inc();
        Self { _place: place, counts, held_bytes: (0, held_bytes) }
    }

    /// Takes down that so much is held for a head that is not whole yet; whether there is room for that.
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        let bytes = bytes.saturating_sub(FREE_HELD_BYTES);
        let (held, all) = &mut self.held_bytes;
        if bytes == *held {
            return true;
        }
        let before = all.fetch_add(bytes, Ordering::Relaxed);
        all.fetch_sub(*held, Ordering::Relaxed);
        let is_more = bytes > *held;
        *held = bytes;
        !is_more || before < MAX_HELD_BYTES
    }

    /// Where it is counted why a connection ends.
    pub(super) fn counts(&self) -> &Connections {
        &self.counts
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.counts.open.dec();
        self.held_bytes.1.fetch_sub(self.held_bytes.0, Ordering::Relaxed);
    }
}

impl Place {
    /// One of `most`, if one is free.
    fn among(count: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let place = Self(Arc::clone(count));
        // Where there was none left, dropping `place` takes this back.
        (count.fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    pub(in crate::http) fn new(
        most: usize,
        tls: Option<Tls>,
        deadlines: Deadlines,
        counts: Connections,
    ) -> Self {
        let [open, held_bytes, refusals] = [(); 3].map(|()| Arc::default());
        Self { most, open, held_bytes, refusals, tls, deadlines, counts }
    }

    /// Lets a connection in, or says why not and ends it. With TLS that is done once it is encrypted.
    ///
    /// # Errors
    /// Where it was not let in. There is nobody left to tell.
    pub(in crate::http) async fn admit(&self, socket: TcpStream) -> io::Result<Connection> {
        let peer =
            socket.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip().to_canonical());
        let Some(place) = Place::among(&self.open, self.most) else {
            self.counts.refused("limit").inc();
            // Over TLS a word would cost a handshake, which is what there is no room for.
            let free = Place::among(&self.refusals, MAX_REFUSALS).filter(|_| self.tls.is_none());
            if let Some(_refusal) = free {
                refuse(socket, &ApiError::TooManyConnections, peer).await;
            }
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let seat = Seat::take(place, self.counts.clone(), Arc::clone(&self.held_bytes));
        // Answers are written whole: there is nothing to wait for.
        socket.set_nodelay(true)?;
        let stream = match &self.tls {
            None => Stream::Plain(socket),
            Some(tls) => {
                let encrypted = timeout(self.deadlines.head, self.encrypt(tls, socket, peer)).await;
                let encrypted = encrypted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                encrypted.inspect_err(|_| {
                    self.counts.refused("tls").inc();
                })?
            }
        };
        Ok(Connection::new(stream, peer, self.deadlines, seat))
    }

    async fn encrypt(&self, tls: &Tls, socket: TcpStream, peer: IpAddr) -> io::Result<Stream> {
        if tls::speaks_plainly(&socket).await? {
            refuse(socket, &ApiError::PlainOnTls, peer).await;
            return Err(io::ErrorKind::InvalidData.into());
        }
        let encrypted = tls.accept(socket).await.inspect_err(|error| {
            tracing::debug!(%peer, %error, "a TLS handshake failed");
        })?;
        Ok(Stream::Encrypted(Box::new(encrypted)))
    }
}

async fn refuse(socket: TcpStream, error: &ApiError, peer: IpAddr) {
    let mut farewell = Farewell::new(error, peer);
    let mut stream = Stream::Plain(socket);
    // A client that is gone needs no answer.
    let _ = poll_fn(|context| farewell.poll(&mut stream, context)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_connections_than_descriptors_for_them() {
        for (wanted, descriptors, threads, connections, cut) in [
            (10_000, 20_000, 4, 10_000, false),
            (10_000, 1_024, 4, 816, true),
            (100, 1_024, 4, 100, false),
            (10_000, 64, 4, 8, true),
            (10_000, u64::MAX, 300, 10_000, false),
        ] {
            let capacity = Capacity::within(wanted, descriptors, threads);
            assert_eq!(capacity, Capacity { connections, cut }, "{descriptors}");
        }
    }

    #[test]
    fn heads_that_are_not_whole_take_bounded_room_together() {
        let (count, held) = (Arc::default(), Arc::default());
        let seat = || {
            let place = Place::among(&count, usize::MAX).unwrap();
            Seat::take(place, Connections::default(), Arc::clone(&held))
        };
        let mut seats: Vec<_> = (0..1_000).map(|_| seat()).collect();
        let refused = seats.iter_mut().map(|seat| seat.hold(60 << 10)).filter(|held| !held).count();
        assert!((600..1_000).contains(&refused), "{refused}");
        assert!(seats[0].hold(4 << 10), "a usual head always has room");
        assert!(seats[1].hold(0), "a head that is whole is held no longer");
        drop(seats);
        assert_eq!(held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_place_is_given_back() {
        let count = Arc::default();
        let (one, two) = (Place::among(&count, 2), Place::among(&count, 2));
        assert!(one.is_some() && two.is_some() && Place::among(&count, 2).is_none());
        drop(one);
        assert!(Place::among(&count, 2).is_some());
    }
}
