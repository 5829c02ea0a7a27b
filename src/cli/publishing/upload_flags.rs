//! The flags of an upload.

use clap::Args;

use super::upload::Upload;
use crate::cli::{config::Profile, interrupt::Interrupt, object_flags::ObjectFlags};

/// Flags for uploading the checkpoint.
#[derive(Debug, Args)]
#[command(next_help_heading = "Upload")]
pub struct UploadFlags {
    /// Upload the checkpoint to the artifact's URI (s3://, gs:// or az://) before it is registered
    ///
    /// An existing object with this size and digest is not uploaded again; a different one is a conflict. Credentials
    /// come from the variables that the store's own tools use, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    #[arg(long)]
    upload: bool,
    /// Skip the upload if the object exists with this size and digest, which is the default (accepted for 0.2.0)
    #[arg(long, requires = "upload", conflicts_with = "force_upload")]
    skip_upload_if_exists: bool,
    /// Replace an existing object
    #[arg(long, requires = "upload")]
    force_upload: bool,
    #[command(flatten)]
    objects: ObjectFlags,
}

impl UploadFlags {
    /// Returns true if there is an upload.
    pub(in crate::cli) fn is_wanted(&self) -> bool {
        self.upload
    }

    /// Returns how to upload, if at all; the configuration file supplies missing store settings.
    pub(in crate::cli) fn upload(&self, profile: &Profile, interrupt: &Interrupt) -> Option<Upload> {
        let flags = self.objects.clone().or(profile);
        self.upload.then(|| Upload::new(self.force_upload, flags, interrupt.clone()))
    }
}
