//! A small HTTP/1.1 client: one request, one answer, one connection that is kept.
//!
//! It is our own since a load generator has to be faster than what it measures: an exchange is one write and one read
//! into an existing buffer. Requests are bytes that are ready to be sent; this module must not know their meaning.

mod answer;
mod connection;
mod error;

pub(crate) use connection::{Answer, Connection};
pub(crate) use error::ExchangeError;
