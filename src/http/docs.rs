//! The published OpenAPI description, and the page that shows it. Both are public: they reveal nothing about the database.
//!
//! The page is Swagger UI, whose files build.rs takes from a crate. It loads nothing from other servers and runs only its own scripts.

use std::sync::LazyLock;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderName},
    web::{Bytes, ServiceConfig, get, head},
};
use sha2::{Digest as _, Sha256};

use crate::telemetry::Requests;

use super::{
    endpoint::{self, Endpoint, endpoints},
    native::schema::Unless,
    openapi,
    request::EntityTags,
    stream,
};

/// The page may load its own files and the images in its style sheet, and send requests to this server.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Browsers may cache, but must revalidate: the content changes with the server.
const REVALIDATE: &str = "no-cache";
/// Files of the page change only with the server's version.
const KEEP_A_DAY: &str = "public, max-age=86400";

static DESCRIPTION: LazyLock<File> =
    LazyLock::new(|| File { cache: REVALIDATE, ..File::new("application/json", openapi::json()) });
#[cfg(feature = "docs-ui")]
static PAGE: LazyLock<File> = LazyLock::new(|| {
    let html = Bytes::from_static(include_bytes!("docs/index.html"));
    File { cache: REVALIDATE, policy: Some(PAGE_POLICY), ..File::new("text/html; charset=utf-8", html) }
});
#[cfg(feature = "docs-ui")]
static PARTS: LazyLock<[(&str, File); 5]> = LazyLock::new(|| {
    macro_rules! gzipped {
        ($name:literal, $kind:literal) => {
            (
                concat!("/docs/", $name),
                File {
                    is_gzipped: true,
                    ..File::new(
                        $kind,
                        Bytes::from_static(include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz"))),
                    )
                },
            )
        };
    }
    let own = |text: &'static str, kind| File::new(kind, Bytes::from_static(text.as_bytes()));
    [
        gzipped!("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        gzipped!("swagger-ui.css", "text/css; charset=utf-8"),
        gzipped!("LICENSE", "text/plain; charset=utf-8"),
        ("/docs/start.js", own(include_str!("docs/start.js"), "text/javascript; charset=utf-8")),
        ("/docs/page.css", own(include_str!("docs/page.css"), "text/css; charset=utf-8")),
    ]
});

pub(super) fn endpoints() -> Vec<Endpoint> {
    use super::docs;
    endpoints! { "server" => [docs::description, docs::page] }
}

/// Serves the description, the page, and the files of the page, which are not part of the API.
pub(super) fn configure(paths: &mut ServiceConfig, requests: &Requests) {
    let described = endpoints();
    endpoint::serve(paths, requests, &described.iter().collect::<Vec<_>>(), str::to_owned);
    for (path, file) in PARTS.iter() {
        let answer = move |request: HttpRequest| std::future::ready(file.answer(&request));
        let resource = endpoint::at(requests, path, path, "GET, HEAD".to_owned());
        paths.service(resource.route(get().to(answer)).route(head().to(answer)));
    }
}

/// Get this description
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "get_openapi",
    security(()),
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

/// Get the page that shows this description
#[utoipa::path(
    get,
    path = "/docs",
    operation_id = "get_docs",
    security(()),
    params(Unless),
    responses(
        (status = 200,
            description = "A page for people, where calls can be tried out.",
            body = String, content_type = "text/html",
            headers(("ETag" = String, description = "The tag of this page."))),
        (status = 304, description = "A tag in `If-None-Match` is still current.",
            headers(("ETag" = String, description = "The tag of this page."))),
    ),
)]
pub(super) async fn page(request: HttpRequest) -> HttpResponse {
    PAGE.answer(&request)
}

/// A file that stays the same as long as the server runs.
struct File {
    kind: &'static str,
    bytes: Bytes,
    revision: String,
    cache: &'static str,
    policy: Option<&'static str>,
    /// Sent as gzip regardless of `Accept-Encoding`: all browsers accept it.
    is_gzipped: bool,
}

impl File {
    fn new(kind: &'static str, bytes: Bytes) -> Self {
        let revision = hex::encode(&Sha256::digest(&bytes)[..16]);
        Self { kind, bytes, revision, cache: KEEP_A_DAY, policy: None, is_gzipped: false }
    }

    fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let seen = EntityTags::read(request.headers(), "if-none-match").include(&self.revision);
        let mut answer = if seen { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        answer.insert_header((header::ETAG, format!("\"{}\"", self.revision)));
        answer.insert_header((header::CACHE_CONTROL, self.cache));
        if seen {
            return answer.finish();
        }
        answer.insert_header((header::CONTENT_TYPE, self.kind));
        if let Some(policy) = self.policy {
            answer.insert_header((HeaderName::from_static("content-security-policy"), policy));
        }
        if self.is_gzipped {
            answer.insert_header((header::CONTENT_ENCODING, "gzip"));
        }
        answer.body(stream::shared(self.bytes.clone()))
    }
}
