//! The HTTP client of the registry's API, for the commands.
//!
//! It owns the key, the retries, and the error texts. It must not know the terminal or files: bodies are JSON values. Each
//! call is a method of [`Client`] in `calls.rs`.

mod answer;
mod base_url;
mod calls;
mod client;
mod error;
mod key;

pub use base_url::parse_base_url;
pub use calls::{Condition, Page};
pub use client::Client;
pub use error::ClientError;
pub use key::SecretKey;
