//! Why a request to an object store failed, in one line that says what to do.
//!
//! The stores' client reports a failure as one long text; this module turns it into an [`ObjectError`]. No type of that
//! client appears in the crate's interface.

use std::error::Error as _;

use object_store::client::{HttpError, HttpErrorKind};

use super::{
    reply::ErrorReply,
    target::Target,
    uri::{ObjectUri, UriError},
};
use crate::error::ArtifactError;

/// Why an object could not be read or written. Each text says what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the fields")]
pub enum ObjectError {
    /// The text names no object.
    #[error(transparent)]
    BadUri(#[from] UriError),
    /// A flag or a variable is invalid.
    #[error("{0}")]
    BadSettings(String),
    /// No credentials are configured.
    #[error("there are no credentials for {store}: {advice}")]
    NoCredentials { store: String, advice: &'static str },
    /// The store does not accept the credentials, or they lack a permission.
    #[error("{store} refused the credentials: {reason}; {advice}")]
    CredentialsRefused { store: String, reason: String, advice: &'static str },
    /// Credentials are configured and could not be fetched.
    #[error("the credentials for {store} could not be fetched: {reason}; try again later")]
    CredentialsUnavailable { store: String, reason: String },
    /// There was no connection.
    #[error("no object store at {endpoint}: {reason}; {advice}")]
    Unreachable { endpoint: String, reason: String, advice: &'static str },
    /// The store can't answer now, even after several tries.
    #[error("the object store at {endpoint} is unavailable: {reason}; try again later")]
    Unavailable { endpoint: String, reason: String },
    /// There is no such bucket.
    #[error(
        "there is no bucket {bucket:?} at {endpoint}; create it first, or check the URI and the endpoint"
    )]
    NoBucket { bucket: String, endpoint: String },
    /// There is no such object.
    #[error("{uri} does not exist; check the URI")]
    Missing { uri: ObjectUri },
    /// The object was replaced during the operation.
    #[error("{uri} was replaced by another client during this command; check who writes there and try again")]
    Replaced { uri: ObjectUri },
    /// Another client created the object after it was looked up.
    #[error(
        "{uri} was created by another client during this command and was not replaced; try again to compare it"
    )]
    Exists { uri: ObjectUri },
    /// Any other refusal or failure.
    #[error("{uri}: {reason}")]
    Failed { uri: ObjectUri, reason: String },
    /// The local file could not be read.
    #[error(transparent)]
    File(#[from] ArtifactError),
    /// The user interrupted the operation before it had an effect.
    #[error("interrupted; {uri} is as it was before")]
    Interrupted { uri: ObjectUri },
    /// The user interrupted the operation after the upload was complete.
    #[error("interrupted; {uri} was uploaded, whole and with its digest")]
    InterruptedDone { uri: ObjectUri },
    /// The user interrupted the operation before the store answered.
    #[error("interrupted before the store answered; {uri} may or may not have been uploaded, so check it")]
    InterruptedUnsure { uri: ObjectUri },
    /// An upload failed, and its parts could not be removed.
    #[error(
        "{why}; parts of {uri} remain in the store and cost money ({reason}); abort its unfinished uploads with the store's own tool"
    )]
    PartsLeft { uri: ObjectUri, why: Box<ObjectError>, reason: String },
}

/// Converts an error of the stores' client.
pub(super) fn classify(target: &Target, uri: &ObjectUri, error: &object_store::Error) -> ObjectError {
    use object_store::Error as E;
    if let Some((kind, reason)) = transport(error) {
        return unreachable_error(target, kind, reason);
    }
    let mut reply = ErrorReply::in_text(&error.to_string());
    reply.status = match error {
        E::NotFound { .. } => Some(404),
        E::Precondition { .. } => Some(412),
        E::PermissionDenied { .. } => Some(403),
        E::Unauthenticated { .. } => Some(401),
        _ => reply.status,
    };
    match reply.status {
        Some(_) => refused(target, uri, &reply),
        None => ObjectError::Failed { uri: uri.clone(), reason: innermost(error) },
    }
}

/// Converts an error of fetching credentials.
pub(super) fn credentials_failed(target: &Target, error: &object_store::Error) -> ObjectError {
    let store = target.to_string();
    if let Some((_, reason)) = transport(error) {
        return ObjectError::CredentialsUnavailable { store, reason };
    }
    let reply = ErrorReply::in_text(&chain(error));
    match reply.status {
        Some(429 | 500..=599) => ObjectError::CredentialsUnavailable { store, reason: reply.reason() },
        Some(_) => ObjectError::CredentialsRefused {
            store,
            reason: format!("their provider refused: {}", reply.reason()),
            advice: target.credentials_advice(&reply.code),
        },
        None => ObjectError::BadSettings(format!(
            "the credentials for {store} can't be fetched: {}; check the variables of that store",
            innermost(error)
        )),
    }
}

/// Returns the texts of an error and of all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Converts the refusal of a store.
fn refused(target: &Target, uri: &ObjectUri, reply: &ErrorReply) -> ObjectError {
    match (reply.status, reply.code.as_str()) {
        (_, "NoSuchBucket" | "ContainerNotFound") => {
            ObjectError::NoBucket { bucket: uri.bucket().to_owned(), endpoint: target.endpoint.clone() }
        }
        (Some(401 | 403), _)
        | (
            _,
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "InvalidToken"
            | "ExpiredToken"
            | "AuthenticationFailed",
        ) => ObjectError::CredentialsRefused {
            store: target.to_string(),
            reason: reply.reason(),
            advice: target.credentials_advice(&reply.code),
        },
        (_, "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException")
        | (Some(300..=399), _) => ObjectError::BadSettings(format!(
            "the bucket of {uri} is in another region than {:?}; set its region with --s3-region or AWS_REGION",
            target.region
        )),
        (Some(404), _) => ObjectError::Missing { uri: uri.clone() },
        (Some(412), _) => ObjectError::Replaced { uri: uri.clone() },
        (Some(429 | 500 | 502..=599), _) | (_, "InternalError" | "SlowDown") => {
            ObjectError::Unavailable { endpoint: target.endpoint.clone(), reason: reply.reason() }
        }
        _ => ObjectError::Failed { uri: uri.clone(), reason: reply.reason() },
    }
}

/// Returns true if the answer was lost, so the request may have been executed.
pub(super) fn is_answer_lost(error: &object_store::Error) -> bool {
    use HttpErrorKind as K;
    matches!(transport(error), Some((K::Timeout | K::Interrupted | K::Unknown, _)))
}

/// Returns true if the store does not support the condition of a request.
pub(super) fn is_unsupported(error: &object_store::Error) -> bool {
    transport(error).is_none() && ErrorReply::in_text(&error.to_string()).status == Some(501)
}

/// Returns the kind and the reason of a request without an answer; `None` if there was an answer.
fn transport(error: &object_store::Error) -> Option<(HttpErrorKind, String)> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return Some((http.kind(), innermost(http)));
        }
        source = error.source();
    }
    None
}

fn unreachable_error(target: &Target, kind: HttpErrorKind, reason: String) -> ObjectError {
    let endpoint = target.endpoint.clone();
    match kind {
        HttpErrorKind::Connect => {
            ObjectError::Unreachable { endpoint, reason, advice: target.endpoint_advice() }
        }
        HttpErrorKind::Timeout => {
            ObjectError::Unavailable { endpoint, reason: "it did not answer in time".to_owned() }
        }
        _ => ObjectError::Unavailable { endpoint, reason: format!("the connection was lost ({reason})") },
    }
}

/// Returns the text of the last cause; the texts before it only repeat which request failed.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::uri::Scheme;

    fn message(scheme: Scheme, status: u16, body: &str) -> String {
        let target =
            Target { scheme, endpoint: "http://store".to_owned(), region: String::new(), anonymous: false };
        let uri = ObjectUri::parse(&format!("{}://b/k", scheme.as_str())).unwrap();
        refused(&target, &uri, &ErrorReply::in_body(status, body)).to_string()
    }

    #[test]
    fn each_refusal_says_what_to_do() {
        use Scheme::{Az, Gs, S3};
        let xml = |code: &str, message: &str| {
            format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>")
        };
        for (scheme, status, body, expected) in [
            (S3, 404, xml("NoSuchBucket", "x"), "there is no bucket \"b\" at http://store"),
            (Az, 404, xml("ContainerNotFound", "x"), "there is no bucket \"b\""),
            (S3, 404, xml("NoSuchKey", "x"), "s3://b/k does not exist"),
            (S3, 412, String::new(), "s3://b/k was replaced by another client"),
            (
                S3,
                403,
                xml("SignatureDoesNotMatch", "It does not match."),
                "It does not match (SignatureDoesNotMatch); check AWS_SECRET_ACCESS_KEY",
            ),
            (
                S3,
                403,
                xml("AccessDenied", ""),
                "refused the credentials: AccessDenied; check AWS_ACCESS_KEY_ID and",
            ),
            (S3, 400, xml("ExpiredToken", "x"), "get a new AWS_SESSION_TOKEN"),
            (S3, 403, String::new(), "it answered 403"),
            (
                Gs,
                401,
                "{\"error\": {\"message\": \"who?\"}}".to_owned(),
                "who?; check GOOGLE_APPLICATION_CREDENTIALS",
            ),
            (
                Az,
                403,
                xml("AuthenticationFailed", "a &lt;b&gt;\nsecond line"),
                "a <b> (AuthenticationFailed); check AZURE_",
            ),
            (S3, 301, xml("PermanentRedirect", "x"), "another region"),
            (
                S3,
                503,
                xml("SlowDown", "Please slow down."),
                "is unavailable: Please slow down (SlowDown); try again",
            ),
            (S3, 200, xml("InternalError", "x"), "is unavailable"),
            (S3, 501, xml("NotImplemented", "x"), "s3://b/k: x (NotImplemented)"),
            (S3, 400, xml("EntityTooLarge", "Too large"), "s3://b/k: Too large (EntityTooLarge)"),
        ] {
            let message = message(scheme, status, &body);
            assert!(message.contains(expected), "{status} {body}: {message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }
}
