//! The store that requests go to, as errors name it.

use std::fmt;

use super::uri::Scheme;

/// The store that requests go to.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) scheme: Scheme,
    /// Without a trailing slash; for Azure's emulator, followed by the account's name.
    pub(super) endpoint: String,
    /// S3 only.
    pub(super) region: String,
    /// True if requests are not signed.
    pub(super) anonymous: bool,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:// at {}", self.scheme.as_str(), self.endpoint)
    }
}

impl Target {
    /// Returns what to do about refused credentials; `code` is the store's own name for the refusal.
    pub(super) fn credentials_advice(&self, code: &str) -> &'static str {
        match (self.scheme, code) {
            (Scheme::S3, "SignatureDoesNotMatch") => "check AWS_SECRET_ACCESS_KEY",
            (Scheme::S3, "InvalidAccessKeyId") => "check AWS_ACCESS_KEY_ID and the endpoint",
            (Scheme::S3, "ExpiredToken" | "InvalidToken") => {
                "get a new AWS_SESSION_TOKEN and the keys that belong to it"
            }
            (Scheme::S3, _) => {
                "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and their permissions for this bucket"
            }
            (Scheme::Gs, _) => {
                "check GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT, and the account's permissions"
            }
            (Scheme::Az, _) => {
                "check AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, and their permissions"
            }
        }
    }

    /// Returns what to do about a store that can't be reached.
    pub(super) fn endpoint_advice(&self) -> &'static str {
        match self.scheme {
            Scheme::S3 => "is the server up? set its URL with --s3-endpoint-url or AWS_ENDPOINT_URL",
            Scheme::Gs => "is the network up? set GOOGLE_BASE_URL if the store is not Google's",
            Scheme::Az => {
                "is the account's name right? set AZURE_STORAGE_ENDPOINT if the store is not Azure's"
            }
        }
    }
}
