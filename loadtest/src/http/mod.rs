//! HTTP/1.1 as far as a load generator needs it: one request, one answer, one connection that is kept.
//!
//! Requests are bytes that are ready to be sent. It must not know what they ask for.

mod answer;
mod chunked;
mod connection;
mod fault;

pub(crate) use connection::{Connection, Received};
pub(crate) use fault::Fault;
