//! The APIs of this server, and the paths that belong to each.

use actix_web::dev::{Path, Url};

use super::hub;

/// The start of every path of `/v1`.
pub(super) const V1: &str = "/v1";
/// The start of every path of the OCI API.
const V2: &str = "/v2";
/// The starts of the paths of MLflow's API, for its client and for its browser pages: each path exists under both.
pub(super) const MLFLOW: [&str; 2] = ["/api/2.0/mlflow", "/ajax-api/2.0/mlflow"];
/// The same for the paths of files.
pub(super) const MLFLOW_ARTIFACTS: [&str; 2] =
    ["/api/2.0/mlflow-artifacts", "/ajax-api/2.0/mlflow-artifacts"];
/// The same for the paths that tell about the server.
pub(super) const MLFLOW_SERVER: [&str; 2] = ["/api/3.0/mlflow", "/ajax-api/3.0/mlflow"];

/// The API that a path belongs to. Each has its own form of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    /// The API of 0.2.0, and the paths that belong to no API.
    Native,
    V1,
    Mlflow,
    Oci,
    Hub,
}

impl Api {
    pub(super) fn of(url: &Path<Url>) -> Self {
        let path = url.as_str();
        let is_under = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if is_under(V1) {
            Self::V1
        } else if is_under(V2) {
            Self::Oci
        } else if [MLFLOW, MLFLOW_ARTIFACTS, MLFLOW_SERVER].into_iter().flatten().any(is_under) {
            Self::Mlflow
        } else if hub::is_hub(url) {
            Self::Hub
        } else {
            Self::Native
        }
    }
}
