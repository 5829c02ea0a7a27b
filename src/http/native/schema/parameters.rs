//! Parameters that many calls share. The others are described above their handlers.

use utoipa::IntoParams;

/// The path of one version.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::http) struct ById {
    /// The version's id.
    #[param(example = 1)]
    model_id: i64,
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
