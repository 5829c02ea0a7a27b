//! A model registry in one binary.
//!
//! It stores which versions of a model exist, what bytes they are, how they scored, which one is in production, and
//! who changed what and when. It references artifacts; it never stores, opens or unpickles them.
//!
//! Start with `docs/ARCHITECTURE.md`. Imports go one way: `cli, http → registry → actors → store → domain`; [`artifact`]
//! and [`client`] depend on `domain` only.

#[cfg(feature = "server")]
pub mod actors;
pub mod cli;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod registry;
#[cfg(feature = "server")]
pub mod settings;
#[cfg(feature = "server")]
pub mod telemetry;

pub use registry_artifact as artifact;
pub use registry_client as client;
pub use registry_domain as domain;
#[cfg(feature = "server")]
pub use registry_store as store;
