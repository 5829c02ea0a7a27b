//! Publishing a checkpoint: digest, upload, verify, register. Both `publish` and `watch` use it.
//!
//! Every step first looks at what exists, so running it again finishes an interrupted publish and does nothing if all is
//! done. What can fail without reading gigabytes is checked first, and nothing is uploaded that could not be registered.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    details::Details,
    exit::Failure,
    interrupt::Interrupt,
    model_ref::ModelRef,
    print, progress,
    publish_error::{ErrorClass, PublishError},
    registration::{self, Subject},
};
use crate::{
    artifact::{
        Field, MeasureOptions, Opened, TemplateError, UriTemplate, Values,
        objects::{ObjectInfo, ObjectUri, Objects, Replace},
        read_config,
    },
    client::{ClientError, Registered},
    domain::{Digest, Measurement, json::Object},
};

mod contact;
mod held;
mod upload_flags;

pub(super) use contact::Contact;
use contact::Unanswered;
use held::{already, same};
pub(super) use upload_flags::Upload;
pub use upload_flags::UploadFlags;

/// Where the artifact is.
#[derive(Debug)]
pub(super) enum Destination {
    /// Not given: the artifact is known by its digest.
    Unsaid,
    At(String),
    Made(UriTemplate),
}

/// A checkpoint to publish.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) opened: Opened,
    pub(super) version: String,
    pub(super) step: Option<i64>,
}

/// The fields of a URI template that are known before the digest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Naming<'a> {
    pub(super) version: &'a str,
    pub(super) step: Option<i64>,
    /// Absent if the file's name is not UTF-8.
    pub(super) basename: Option<&'a str>,
}

impl Candidate {
    pub(super) fn naming(&self) -> Naming<'_> {
        let basename = self.opened.path().file_name().and_then(|name| name.to_str());
        Naming { version: &self.version, step: self.step, basename }
    }
}

/// A version that the registry holds.
#[derive(Debug)]
pub(super) struct Publication {
    /// The registry's answer.
    pub(super) model: Value,
    /// The body of its registration.
    pub(super) body: Value,
    pub(super) checkpoint: Measurement,
}

/// The object that an upload creates.
struct Target {
    uri: ObjectUri,
    objects: Rc<Objects>,
    /// The object that exists, unless it is to be replaced.
    there: Option<ObjectInfo>,
}

fn another_object(uri: &ObjectUri, difference: &str) -> PublishError {
    PublishError::conflict(format!(
        "{uri} is there already and is another object: {difference}; --force-upload replaces it"
    ))
}

/// What all publications of a command have in common.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) name: String,
    pub(super) details: Details,
    pub(super) training_loss: Option<f64>,
    pub(super) metrics: Option<Object>,
    pub(super) destination: Destination,
    pub(super) upload: Option<Upload>,
    /// How the command continues once the registry is back, as a clause.
    pub(super) goes_on: &'static str,
    pub(super) interrupt: Interrupt,
    /// Lines that a retry does not print again.
    pub(super) printed: print::OncePrinter,
}

impl Destination {
    /// Returns where a checkpoint goes, normalized; `None` if that depends on a digest that is not known yet.
    fn uri(
        &self,
        name: &str,
        naming: &Naming<'_>,
        sha256: Option<Digest>,
    ) -> Result<Option<String>, TemplateError> {
        match self {
            Self::Unsaid => Ok(sha256.map(|digest| format!("sha256:{digest}"))),
            Self::At(uri) => Ok(Some(in_one_form(uri))),
            Self::Made(template) if sha256.is_none() && template.has(Field::Sha256) => Ok(None),
            Self::Made(template) => {
                let Naming { version, step, basename } = *naming;
                let uri = template.expand(&Values { name, version, step, basename, sha256 })?;
                Ok(Some(in_one_form(&uri)))
            }
        }
    }
}

/// Normalizes a URI: `S3://b/k` and `s3://b/k` are one object.
fn in_one_form(uri: &str) -> String {
    ObjectUri::parse(uri).map_or_else(|_| uri.trim().to_owned(), |object| object.to_string())
}

impl Publisher {
    /// Checks the flags and the configuration file without any request: the URI can be made and, for an upload, names
    /// an object.
    ///
    /// # Errors
    /// What is wrong with the flags or that file.
    pub(super) fn check(&self, naming: &Naming<'_>) -> Result<(), PublishError> {
        self.upload_uri(naming)?;
        self.config().map(drop)
    }

    /// Connects to the object store, if there is an upload: its settings are valid and there are credentials.
    ///
    /// # Errors
    /// As [`Publisher::check`], or what is missing.
    pub(super) fn check_store(&self, naming: &Naming<'_>) -> Result<(), PublishError> {
        if let (Some(upload), Some(uri)) = (&self.upload, self.upload_uri(naming)?) {
            upload.connect(&uri)?;
        }
        Ok(())
    }

    fn upload_uri(&self, naming: &Naming<'_>) -> Result<Option<ObjectUri>, PublishError> {
        // Any digest shows what kind of URI it becomes.
        let uri = self.destination.uri(&self.name, naming, Some(Digest::from_bytes([0; 32])))?;
        if self.upload.is_none() {
            return Ok(None);
        }
        if matches!(self.destination, Destination::Unsaid) {
            let what = "--upload needs a destination; give --artifact-uri or --artifact-uri-template";
            return Err(PublishError { class: ErrorClass::Setup, failure: Failure::usage(what) });
        }
        Ok(Some(ObjectUri::parse(&uri.unwrap_or_default())?))
    }

    /// Describes what would be done with a planned publication.
    pub(super) fn intent(&self, candidate: &Candidate, plan: &Publication) -> String {
        let uri = plan.body.get("artifact_uri").and_then(Value::as_str);
        match (&self.upload, uri) {
            (Some(upload), Some(uri)) => {
                let unless = if upload.force { "" } else { ", unless it is there already" };
                let size = print::size(candidate.opened.size_bytes());
                format!("dry run: nothing was uploaded or sent; {size} would go to {uri}{unless}")
            }
            _ => "dry run: nothing was sent".to_owned(),
        }
    }

    /// Builds what would be sent, without any request.
    ///
    /// # Errors
    /// If a file can't be read, or the URI can't be made.
    pub(super) fn plan(&self, candidate: &Candidate) -> Result<Publication, PublishError> {
        let config = self.config()?;
        let checkpoint = self.digest(&candidate.opened)?;
        let uri = self.destination.uri(&self.name, &candidate.naming(), checkpoint.sha256)?;
        let body = self.body(candidate, uri.as_deref(), &checkpoint, config.as_ref());
        Ok(Publication { model: Value::Null, body, checkpoint })
    }

    /// Publishes a checkpoint, as far as that is not done yet.
    ///
    /// # Errors
    /// Why it is not published. A failed upload leaves nothing behind.
    pub(super) fn publish(
        &self,
        registry: &Contact,
        candidate: &Candidate,
    ) -> Result<Publication, PublishError> {
        let version = ModelRef::named(&self.name, &candidate.version);
        let (naming, opened) = (candidate.naming(), &candidate.opened);
        let config = self.config()?;
        let held = self.held(registry, candidate)?;
        let early_uri = self.destination.uri(&self.name, &naming, None)?;
        // What can differ without a digest is compared before the file is read.
        let mut target = None;
        if let Some(model) = &held {
            let size = Measurement { sha256: None, size_bytes: opened.size_bytes() };
            same(&version, model, &size, early_uri.as_deref(), self.upload.is_some())?;
        } else if let (Some(upload), Some(uri)) = (&self.upload, &early_uri) {
            target = Some(self.look(upload, uri, opened)?);
        }
        let checkpoint = self.digest(opened)?;
        let uri = self.destination.uri(&self.name, &naming, checkpoint.sha256)?;
        if let Some(model) = &held {
            same(&version, model, &checkpoint, uri.as_deref(), self.upload.is_some())?;
        }
        let mut uploaded = false;
        if let (Some(upload), Some(uri)) = (&self.upload, &uri) {
            let target = match target {
                Some(target) => target,
                None => self.look(upload, uri, opened)?,
            };
            uploaded = self.store(upload, &target, opened, &checkpoint)?;
        }
        let body = self.body(candidate, uri.as_deref(), &checkpoint, config.as_ref());
        let model = match held {
            Some(model) => {
                print::line(&already(&version, &model, uploaded));
                model
            }
            None => {
                let stored = self.upload.as_ref().and(uri.as_deref());
                self.register(registry, candidate, &body, &checkpoint, stored, uri.as_deref())?
            }
        };
        Ok(Publication { model, body, checkpoint })
    }

    /// Returns the version as the registry has it, if it does.
    fn held(&self, registry: &Contact, candidate: &Candidate) -> Result<Option<Value>, PublishError> {
        let (name, version) = (self.name.clone(), candidate.version.clone());
        match registry.look(move |client| client.model_by_name(&name, &version)) {
            Ok(model) => Ok(Some(model)),
            Err(Unanswered::Said(ClientError::NotFound { .. })) => Ok(None),
            Err(unanswered) => Err(unanswered.into()),
        }
    }

    fn config(&self) -> Result<Option<(Measurement, Object)>, PublishError> {
        let read = |path| read_config(&Opened::open(path)?, |_| {});
        Ok(self.details.config_path.as_ref().map(read).transpose()?)
    }

    fn digest(&self, opened: &Opened) -> Result<Measurement, PublishError> {
        let bar = progress::only_bar(opened.path(), opened.size_bytes());
        let measured = opened.measure_while(&MeasureOptions::default(), |done| {
            bar.set(done);
            !self.interrupt.requested()
        });
        Ok(measured?.measurement)
    }

    /// Looks up the object that the upload would create, and compares its size.
    fn look(&self, upload: &Upload, uri: &str, opened: &Opened) -> Result<Target, PublishError> {
        let uri = ObjectUri::parse(uri)?;
        let objects = upload.connect(&uri)?;
        let there = match upload.force {
            true => None,
            false => objects.find(&uri, &|| self.interrupt.requested())?,
        };
        let size_bytes = opened.size_bytes();
        match &there {
            Some(there) if there.size_bytes != size_bytes => Err(another_object(
                &uri,
                &format!("it holds {} bytes, the file {size_bytes}", there.size_bytes),
            )),
            _ => Ok(Target { uri, objects, there }),
        }
    }

    /// Makes sure that the object is the checkpoint. Returns true if that took an upload.
    fn store(
        &self,
        upload: &Upload,
        target: &Target,
        opened: &Opened,
        checkpoint: &Measurement,
    ) -> Result<bool, PublishError> {
        let Target { uri, objects, there } = target;
        if let Some(there) = there {
            let theirs = match there.sha256 {
                Some(digest) => Some(digest),
                None => self.read_back(objects, uri, opened)?.sha256,
            };
            if let (Some(here), Some(theirs)) = (checkpoint.sha256, theirs)
                && here != theirs
            {
                return Err(another_object(uri, &format!("its sha256 is {theirs}, the file's {here}")));
            }
            self.printed.once(&format!("{uri} is uploaded already ({})", registration::measured(checkpoint)));
            return Ok(false);
        }
        let Some(digest) = checkpoint.sha256 else { return Ok(false) };
        let replace = if upload.force { Replace::Anything } else { Replace::Nothing };
        let begun = Instant::now();
        let bar = progress::only_bar(opened.path(), opened.size_bytes());
        let interrupted = || self.interrupt.requested();
        objects.upload(uri, opened, digest, replace, |done| bar.set(done), &interrupted)?;
        drop(bar);
        print::line(&format!(
            "uploaded {uri} ({}) {}",
            registration::measured(checkpoint),
            pace(checkpoint.size_bytes, begun.elapsed())
        ));
        Ok(true)
    }

    /// Digests an object whose metadata has no digest.
    fn read_back(
        &self,
        objects: &Objects,
        uri: &ObjectUri,
        opened: &Opened,
    ) -> Result<Measurement, PublishError> {
        self.printed.once(&format!("{uri} exists without a sha256; reading it back to compare"));
        let bar = progress::only_bar(opened.path(), opened.size_bytes());
        Ok(objects.measure(uri, |done| bar.set(done), &|| self.interrupt.requested())?)
    }

    /// Registers the version. If it is registered by then, by another publisher or by a request whose answer was lost,
    /// that is as good if it is the same.
    fn register(
        &self,
        registry: &Contact,
        candidate: &Candidate,
        body: &Value,
        checkpoint: &Measurement,
        stored: Option<&str>,
        uri: Option<&str>,
    ) -> Result<Value, PublishError> {
        let version = ModelRef::named(&self.name, &candidate.version);
        let sent = body.clone();
        let error = match registry.change(move |client| client.register(&sent)) {
            Ok(Registered { id, body }) => {
                self.printed.reset();
                print::line(&registration::summary(&version, id, Some(checkpoint), None));
                return Ok(body);
            }
            Err(Unanswered::Interrupted) => {
                return Err(PublishError {
                    class: ErrorClass::Interrupted,
                    failure: Failure::interrupted(format!(
                        "interrupted; {version} may have been registered; run the same command again to find out"
                    )),
                });
            }
            Err(unanswered) => unanswered,
        };
        let in_place = |error: PublishError| {
            let Some(stored) = stored else { return error };
            let goes_on = match error.class {
                ErrorClass::Outage | ErrorClass::NotARegistry => self.goes_on,
                _ => "fix that and run the same command again",
            };
            let found = full(checkpoint);
            error.after(&format!(
                "{stored} is in place ({found}), but {version} is not registered for it ({goes_on}): "
            ))
        };
        if matches!(error, Unanswered::Said(ClientError::Conflict { .. } | ClientError::AnswerLost { .. }))
            && let Ok(Some(model)) = self.held(registry, candidate)
        {
            same(&version, &model, checkpoint, uri, false).map_err(in_place)?;
            print::line(&already(&version, &model, true));
            return Ok(model);
        }
        Err(in_place(error.into()))
    }

    fn body(
        &self,
        candidate: &Candidate,
        uri: Option<&str>,
        checkpoint: &Measurement,
        config: Option<&(Measurement, Object)>,
    ) -> Value {
        // Without a URI the registry makes one of the digest.
        let artifact_uri = uri.filter(|_| !matches!(self.destination, Destination::Unsaid));
        Value::from(Subject {
            name: &self.name,
            version: &candidate.version,
            artifact_uri,
            checkpoint: Some(checkpoint),
            config,
            local_paths: [None, None],
            details: &self.details,
            training_step: candidate.step,
            training_loss: self.training_loss,
            metrics: self.metrics.as_ref(),
        })
    }
}

/// `300000000 bytes, sha256 7056…2669`: what identifies an object.
fn full(found: &Measurement) -> String {
    let digest = found.sha256.map(|digest| format!(", sha256 {digest}")).unwrap_or_default();
    format!("{} bytes{digest}", found.size_bytes)
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
