//! Which store is meant, and with whose credentials: flags and variables become a client.
//!
//! The variables are handed in, not read from the process: blank ones count as unset, and what is not
//! listed here has no say. The one exception is Google's file of default credentials, which the client of
//! that store looks for itself.

use std::{fmt, fs, sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey},
    azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder},
    client::{HttpClient, HttpConnector, ReqwestConnector},
    gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder, GoogleConfigKey},
};

use super::{
    ObjectError, ObjectUri, Scheme,
    error::{innermost, not_handed_out},
    request::can_be_asked,
};

/// What the flags say. Each that is absent is looked for in the variables.
#[derive(Debug, Clone, Default)]
pub struct ObjectOptions {
    /// Where the S3 server is, like `http://localhost:9000`; else one of [`S3_ENDPOINT_VARIABLES`], else Amazon.
    pub s3_endpoint_url: Option<String>,
    /// Its region; else `AWS_REGION`, else [`DEFAULT_S3_REGION`].
    pub s3_region: Option<String>,
}

/// Where the address of an S3 server is looked for; the first that is not blank counts.
pub const S3_ENDPOINT_VARIABLES: [&str; 3] =
    ["ARTIFACT_S3_ENDPOINT_URL", "AWS_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL"];

/// The region where nothing names one.
pub const DEFAULT_S3_REGION: &str = "us-east-1";

/// No connection within this, and there is none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From a request to its answer, and from one piece of an answer to the next. A part of an upload must get
/// through within it, so this is no measure of patience: dead connections are noticed by the system (30 s).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// How long credentials may take that a server of the cloud hands out.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(10);

/// No try begins later than this after the first.
pub(super) const RETRY_WITHIN: Duration = Duration::from_secs(120);
/// Tries after the first, with about 6 s of waiting in all.
pub(super) const RETRIES: usize = 7;
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(200);
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// What the S3 client takes from the variables besides the endpoint and the region.
const S3_VARIABLES: [&str; 12] = [
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
const GS_VARIABLES: [&str; 6] = [
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_BEARER_TOKEN",
    "GOOGLE_BASE_URL",
    "GOOGLE_SKIP_SIGNATURE",
];
const AZ_VARIABLES: [&str; 14] = [
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

/// Variables whose values are sent in no header as they are: the first is JSON, the others are paths.
const FREE_TEXT: [&str; 6] = [
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AZURE_FEDERATED_TOKEN_FILE",
];
/// Variables that hold addresses; that of a container's credentials may be but a path.
const ADDRESSES: [&str; 6] = [
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_METADATA_ENDPOINT",
    "AZURE_MSI_ENDPOINT",
    "AZURE_AUTHORITY_HOST",
];

/// Where requests go, as far as errors and our own requests need to know.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) scheme: Scheme,
    /// Without a slash at its end; for the emulator of Azure with the account's name behind it.
    pub(super) endpoint: String,
    /// Of S3 alone.
    pub(super) region: String,
    /// Of Azure alone.
    pub(super) account: String,
    /// Whether requests go out without a signature.
    pub(super) anonymous: bool,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:// at {}", self.scheme.as_str(), self.endpoint)
    }
}

/// A client of one store.
#[derive(Debug, Clone)]
pub(super) enum Backend {
    S3(AmazonS3),
    Gs(GoogleCloudStorage),
    Az(MicrosoftAzure),
}

impl Backend {
    pub(super) fn store(&self) -> &dyn ObjectStore {
        match self {
            Self::S3(store) => store,
            Self::Gs(store) => store,
            Self::Az(store) => store,
        }
    }

    /// Fetches the credentials, so that their lack is told as such and not after a minute of trying.
    async fn check_credentials(&self) -> Result<(), object_store::Error> {
        match self {
            Self::S3(store) => store.credentials().get_credential().await.map(drop),
            Self::Gs(store) => store.credentials().get_credential().await.map(drop),
            Self::Az(store) => store.credentials().get_credential().await.map(drop),
        }
    }
}

/// The parts of a connection.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) backend: Backend,
    pub(super) target: Target,
    /// For the requests that the stores' client does not know.
    pub(super) http: HttpClient,
}

/// Puts a client together for the bucket of `uri`. It must run inside the runtime that will serve it.
pub(super) async fn connect(
    uri: &ObjectUri,
    options: &ObjectOptions,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Connected, ObjectError> {
    // Both TLS clients of this program find this one; where somebody installed another, that is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let set = |name: &str| variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let client = ClientOptions::new()
        .with_allow_http(true)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout_disabled()
        .with_read_timeout(ANSWER_TIMEOUT)
        .with_default_content_type("application/octet-stream");
    let bad = |error: object_store::Error| {
        ObjectError::BadSettings(format!(
            "{}:// can't be used: {}; check the variables of that store",
            uri.scheme().as_str(),
            innermost(&error)
        ))
    };
    let http = ReqwestConnector::default().connect(&client).map_err(bad)?;
    check_variables(&set)?;
    let (backend, target) = match uri.scheme() {
        Scheme::S3 => s3(uri, options, &set, client, bad)?,
        Scheme::Gs => gs(uri, &set, client, bad)?,
        Scheme::Az => az(uri, &set, client, bad)?,
    };
    if !target.anonymous {
        let checked = tokio::time::timeout(CREDENTIALS_TIMEOUT, backend.check_credentials()).await;
        // Where nothing is configured, what was asked in vain is the server of a cloud that this machine is
        // not in.
        let why = match checked {
            Ok(Ok(())) => None,
            _ if !names_credentials(target.scheme, &set) => Some(ObjectError::NoCredentials {
                store: target.to_string(),
                advice: missing_advice(target.scheme),
            }),
            Ok(Err(error)) => Some(not_handed_out(&target, &error)),
            Err(_) => Some(ObjectError::CredentialsUnavailable {
                store: target.to_string(),
                reason: "whoever hands them out did not answer in time".to_owned(),
            }),
        };
        if let Some(why) = why {
            return Err(why);
        }
    }
    Ok(Connected { backend, target, http })
}

/// Refuses what the client of the stores would panic at: it takes for granted that each value can be sent.
fn check_variables(set: &impl Fn(&str) -> Option<String>) -> Result<(), ObjectError> {
    let bad = |reason: String| Err(ObjectError::BadSettings(reason));
    let names = S3_VARIABLES.iter().chain(&GS_VARIABLES).chain(&AZ_VARIABLES);
    for name in names.filter(|name| !FREE_TEXT.contains(name)) {
        let Some(value) = set(name) else { continue };
        // The value is not shown: most of them are secrets.
        if !is_sendable(&value) {
            return bad(format!(
                "{name} holds a line break or another character that can't be sent; set it anew"
            ));
        }
        if ADDRESSES.contains(name) && !can_be_asked(&value) {
            return bad(format!("{name} is not an address that requests can be sent to; correct it"));
        }
    }
    let variable = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
    if let Some(path) = set(variable) {
        match fs::read_to_string(&path) {
            Ok(token) if is_sendable(&token) => {}
            Ok(_) => {
                return bad(format!(
                    "the token in {path:?} ({variable}) holds a line break or another character that can't be \
                     sent; write it without"
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

/// Whether a header can hold it.
fn is_sendable(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// Whether a name can be a part of a host's.
fn is_label(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn retries() -> RetryConfig {
    let backoff = BackoffConfig { init_backoff: FIRST_WAIT, max_backoff: LONGEST_WAIT, base: 3.0 };
    RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_WITHIN }
}

/// Whether something says where credentials are to be had.
fn names_credentials(scheme: Scheme, set: &impl Fn(&str) -> Option<String>) -> bool {
    let sources: &[&str] = match scheme {
        Scheme::S3 => &[
            "AWS_ACCESS_KEY_ID",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            // The address that belongs to it is of no use without.
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

fn missing_advice(scheme: Scheme) -> &'static str {
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

fn s3(
    uri: &ObjectUri,
    options: &ObjectOptions,
    set: &impl Fn(&str) -> Option<String>,
    client: ClientOptions,
    bad: impl Fn(object_store::Error) -> ObjectError,
) -> Result<(Backend, Target), ObjectError> {
    let given = |flag: &Option<String>| {
        flag.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let region = given(&options.s3_region)
        .or_else(|| set("AWS_REGION"))
        .unwrap_or_else(|| DEFAULT_S3_REGION.to_owned());
    if !is_label(&region) {
        return Err(ObjectError::BadSettings(format!(
            "{region:?} is not the name of a region; one like {DEFAULT_S3_REGION} is wanted"
        )));
    }
    let endpoint =
        given(&options.s3_endpoint_url).or_else(|| S3_ENDPOINT_VARIABLES.into_iter().find_map(set));
    let endpoint = match endpoint {
        Some(text) => endpoint_url(&text)?,
        None => format!("https://s3.{region}.amazonaws.com"),
    };
    let mut builder = AmazonS3Builder::new()
        .with_client_options(client)
        .with_retry(retries())
        .with_bucket_name(uri.bucket())
        .with_region(&region)
        .with_endpoint(&endpoint)
        .with_virtual_hosted_style_request(false);
    for name in S3_VARIABLES {
        if let (Some(value), Ok(key)) = (set(name), name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>()) {
            builder = builder.with_config(key, value);
        }
    }
    for (one, other) in
        [("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")]
    {
        if set(one).is_some() && set(other).is_none() {
            return Err(ObjectError::BadSettings(format!("{one} is set and {other} is not; set both")));
        }
    }
    let anonymous = is_true(set("AWS_SKIP_SIGNATURE"));
    let target = Target { scheme: Scheme::S3, endpoint, region, account: String::new(), anonymous };
    Ok((Backend::S3(builder.build().map_err(bad)?), target))
}

fn gs(
    uri: &ObjectUri,
    set: &impl Fn(&str) -> Option<String>,
    client: ClientOptions,
    bad: impl Fn(object_store::Error) -> ObjectError,
) -> Result<(Backend, Target), ObjectError> {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_client_options(client)
        .with_retry(retries())
        .with_bucket_name(uri.bucket());
    for name in GS_VARIABLES {
        if let (Some(value), Ok(key)) = (set(name), name.to_ascii_lowercase().parse::<GoogleConfigKey>()) {
            builder = builder.with_config(key, value);
        }
    }
    let endpoint = match set("GOOGLE_BASE_URL") {
        Some(text) => endpoint_url(&text)?,
        None => "https://storage.googleapis.com".to_owned(),
    };
    let (region, account) = (String::new(), String::new());
    let anonymous = is_true(set("GOOGLE_SKIP_SIGNATURE"));
    let target = Target { scheme: Scheme::Gs, endpoint, region, account, anonymous };
    Ok((Backend::Gs(builder.build().map_err(bad)?), target))
}

fn az(
    uri: &ObjectUri,
    set: &impl Fn(&str) -> Option<String>,
    client: ClientOptions,
    bad: impl Fn(object_store::Error) -> ObjectError,
) -> Result<(Backend, Target), ObjectError> {
    let mut builder = MicrosoftAzureBuilder::new()
        .with_client_options(client)
        .with_retry(retries())
        .with_container_name(uri.bucket());
    for name in AZ_VARIABLES {
        if let (Some(value), Ok(key)) = (set(name), name.to_ascii_lowercase().parse::<AzureConfigKey>()) {
            builder = builder.with_config(key, value);
        }
    }
    let emulated = is_true(set("AZURE_STORAGE_USE_EMULATOR"));
    let account = match set("AZURE_STORAGE_ACCOUNT_NAME") {
        Some(account) => account,
        None if emulated => "devstoreaccount1".to_owned(),
        None => {
            return Err(ObjectError::BadSettings(
                "az:// needs the name of the storage account; set AZURE_STORAGE_ACCOUNT_NAME".to_owned(),
            ));
        }
    };
    if !is_label(&account) {
        return Err(ObjectError::BadSettings(format!(
            "{account:?} is not the name of a storage account; correct AZURE_STORAGE_ACCOUNT_NAME"
        )));
    }
    let endpoint = match set("AZURE_STORAGE_ENDPOINT") {
        _ if emulated => {
            let url = set("AZURITE_BLOB_STORAGE_URL").unwrap_or_else(|| "http://127.0.0.1:10000".to_owned());
            format!("{}/{account}", endpoint_url(&url)?)
        }
        Some(text) => endpoint_url(&text)?,
        None => format!("https://{account}.blob.core.windows.net"),
    };
    let anonymous = is_true(set("AZURE_SKIP_SIGNATURE"));
    let target = Target { scheme: Scheme::Az, endpoint, region: String::new(), account, anonymous };
    Ok((Backend::Az(builder.build().map_err(bad)?), target))
}

fn is_true(text: Option<String>) -> bool {
    text.is_some_and(|text| matches!(text.to_ascii_lowercase().as_str(), "1" | "true" | "on" | "yes" | "y"))
}

/// The address of a server without the slash at its end.
fn endpoint_url(text: &str) -> Result<String, ObjectError> {
    // A text with a password is not to be repeated.
    let shown = if text.contains('@') { String::new() } else { format!("{text:?} ") };
    let bad = |reason: &str| {
        ObjectError::BadSettings(format!(
            "the endpoint {shown}{reason}; one like http://localhost:9000 is wanted"
        ))
    };
    let url = url::Url::parse(text).map_err(|error| bad(&format!("is no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("is neither http:// nor https://"));
    }
    // The credentials come from the variables; what stands in an address is shown in errors.
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ObjectError::BadSettings("an endpoint must not hold a user or a password".to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("has a query or a fragment"));
    }
    if !can_be_asked(url.as_str()) {
        return Err(bad("holds characters that must be percent-encoded"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// What several tasks need of a connection.
pub(super) type Shared = Arc<Connected>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_whether_anything_says_where_credentials_are() {
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
