//! Why a call of an MLflow server failed, with a text for the user.

/// Why a call failed. Each text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the fields")]
pub enum MlflowError {
    /// The text is not the URL of a server.
    #[error("the MLflow server's URL {0}; give one like http://mlflow.example.org:5000")]
    BadUrl(String),
    /// A header can't carry the credentials.
    #[error(
        "the credentials for the MLflow server can't be sent, since they contain control characters; check MLFLOW_TRACKING_TOKEN"
    )]
    BadCredentials,
    /// There was no connection.
    #[error("no MLflow server at {url}: {reason}; check the URL, and that the server runs")]
    Unreachable { url: String, reason: String },
    /// There was no complete answer.
    #[error("the MLflow server at {url} did not answer: {reason}; try again later")]
    AnswerLost { url: String, reason: String },
    /// 401 or 403.
    #[error("the MLflow server at {url} {} ({status}){KEY_ADVICE}", if *.with_key { "refused the credentials" } else { "needs credentials" })]
    KeyRefused { url: String, status: u16, with_key: bool },
    /// 429 or 5xx, also after retries.
    #[error(
        "the MLflow server at {url} is unavailable ({status}): {detail}; see its log, or try again later"
    )]
    Unavailable { url: String, status: u16, detail: String },
    /// Any other 4xx.
    #[error("the MLflow server at {url} refused this ({status}): {detail}")]
    Refused { url: String, status: u16, detail: String },
    /// The server there is not an MLflow server.
    #[error("{url} does not answer like an MLflow server: {reason}; check the URL")]
    NotMlflow { url: String, reason: String },
}

impl MlflowError {
    /// Returns true if the same call may succeed later. A server answers 500 for a file that it will never be able to read.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::AnswerLost { .. } => true,
            Self::Unavailable { status, .. } => *status != 500,
            _ => false,
        }
    }
}

const KEY_ADVICE: &str =
    "; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN";
