//! A model registry as one binary.
//!
//! It knows which versions of a model exist, what bytes they are, how well they scored, which one is
//! in production, and who changed what and when. It references artifacts; it never stores, opens or
//! unpickles them.
//!
//! The map of the house is in `docs/ARCHITECTURE.md`. Imports run one way:
//! `cli, http → registry → actors → store → domain`, with [`artifact`] and [`client`] beside them.

pub mod actors;
pub mod cli;
pub mod http;
pub mod registry;
pub mod settings;
pub mod telemetry;

pub use registry_artifact as artifact;
pub use registry_client as client;
pub use registry_domain as domain;
pub use registry_store as store;
