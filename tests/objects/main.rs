//! The library's object stores, against a real S3 server. `tests/cli` tests the commands.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../cli/object_server.rs"]
mod object_server;

mod connect;
mod download;
mod interrupted;
mod support;
mod upload;
