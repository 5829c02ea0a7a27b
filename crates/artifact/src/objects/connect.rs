//! Builds the client of a store from flags and variables: its endpoint, region and credentials.
//!
//! Variables are passed in, not read from the process; blank ones count as unset, and only those listed here count. The
//! one exception is Google's file of default credentials, which that store's client looks up itself.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use object_store::{
    ClientOptions, CredentialProvider, ObjectStore, StaticCredentialProvider,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GcpCredential, GoogleCloudStorageBuilder, GoogleConfigKey},
    signer::Signer,
};

use super::{
    error::{ObjectError, credentials_failed, innermost},
    http::UreqClient,
    retry,
    settings::{
        check_variables, endpoint_url, is_label, is_true, missing_advice, names_credentials, settings,
    },
    target::Target,
    uri::{ObjectUri, Scheme},
};

/// The values of the flags; each that is absent is looked up in the variables.
#[derive(Debug, Clone, Default)]
pub struct ObjectOptions {
    /// URL of the S3 server, such as `http://localhost:9000`; else one of [`S3_ENDPOINT_VARIABLES`], else Amazon.
    pub s3_endpoint_url: Option<String>,
    /// Its region; else `AWS_REGION`, else [`DEFAULT_S3_REGION`].
    pub s3_region: Option<String>,
}

/// Variables for the URL of the S3 server; the first that is not blank counts.
pub const S3_ENDPOINT_VARIABLES: [&str; 3] =
    ["ARTIFACT_S3_ENDPOINT_URL", "AWS_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL"];

/// The default region.
pub const DEFAULT_S3_REGION: &str = "us-east-1";

/// How long a cloud's metadata server may take to return credentials.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(10);

/// A client of one store, and the store's address for errors.
#[derive(Debug)]
pub(super) struct StoreClient {
    pub(super) store: Box<dyn ObjectStore>,
    /// The same store, for uploads in parts.
    pub(super) parts: Box<dyn ObjectStore>,
    pub(super) signer: Box<dyn Signer>,
    pub(super) target: Target,
    pub(super) http: UreqClient,
}

/// Builds a client for the bucket of `uri`. Must run inside the runtime that will serve it.
pub(super) async fn connect(
    uri: &ObjectUri,
    options: &ObjectOptions,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<StoreClient, ObjectError> {
    let set = |name: &str| variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    check_variables(uri.scheme(), &set)?;
    let http = UreqClient::from_environment();
    // The builders have the same methods, but no trait.
    macro_rules! build {
        ($builder:expr) => {{
            let client = ClientOptions::new()
                .with_allow_http(true)
                .with_default_content_type("application/octet-stream");
            let bad = |error| bad_variables(uri.scheme(), &error);
            let builder = $builder.with_client_options(client).with_http_connector(http.clone());
            let store = builder.clone().with_retry(retry::for_requests()).build().map_err(bad)?;
            let provider = Arc::clone(store.credentials());
            let builder = builder.with_credentials(Arc::clone(&provider)).with_retry(retry::for_parts());
            let parts = builder.build().map_err(bad)?;
            let signer = Box::new(store.clone()) as Box<dyn Signer>;
            (
                Box::new(store) as Box<dyn ObjectStore>,
                Box::new(parts) as Box<_>,
                signer,
                fetch(provider).boxed(),
            )
        }};
    }
    let ((store, parts, signer, credentials), target) = match uri.scheme() {
        Scheme::S3 => {
            let (builder, target) = s3(uri, options, &set)?;
            (build!(builder), target)
        }
        Scheme::Gs => {
            let (builder, target) = gs(uri, &set)?;
            (build!(builder), target)
        }
        Scheme::Az => {
            let (builder, target) = az(uri, &set)?;
            (build!(builder), target)
        }
    };
    if !target.anonymous {
        // Missing ones are reported at once, and not after a minute of retries.
        let checked = tokio::time::timeout(CREDENTIALS_TIMEOUT, credentials).await;
        // If nothing is configured, the failed request went to the metadata server of a cloud that this machine is not in.
        let why = match checked {
            Ok(Ok(())) => None,
            _ if !names_credentials(target.scheme, &set) => Some(ObjectError::NoCredentials {
                store: target.to_string(),
                advice: missing_advice(target.scheme),
            }),
            Ok(Err(error)) => Some(credentials_failed(&target, &error)),
            Err(_) => Some(ObjectError::CredentialsUnavailable {
                store: target.to_string(),
                reason: "their provider did not answer in time".to_owned(),
            }),
        };
        if let Some(why) = why {
            return Err(why);
        }
    }
    Ok(StoreClient { store, parts, signer, target, http })
}

async fn fetch<C>(provider: Arc<dyn CredentialProvider<Credential = C>>) -> Result<(), object_store::Error> {
    provider.get_credential().await.map(drop)
}

fn bad_variables(scheme: Scheme, error: &object_store::Error) -> ObjectError {
    ObjectError::BadSettings(format!(
        "{}:// can't be used: {}; check the variables of that store",
        scheme.as_str(),
        innermost(error)
    ))
}

fn s3(
    uri: &ObjectUri,
    options: &ObjectOptions,
    set: &impl Fn(&str) -> Option<String>,
) -> Result<(AmazonS3Builder, Target), ObjectError> {
    let given = |flag: &Option<String>| {
        flag.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let region = given(&options.s3_region)
        .or_else(|| set("AWS_REGION"))
        .unwrap_or_else(|| DEFAULT_S3_REGION.to_owned());
    if !is_label(&region) {
        return Err(ObjectError::BadSettings(format!(
            "{region:?} is not the name of a region; expected one like {DEFAULT_S3_REGION}"
        )));
    }
    let endpoint =
        given(&options.s3_endpoint_url).or_else(|| S3_ENDPOINT_VARIABLES.into_iter().find_map(set));
    let endpoint = match endpoint {
        Some(text) => endpoint_url(&text)?,
        None => format!("https://s3.{region}.amazonaws.com"),
    };
    for (one, other) in
        [("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")]
    {
        if set(one).is_some() && set(other).is_none() {
            return Err(ObjectError::BadSettings(format!("{one} is set and {other} is not; set both")));
        }
    }
    let builder = AmazonS3Builder::new()
        .with_bucket_name(uri.bucket())
        .with_region(&region)
        .with_endpoint(&endpoint)
        .with_virtual_hosted_style_request(false)
        .with_checksum_algorithm(Checksum::SHA256);
    let builder = settings(Scheme::S3, set)
        .fold(builder, |builder, (key, value): (AmazonS3ConfigKey, _)| builder.with_config(key, value));
    let anonymous = is_true(set("AWS_SKIP_SIGNATURE"));
    Ok((builder, Target { scheme: Scheme::S3, endpoint, region, anonymous }))
}

fn gs(
    uri: &ObjectUri,
    set: &impl Fn(&str) -> Option<String>,
) -> Result<(GoogleCloudStorageBuilder, Target), ObjectError> {
    let builder = GoogleCloudStorageBuilder::new().with_bucket_name(uri.bucket());
    let builder = settings(Scheme::Gs, set)
        .fold(builder, |builder, (key, value): (GoogleConfigKey, _)| builder.with_config(key, value));
    let endpoint = match set("GOOGLE_BASE_URL") {
        Some(text) => endpoint_url(&text)?,
        None => "https://storage.googleapis.com".to_owned(),
    };
    let anonymous = is_true(set("GOOGLE_SKIP_SIGNATURE"));
    let builder = match anonymous {
        // The builder's own setting does not apply to uploads; the client does not send a blank token.
        true => builder.with_credentials(Arc::new(StaticCredentialProvider::new(GcpCredential {
            bearer: String::new(),
        }))),
        false => builder,
    };
    Ok((builder, Target { scheme: Scheme::Gs, endpoint, region: String::new(), anonymous }))
}

fn az(
    uri: &ObjectUri,
    set: &impl Fn(&str) -> Option<String>,
) -> Result<(MicrosoftAzureBuilder, Target), ObjectError> {
    let builder = MicrosoftAzureBuilder::new().with_container_name(uri.bucket());
    let builder = settings(Scheme::Az, set)
        .fold(builder, |builder, (key, value): (AzureConfigKey, _)| builder.with_config(key, value));
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
    Ok((builder, Target { scheme: Scheme::Az, endpoint, region: String::new(), anonymous }))
}
