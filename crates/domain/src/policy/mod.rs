//! Policies.
pub mod expression;
