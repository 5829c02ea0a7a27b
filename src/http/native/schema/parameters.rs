//! Parameters in paths, queries and headers.

use utoipa::IntoParams;

use super::{OrderName, SortName, StatusName};

/// The path of one version.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::http) struct ById {
    /// The version's id.
    #[param(example = 1)]
    model_id: i64,
}

/// The path of one version, by name.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::http) struct ByName {
    /// The model's name, percent-encoded: a slash in it is `%2F`.
    #[param(min_length = 1, example = "minilm")]
    name: String,
    /// The version's label, percent-encoded.
    #[param(min_length = 1, example = "v1")]
    version: String,
}

/// The path of a production version.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::http) struct OfName {
    /// The model's name, percent-encoded: a slash in it is `%2F`.
    #[param(min_length = 1, example = "minilm")]
    name: String,
}

/// A status in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::http) struct OfStatus {
    /// The status of the versions.
    status: StatusName,
}

/// A conditional read.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::http) struct Unless {
    /// Entity tags from `ETag`. If one of them is still current, the answer is 304 without a body.
    #[param(rename = "If-None-Match", required = false)]
    if_none_match: String,
}

/// A conditional write.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::http) struct OnlyIf {
    /// Entity tags from `ETag`. If none of them is current, the answer is 412 and nothing changes. `*` matches any state; weak
    /// tags never match.
    #[param(rename = "If-Match", required = false)]
    if_match: String,
}

/// A conditional write in the form of 0.2.0.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::http) struct OnlyIfUpdatedAt {
    /// The `updated_at` that the caller last saw. If the version has another one, the answer is 409. Blank means no condition.
    #[param(rename = "If-Updated-At", required = false)]
    if_updated_at: String,
}

/// The same condition in the query.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct OnlyIfUpdatedAtInQuery {
    /// As the header `If-Updated-At`, which wins if both are given.
    #[param(required = false)]
    if_updated_at: String,
}

/// Filters, order and page of the list of versions. Unknown parameters are ignored.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ListParameters {
    /// Only versions with this status.
    #[param(required = false)]
    status: StatusName,
    /// Only versions with exactly this name.
    #[param(required = false)]
    name: String,
    /// Only versions whose name, version or description contains this text, ignoring case.
    #[param(required = false)]
    q: String,
    /// Only versions with exactly this tag.
    #[param(required = false)]
    tag: String,
    /// The sort key, by default `created_at`.
    #[param(required = false)]
    sort: SortName,
    /// The sort direction, by default `desc`.
    #[param(required = false)]
    order: OrderName,
    /// Versions on a page, by default 50.
    #[param(required = false, minimum = 1, maximum = 200)]
    limit: i64,
    /// Versions to skip. Rows that come and go shift the pages; the cursor of the `Link` header does not.
    #[param(required = false, minimum = 0)]
    offset: i64,
    /// The end of the previous page, from its `Link` header. It excludes an offset, and needs the same sort and order.
    #[param(required = false)]
    cursor: String,
}

/// The page of the versions with one status.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct StatusListParameters {
    /// Versions on a page, by default all.
    #[param(required = false, minimum = 1, maximum = 200)]
    limit: i64,
    /// The end of the previous page, from its `Link` header.
    #[param(required = false)]
    cursor: String,
}

/// The page of a version's events.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct EventListParameters {
    /// Events on a page, by default 100.
    #[param(required = false, minimum = 1, maximum = 500)]
    limit: i64,
    /// Events to skip.
    #[param(required = false, minimum = 0)]
    offset: i64,
    /// The end of the previous page, from its `Link` header. It excludes an offset.
    #[param(required = false)]
    cursor: String,
}

/// How a version is deleted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct DeleteParameters {
    /// Deletes the version even if it is in production or frozen.
    #[param(required = false)]
    force: bool,
}

/// The new status of a version.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct PromoteParameters {
    /// The new status, by default `production`. It may be in the body instead.
    #[param(required = false)]
    to_status: StatusName,
}

/// Which scores.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct SuiteParameters {
    /// Only the scores of this suite. If there are none, the answer is 404.
    #[param(required = false)]
    suite: String,
}

/// The versions to compare.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct CompareParameters {
    /// Ids of versions, separated by commas, at most 200. Unknown ids are left out of the answer.
    #[param(style = Form, explode = false, min_items = 1, max_items = 200, example = json!([1, 2]))]
    ids: Vec<i64>,
}
