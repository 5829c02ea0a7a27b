//! `mlflow-artifacts/artifacts`: the files of versions in the artifact store, as MLflow's client takes them from a server that
//! passes on artifacts.
//!
//! The location of such a version is an address of this server, since a client resolves the scheme `mlflow-artifacts:` by its
//! tracking server, which need not be this one. It sends its key there too.

use actix_web::{
    http::{
        Method,
        header::{CACHE_CONTROL, HeaderValue},
    },
    web::{self, ServiceConfig},
};
use percent_encoding::percent_decode_str;

use crate::{
    domain::{
        Refusal, Version, VersionRef,
        files::FileQuery,
        mlflow::{StoredPath, is_stored},
    },
    registry::RegistryError,
    telemetry::Requests,
};

use super::{
    super::{
        answer::{self, Answer},
        api::MLFLOW_ARTIFACTS,
        blob,
        endpoint::{self, Endpoint},
        error::ApiError,
        file_list::FileList,
        json::mlflow::write_file,
        request::Call,
    },
    arguments::Arguments,
    error::invalid,
};

/// After the prefix.
const PATH: &str = "artifacts";

/// Returns the calls. Those of a path are adjacent.
fn endpoints() -> Vec<Endpoint> {
    let [prefix, _] = MLFLOW_ARTIFACTS;
    let (all, one) = (format!("{prefix}/{PATH}"), format!("{prefix}/{PATH}/{{path}}"));
    vec![
        Endpoint::undescribed(Method::GET, &all, || web::to(list)),
        Endpoint::undescribed(Method::GET, &one, || web::to(get)),
        Endpoint::undescribed(Method::PUT, &one, || web::to(refuse)),
        Endpoint::undescribed(Method::DELETE, &one, || web::to(refuse)),
    ]
}

/// Registers the endpoints under both prefixes, each counted by its path under the first one.
pub(super) fn configure(paths: &mut ServiceConfig, requests: &Requests) {
    let all = endpoints();
    let all: Vec<_> = all.iter().collect();
    for prefix in MLFLOW_ARTIFACTS {
        endpoint::serve(paths, requests, &all, |path| {
            path.replace(MLFLOW_ARTIFACTS[0], prefix).replace("{path}", "{path:.+}")
        });
    }
}

/// Returns the address below which a caller finds the files of versions, if this server has an artifact store and the caller
/// names a host.
pub(super) fn address(call: &Call) -> Option<String> {
    let origin = call.origin().filter(|_| call.registry().has_artifacts())?;
    Some(format!("{origin}{}/{PATH}", MLFLOW_ARTIFACTS[0]))
}

/// Returns where a caller finds the files of a version below `address`, if they are there.
pub(super) fn location<S>(address: Option<&str>, version: &Version<S>) -> Option<String> {
    let address = address.filter(|_| is_stored(version))?;
    Some(format!("{address}/{}", StoredPath::folder(version.id)))
}

/// Lists the files and folders of a version, or of a folder in it. A file, and a folder that is not there, contain nothing.
async fn list(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let StoredPath { version, path } = StoredPath::parse(&given.text("path")?.unwrap_or_default())?;
    call.registry().expect_stored(version).await?;
    let query = FileQuery {
        version: VersionRef::Id(version),
        under: Some(path).filter(|path| !path.is_empty()),
        is_recursive: false,
        limit: FileQuery::DEFAULT_LIMIT,
        after: None,
    };
    match FileList::begin(&call.app, query, b"{\"files\":[".to_vec(), write_file).await {
        Err(RegistryError::Refused(Refusal::NotFound(_))) => answer::json(b"{}".to_vec()),
        files => Ok(answer::rows(&call, files?)),
    }
}

/// Answers with a file.
async fn get(call: Call) -> Answer {
    let StoredPath { version, path } = named(&call)?;
    let digest = call.registry().stored_file(version, path).await?;
    let mut response = blob::answer(&call, digest).await?;
    if response.status().is_success() {
        // A version that goes to the trash takes its files with it.
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }
    Ok(response)
}

/// Refuses to change the files of a version.
async fn refuse(_: Call) -> Answer {
    Err(invalid(
        "the files of a version never change, and MLflow's client registers none here; `registry publish` registers a \
         version with its files",
    ))
}

/// Returns what the path of a request names.
fn named(call: &Call) -> Result<StoredPath, ApiError> {
    let path = call.path_as_sent().split_once("/artifacts/").map_or("", |(_, path)| path);
    let path =
        percent_decode_str(path).decode_utf8().map_err(|_| invalid("Invalid path: it is not UTF-8"))?;
    Ok(StoredPath::parse(&path)?)
}
