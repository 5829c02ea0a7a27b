//! The flags of an upload, and its connection.

use std::{cell::RefCell, rc::Rc};

use clap::Args;

use crate::{
    artifact::objects::{ObjectError, ObjectUri, Objects},
    cli::{config::Profile, object_flags::ObjectFlags},
};

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
    pub(in crate::cli) fn upload(&self, profile: &Profile) -> Option<Upload> {
        self.upload.then(|| Upload {
            force: self.force_upload,
            objects: self.objects.clone().or(profile),
            connected: RefCell::default(),
        })
    }
}

/// How checkpoints are uploaded, over one connection per bucket.
#[derive(Debug)]
pub(in crate::cli) struct Upload {
    pub(super) force: bool,
    objects: ObjectFlags,
    connected: RefCell<Option<(ObjectUri, Rc<Objects>)>>,
}

impl Upload {
    /// Connects to the bucket of `uri`, or returns the connection that exists.
    ///
    /// # Errors
    /// As [`Objects::connect`].
    pub(super) fn connect(&self, uri: &ObjectUri) -> Result<Rc<Objects>, ObjectError> {
        let mut connected = self.connected.borrow_mut();
        if let Some((of, objects)) = &*connected
            && (of.scheme(), of.bucket()) == (uri.scheme(), uri.bucket())
        {
            return Ok(Rc::clone(objects));
        }
        let objects = Rc::new(self.objects.connect(uri)?);
        *connected = Some((uri.clone(), Rc::clone(&objects)));
        Ok(objects)
    }
}
