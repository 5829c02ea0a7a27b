//! Admission: connections up to a limit. A client beyond it gets 503 at once.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use actix_web::rt::net::TcpStream;
use tokio::{sync::Semaphore, time::timeout};

use crate::telemetry::Connections;

use super::{
    super::error::ApiError,
    final_response::{self, Stream},
    guard::{ConnectionGuard, MAX_HELD_KIB},
    socket::{Connection, Deadlines},
    tls::{self, Tls},
};

/// Connections that are being refused at the same time. Further ones are closed without an answer.
const MAX_REFUSALS: usize = 128;
/// Descriptors for everything but connections: listener, event loops, log, database, digests.
const RESERVED_DESCRIPTORS: u64 = 64;
/// Descriptors of a thread that reads the database: the file, its WAL and the WAL index.
const DESCRIPTORS_PER_THREAD: u64 = 4;

/// Returns how many connections fit under a limit of descriptors, beside `threads` that use files; at least 8.
#[must_use]
pub fn max_connections_within(descriptors: u64, threads: usize) -> usize {
    let reserved = descriptors_besides_connections(threads);
    usize::try_from(descriptors.saturating_sub(reserved)).unwrap_or(usize::MAX).max(8)
}

/// Returns how many descriptors a server needs in addition to its connections.
#[must_use]
pub fn descriptors_besides_connections(threads: usize) -> u64 {
    RESERVED_DESCRIPTORS + MAX_REFUSALS as u64 + DESCRIPTORS_PER_THREAD * threads as u64
}

/// Admits connections. Clones share the limits.
#[derive(Clone)]
pub(in crate::http) struct Admission {
    permits: Arc<Semaphore>,
    refusal_permits: Arc<Semaphore>,
    holdable_kib: Arc<Semaphore>,
    tls: Option<Tls>,
    deadlines: Deadlines,
    counts: Connections,
}

impl Admission {
    pub(in crate::http) fn new(
        max_connections: usize,
        tls: Option<Tls>,
        deadlines: Deadlines,
        counts: Connections,
    ) -> Self {
        let [permits, refusal_permits, holdable_kib] =
            [max_connections.min(Semaphore::MAX_PERMITS), MAX_REFUSALS, MAX_HELD_KIB]
                .map(|permits| Arc::new(Semaphore::new(permits)));
        Self { permits, refusal_permits, holdable_kib, tls, deadlines, counts }
    }

    /// Admits a connection, after its TLS handshake if there is one.
    ///
    /// # Errors
    /// If it was refused. The client already has its answer, if it gets one.
    pub(in crate::http) async fn admit(&self, socket: TcpStream) -> io::Result<Connection> {
        let peer =
            socket.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip().to_canonical());
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            self.counts.refused("limit").inc();
            // With TLS an answer would cost a handshake, which a server at its limit does not spend.
            if self.tls.is_none()
                && let Ok(_permit) = self.refusal_permits.try_acquire()
            {
                final_response::send(Box::new(socket), ApiError::TooManyConnections, peer).await;
            }
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let guard = ConnectionGuard::new(permit, self.counts.clone(), Arc::clone(&self.holdable_kib));
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
    use super::*;

    #[test]
    fn connections_fit_under_the_limit_of_descriptors() {
        for (descriptors, threads, connections) in
            [(20_000, 4, 19_792), (1_024, 4, 816), (64, 4, 8), (u64::MAX, 300, usize::MAX - 1_392)]
        {
            assert_eq!(max_connections_within(descriptors, threads), connections, "{descriptors}");
        }
    }
}
