//! What is wrong with the settings of a server.

use crate::{artifact::RootError, store::postgres};

/// Why the server can't start with these settings.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum SettingsError {
    #[error(
        "{origin:?} is not an origin; --cors-origins expects some like https://ml.example.org, comma-separated"
    )]
    CorsOrigin { origin: String },
    #[error("--local-path-root: {0}")]
    LocalPathRoot(#[from] RootError),
    #[error(
        "{text:?} is not an address or a network; --trusted-proxy expects some like 10.0.0.7 or 10.0.0.0/8"
    )]
    TrustedProxy { text: String },
    #[error(
        "{text:?} is not an address or a network; --webhook-allow (CAIA_REGISTRY_WEBHOOK_ALLOW) expects some like 10.0.0.7 or 10.0.0.0/8"
    )]
    WebhookAllow { text: String },
    #[error("HTTPS needs both a certificate and its key: --tls-cert and --tls-key, or their variables")]
    HalfOfTls,
    #[error("--artifact-store: {0}")]
    ArtifactStore(String),
    #[error(
        "--artifact-redirect (CAIA_REGISTRY_ARTIFACT_REDIRECT) needs an artifact store in a bucket; set --artifact-store s3://…, or remove it"
    )]
    RedirectWithoutBucket,
    #[error("--database-url: {0}")]
    DatabaseUrl(#[from] postgres::UrlError),
    #[error(
        "--db-path and CAIA_REGISTRY_DATABASE_URL are both set, so it is not clear which database is meant; unset one"
    )]
    TwoDatabases,
    #[error(
        "--synchronous normal (CAIA_REGISTRY_SYNCHRONOUS) is for a SQLite file, and PostgreSQL syncs each commit; remove it"
    )]
    SynchronousPostgres,
}
