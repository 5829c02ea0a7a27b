//! The flags of an upload, and what they come to.

use clap::Args;

use crate::cli::{config::Profile, object_flags::ObjectFlags};

/// Whether and how the checkpoint is uploaded.
#[derive(Debug, Args)]
#[command(next_help_heading = "Upload")]
pub struct UploadFlags {
    /// Upload the checkpoint to the artifact's URI (s3://, gs:// or az://) before it is registered
    ///
    /// An object that is there already with this size and digest is not uploaded again; a different one is a
    /// conflict. Credentials come from the variables that the store's own tools use, such as
    /// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    #[arg(long)]
    upload: bool,
    /// Skip the upload where the object is there with this size and digest, as happens without this flag too
    #[arg(long, requires = "upload", conflicts_with = "force_upload")]
    skip_upload_if_exists: bool,
    /// Upload over whatever is there
    #[arg(long, requires = "upload")]
    force_upload: bool,
    #[command(flatten)]
    objects: ObjectFlags,
}

impl UploadFlags {
    /// Whether anything is to be uploaded.
    pub(in crate::cli) fn is_wanted(&self) -> bool {
        self.upload
    }

    /// How to upload, if at all; the configuration file completes what is said of the store.
    pub(in crate::cli) fn upload(&self, profile: &Profile) -> Option<Upload> {
        self.upload.then(|| Upload { force: self.force_upload, objects: self.objects.clone().or(profile) })
    }
}

/// How a checkpoint is uploaded.
#[derive(Debug)]
pub(in crate::cli) struct Upload {
    pub(super) force: bool,
    pub(super) objects: ObjectFlags,
}
