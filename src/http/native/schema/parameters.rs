//! What stands in paths, queries and heads.

use utoipa::IntoParams;

use super::{OrderName, SortName, StatusName};

/// Where one version is.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::http) struct ById {
    /// The version's id.
    #[param(example = 1)]
    model_id: i64,
}

/// Where one version is, by what it is called.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::http) struct ByName {
    /// The model's name, percent-encoded: a slash in it is `%2F`.
    #[param(min_length = 1, example = "minilm")]
    name: String,
    /// The version's own name, percent-encoded.
    #[param(min_length = 1, example = "v1")]
    version: String,
}

/// Where the production version is.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::http) struct OfName {
    /// The model's name, percent-encoded: a slash in it is `%2F`.
    #[param(min_length = 1, example = "minilm")]
    name: String,
}

/// Which status.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::http) struct OfStatus {
    /// The status the versions have.
    status: StatusName,
}

/// A conditional read.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::http) struct Unless {
    /// Entity tags, as `ETag` gave them: where what is asked for is still in one of these states, the answer is 304 without a body.
    #[param(rename = "If-None-Match", required = false)]
    if_none_match: String,
}

/// A conditional write.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::http) struct OnlyIf {
    /// Entity tags, as `ETag` gave them: where the version is in none of these states any more, the answer is 412 and nothing is
    /// changed. `*` is any state; weak tags never match.
    #[param(rename = "If-Match", required = false)]
    if_match: String,
}

/// A conditional write, as 0.2.0 had it.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::http) struct OnlyIfUpdatedAt {
    /// The `updated_at` that the caller has seen: where the version has another by now, the answer is 409. Blank is none.
    #[param(rename = "If-Updated-At", required = false)]
    if_updated_at: String,
}

/// The same in the query.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct OnlyIfUpdatedAtInQuery {
    /// As the header `If-Updated-At`, which wins where both are given.
    #[param(required = false)]
    if_updated_at: String,
}

/// Filters, order and page of the list of versions. Parameters that are not known are ignored.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ListParameters {
    /// Only versions with this status.
    #[param(required = false)]
    status: StatusName,
    /// Only versions of exactly this name.
    #[param(required = false)]
    name: String,
    /// Only versions with this text in their name, version or description, whatever the case of its letters.
    #[param(required = false)]
    q: String,
    /// Only versions with exactly this tag.
    #[param(required = false)]
    tag: String,
    /// What the list is sorted by: `created_at` where nothing is said.
    #[param(required = false)]
    sort: SortName,
    /// `desc` where nothing is said.
    #[param(required = false)]
    order: OrderName,
    /// How many versions a page holds: 50 where nothing is said.
    #[param(required = false, minimum = 1, maximum = 200)]
    limit: i64,
    /// How many versions are passed over. Rows that come and go move it; the cursor of the `Link` header stays right.
    #[param(required = false, minimum = 0)]
    offset: i64,
    /// Where the page before ended, as its `Link` header has it. Not together with an offset, and for the same sort and order only.
    #[param(required = false)]
    cursor: String,
}

/// The page of the versions with one status.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct StatusListParameters {
    /// How many versions a page holds: all where nothing is said.
    #[param(required = false, minimum = 1, maximum = 200)]
    limit: i64,
    /// Where the page before ended, as its `Link` header has it.
    #[param(required = false)]
    cursor: String,
}

/// The page of a version's events.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct EventListParameters {
    /// How many events a page holds: 100 where nothing is said.
    #[param(required = false, minimum = 1, maximum = 500)]
    limit: i64,
    /// How many events are passed over.
    #[param(required = false, minimum = 0)]
    offset: i64,
    /// Where the page before ended, as its `Link` header has it. Not together with an offset.
    #[param(required = false)]
    cursor: String,
}

/// How a version is deleted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct DeleteParameters {
    /// Whether a version is deleted though it is in production or frozen: no where nothing is said.
    #[param(required = false)]
    force: bool,
}

/// What a version becomes.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct PromoteParameters {
    /// The status it gets: `production` where nothing is said.
    #[param(required = false)]
    to_status: StatusName,
}

/// Which scores.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct SuiteParameters {
    /// Only the scores of this suite; 404 where there are none of it.
    #[param(required = false)]
    suite: String,
}

/// What is compared.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct CompareParameters {
    /// Ids of versions, separated by commas. Those that are not there are left out of the answer.
    #[param(style = Form, explode = false, min_items = 1, example = json!([1, 2]))]
    ids: Vec<i64>,
}
