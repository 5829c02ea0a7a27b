//! The published OpenAPI description and, with the feature `docs-ui`, the page that shows it. Both are public: they
//! reveal nothing about the database.

#[cfg(feature = "docs-ui")]
mod page;

use std::sync::LazyLock;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderName},
    web::{Bytes, ServiceConfig},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::telemetry::Requests;

use super::{
    endpoint::{self, Endpoint, endpoints},
    entity_tags::EntityTags,
    native::{
        self,
        schema::{self, Unless},
    },
    openapi, stream, v1,
};

/// Browsers may cache, but must revalidate: the content changes with the server.
const REVALIDATE: &str = "no-cache";

static DESCRIPTION: LazyLock<File> = LazyLock::new(|| {
    let all: Vec<_> = native::endpoints().into_iter().chain(v1::endpoints()).chain(endpoints()).collect();
    let mut schemas = schema::all();
    if let (Some(schemas), Value::Object(more)) = (schemas.as_object_mut(), v1::schemas()) {
        schemas.extend(more);
    }
    File::new("application/json", REVALIDATE, openapi::json(&all, schemas))
});

/// Returns the endpoints of the description and of its page.
pub(super) fn endpoints() -> Vec<Endpoint> {
    use super::docs;
    #[allow(unused_mut, reason = "nothing is added without the page")]
    let mut all = endpoints! { "server" => [docs::description: Public] };
    #[cfg(feature = "docs-ui")]
    all.extend(endpoints! { "server" => [page::page: Public] });
    all
}

/// Serves the description, the page, and the files of the page, which are not part of the API.
pub(super) fn configure(paths: &mut ServiceConfig, requests: &Requests) {
    let described = endpoints();
    endpoint::serve(paths, requests, &described.iter().collect::<Vec<_>>(), str::to_owned);
    #[cfg(feature = "docs-ui")]
    for (path, file) in page::files() {
        let answer = move |request: HttpRequest| std::future::ready(file.answer(&request));
        let resource = endpoint::at(
            requests,
            path,
            path,
            "GET, HEAD".to_owned(),
            vec![(actix_web::http::Method::GET, super::access::Access::Public)],
        );
        paths.service(
            resource.route(actix_web::web::get().to(answer)).route(actix_web::web::head().to(answer)),
        );
    }
}

/// Get this description
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "get_openapi",
    params(Unless),
    responses(
        (status = 200,
            description = "The API in OpenAPI 3.1.",
            body = Object, content_type = "application/json",
            headers(("ETag" = String, description = "The tag of this description."))),
        (status = 304, description = "A tag in `If-None-Match` is still current.",
            headers(("ETag" = String, description = "The tag of this description."))),
    ),
)]
pub(super) async fn description(request: HttpRequest) -> HttpResponse {
    DESCRIPTION.answer(&request)
}

/// A file that stays the same as long as the server runs.
struct File {
    bytes: Bytes,
    revision: String,
    cache: &'static str,
    /// Further headers of the file.
    headers: Vec<(HeaderName, &'static str)>,
}

impl File {
    fn new(kind: &'static str, cache: &'static str, bytes: Bytes) -> Self {
        let revision = hex::encode(&Sha256::digest(&bytes)[..16]);
        Self { bytes, revision, cache, headers: vec![(header::CONTENT_TYPE, kind)] }
    }

    #[cfg(feature = "docs-ui")]
    fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let seen = EntityTags::read(request.headers(), "if-none-match").include(&self.revision);
        let mut answer = if seen { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        answer.insert_header((header::ETAG, format!("\"{}\"", self.revision)));
        answer.insert_header((header::CACHE_CONTROL, self.cache));
        if seen {
            return answer.finish();
        }
        self.headers.iter().cloned().for_each(|header| {
            answer.insert_header(header);
        });
        answer.body(stream::shared(self.bytes.clone()))
    }
}
