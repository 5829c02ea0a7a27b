//! Connections: admission up to a limit, TLS, and the deadlines that actix does not enforce.
//!
//! actix parses HTTP strictly enough, and holds at most 128 KiB of a head. But it times only the first head of a
//! connection, waits forever for a client that does not read, and drains a refused chunked body forever. So a
//! [`Connection`] sits between the socket and actix. It sees bytes and time, not requests: handlers report through
//! [`ConnectionState`] when a request begins and ends. This module must not know paths, keys or the registry.

mod admission;
mod final_response;
mod guard;
mod head;
mod socket;
mod state;
mod tls;

pub(super) use admission::Admission;
pub use admission::{descriptors_besides_connections, max_connections_within};
pub(super) use socket::Connection;
pub use socket::Deadlines;
pub(super) use state::{ConnectionState, RequestGuard};
pub use tls::{Tls, TlsError};
