//! Loading a model registry: what is sent, how fast, how long each answer took, and whether all of it was kept.
//!
//! This crate sees a server over HTTP only; it knows nothing of the registry's code.

pub mod chart;
pub mod hgrm;
