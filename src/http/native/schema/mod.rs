//! The schemas of the published description: parameters, bodies and answers.
//!
//! These types are never built. Bodies are read field by field and answers are written from rows; `tests/api/openapi.rs` compares
//! both with these schemas.
#![allow(dead_code, reason = "described, never built")]

mod answers;
mod bodies;
mod parameters;

use serde_json::{Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

use super::super::{
    fault::Fault,
    openapi::{Failure, Unfit},
};

pub(in crate::http) use answers::*;
pub(in crate::http) use bodies::*;
pub(in crate::http) use parameters::*;

/// Returns the schemas by name.
pub(in crate::http) fn all() -> Value {
    macro_rules! by_name {
        ($($schema:ty),+) => { json!({ $((<$schema>::name()): <$schema>::schema()),+ }) };
    }
    by_name!(
        StatusName,
        SortName,
        OrderName,
        ScoresOfASuite,
        NewModel,
        ModelChanges,
        NewScores,
        Promotion,
        Model,
        Event,
        Deleted,
        Stats,
        Comparison,
        Orders,
        Queue,
        Service,
        Health,
        Failure,
        Unfit,
        Fault
    )
}

/// A string that is one of the names which the code reads.
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
    "The stage of a version. At most one version of a name is in production."
);
choice!(
    /// [`crate::domain::Sort`].
    SortName,
    "Sort",
    crate::domain::Sort::NAMES,
    "The sort key of a list. Ties are broken by id; versions without a step sort lowest."
);
choice!(
    /// [`crate::domain::Order`].
    OrderName,
    "Order",
    crate::domain::Order::NAMES,
    "Descending or ascending."
);
