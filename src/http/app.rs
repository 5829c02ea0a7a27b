//! The state that all handlers share.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::{actors::Feed, registry::Registry, telemetry::Telemetry};

use super::{
    auth::Authenticator,
    connection::{Deadlines, Tls},
    hosts::Hosts,
    keys::Keys,
    mlflow::Pages,
    peer::Proxies,
};

/// The options of the HTTP server.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// The keys that callers may use.
    pub keys: Keys,
    /// Take the actor of the audit trail from a header.
    pub trust_actor_header: bool,
    /// Threads that serve HTTP; at least one.
    pub workers: usize,
    /// Connections at the same time.
    pub max_connections: usize,
    /// How long clients may take.
    pub deadlines: Deadlines,
    /// The certificate, if connections are encrypted.
    pub tls: Option<Tls>,
    /// The names that clients may use for this server.
    pub hosts: Hosts,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub proxies: Proxies,
    /// Origins whose scripts may read answers.
    pub cors_origins: Vec<String>,
    /// The largest body of a POST or PATCH of a model, in bytes.
    pub max_write_body_bytes: usize,
    /// The largest body of a POST of metrics, in bytes.
    pub max_metrics_body_bytes: usize,
    /// Show paths on the server's disk in answers.
    pub expose_local_paths: bool,
    /// Serve `/metrics` without a key.
    pub public_metrics: bool,
}

/// The state that every handler shares.
pub(super) struct App {
    pub(super) registry: Registry,
    pub(super) authenticator: Authenticator,
    pub(super) options: HttpOptions,
    pub(super) telemetry: Arc<Telemetry>,
    /// Where the pages of MLflow's searches ended.
    pub(super) mlflow_pages: Pages,
    /// The new events of the audit trail.
    pub(super) feed: Feed,
    /// Streams of events that may be open at the same time.
    pub(super) followers: Arc<Semaphore>,
}
