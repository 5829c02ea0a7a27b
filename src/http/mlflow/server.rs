//! What MLflow's client may ask about the server. It needs no key, as `/health` needs none.

use actix_web::{HttpResponse, http::header::ContentType};
use serde_json::json;

/// The version of MLflow whose behaviour this API has.
const MLFLOW_VERSION: &str = "3.17.2";

pub(super) async fn version() -> HttpResponse {
    HttpResponse::Ok().insert_header(ContentType::plaintext()).body(MLFLOW_VERSION)
}

pub(super) async fn info() -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "store_type": "SqlStore",
        "workspaces_enabled": false,
        "trace_archival_enabled": false,
        "multipart_uploads_enabled": false,
        "multipart_downloads_enabled": false,
    }))
}
