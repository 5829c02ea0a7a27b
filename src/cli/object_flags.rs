//! The flags of every command that talks to an object store.

use std::env;

use super::exit::Failure;
use crate::artifact::objects::{ObjectOptions, ObjectUri, Objects};

/// Where the object store is; its credentials come from the variables of its own tools.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Object store")]
pub struct ObjectFlags {
    /// Where the S3 server is; else the variable ARTIFACT_S3_ENDPOINT_URL, AWS_S3_ENDPOINT_URL or
    /// AWS_ENDPOINT_URL, else Amazon
    #[arg(long, value_name = "URL")]
    s3_endpoint_url: Option<String>,
    /// Its region; else the variable AWS_REGION, else us-east-1
    #[arg(long, value_name = "REGION")]
    s3_region: Option<String>,
}

impl ObjectFlags {
    /// A connection for objects in the bucket of `uri`.
    ///
    /// # Errors
    /// Where the flags or variables can't be used, or there are no credentials.
    pub(super) fn connect(&self, uri: &ObjectUri) -> Result<Objects, Failure> {
        let options = ObjectOptions {
            s3_endpoint_url: self.s3_endpoint_url.clone(),
            s3_region: self.s3_region.clone(),
        };
        Ok(Objects::connect(uri, &options, |name| env::var(name).ok())?)
    }
}
