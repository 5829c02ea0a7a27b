//! The page at `/docs`: Swagger UI, whose files build.rs takes from a crate. It loads nothing from other servers and runs
//! only its own scripts.

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse, http::header, web::Bytes};

use crate::http::native::schema::Unless;

use super::{File, REVALIDATE};

/// The page may load its own files and the images in its style sheet, and send requests to this server.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The page's files change only with the server's version.
const CACHE_ONE_DAY: &str = "public, max-age=86400";
static PAGE: LazyLock<File> = LazyLock::new(|| {
    let html = Bytes::from_static(include_bytes!("index.html"));
    File::new("text/html; charset=utf-8", REVALIDATE, html).with(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)
});
static PARTS: LazyLock<[(&str, File); 5]> = LazyLock::new(|| {
    let own = |text: &'static [u8], kind| File::new(kind, CACHE_ONE_DAY, Bytes::from_static(text));
    macro_rules! gzipped {
        ($name:literal, $kind:literal) => {{
            let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz"));
            // Sent regardless of `Accept-Encoding`: all browsers accept it.
            (concat!("/docs/", $name), own(bytes, $kind).with(header::CONTENT_ENCODING, "gzip"))
        }};
    }
    [
        gzipped!("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        gzipped!("swagger-ui.css", "text/css; charset=utf-8"),
        gzipped!("LICENSE", "text/plain; charset=utf-8"),
        ("/docs/start.js", own(include_bytes!("start.js"), "text/javascript; charset=utf-8")),
        ("/docs/page.css", own(include_bytes!("page.css"), "text/css; charset=utf-8")),
    ]
});

/// Returns the files that the page loads, with their paths.
pub(super) fn files() -> &'static [(&'static str, File)] {
    &*PARTS
}

/// Get the page that shows this description
#[utoipa::path(
    get,
    path = "/docs",
    operation_id = "get_docs",
    params(Unless),
    responses(
        (status = 200,
            description = "A page on which people can try out the calls.",
            body = String, content_type = "text/html",
            headers(("ETag" = String, description = "The tag of this page."))),
        (status = 304, description = "A tag in `If-None-Match` is still current.",
            headers(("ETag" = String, description = "The tag of this page."))),
    ),
)]
pub(super) async fn page(request: HttpRequest) -> HttpResponse {
    PAGE.answer(&request)
}
