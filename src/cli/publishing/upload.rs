//! The object of a publication: the flags of its upload, and the upload, unless the same object exists.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use clap::Args;

use super::plan::Plan;
use crate::{
    artifact::{
        OpenFile,
        objects::{ObjectError, ObjectInfo, ObjectUri, Objects, Replace},
    },
    cli::{
        config::Profile, interrupt::Interrupt, object_flags::ObjectFlags, print, progress,
        publish_error::PublishError, registration,
    },
};

/// Flags for uploading the checkpoint.
#[derive(Debug, Args)]
#[command(next_help_heading = "Upload")]
pub(in crate::cli) struct UploadFlags {
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
    pub(in crate::cli) fn is_set(&self) -> bool {
        self.upload
    }

    /// Returns the flags of the object store; the configuration file supplies missing settings.
    pub(in crate::cli) fn objects(&self, profile: &Profile) -> ObjectFlags {
        self.objects.clone().or(profile)
    }

    /// Returns how to upload, if at all; the configuration file supplies missing store settings.
    pub(in crate::cli) fn upload(&self, profile: &Profile, interrupt: &Interrupt) -> Option<Upload> {
        self.upload.then(|| Upload {
            force: self.force_upload,
            flags: self.objects.clone().or(profile),
            interrupt: interrupt.clone(),
            connection: RefCell::default(),
        })
    }
}

/// Uploads of one command, over one connection per bucket.
pub(in crate::cli) struct Upload {
    /// True if existing objects are replaced.
    pub(super) force: bool,
    flags: ObjectFlags,
    interrupt: Interrupt,
    connection: RefCell<Option<Rc<Objects>>>,
}

/// The object that a publication creates.
pub(super) struct Target {
    uri: ObjectUri,
    objects: Rc<Objects>,
}

impl Upload {
    /// Connects to the bucket of `uri`, or returns the existing connection.
    ///
    /// # Errors
    /// As [`Objects::connect`].
    pub(super) fn connect(&self, uri: &ObjectUri) -> Result<Rc<Objects>, ObjectError> {
        let mut connection = self.connection.borrow_mut();
        match &*connection {
            Some(objects) if objects.serves(uri) => Ok(Rc::clone(objects)),
            _ => {
                let objects = Rc::new(self.flags.connect(uri)?);
                *connection = Some(Rc::clone(&objects));
                Ok(objects)
            }
        }
    }

    /// Looks up the object at `uri` and compares its size.
    ///
    /// # Errors
    /// A conflict if it has another size, or any failure of the store.
    pub(super) fn find(&self, uri: &str, size_bytes: u64) -> Result<Target, PublishError> {
        let uri = ObjectUri::parse(uri).map_err(ObjectError::from)?;
        let target = Target { objects: self.connect(&uri)?, uri };
        self.existing(&target, size_bytes)?;
        Ok(target)
    }

    /// Returns the existing object, unless it will be replaced.
    fn existing(&self, target: &Target, size_bytes: u64) -> Result<Option<ObjectInfo>, PublishError> {
        if self.force {
            return Ok(None);
        }
        let existing = target.objects.find(&target.uri, &|| self.interrupt.requested())?;
        match &existing {
            Some(object) if object.size_bytes != size_bytes => Err(another_object(
                &target.uri,
                &format!("it holds {} bytes, the file {size_bytes}", object.size_bytes),
            )),
            _ => Ok(existing),
        }
    }

    /// Makes sure that the object has the bytes of the file. Returns true if that took an upload.
    ///
    /// # Errors
    /// A conflict if another object exists, or any failure of the store. A failed upload leaves nothing behind.
    pub(super) fn run(
        &self,
        target: &Target,
        file: &OpenFile,
        plan: &Plan,
        printed: &print::OncePrinter,
    ) -> Result<bool, PublishError> {
        let Target { uri, objects } = target;
        let Some(digest) = plan.checkpoint.sha256 else { return Ok(false) };
        let interrupted = || self.interrupt.requested();
        let bar = || progress::only_bar(file.path(), file.size_bytes());
        // The object may have come or gone while the file was digested.
        if let Some(object) = self.existing(target, plan.checkpoint.size_bytes)? {
            let theirs = match object.sha256 {
                Some(digest) => Some(digest),
                None => {
                    printed.once(&format!("{uri} exists without a sha256; reading it back to compare"));
                    let bar = bar();
                    objects.measure(uri, |done| bar.set(done), &interrupted)?.sha256
                }
            };
            if theirs != Some(digest) {
                let theirs = theirs.map_or("unknown".to_owned(), |theirs| theirs.to_string());
                return Err(another_object(uri, &format!("its sha256 is {theirs}, the file's {digest}")));
            }
            let what = registration::measured(&plan.checkpoint);
            printed.once(&format!("{uri} is uploaded already ({what})"));
            return Ok(false);
        }
        let replace = if self.force { Replace::Anything } else { Replace::Nothing };
        let started = Instant::now();
        let bar = bar();
        objects.upload(uri, file, digest, replace, |done| bar.set(done), &interrupted)?;
        drop(bar);
        let pace = pace(plan.checkpoint.size_bytes, started.elapsed());
        print::line(&format!("uploaded {uri} ({}) {pace}", registration::measured(&plan.checkpoint)));
        Ok(true)
    }
}

fn another_object(uri: &ObjectUri, difference: &str) -> PublishError {
    PublishError::conflict(format!(
        "{uri} exists already and is another object: {difference}; --force-upload replaces it"
    ))
}

/// `in 3.2 s, 94.0 MB/s`
fn pace(size_bytes: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    let per_second = (size_bytes as f64 / seconds.max(1e-3)) as u64;
    format!("in {seconds:.1} s, {}/s", print::size(per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_of_no_time_is_a_number() {
        assert_eq!(pace(300_000_000, Duration::from_millis(3000)), "in 3.0 s, 100.0 MB/s");
        assert_eq!(pace(0, Duration::ZERO), "in 0.0 s, 0 B/s");
    }
}
