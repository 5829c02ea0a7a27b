//! `/v1/versions`: search over the versions of all models.

use crate::domain::{
    Filter, SearchQuery, SortKey,
    filter::{FilterError, Scope},
};

use super::{
    super::{
        answer::{self, Answer},
        openapi::{BadCursor, DoesNotFit},
        request::Call,
        rows::Versions,
    },
    schema::VersionPageV1,
};

/// Search versions
///
/// Over all models. A filter compares fields, `tags.KEY` and `scores.SUITE.METRIC` with `=`, `!=`, `<`, `<=`, `>`, `>=`, `LIKE`, `ILIKE`,
/// `IN` and `IS NULL`, joined by `AND`, `OR`, `NOT` and parentheses, like `scores.smoke-v1.score >= 0.8 and tags.team = 'nlp'`.
#[utoipa::path(
    get,
    path = "/v1/versions",
    operation_id = "v1_search_versions",
    params(
        ("filter" = Option<String>, Query, min_length = 1, example = "status = 'staging'",
            description = "Only versions for which this holds, by default all."),
        ("sort" = Option<String>, Query, min_length = 1, example = "scores.smoke-v1.score:desc",
            description = "A field, and `:asc` (the default) or `:desc`; without it `created_at:desc`. Versions without a value come last."),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 200, description = "Versions on a page, by default 50."),
        ("cursor" = Option<String>, Query, min_length = 1,
            description = "The end of the previous page, from its `next`. It needs the same filter and sort."),
    ),
    responses(
        (status = 200, description = "A page of versions.", body = VersionPageV1),
        BadCursor, DoesNotFit,
    ),
)]
pub(super) async fn search(mut call: Call) -> Answer {
    let filter = parsed(&mut call, "filter", |text| Filter::parse(text, Scope::Versions));
    let sort = parsed(&mut call, "sort", |text| SortKey::parse(text, Scope::Versions));
    let limit = call.limit(SearchQuery::DEFAULT_LIMIT, SearchQuery::MAX_LIMIT);
    let after = call.query_not_empty("cursor");
    call.check()?;
    let sort = sort.unwrap_or_else(|| SearchQuery::default().sort);
    let after = after.map(|text| sort.cursor(&text)).transpose()?;
    let query = SearchQuery { filter, sort, limit, after };
    let (versions, _) = Versions::search(&call.app, call.form(), query).await?;
    Ok(answer::rows(&call, versions))
}

/// Parses a query parameter, if given, or records where the fault in it is.
fn parsed<T>(call: &mut Call, name: &str, parse: impl Fn(&str) -> Result<T, FilterError>) -> Option<T> {
    let text = call.query_not_empty(name)?;
    parse(&text).map_err(|error| call.refuse("query", name, error.to_string())).ok()
}
