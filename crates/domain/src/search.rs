//! The queries of searches.

use crate::{
    filter::{Attribute, Field, Filter, SortKey},
    query::{Cursor, CursorKey, Order},
    text_enum::text_enum,
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

text_enum! {
    /// What versions, or models, can be ordered by in an [`OrderedQuery`].
    #[allow(missing_docs, reason = "the names are self-explanatory")]
    OrderBy {
        Name = "name",
        /// Only of versions.
        Number = "number",
        CreatedAt = "created_at",
        /// When anything but tags, aliases and metrics changed last.
        ChangedAt = "changed_at",
    }
}

/// A key of an order, and its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderKey {
    /// The key.
    pub by: OrderBy,
    /// The direction.
    pub order: Order,
}

/// A query for a page of the versions, or of the models, that pass a filter, in an order of several keys.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderedQuery {
    /// The filter, over versions or over models.
    pub filter: Option<Filter>,
    /// True if prompts, and versions of prompts, are found too.
    pub with_prompts: bool,
    /// The order; no two rows have the same values of all keys.
    pub order: Vec<OrderKey>,
    /// The maximum number of rows on the page.
    pub limit: u32,
    /// Where the page begins.
    pub start: PageStart,
}

/// Where a page begins in its list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageStart {
    /// After this many rows, which are counted again.
    Offset(u64),
    /// Right after the place of a row that another page ended with, even if rows were added or deleted since.
    After(Place),
}

/// The values of all keys of an order in one row.
pub type Place = Vec<CursorKey>;
