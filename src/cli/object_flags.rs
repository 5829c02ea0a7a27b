//! The flags of commands that use an object store.

use std::env;

use super::config::{self, Profile};
use crate::artifact::objects::{ObjectError, ObjectOptions, ObjectUri, Objects, S3_ENDPOINT_VARIABLES};

/// Endpoint and region of the store; credentials come from the usual variables of its tools.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Object store")]
pub(super) struct ObjectFlags {
    /// URL of the S3 server; else ARTIFACT_S3_ENDPOINT_URL, AWS_S3_ENDPOINT_URL or AWS_ENDPOINT_URL, the
    /// configuration file, or Amazon
    #[arg(long, value_name = "URL")]
    s3_endpoint_url: Option<String>,
    /// Its region; else AWS_REGION, the configuration file, or us-east-1
    #[arg(long, value_name = "REGION")]
    s3_region: Option<String>,
}

impl ObjectFlags {
    /// These flags, with values from the configuration file if neither flag nor variable is set.
    #[must_use]
    pub(super) fn or(self, profile: &Profile) -> Self {
        let unset =
            |names: &[&str]| names.iter().all(|name| config::set(|name| env::var(name).ok(), name).is_none());
        let or = |flag: Option<String>, names: &[&str], filed: &Option<String>| {
            flag.or_else(|| filed.clone().filter(|_| unset(names)))
        };
        Self {
            s3_endpoint_url: or(self.s3_endpoint_url, &S3_ENDPOINT_VARIABLES, &profile.s3_endpoint_url),
            s3_region: or(self.s3_region, &["AWS_REGION"], &profile.s3_region),
        }
    }

    /// Returns a client for the bucket of `uri`.
    ///
    /// # Errors
    /// If flags or variables are invalid, or there are no credentials.
    pub(super) fn connect(&self, uri: &ObjectUri) -> Result<Objects, ObjectError> {
        let options = ObjectOptions {
            s3_endpoint_url: self.s3_endpoint_url.clone(),
            s3_region: self.s3_region.clone(),
        };
        Objects::connect(uri, &options, |name| env::var(name).ok())
    }
}
