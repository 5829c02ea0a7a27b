//! Interprets answers: status, headers and body become JSON or a [`ClientError`].
//!
//! Pure functions, so that tests need no server. Errors repeat the server's text to the user, so it is truncated here.

use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::{HeaderMap, HeaderName, header};

use crate::error::ClientError;

/// The maximum length of a server's text in an error.
const MAX_DETAIL_CHARS: usize = 2000;

const TOTAL_COUNT_HEADER: HeaderName = HeaderName::from_static("x-total-count");
const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Details of a 404 for a path without a route, from this server and from 0.2.0: the URL is wrong. A missing version has
/// another detail.
const UNKNOWN_PATH: [&str; 2] = ["there is nothing at this path", "Not Found"];

/// The code of `/v1` for a change that may have been executed.
const OUTCOME_UNKNOWN: &str = "outcome_unknown";

/// Interprets an answer of the server at `url`.
pub(super) fn interpret(
    url: &str,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Value, ClientError> {
    let url = url.to_owned();
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let detail = parsed.as_ref().and_then(detail_of);
    let said = |detail: Option<String>| detail.unwrap_or_else(|| "it gave no reason".to_owned());
    match (status, parsed) {
        (200..=299, Some(body)) => Ok(body),
        (300..=399, _) => {
            let reason = match text_of(headers, &header::LOCATION) {
                Some(target) => format!("it redirects to {target}"),
                None => format!("it redirects ({status})"),
            };
            Err(ClientError::NotARegistry { url, reason })
        }
        (503, Some(body)) if code_of(&body) == Some(OUTCOME_UNKNOWN) => {
            let request_id = text_of(headers, &REQUEST_ID_HEADER);
            Err(ClientError::OutcomeUnknown { url, detail: said(detail), request_id })
        }
        // Overloaded, or its disk is full: a later try may succeed.
        (503 | 507, _) => {
            Err(ClientError::Unavailable { url, detail: said(detail), retry_after: retry_after(headers) })
        }
        (429, _) => {
            let detail = detail.unwrap_or_else(|| "too many requests (429)".to_owned());
            Err(ClientError::Unavailable { url, detail, retry_after: retry_after(headers) })
        }
        (500..=599, _) => {
            let request_id = text_of(headers, &REQUEST_ID_HEADER);
            Err(ClientError::ServerFailed { url, status, detail: said(detail), request_id })
        }
        (_, None) => {
            let kind =
                text_of(headers, &header::CONTENT_TYPE).unwrap_or_else(|| "of an unnamed type".to_owned());
            if matches!(status, 400..=499) && !matches!(status, 401 | 404 | 405) {
                let detail = format!("its answer is not JSON but {kind}, so a proxy may have refused it");
                return Err(ClientError::Refused { status, detail });
            }
            let reason = format!("its answer ({status}) is not JSON but {kind}");
            Err(ClientError::NotARegistry { url, reason })
        }
        (401, _) => Err(ClientError::KeyRefused { url, key_source: None }),
        (404, _) if detail.as_deref().is_some_and(|detail| UNKNOWN_PATH.contains(&detail)) => {
            Err(ClientError::NoSuchPath { url })
        }
        (404, _) => Err(ClientError::NotFound { detail: said(detail) }),
        (409 | 412, _) => Err(ClientError::Conflict { detail: said(detail) }),
        (400..=499, _) => Err(ClientError::Refused { status, detail: said(detail) }),
        (_, Some(_)) => {
            let reason = format!("it answers with status {status}");
            Err(ClientError::NotARegistry { url, reason })
        }
    }
}

/// Returns the body of an error of the blob routes as one of the registry's own: `{"errors": [{"message": …}]}` has its text.
pub(super) fn oci_error(body: &[u8]) -> Vec<u8> {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let message = parsed.as_ref().and_then(|body| body.get("errors")?.get(0)?.get("message")?.as_str());
    message.map_or_else(|| body.to_vec(), |message| json!({ "detail": message }).to_string().into_bytes())
}

/// Returns the number of versions on all pages of a list, if the registry sends it; 0.2.0 does not.
pub(super) fn total_count(headers: &HeaderMap) -> Option<u64> {
    text_of(headers, &TOTAL_COUNT_HEADER)?.parse().ok()
}

/// Returns path and query of the next page: `Link: </models?cursor=…>; rel="next"`.
pub(super) fn next_link(headers: &HeaderMap) -> Option<String> {
    let links = headers.get(header::LINK)?.to_str().ok()?;
    let (target, parameters) = links.trim().strip_prefix('<')?.split_once('>')?;
    let is_next =
        parameters.split(';').any(|parameter| matches!(parameter.trim(), "rel=next" | r#"rel="next""#));
    // A link to another server is not followed, since the key would be sent there.
    (is_next && target.starts_with('/') && !target.starts_with("//")).then(|| target.to_owned())
}

/// Returns the detail of an answer: its sentence, or the faults of a 422, each with its location.
fn detail_of(body: &Value) -> Option<String> {
    let text = match (body.get("detail"), body.get("error")) {
        (Some(Value::String(sentence)), _) => sentence.clone(),
        (Some(Value::Array(faults)), _) => faults.iter().map(fault).collect::<Vec<_>>().join("; "),
        (None, Some(error)) => v1_detail(error)?,
        _ => return None,
    };
    Some(truncated(&text))
}

/// Returns the message of an error of `/v1`, or its fields, each with its path: `tags.team: too long`.
fn v1_detail(error: &Value) -> Option<String> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let fields = error.get("fields").and_then(Value::as_array).into_iter().flatten();
    let fields: Vec<_> = fields
        .filter_map(|field| {
            let message = text(field, "message")?;
            Some(match text(field, "path").filter(|path| !path.is_empty()) {
                Some(path) => format!("{path}: {message}"),
                None => message,
            })
        })
        .collect();
    if fields.is_empty() { text(error, "message") } else { Some(fields.join("; ")) }
}

/// Returns the code of an error of `/v1`.
fn code_of(body: &Value) -> Option<&str> {
    body.get("error")?.get("code")?.as_str()
}

/// `body.d_model: Input should be a valid integer`
fn fault(fault: &Value) -> String {
    let message = fault.get("msg").and_then(Value::as_str).unwrap_or("not accepted");
    let location: Vec<String> = fault
        .get("loc")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_owned))
        .collect();
    if location.is_empty() { message.to_owned() } else { format!("{}: {message}", location.join(".")) }
}

/// Returns the seconds of `Retry-After`. A registry does not send its other form, a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    text_of(headers, &header::RETRY_AFTER)?.trim().parse().ok().map(Duration::from_secs)
}

fn text_of(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(truncated)
}

fn truncated(text: &str) -> String {
    match text.char_indices().nth(MAX_DETAIL_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpreted(status: u16, head: &[(HeaderName, &str)], body: &str) -> Result<Value, ClientError> {
        let headers = head.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        interpret("http://h", status, &headers, body.as_bytes())
    }

    #[test]
    fn each_status_has_its_meaning() {
        let url = || "http://h".to_owned();
        let unsaid = || "it gave no reason".to_owned();
        for (status, body, expected) in [
            (401, r#"{"detail":"no"}"#, ClientError::KeyRefused { url: url(), key_source: None }),
            (404, r#"{"detail":"none"}"#, ClientError::NotFound { detail: "none".to_owned() }),
            (409, r#"{"detail":"taken"}"#, ClientError::Conflict { detail: "taken".to_owned() }),
            (412, r#"{"detail":"moved"}"#, ClientError::Conflict { detail: "moved".to_owned() }),
            (
                400,
                r#"{"detail":"no uri"}"#,
                ClientError::Refused { status: 400, detail: "no uri".to_owned() },
            ),
            (413, r#"{"other":1}"#, ClientError::Refused { status: 413, detail: unsaid() }),
            (
                503,
                r#"{"detail":"busy"}"#,
                ClientError::Unavailable { url: url(), detail: "busy".to_owned(), retry_after: None },
            ),
            (
                507,
                r#"{"detail":"full"}"#,
                ClientError::Unavailable { url: url(), detail: "full".to_owned(), retry_after: None },
            ),
            (
                502,
                "<html>",
                ClientError::ServerFailed { url: url(), status: 502, detail: unsaid(), request_id: None },
            ),
        ] {
            assert_eq!(interpreted(status, &[], body), Err(expected), "{status}");
        }
        assert_eq!(interpreted(201, &[], r#"{"id":1}"#), Ok(serde_json::json!({"id": 1})));
    }

    #[test]
    fn the_faults_of_a_422_are_listed() {
        let body = r#"{"detail":[
            {"type":"int_parsing","loc":["body","d_model"],"msg":"not an integer","input":"x"},
            {"type":"string_type","loc":["body","tags",0],"msg":"not a string","input":1},
            {"loc":[],"msg":"nowhere"}, 7]}"#;
        let detail =
            "body.d_model: not an integer; body.tags.0: not a string; nowhere; not accepted".to_owned();
        assert_eq!(interpreted(422, &[], body), Err(ClientError::Refused { status: 422, detail }));
    }

    #[test]
    fn errors_of_v1_are_read_as_the_others() {
        let url = || "http://h".to_owned();
        let error =
            |code: &str, more: &str| format!(r#"{{"error":{{"code":"{code}","message":"why"{more}}}}}"#);
        let said = || "why".to_owned();
        let fields =
            r#","fields":[{"path":"tags.team","message":"too long"},{"path":"","message":"no object"},7]"#;
        let detail = "tags.team: too long; no object".to_owned();
        for (status, body, expected) in [
            (401, error("unauthorized", ""), ClientError::KeyRefused { url: url(), key_source: None }),
            (404, error("not_found", ""), ClientError::NotFound { detail: said() }),
            (409, error("conflict", ""), ClientError::Conflict { detail: said() }),
            (412, error("precondition_failed", ""), ClientError::Conflict { detail: said() }),
            (413, error("too_large", ""), ClientError::Refused { status: 413, detail: said() }),
            (422, error("invalid", fields), ClientError::Refused { status: 422, detail }),
            (422, error("invalid", r#","fields":[]"#), ClientError::Refused { status: 422, detail: said() }),
            (
                500,
                error("internal", ""),
                ClientError::ServerFailed { url: url(), status: 500, detail: said(), request_id: None },
            ),
            (
                503,
                error("unavailable", ""),
                ClientError::Unavailable { url: url(), detail: said(), retry_after: None },
            ),
            (
                503,
                error("outcome_unknown", ""),
                ClientError::OutcomeUnknown { url: url(), detail: said(), request_id: None },
            ),
        ] {
            assert_eq!(interpreted(status, &[], &body), Err(expected), "{status} {body}");
        }
        for body in [r#"{"error":"text"}"#, r#"{"error":{"code":7}}"#, r#"{"error":null}"#] {
            let detail = "it gave no reason".to_owned();
            assert_eq!(interpreted(404, &[], body), Err(ClientError::NotFound { detail }), "{body}");
        }
    }

    #[test]
    fn a_path_without_a_route_is_not_a_missing_version() {
        for body in [
            r#"{"detail":"Not Found"}"#,
            r#"{"detail":"there is nothing at this path"}"#,
            r#"{"error":{"code":"not_found","message":"there is nothing at this path"}}"#,
        ] {
            let error = interpreted(404, &[], body).unwrap_err();
            assert_eq!(error, ClientError::NoSuchPath { url: "http://h".to_owned() }, "{body}");
        }
    }

    #[test]
    fn an_answer_without_json_is_not_from_a_registry() {
        let html = [(header::CONTENT_TYPE, "text/html")];
        for status in [200, 401, 404, 405] {
            let error = interpreted(status, &html, "<html>").unwrap_err();
            assert!(matches!(error, ClientError::NotARegistry { .. }), "{error}");
            assert!(error.to_string().contains("not JSON but text/html"), "{error}");
        }
        for status in [400, 403, 409, 413, 422] {
            let text = interpreted(status, &html, "<html>").unwrap_err().to_string();
            assert_eq!(
                text,
                format!(
                    "the registry refused this ({status}): its answer is not JSON but text/html, so a proxy \
                     may have refused it"
                )
            );
        }
        let text = interpreted(200, &[], "").unwrap_err().to_string();
        assert!(text.contains("not JSON but of an unnamed type"), "{text}");
    }

    #[test]
    fn too_many_requests_can_be_retried() {
        for body in ["<html>", r#"{"detail":"slow down"}"#] {
            let error = interpreted(429, &[(header::RETRY_AFTER, "3")], body).unwrap_err();
            let ClientError::Unavailable { retry_after, .. } = error else { panic!("{error}") };
            assert_eq!(retry_after, Some(Duration::from_secs(3)));
        }
    }

    #[test]
    fn the_next_page_is_on_the_same_server() {
        for (link, expected) in [
            (r#"</models?limit=2&cursor=a>; rel="next""#, Some("/models?limit=2&cursor=a")),
            ("</models?cursor=a>;rel=next", Some("/models?cursor=a")),
            (r#"</models>; rel="prev""#, None),
            (r#"<https://elsewhere/models>; rel="next""#, None),
            (r#"<//elsewhere/models>; rel="next""#, None),
            ("nonsense", None),
        ] {
            let headers = [(header::LINK, link.parse().unwrap())].into_iter().collect();
            assert_eq!(next_link(&headers).as_deref(), expected, "{link}");
        }
        assert_eq!(next_link(&HeaderMap::new()), None);
    }

    #[test]
    fn a_redirect_names_its_target() {
        let text = interpreted(308, &[(header::LOCATION, "https://h/")], "{}").unwrap_err().to_string();
        assert!(text.contains("it redirects to https://h/"), "{text}");
        assert!(matches!(interpreted(304, &[], ""), Err(ClientError::NotARegistry { .. })));
    }

    #[test]
    fn a_failure_carries_the_id_of_its_request() {
        let head = [(REQUEST_ID_HEADER, "abc-1")];
        let text = interpreted(500, &head, r#"{"detail":"internal error"}"#).unwrap_err().to_string();
        assert_eq!(
            text,
            "the registry at http://h failed (500): internal error; see its log for request abc-1"
        );
    }

    #[test]
    fn retry_after_counts_in_seconds() {
        for (sent, seconds) in [("2", Some(2)), (" 0", Some(0)), ("-1", None), ("Wed, 21 Oct 2026", None)] {
            let Err(ClientError::Unavailable { retry_after, .. }) =
                interpreted(503, &[(header::RETRY_AFTER, sent)], "{}")
            else {
                panic!("{sent}");
            };
            assert_eq!(retry_after, seconds.map(Duration::from_secs), "{sent}");
        }
    }

    #[test]
    fn a_detail_is_truncated() {
        let body = serde_json::json!({"detail": "ü".repeat(5000)}).to_string();
        let Err(ClientError::Conflict { detail }) = interpreted(409, &[], &body) else { panic!() };
        assert_eq!(detail.chars().count(), MAX_DETAIL_CHARS + 1);
    }
}
