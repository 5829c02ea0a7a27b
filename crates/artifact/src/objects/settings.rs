//! The variables that configure stores, and their validation.
//!
//! No error contains a value, since most of them are secrets.

use std::fs;

use super::{error::ObjectError, uri::Scheme};

/// The variables of S3, besides endpoint and region.
pub(super) const S3_VARIABLES: [&str; 12] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_METADATA_ENDPOINT",
    "AWS_SKIP_SIGNATURE",
];
pub(super) const GS_VARIABLES: [&str; 6] = [
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_BEARER_TOKEN",
    "GOOGLE_BASE_URL",
    "GOOGLE_SKIP_SIGNATURE",
];
pub(super) const AZ_VARIABLES: [&str; 14] = [
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_TOKEN",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_STORAGE_USE_EMULATOR",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
    "AZURE_AUTHORITY_HOST",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_MSI_ENDPOINT",
    "AZURE_USE_AZURE_CLI",
    "AZURE_SKIP_SIGNATURE",
];

/// Variables whose values are not sent as they are: the first is JSON, the others are paths.
const FREE_TEXT: [&str; 6] = [
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AZURE_FEDERATED_TOKEN_FILE",
];
/// Variables that hold URLs; the one of a container's credentials may be only a path.
const ADDRESSES: [&str; 6] = [
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_METADATA_ENDPOINT",
    "AZURE_MSI_ENDPOINT",
    "AZURE_AUTHORITY_HOST",
];

/// Refuses values that the stores' client would panic at: it assumes that each can be sent.
pub(super) fn check_variables(
    scheme: Scheme,
    set: &impl Fn(&str) -> Option<String>,
) -> Result<(), ObjectError> {
    let bad = |reason: String| Err(ObjectError::BadSettings(reason));
    let names: &[&str] = match scheme {
        Scheme::S3 => &S3_VARIABLES,
        Scheme::Gs => &GS_VARIABLES,
        Scheme::Az => &AZ_VARIABLES,
    };
    for name in names.iter().filter(|name| !FREE_TEXT.contains(name)) {
        let Some(value) = set(name) else { continue };
        if !is_sendable(&value) {
            return bad(format!(
                "{name} contains a line break or another character that can't be sent; correct it"
            ));
        }
        if ADDRESSES.contains(name) && !is_uri(&value) {
            return bad(format!("{name} is not a URL that requests can be sent to; correct it"));
        }
    }
    let variable = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
    // The client does not read it if there are keys.
    let is_read = scheme == Scheme::S3 && set("AWS_ACCESS_KEY_ID").is_none();
    if let Some(path) = set(variable).filter(|_| is_read) {
        match fs::read_to_string(&path) {
            Ok(token) if is_sendable(&token) => {}
            Ok(_) => {
                return bad(format!(
                    "the token in {path:?} ({variable}) contains a line break or another character that can't be \
                     sent; remove it"
                ));
            }
            Err(error) => {
                return bad(format!(
                    "the token in {path:?} ({variable}) can't be read: {error}; correct the path"
                ));
            }
        }
    }
    Ok(())
}

/// Returns true if a header can carry the text.
fn is_sendable(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// Returns true if a text can be part of a host's name.
pub(super) fn is_label(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Returns true if a variable configures credentials.
pub(super) fn names_credentials(scheme: Scheme, set: &impl Fn(&str) -> Option<String>) -> bool {
    let sources: &[&str] = match scheme {
        Scheme::S3 => &[
            "AWS_ACCESS_KEY_ID",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            // The URL that belongs to it is useless alone.
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            "AWS_METADATA_ENDPOINT",
        ],
        Scheme::Gs => &[
            "GOOGLE_SERVICE_ACCOUNT",
            "GOOGLE_SERVICE_ACCOUNT_KEY",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "GOOGLE_BEARER_TOKEN",
        ],
        Scheme::Az => &[
            "AZURE_STORAGE_ACCOUNT_KEY",
            "AZURE_STORAGE_SAS_TOKEN",
            "AZURE_STORAGE_TOKEN",
            "AZURE_CLIENT_SECRET",
            "AZURE_FEDERATED_TOKEN_FILE",
            "AZURE_MSI_ENDPOINT",
            "AZURE_USE_AZURE_CLI",
        ],
    };
    sources.iter().any(|name| set(name).is_some())
}

/// Returns what to do if there are no credentials.
pub(super) fn missing_advice(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::S3 => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; a profile becomes such variables by \
             `aws configure export-credentials --format env`"
        }
        Scheme::Gs => {
            "set GOOGLE_APPLICATION_CREDENTIALS, or log in with `gcloud auth application-default login`"
        }
        Scheme::Az => "set AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, or AZURE_USE_AZURE_CLI=true",
    }
}

pub(super) fn is_true(text: Option<String>) -> bool {
    text.is_some_and(|text| matches!(text.to_ascii_lowercase().as_str(), "1" | "true" | "on" | "yes" | "y"))
}

/// Parses the URL of a server and removes a trailing slash.
pub(super) fn endpoint_url(text: &str) -> Result<String, ObjectError> {
    // The text may contain a password.
    let shown = if text.contains('@') { String::new() } else { format!("{text:?} ") };
    let bad = |reason: &str| {
        ObjectError::BadSettings(format!(
            "the endpoint {shown}{reason}; expected one like http://localhost:9000"
        ))
    };
    let url = url::Url::parse(text).map_err(|error| bad(&format!("is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("is neither http:// nor https://"));
    }
    // Credentials belong in variables, since errors show the endpoint.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ObjectError::BadSettings("an endpoint must not contain a user or a password".to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("has a query or a fragment"));
    }
    if !is_uri(url.as_str()) {
        return Err(bad("contains characters that must be percent-encoded"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Returns true if requests can be sent to the text.
fn is_uri(text: &str) -> bool {
    text.parse::<ureq::http::Uri>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_with_credentials_are_recognised() {
        for (scheme, name, expected) in [
            (Scheme::S3, "AWS_WEB_IDENTITY_TOKEN_FILE", true),
            (Scheme::S3, "AWS_REGION", false),
            (Scheme::S3, "GOOGLE_BEARER_TOKEN", false),
            (Scheme::Gs, "GOOGLE_APPLICATION_CREDENTIALS", true),
            (Scheme::Az, "AZURE_USE_AZURE_CLI", true),
            (Scheme::Az, "AZURE_STORAGE_ACCOUNT_NAME", false),
        ] {
            let set = |asked: &str| (asked == name).then(|| "x".to_owned());
            assert_eq!(names_credentials(scheme, &set), expected, "{name}");
        }
    }
}
