//! Object stores against a real S3 server, through the library: what the binary shows of it is in
//! `tests/cli`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../cli/object_server.rs"]
mod object_server;

mod connect;
mod download;
mod interrupted;
mod support;
mod upload;
