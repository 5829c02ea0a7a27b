//! Admission: connections up to a limit. A client beyond it gets 503 at once.

use std::{
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
    Connection, Deadlines, Stream, final_response,
    tls::{self, Tls},
};

/// Connections that are being refused at the same time. Further ones are closed without an answer.
const MAX_REFUSALS: usize = 128;
/// Descriptors for everything but connections: listener, event loops, log, database, digests.
const RESERVED_DESCRIPTORS: u64 = 64;
/// Descriptors of a thread that reads the database: the file, its WAL and the WAL index.
const DESCRIPTORS_PER_THREAD: u64 = 4;

/// Bytes of partial heads that all connections may hold together. actix holds up to 128 KiB for each, so without this bound
/// ten thousand clients without a key could make the server hold 1.3 GB.
const MAX_HELD_BYTES: usize = 16 << 20;
/// Bytes of a partial head that every connection may hold: more than nearly all heads have.
const FREE_HELD_BYTES: usize = 4 << 10;

/// Returns how many connections fit under a limit of descriptors, beside `threads` that use files; at least 8.
#[must_use]
pub fn max_connections_within(descriptors: u64, threads: usize) -> usize {
    let reserved = descriptors_besides_connections(threads);
    usize::try_from(descriptors.saturating_sub(reserved)).unwrap_or(usize::MAX).max(8)
}

/// Returns how many descriptors a server needs beside those of its connections.
#[must_use]
pub fn descriptors_besides_connections(threads: usize) -> u64 {
    RESERVED_DESCRIPTORS + MAX_REFUSALS as u64 + DESCRIPTORS_PER_THREAD * threads as u64
}

/// Admits connections. Clones share the count.
#[derive(Clone)]
pub(in crate::http) struct Admission {
    max_connections: usize,
    open: Arc<AtomicUsize>,
    held_bytes: Arc<AtomicUsize>,
    refusals: Arc<AtomicUsize>,
    tls: Option<Tls>,
    deadlines: Deadlines,
    counts: Connections,
}

/// One of a limited number; dropping it gives it back.
struct Permit(Arc<AtomicUsize>);

/// Counts its connection as open, and what the connection holds.
pub(super) struct ConnectionGuard {
    _permit: Permit,
    counts: Connections,
    held_bytes: usize,
    held_bytes_in_all: Arc<AtomicUsize>,
}

impl ConnectionGuard {
    fn new(permit: Permit, counts: Connections, held_bytes_in_all: Arc<AtomicUsize>) -> Self {
        counts.open.inc();
        Self { _permit: permit, counts, held_bytes: 0, held_bytes_in_all }
    }

    /// Notes the bytes of a partial head. Returns false if all connections together hold too many.
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        let bytes = bytes.saturating_sub(FREE_HELD_BYTES);
        if bytes == self.held_bytes {
            return true;
        }
        let before = self.held_bytes_in_all.fetch_add(bytes, Ordering::Relaxed);
        self.held_bytes_in_all.fetch_sub(self.held_bytes, Ordering::Relaxed);
        let is_more = bytes > self.held_bytes;
        self.held_bytes = bytes;
        !is_more || before < MAX_HELD_BYTES
    }

    /// Counts a connection that was closed for this reason.
    pub(super) fn count_refusal(&self, reason: &'static str) {
        self.counts.refused(reason).inc();
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.counts.open.dec();
        self.held_bytes_in_all.fetch_sub(self.held_bytes, Ordering::Relaxed);
    }
}

impl Permit {
    /// One of `max`, if one is free.
    fn acquire(count: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let permit = Self(Arc::clone(count));
        // If none was free, dropping `permit` takes the addition back.
        (count.fetch_add(1, Ordering::Relaxed) < max).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    pub(in crate::http) fn new(
        max_connections: usize,
        tls: Option<Tls>,
        deadlines: Deadlines,
        counts: Connections,
    ) -> Self {
        let [open, held_bytes, refusals] = [(); 3].map(|()| Arc::default());
        Self { max_connections, open, held_bytes, refusals, tls, deadlines, counts }
    }

    /// Admits a connection, after its TLS handshake if there is one.
    ///
    /// # Errors
    /// If it was refused. The client has its answer already, as far as it gets one.
    pub(in crate::http) async fn admit(&self, socket: TcpStream) -> io::Result<Connection> {
        let peer =
            socket.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip().to_canonical());
        let Some(permit) = Permit::acquire(&self.open, self.max_connections) else {
            self.counts.refused("limit").inc();
            // With TLS an answer would cost a handshake, which a server at its limit does not spend.
            let refusal = Permit::acquire(&self.refusals, MAX_REFUSALS).filter(|_| self.tls.is_none());
            if let Some(_refusal) = refusal {
                final_response::send(Box::new(socket), ApiError::TooManyConnections, peer).await;
            }
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let guard = ConnectionGuard::new(permit, self.counts.clone(), Arc::clone(&self.held_bytes));
        // Answers are written in large pieces; Nagle's algorithm would only delay the last one.
        socket.set_nodelay(true)?;
        let stream = match &self.tls {
            None => Box::new(socket),
            Some(tls) => {
                let handshake = timeout(self.deadlines.head, handshake(tls, socket, peer)).await;
                let handshake = handshake.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                handshake.inspect_err(|_| guard.count_refusal("tls"))?
            }
        };
        Ok(Connection::new(stream, peer, self.deadlines, guard))
    }
}

async fn handshake(tls: &Tls, socket: TcpStream, peer: IpAddr) -> io::Result<Stream> {
    if tls::is_plain_http(&socket).await? {
        final_response::send(Box::new(socket), ApiError::PlainOnTls, peer).await;
        return Err(io::ErrorKind::InvalidData.into());
    }
    let encrypted = tls.accept(socket).await.inspect_err(|error| {
        tracing::debug!(%peer, %error, "a TLS handshake failed");
    })?;
    Ok(Box::new(encrypted))
}

#[cfg(test)]
mod tests {
    use crate::telemetry::Telemetry;

    use super::*;

    #[test]
    fn connections_fit_under_the_limit_of_descriptors() {
        for (descriptors, threads, connections) in
            [(20_000, 4, 19_792), (1_024, 4, 816), (64, 4, 8), (u64::MAX, 300, usize::MAX - 1_392)]
        {
            assert_eq!(max_connections_within(descriptors, threads), connections, "{descriptors}");
        }
    }

    #[test]
    fn partial_heads_are_bounded_together() {
        let (count, held, counts) = (Arc::default(), Arc::default(), Telemetry::new(&[]).connections);
        let guard = || {
            let permit = Permit::acquire(&count, usize::MAX).unwrap();
            ConnectionGuard::new(permit, counts.clone(), Arc::clone(&held))
        };
        let mut guards: Vec<_> = (0..1_000).map(|_| guard()).collect();
        let refused = guards.iter_mut().map(|guard| guard.hold(60 << 10)).filter(|held| !held).count();
        assert!((600..1_000).contains(&refused), "{refused}");
        assert!(guards[0].hold(4 << 10), "an ordinary head is always accepted");
        assert!(guards[1].hold(0), "a complete head is held no longer");
        drop(guards);
        assert_eq!(held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_dropped_permit_is_given_back() {
        let count = Arc::default();
        let (one, two) = (Permit::acquire(&count, 2), Permit::acquire(&count, 2));
        assert!(one.is_some() && two.is_some() && Permit::acquire(&count, 2).is_none());
        drop(one);
        assert!(Permit::acquire(&count, 2).is_some());
    }
}
