//! The contract as the published description has it: parameters, bodies and answers.
//!
//! These types are never built. Bodies are read field by field and answers are written from rows; `tests/api/openapi.rs` holds
//! both against what is said here.
#![allow(dead_code, reason = "described, never built")]

mod answers;
mod bodies;
mod parameters;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

pub(in crate::http) use answers::*;
pub(in crate::http) use bodies::*;
pub(in crate::http) use parameters::*;

/// A text that is one of those that the code reads.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident, $title:literal, $names:expr, $description:literal) => {
        $(#[$doc])*
        pub(in crate::http) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let names = $names.into_iter();
                let text = ObjectBuilder::new().schema_type(Type::String);
                text.enum_values(Some(names)).description(Some($description)).into()
            }
        }

        impl ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                $title.into()
            }
        }
    };
}

choice!(
    /// [`crate::domain::Status`].
    StatusName,
    "Status",
    crate::domain::Status::NAMES,
    "How far a version has come. At most one version of a name is in production."
);
choice!(
    /// [`crate::domain::Sort`].
    SortName,
    "Sort",
    crate::domain::Sort::NAMES,
    "What a list is sorted by; ties are broken by id. Versions without a step count as the lowest."
);
choice!(
    /// [`crate::domain::Order`].
    OrderName,
    "Order",
    crate::domain::Order::NAMES,
    "Whether a list falls or rises."
);
