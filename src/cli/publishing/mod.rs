//! Publishing a checkpoint: digest, upload, verify, register. Both `publish` and `watch` use it.
//!
//! This module publishes one file as 0.2.0 did, and `files.rs` a file or a folder as a version with files.
//!
//! Every step first looks at what exists, so running it again finishes an interrupted publication and does nothing if all
//! is done. What can fail without reading gigabytes is checked first, and nothing is uploaded that could not be registered.

use std::time::Duration;

use serde_json::Value;

use super::{
    details::Details,
    exit::Failure,
    interrupt::Interrupt,
    object_flags::ObjectFlags,
    print, progress,
    publish_error::{ErrorClass, PublishError},
    registration::{self, Subject},
    version_arg::VersionArg,
};
use crate::{
    artifact::{
        ArtifactError, OpenFile, Values,
        objects::{ObjectError, ObjectUri},
        read_config,
    },
    client::ClientError,
    domain::{Digest, Measurement, json::Object},
};

mod client;
mod files;
mod plan;
mod store;
mod upload;

pub(super) use client::InterruptibleClient;
use client::{CallError, LAST_ANSWER};
pub(super) use files::FilesCandidate;
use plan::Plan;
pub(super) use plan::{Candidate, Destination};
use upload::Upload;
pub(super) use upload::UploadFlags;

/// A version that is published.
pub(super) struct Publication {
    /// The version as the registry has it; in a dry run the body.
    pub(super) model: Value,
    /// The body of its registration.
    pub(super) body: Value,
}

/// What all publications of a command have in common.
pub(super) struct Publisher {
    pub(super) name: String,
    pub(super) details: Details,
    pub(super) training_loss: Option<f64>,
    pub(super) metrics: Option<Object>,
    pub(super) destination: Destination,
    pub(super) upload: Option<Upload>,
    /// Looks for the files of a version at the destination.
    pub(super) check: Option<ObjectFlags>,
    /// Absent in a dry run, which sends nothing.
    pub(super) registry: Option<InterruptibleClient>,
    /// How the command continues once the registry is back, as a clause.
    pub(super) retry_advice: &'static str,
    pub(super) interrupt: Interrupt,
    /// Lines that a retry does not print again.
    pub(super) printed: print::OncePrinter,
}

impl Publisher {
    /// Checks the flags, the configuration file and, except in a dry run, the settings and credentials of the store.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn check(&self, values: &Values<'_>) -> Result<(), PublishError> {
        let uri = self.upload_uri(values)?;
        self.config()?;
        if let (Some(_), Some(upload), Some(uri)) = (&self.registry, &self.upload, uri) {
            upload.connect(&uri)?;
        }
        Ok(())
    }

    fn upload_uri(&self, values: &Values<'_>) -> Result<Option<ObjectUri>, PublishError> {
        // Any digest shows what kind of URI it becomes.
        let sha256 = Some(Digest::from_bytes([0; 32]));
        let uri = self.destination.uri(&Values { sha256, ..*values })?;
        if self.upload.is_none() {
            return Ok(None);
        }
        if matches!(self.destination, Destination::Unnamed) {
            let what = "--upload needs a destination; give --artifact-uri or --artifact-uri-template";
            return Err(PublishError { class: ErrorClass::Setup, failure: Failure::usage(what) });
        }
        let uri = ObjectUri::parse(&uri.unwrap_or_default()).map_err(ObjectError::from)?;
        Ok(Some(uri))
    }

    /// Publishes a checkpoint, as far as that is not done yet; in a dry run it only shows what would be done.
    ///
    /// # Errors
    /// Why it is not published. A failed upload leaves nothing behind.
    pub(super) fn publish(&self, candidate: &Candidate) -> Result<Publication, PublishError> {
        match &self.registry {
            Some(registry) => self.publish_at(registry, candidate),
            None => self.dry_run(candidate),
        }
    }

    fn dry_run(&self, candidate: &Candidate) -> Result<Publication, PublishError> {
        let config = self.config()?;
        let plan = self.plan(candidate, self.digest(&candidate.file)?)?;
        print::line(&match (&self.upload, &plan.uri) {
            (Some(upload), Some(uri)) => {
                let unless = if upload.force { "" } else { ", unless it is there already" };
                let size = print::size(candidate.file.size_bytes());
                format!("dry run: nothing was uploaded or sent; {size} would go to {uri}{unless}")
            }
            _ => "dry run: nothing was sent".to_owned(),
        });
        let body = self.body(candidate, &plan, config.as_ref());
        Ok(Publication { model: body.clone(), body })
    }

    fn publish_at(
        &self,
        registry: &InterruptibleClient,
        candidate: &Candidate,
    ) -> Result<Publication, PublishError> {
        let config = self.config()?;
        let size_bytes = candidate.file.size_bytes();
        let undigested = self.plan(candidate, Measurement { sha256: None, size_bytes })?;
        // What can differ without a digest is compared before the file is read.
        let registered = self.find_version(registry, candidate)?;
        self.check_same(&undigested, registered.as_ref())?;
        let target = self.find_object(&undigested)?;

        let plan = self.plan(candidate, self.digest(&candidate.file)?)?;
        self.check_same(&plan, registered.as_ref())?;
        let target = match target {
            Some(target) => Some(target),
            None => self.find_object(&plan)?,
        };
        let uploaded = match (&self.upload, target) {
            (Some(upload), Some(target)) => upload.run(&target, &candidate.file, &plan, &self.printed)?,
            _ => false,
        };
        let body = self.body(candidate, &plan, config.as_ref());
        let model = match registered {
            Some(model) => {
                print::line(&plan.already_registered(&model, uploaded));
                model
            }
            None => self.register(registry, candidate, &plan, &body)?,
        };
        Ok(Publication { model, body })
    }

    fn plan(&self, candidate: &Candidate, checkpoint: Measurement) -> Result<Plan, PublishError> {
        let version = VersionArg::named(&self.name, &candidate.version);
        let values = Values { sha256: checkpoint.sha256, ..candidate.values(&self.name) };
        let uri = self.destination.uri(&values)?;
        Ok(Plan { version, uri, checkpoint })
    }

    /// Returns the version as the registry has it, if it does.
    fn find_version(
        &self,
        registry: &InterruptibleClient,
        candidate: &Candidate,
    ) -> Result<Option<Value>, PublishError> {
        let (name, version) = (self.name.clone(), candidate.version.clone());
        match registry.call(Duration::ZERO, move |client| client.model_by_name(&name, &version)) {
            Ok(model) => Ok(Some(model)),
            Err(CallError::Client(ClientError::NotFound { .. })) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn check_same(&self, plan: &Plan, registered: Option<&Value>) -> Result<(), PublishError> {
        registered.map_or(Ok(()), |model| plan.check_same(model, self.upload.is_some()))
    }

    /// Looks up the object of an upload, if its URI is known.
    fn find_object(&self, plan: &Plan) -> Result<Option<upload::Target>, PublishError> {
        match (&self.upload, &plan.uri) {
            (Some(upload), Some(uri)) => upload.find(uri, plan.checkpoint.size_bytes).map(Some),
            _ => Ok(None),
        }
    }

    fn config(&self) -> Result<Option<(Measurement, Object)>, PublishError> {
        let read = |path| read_config(&OpenFile::open(path)?, |_| true);
        Ok(self.details.config_path.as_ref().map(read).transpose()?)
    }

    fn digest(&self, file: &OpenFile) -> Result<Measurement, ArtifactError> {
        progress::digest(file, || !self.interrupt.requested())
    }

    /// Registers the version. It also succeeds if the same version was registered in the meantime, by another publisher or
    /// by a request whose answer was lost.
    fn register(
        &self,
        registry: &InterruptibleClient,
        candidate: &Candidate,
        plan: &Plan,
        body: &Value,
    ) -> Result<Value, PublishError> {
        let version = &plan.version;
        let sent = body.clone();
        let error = match registry.call(LAST_ANSWER, move |client| client.register(&sent)) {
            Ok(model) => {
                self.printed.reset();
                print::line(&registration::summary(version, &model, Some(&plan.checkpoint), None));
                return Ok(model);
            }
            Err(CallError::Interrupted) => {
                return Err(PublishError {
                    class: ErrorClass::Interrupted,
                    failure: Failure::interrupted(format!(
                        "interrupted; {version} may have been registered; run the same command again to find out"
                    )),
                });
            }
            Err(error) => error,
        };
        if matches!(error, CallError::Client(ClientError::Conflict { .. } | ClientError::AnswerLost { .. }))
            && let Ok(Some(model)) = self.find_version(registry, candidate)
        {
            plan.check_same(&model, false).map_err(|error| self.with_object(plan, error))?;
            print::line(&plan.already_registered(&model, true));
            return Ok(model);
        }
        Err(self.with_object(plan, error.into()))
    }

    /// Adds to a failed registration that the object was uploaded.
    fn with_object(&self, plan: &Plan, error: PublishError) -> PublishError {
        let (Some(_), Some(uri)) = (&self.upload, &plan.uri) else { return error };
        let advice = match error.class {
            ErrorClass::Outage | ErrorClass::NotARegistry => self.retry_advice,
            _ => "fix that and run the same command again",
        };
        error.after(&format!(
            "{uri} is in place ({}), but {} is not registered for it ({advice}): ",
            plan.identity(),
            plan.version
        ))
    }

    fn body(&self, candidate: &Candidate, plan: &Plan, config: Option<&(Measurement, Object)>) -> Value {
        // Without a URI the registry derives one from the digest.
        let artifact_uri = plan.uri.as_deref().filter(|_| !matches!(self.destination, Destination::Unnamed));
        Value::from(Subject {
            name: &self.name,
            version: &candidate.version,
            artifact_uri,
            checkpoint: Some(&plan.checkpoint),
            config,
            local_paths: [None, None],
            details: &self.details,
            training_step: candidate.step,
            training_loss: self.training_loss,
            metrics: self.metrics.as_ref(),
        })
    }
}
