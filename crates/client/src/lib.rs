//! The HTTP client of the registry's API, for the commands, of the MLflow servers that they import from, and of the receivers of
//! webhooks.
//!
//! It owns the key, the retries, and the error texts. It must not know the terminal or files: bodies are JSON values. Each
//! call of the native API is a method of [`Client`] in `calls.rs`, and of `/v1` a method of [`V1`] in `v1.rs`; [`mlflow`] and
//! [`Receivers`] are independent of both.

mod answer;
mod base_url;
mod blobs;
mod calls;
mod client;
mod download;
mod error;
mod follow;
mod key;
pub mod mlflow;
mod receiver;
mod transport;
mod v1;

pub use base_url::parse_base_url;
pub use blobs::{BlobError, BlobStore, Source};
pub use calls::{Condition, Page};
pub use client::Client;
pub use download::{DownloadError, Downloader, Incoming};
pub use error::ClientError;
pub use follow::{EventStream, Streamed};
pub use key::SecretKey;
pub use receiver::{Answered, CALL_TIMEOUT, Receivers};
pub use v1::{Expected, TagOwner, V1, V1Page};
