//! Why an object could not be had or put, in words for the person who wanted it.
//!
//! The client of the stores reports whatever it met as one long text with everything in it; here that
//! becomes one line that says what to do. Nothing of that client's types leaves this room.

use std::error::Error as _;

use object_store::client::{HttpError, HttpErrorKind};

use super::{ObjectUri, Scheme, connect::Target};
use registry_domain::Digest;

use crate::ArtifactError;

/// Why an object could not be had or put. Each text says what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are what the texts name")]
pub enum ObjectError {
    /// The text names no object.
    #[error("{uri:?} is not the URI of an object: {reason}")]
    BadUri { uri: String, reason: String },
    /// A flag or a variable can't be used.
    #[error("{0}")]
    BadSettings(String),
    /// Nothing says who is asking.
    #[error("there are no credentials for {store}: {advice}")]
    NoCredentials { store: String, advice: &'static str },
    /// The store knows who is asking and won't have it, or does not believe it.
    #[error("{store} refused the credentials: {reason}; {advice}")]
    CredentialsRefused { store: String, reason: String, advice: &'static str },
    /// Something says where credentials are, and they could not be had there.
    #[error("the credentials for {store} could not be fetched: {reason}; try again later")]
    CredentialsUnavailable { store: String, reason: String },
    /// No connection came about.
    #[error("no object store at {endpoint}: {reason}; {advice}")]
    Unreachable { endpoint: String, reason: String, advice: &'static str },
    /// It is there and can't answer now, also after several tries.
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
    /// The object became another one meanwhile.
    #[error("{uri} was replaced by somebody else meanwhile; look who writes there and try again")]
    Replaced { uri: ObjectUri },
    /// Somebody put another object there after it was looked for.
    #[error("{uri} was put there by somebody else meanwhile and was not replaced; try again to compare it")]
    Exists { uri: ObjectUri },
    /// The file is not the one whose digest was announced.
    #[error(
        "the file holds sha256 {found} where {expected} was expected; it changed, so nothing was uploaded"
    )]
    NotTheFile { expected: Digest, found: Digest },
    /// What lies there after an upload is not what was sent.
    #[error("{uri} was uploaded, but then {reason}; upload it again")]
    NotConfirmed { uri: ObjectUri, reason: String },
    /// The store said no.
    #[error("{uri}: {reason}")]
    Failed { uri: ObjectUri, reason: String },
    /// The file on this side stood in the way.
    #[error(transparent)]
    File(#[from] ArtifactError),
    /// The user wanted it to end.
    #[error("interrupted; {uri} is as it was before")]
    Interrupted { uri: ObjectUri },
    /// The same, when it had come about by then.
    #[error("interrupted; {uri} was uploaded by then, whole and with its digest")]
    InterruptedDone { uri: ObjectUri },
    /// The same, while the store was busy with it and did not answer.
    #[error("interrupted while the store was taking {uri}; whether it has it is not known, so look there")]
    InterruptedUnsure { uri: ObjectUri },
    /// An upload failed, and what it had sent could not be taken back.
    #[error(
        "{why}; parts of {uri} are left in the store and cost money until its unfinished uploads are aborted ({reason})"
    )]
    PartsLeft { uri: ObjectUri, why: Box<ObjectError>, reason: String },
}

/// A failure of the client of the stores, in our words.
pub(super) fn classify(target: &Target, uri: &ObjectUri, error: &object_store::Error) -> ObjectError {
    use object_store::Error as E;
    if let Some((kind, reason)) = transport(error) {
        return unreached(target, kind, reason);
    }
    let mut said = Said::in_text(&error.to_string());
    said.status = match error {
        E::NotFound { .. } => Some(404),
        E::Precondition { .. } => Some(412),
        E::PermissionDenied { .. } => Some(403),
        E::Unauthenticated { .. } => Some(401),
        _ => said.status,
    };
    match said.status {
        Some(_) => refused(target, uri, &said),
        None => ObjectError::Failed { uri: uri.clone(), reason: innermost(error) },
    }
}

/// Why credentials were not handed out by whoever is said to do so.
pub(super) fn not_handed_out(target: &Target, error: &object_store::Error) -> ObjectError {
    let store = target.to_string();
    if let Some((_, reason)) = transport(error) {
        return ObjectError::CredentialsUnavailable { store, reason };
    }
    let said = Said::in_text(&chain(error));
    match said.status {
        Some(429 | 500..=599) => ObjectError::CredentialsUnavailable { store, reason: said.reason() },
        Some(_) => ObjectError::CredentialsRefused {
            store,
            reason: format!("none were handed out: {}", said.reason()),
            advice: target.credentials_advice(&said.code),
        },
        None => ObjectError::BadSettings(format!(
            "the credentials for {store} can't be had: {}; check the variables of that store",
            innermost(error)
        )),
    }
}

/// The texts of an error and all that caused it.
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

/// What a store answered in place of what was asked, in our words.
pub(super) fn refused(target: &Target, uri: &ObjectUri, said: &Said) -> ObjectError {
    match (said.status, said.code.as_str()) {
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
            reason: said.reason(),
            advice: target.credentials_advice(&said.code),
        },
        (_, "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException")
        | (Some(300..=399), _) => ObjectError::BadSettings(format!(
            "the bucket of {uri} lies in another region than {:?}; name its own with --s3-region or AWS_REGION",
            target.region
        )),
        (Some(404), _) => ObjectError::Missing { uri: uri.clone() },
        (Some(412), _) => ObjectError::Replaced { uri: uri.clone() },
        (Some(429 | 500 | 502..=599), _) | (_, "InternalError" | "SlowDown") => {
            ObjectError::Unavailable { endpoint: target.endpoint.clone(), reason: said.reason() }
        }
        _ => ObjectError::Failed { uri: uri.clone(), reason: said.reason() },
    }
}

/// What kind of refusal a conditional request met, as far as somebody can go on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The store has not learnt of such conditions.
    OfTheCondition,
    /// Whether it was refused or done is not known: the answer was lost.
    Unknown,
    Other,
}

impl Refusal {
    pub(super) fn of(error: &object_store::Error) -> Self {
        match transport(error) {
            Some((HttpErrorKind::Timeout | HttpErrorKind::Interrupted | HttpErrorKind::Unknown, _)) => {
                Self::Unknown
            }
            Some(_) => Self::Other,
            None if Said::in_text(&error.to_string()).status == Some(501) => Self::OfTheCondition,
            None => Self::Other,
        }
    }
}

/// Where no answer came: whether there was a connection, and why it was of no use.
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

pub(super) fn unreached(target: &Target, kind: HttpErrorKind, reason: String) -> ObjectError {
    match kind {
        HttpErrorKind::Connect => ObjectError::Unreachable {
            endpoint: target.endpoint.clone(),
            reason,
            advice: target.endpoint_advice(),
        },
        HttpErrorKind::Timeout => ObjectError::Unavailable {
            endpoint: target.endpoint.clone(),
            reason: "it did not answer in time".to_owned(),
        },
        _ => ObjectError::Unavailable {
            endpoint: target.endpoint.clone(),
            reason: format!("the connection broke off ({reason})"),
        },
    }
}

/// The text of the last error in the chain: those before it only repeat where it happened.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// What a store said with a refusal.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) status: Option<u16>,
    /// The store's own name for it, like `NoSuchKey`; empty where it gave none.
    pub(super) code: String,
    pub(super) message: String,
}

impl Said {
    /// Finds the status, and in the XML of the body code and message, in a text of the stores' client.
    pub(super) fn in_text(text: &str) -> Self {
        const STATUS: &str = "status code: ";
        let status = text.find(STATUS).and_then(|at| text.get(at + STATUS.len()..)?.get(..3)?.parse().ok());
        // A redirect that does not say where to has no status in that text.
        let redirected = text.contains("redirect without LOCATION").then_some(301);
        Self { status: status.or(redirected), ..Self::in_body(0, text) }
    }

    /// Finds code and message in the body of an answer; Google's has only a message, in JSON.
    pub(super) fn in_body(status: u16, text: &str) -> Self {
        let part = |name| element(text, name).map(unescape).unwrap_or_default();
        let google = || {
            serde_json::from_str::<serde_json::Value>(text).ok()?["error"]["message"]
                .as_str()
                .map(str::to_owned)
        };
        let message = Some(part("Message")).filter(|message| !message.is_empty()).or_else(google);
        Self { status: Some(status), code: part("Code"), message: message.unwrap_or_default() }
    }

    /// What to tell a person of it.
    pub(super) fn reason(&self) -> String {
        let message = self.message.lines().next().unwrap_or_default().trim().trim_end_matches('.');
        match (self.status, self.code.as_str(), message) {
            (None, "", "") => "it gave no reason".to_owned(),
            (Some(status), "", "") => format!("it answered {status}"),
            (_, code, "") => code.to_owned(),
            (_, "", message) => message.to_owned(),
            (_, code, message) => format!("{message} ({code})"),
        }
    }
}

/// The text between the first `<name>` and `</name>`. The few answers that are read have no nesting that
/// this could trip over.
pub(super) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

/// The five entities of XML.
pub(super) fn unescape(text: &str) -> String {
    text.replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&apos;", "'")
        .replace("&#39;", "'")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

impl Target {
    fn credentials_advice(&self, code: &str) -> &'static str {
        match (self.scheme, code) {
            (Scheme::S3, "SignatureDoesNotMatch") => "check AWS_SECRET_ACCESS_KEY",
            (Scheme::S3, "InvalidAccessKeyId") => "check AWS_ACCESS_KEY_ID, and the endpoint it is meant for",
            (Scheme::S3, "ExpiredToken" | "InvalidToken") => {
                "get a new AWS_SESSION_TOKEN and the keys that belong to it"
            }
            (Scheme::S3, _) => {
                "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they may do in this bucket"
            }
            (Scheme::Gs, _) => {
                "check GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT, and what that account may do"
            }
            (Scheme::Az, _) => {
                "check AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, and what they allow"
            }
        }
    }

    fn endpoint_advice(&self) -> &'static str {
        match self.scheme {
            Scheme::S3 => "is the server up? --s3-endpoint-url or AWS_ENDPOINT_URL says where it is",
            Scheme::Gs => "is the network up? GOOGLE_BASE_URL says where it is, if not at Google",
            Scheme::Az => {
                "is the account's name right? AZURE_STORAGE_ENDPOINT says where it is, if not at Azure"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(scheme: Scheme, status: u16, body: &str) -> String {
        let target =
            Target { scheme, endpoint: "http://store".to_owned(), region: String::new(), anonymous: false };
        let uri = ObjectUri::parse(&format!("{}://b/k", scheme.as_str())).unwrap();
        refused(&target, &uri, &Said::in_body(status, body)).to_string()
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
            (S3, 412, String::new(), "s3://b/k was replaced by somebody else"),
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
            let told = told(scheme, status, &body);
            assert!(told.contains(expected), "{status} {body}: {told}");
            assert!(!told.contains('\n'), "{told}");
        }
    }

    #[test]
    fn the_texts_of_the_stores_client_are_taken_apart() {
        let text = "Generic S3 error: Error performing PUT http://h/b/k in 1s, after 2 retries, max_retries: 7, \
                    retry_timeout: 120s  - Server returned non-2xx status code: 400 Bad Request: \
                    <Error><Code>Odd</Code><Message>status code: 503</Message></Error>";
        let said = Said { status: Some(400), code: "Odd".to_owned(), message: "status code: 503".to_owned() };
        assert_eq!(Said::in_text(text), said);
        assert_eq!(Said::in_text("nothing of the kind").status, None);
        let redirect = "Received redirect without LOCATION, this normally indicates …";
        assert_eq!(Said::in_text(redirect).status, Some(301));
    }
}
