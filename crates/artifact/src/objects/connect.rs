//! Which store is meant, and with whose credentials: flags and variables become a client.
//!
//! The variables are handed in, not read from the process: blank ones count as unset, and what is not
//! listed here has no say. The one exception is Google's file of default credentials, which the client of
//! that store looks for itself.

use std::{fmt, sync::Arc, time::Duration};

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
    settings::{
        AZ_VARIABLES, GS_VARIABLES, S3_VARIABLES, check_variables, endpoint_url, is_label, is_true,
        missing_advice, names_credentials,
    },
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
    check_variables(uri.scheme(), &set)?;
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

fn retries() -> RetryConfig {
    let backoff = BackoffConfig { init_backoff: FIRST_WAIT, max_backoff: LONGEST_WAIT, base: 3.0 };
    RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_WITHIN }
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

/// What several tasks need of a connection.
pub(super) type Shared = Arc<Connected>;
