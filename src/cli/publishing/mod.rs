//! Publishing a checkpoint: uploaded, verified and registered, or found to be all that already.
//!
//! Both `publish` and `watch` do it here. Every step looks first at what is there, so that doing it again
//! finishes what was begun, and does nothing where all is done. What can be found out before gigabytes are
//! read is asked first, and nothing is uploaded that could not be registered.

use std::time::{Duration, Instant};

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
        objects::{ObjectError, ObjectUri, Objects, Replace},
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

/// Where the artifact is kept.
#[derive(Debug)]
pub(super) enum Destination {
    /// Nowhere that is said: it is known by its digest.
    Unsaid,
    At(String),
    Made(UriTemplate),
}

/// A checkpoint that is to be published.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) opened: Opened,
    pub(super) version: String,
    pub(super) step: Option<i64>,
}

/// What a URI can be made of before the digest is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Naming<'a> {
    pub(super) version: &'a str,
    pub(super) step: Option<i64>,
    /// Absent where the file's name is no text.
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
    /// As the registry answers it.
    pub(super) model: Value,
    /// What registers it.
    pub(super) body: Value,
    pub(super) checkpoint: Measurement,
}

/// All that publications have in common.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) name: String,
    pub(super) details: Details,
    pub(super) training_loss: Option<f64>,
    pub(super) metrics: Option<Object>,
    pub(super) destination: Destination,
    pub(super) upload: Option<Upload>,
    /// How the work goes on once the registry is back, in a clause.
    pub(super) goes_on: &'static str,
    pub(super) interrupt: Interrupt,
    /// What a further try need not repeat.
    pub(super) printed: print::OncePrinter,
}

impl Destination {
    /// Where a checkpoint goes, in one form however it was written; `None` where only its digest says.
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

/// A URI in the one form in which it is registered, compared and shown: `S3://b/k` and `s3://b/k` are one
/// object.
fn in_one_form(uri: &str) -> String {
    ObjectUri::parse(uri).map_or_else(|_| uri.trim().to_owned(), |object| object.to_string())
}

impl Publisher {
    /// Whether the URI can be made, and names an object where one is to be uploaded, and the configuration
    /// is one. Nobody is asked.
    ///
    /// # Errors
    /// What is wrong with the flags, or that file.
    pub(super) fn check(&self, naming: &Naming<'_>) -> Result<(), PublishError> {
        self.upload_uri(naming)?;
        self.config().map(drop)
    }

    /// Whether the settings of the store make sense and there are credentials for it, where it is needed.
    ///
    /// # Errors
    /// As [`Publisher::check`], or what is missing.
    pub(super) fn check_store(&self, naming: &Naming<'_>) -> Result<(), PublishError> {
        if let (Some(upload), Some(uri)) = (&self.upload, self.upload_uri(naming)?) {
            upload.objects.connect(&uri)?;
        }
        Ok(())
    }

    fn upload_uri(&self, naming: &Naming<'_>) -> Result<Option<ObjectUri>, PublishError> {
        // Any digest will do to see what kind of URI it becomes.
        let uri = self.destination.uri(&self.name, naming, Some(Digest::from_bytes([0; 32])))?;
        if self.upload.is_none() {
            return Ok(None);
        }
        if matches!(self.destination, Destination::Unsaid) {
            let what = "--upload needs to know where to; give --artifact-uri or --artifact-uri-template";
            return Err(PublishError { class: ErrorClass::Setup, failure: Failure::usage(what) });
        }
        Ok(Some(ObjectUri::parse(&uri.unwrap_or_default())?))
    }

    /// What would be done with a planned publication, in words.
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

    /// What would be sent, found out without asking anybody.
    ///
    /// # Errors
    /// Where a file can't be read, or the URI can't be made.
    pub(super) fn plan(&self, candidate: &Candidate) -> Result<Publication, PublishError> {
        let config = self.config()?;
        let checkpoint = self.digest(&candidate.opened)?;
        let uri = self.destination.uri(&self.name, &candidate.naming(), checkpoint.sha256)?;
        let body = self.body(candidate, uri.as_deref(), &checkpoint, config.as_ref());
        Ok(Publication { model: Value::Null, body, checkpoint })
    }

    /// Publishes a checkpoint, as far as that has not been done.
    ///
    /// # Errors
    /// Why it is not published. An upload that failed has left nothing behind.
    pub(super) fn publish(
        &self,
        registry: &Contact,
        candidate: &Candidate,
    ) -> Result<Publication, PublishError> {
        let version = ModelRef::named(&self.name, &candidate.version);
        let config = self.config()?;
        let held = self.held(registry, candidate)?;
        let size_bytes = candidate.opened.size_bytes();
        let early_uri = self.destination.uri(&self.name, &candidate.naming(), None)?;
        if let Some(model) = &held {
            let size = Measurement { sha256: None, size_bytes };
            same(&version, model, &size, early_uri.as_deref(), self.upload.is_some())?;
        }
        // A registered version is never uploaded anew before it is certain that these are its bytes.
        let known = if held.is_some() || early_uri.is_none() || self.upload.is_none() {
            Some(self.digest(&candidate.opened)?)
        } else {
            None
        };
        let uri =
            self.destination.uri(&self.name, &candidate.naming(), known.and_then(|found| found.sha256))?;
        if let (Some(model), Some(found)) = (&held, &known) {
            same(&version, model, found, uri.as_deref(), self.upload.is_some())?;
        }
        let (checkpoint, uri, uploaded) = match (&self.upload, known) {
            (Some(upload), known) => {
                let uri = ObjectUri::parse(&uri.unwrap_or_default())?;
                let (checkpoint, uploaded) = self.store(upload, &uri, &candidate.opened, known)?;
                (checkpoint, Some(uri.to_string()), uploaded)
            }
            (None, Some(known)) => (known, uri, false),
            // Without an upload it was digested above.
            (None, None) => (self.digest(&candidate.opened)?, uri, false),
        };
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

    /// The version as the registry holds it, if it does.
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

    /// Has the object at `uri` be the checkpoint, and says whether that took an upload.
    fn store(
        &self,
        upload: &Upload,
        uri: &ObjectUri,
        opened: &Opened,
        known: Option<Measurement>,
    ) -> Result<(Measurement, bool), PublishError> {
        let objects = upload.objects.connect(uri)?;
        let interrupted = || self.interrupt.requested();
        if !upload.force
            && let Some(there) = objects.find(uri, &interrupted)?
        {
            let differs = |what: String| {
                PublishError::conflict(format!(
                    "{uri} is there already and is another object: {what}; --force-upload replaces it"
                ))
            };
            let size_bytes = opened.size_bytes();
            if there.size_bytes != size_bytes {
                return Err(differs(format!("it holds {} bytes, the file {size_bytes}", there.size_bytes)));
            }
            let here = match known {
                Some(known) => known,
                None => self.digest(opened)?,
            };
            let theirs = match there.sha256 {
                Some(digest) => Some(digest),
                None => self.read_back(&objects, uri, opened, &interrupted)?.sha256,
            };
            if let (Some(here), Some(theirs)) = (here.sha256, theirs)
                && here != theirs
            {
                return Err(differs(format!("its sha256 is {theirs}, the file's {here}")));
            }
            if let (None, Some(digest)) = (there.sha256, theirs) {
                match objects.adopt(uri, &there, digest, &interrupted) {
                    Err(why @ ObjectError::InterruptedLate { .. }) => return Err(why.into()),
                    Err(why) => print::line(&format!("{uri} was not given its sha256: {why}")),
                    Ok(()) => {}
                }
            }
            self.printed.once(&format!("{uri} is uploaded already ({})", registration::measured(&here)));
            return Ok((here, false));
        }
        let replace = if upload.force { Replace::Anything } else { Replace::Nothing };
        let begun = Instant::now();
        let bar = progress::only_bar(opened.path(), opened.size_bytes());
        let digest = known.and_then(|known| known.sha256);
        let sent = objects.upload(uri, opened, digest, replace, |done| bar.set(done), &interrupted)?;
        drop(bar);
        print::line(&format!(
            "uploaded {uri} ({}) {}",
            registration::measured(&sent),
            pace(sent.size_bytes, begun.elapsed())
        ));
        Ok((sent, true))
    }

    /// The digest of an object that does not carry it.
    fn read_back(
        &self,
        objects: &Objects,
        uri: &ObjectUri,
        opened: &Opened,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Measurement, PublishError> {
        self.printed
            .once(&format!("{uri} is there and does not carry its sha256; reading it back to compare"));
        let bar = progress::only_bar(opened.path(), opened.size_bytes());
        Ok(objects.measure(uri, |done| bar.set(done), interrupted)?)
    }

    /// Registers it. Where it turns out to be registered, by somebody else or by a request whose answer was
    /// lost, that is as good if it is the same.
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
                        "interrupted; {version} may have been registered; the same command again finds out"
                    )),
                });
            }
            Err(unanswered) => unanswered,
        };
        let in_place = |error: PublishError| {
            let Some(stored) = stored else { return error };
            let goes_on = match error.class {
                ErrorClass::Outage | ErrorClass::NotARegistry => self.goes_on,
                _ => "mend that, and the same command again goes on from there",
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
        // Where nothing is said the registry makes the URI of the digest.
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

/// `300000000 bytes, sha256 7056…2669`: what has to be known to find an object again.
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
