//! The variables that configure stores, and their validation.
//!
//! No error contains a value, since most of them are secrets.

use std::{fs, str::FromStr};

use super::{error::ObjectError, uri::Scheme};

/// The form of a variable's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Sent as it is, in a header.
    Header,
    /// A URL that is requested. The URL of a container's credentials may be a path only.
    Url,
    /// A path or JSON, which is not sent.
    File,
}
use Form::{File, Header, Url};

/// The name of a variable, the form of its value, and if it configures credentials on its own.
type Variable = (&'static str, Form, bool);

/// The variables of S3, besides endpoint and region.
const S3_VARIABLES: [Variable; 12] = [
    ("AWS_ACCESS_KEY_ID", Header, true),
    ("AWS_SECRET_ACCESS_KEY", Header, false),
    ("AWS_SESSION_TOKEN", Header, false),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", File, true),
    ("AWS_ROLE_ARN", Header, false),
    ("AWS_ROLE_SESSION_NAME", Header, false),
    ("AWS_ENDPOINT_URL_STS", Url, false),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", Url, true),
    // Useless without its token file.
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", Url, false),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", File, true),
    ("AWS_METADATA_ENDPOINT", Url, true),
    ("AWS_SKIP_SIGNATURE", Header, false),
];
const GS_VARIABLES: [Variable; 6] = [
    ("GOOGLE_SERVICE_ACCOUNT", File, true),
    ("GOOGLE_SERVICE_ACCOUNT_KEY", File, true),
    ("GOOGLE_APPLICATION_CREDENTIALS", File, true),
    ("GOOGLE_BEARER_TOKEN", Header, true),
    ("GOOGLE_BASE_URL", Header, false),
    ("GOOGLE_SKIP_SIGNATURE", Header, false),
];
const AZ_VARIABLES: [Variable; 14] = [
    ("AZURE_STORAGE_ACCOUNT_NAME", Header, false),
    ("AZURE_STORAGE_ACCOUNT_KEY", Header, true),
    ("AZURE_STORAGE_SAS_TOKEN", Header, true),
    ("AZURE_STORAGE_TOKEN", Header, true),
    ("AZURE_STORAGE_ENDPOINT", Header, false),
    ("AZURE_STORAGE_USE_EMULATOR", Header, false),
    ("AZURE_CLIENT_ID", Header, false),
    ("AZURE_CLIENT_SECRET", Header, true),
    ("AZURE_TENANT_ID", Header, false),
    ("AZURE_AUTHORITY_HOST", Url, false),
    ("AZURE_FEDERATED_TOKEN_FILE", File, true),
    ("AZURE_MSI_ENDPOINT", Url, true),
    ("AZURE_USE_AZURE_CLI", Header, true),
    ("AZURE_SKIP_SIGNATURE", Header, false),
];

fn variables(scheme: Scheme) -> &'static [Variable] {
    match scheme {
        Scheme::S3 => &S3_VARIABLES,
        Scheme::Gs => &GS_VARIABLES,
        Scheme::Az => &AZ_VARIABLES,
    }
}

/// Returns the variables that are set, as settings of the store's builder.
pub(super) fn settings<K: FromStr>(
    scheme: Scheme,
    set: &impl Fn(&str) -> Option<String>,
) -> impl Iterator<Item = (K, String)> {
    let setting = |name: &str| Some((name.to_ascii_lowercase().parse().ok()?, set(name)?));
    variables(scheme).iter().filter_map(move |(name, ..)| setting(name))
}

/// Refuses values on which the stores' client would panic, since it assumes that each can be sent.
pub(super) fn check_variables(
    scheme: Scheme,
    set: &impl Fn(&str) -> Option<String>,
) -> Result<(), ObjectError> {
    let bad = |reason: String| Err(ObjectError::BadSettings(reason));
    for (name, form, _) in variables(scheme).iter().filter(|(_, form, _)| *form != File) {
        let Some(value) = set(name) else { continue };
        if !is_sendable(&value) {
            return bad(format!(
                "{name} contains a line break or another character that can't be sent; correct it"
            ));
        }
        if *form == Url && !is_uri(&value) {
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
    variables(scheme).iter().any(|(name, _, is_source)| *is_source && set(name).is_some())
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
