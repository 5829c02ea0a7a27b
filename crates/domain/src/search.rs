//! The query of a search over versions.

use crate::{
    filter::{Attribute, Field, Filter, SortKey},
    query::{Cursor, Order},
};

/// A query for a page of the versions of all models that pass a filter.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchQuery {
    /// The filter; `None` selects all versions.
    pub filter: Option<Filter>,
    /// The order.
    pub sort: SortKey,
    /// The maximum number of versions on the page.
    pub limit: u32,
    /// The end of the previous page, from [`SortKey::cursor`].
    pub after: Option<Cursor>,
}

impl SearchQuery {
    /// Versions on a page by default.
    pub const DEFAULT_LIMIT: i64 = 50;
    /// Versions on a page at most.
    pub const MAX_LIMIT: i64 = 200;
}

impl Default for SearchQuery {
    /// Returns the query for all versions, newest first.
    fn default() -> Self {
        let sort = SortKey { field: Field::Attribute(Attribute::CreatedAt), order: Order::Descending };
        Self { filter: None, sort, limit: Self::DEFAULT_LIMIT as u32, after: None }
    }
}
