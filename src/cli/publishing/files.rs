//! Publishing a file or a folder with all its files: digest, upload, register.
//!
//! The files go into the registry's own store, or into a bucket, or stay where they are. Each step looks at what exists, so
//! running it again finishes an interrupted publication and does nothing if all is done.

use std::time::Duration;

use serde_json::Value;

use super::{CallError, Destination, InterruptibleClient, LAST_ANSWER, Plan, Publication, Publisher, store};
use crate::{
    artifact::{
        OpenFile, Values,
        objects::{ObjectError, ObjectUri},
        read_config,
    },
    cli::{
        exit::Failure,
        model_files::ModelFiles,
        print::{self, OncePrinter},
        publish_error::{ErrorClass, PublishError},
        registration::{self, Subject},
        version_arg::VersionArg,
    },
    client::{BlobStore, ClientError},
    domain::{Digest, Manifest, Measurement, VersionRef, manifest::revision_of},
};

/// The help of `/v1` on a registry that lacks it.
const WITHOUT_V1: &str = "or publish one file with --name and --checkpoint-path";

/// A file or a folder to publish with all its files.
#[derive(Debug)]
pub(in crate::cli) struct FilesCandidate {
    pub(in crate::cli) files: ModelFiles,
    /// Absent if the version's number becomes its label.
    pub(in crate::cli) label: Option<String>,
    pub(in crate::cli) step: Option<i64>,
}

/// Where the files are.
enum Place {
    /// In the registry's own store.
    Store(Box<BlobStore>),
    /// At this URI; of several files, it is their folder.
    At(String),
    /// Nowhere that the registry knows.
    Unknown,
}

impl Publisher {
    /// Publishes files, as far as that is not done yet; in a dry run it only shows what would be done. The version is as `/v1`
    /// shows it, and the body of a registration is without the files.
    ///
    /// # Errors
    /// Why they are not published.
    pub(in crate::cli) fn publish_files(
        &self,
        candidate: &FilesCandidate,
    ) -> Result<Publication, PublishError> {
        match &self.registry {
            Some(registry) => self.publish_files_at(registry, candidate),
            None => self.dry_run_of_files(candidate),
        }
    }

    fn publish_files_at(
        &self,
        registry: &InterruptibleClient,
        candidate: &FilesCandidate,
    ) -> Result<Publication, PublishError> {
        let files = &candidate.files;
        let place = match self.uri_of_files(candidate, None)? {
            Some(uri) => Place::At(uri),
            None if matches!(self.destination, Destination::Unnamed) => {
                let name = self.name.clone();
                match registry.call(Duration::ZERO, move |client| client.blob_store(&name))? {
                    Some(store) => Place::Store(Box::new(store)),
                    None => Place::Unknown,
                }
            }
            // A template with the digest.
            None => Place::Unknown,
        };
        self.connect(&place, files)?;
        let manifest = self.manifest(files)?;
        let place = match place {
            Place::Unknown => {
                self.uri_of_files(candidate, Some(manifest.digest()))?.map_or(Place::Unknown, Place::At)
            }
            place => place,
        };
        let body = self.body_of_files(candidate, &manifest, &place)?;
        if let Some(model) = self.registered(registry, candidate, &manifest)? {
            self.check_same_files(&model, &manifest, &place)?;
            print::line(&format!(
                "{} is registered already, with id {}: nothing to do",
                self.named(&model),
                model["id"]
            ));
            return Ok(Publication { model, body });
        }
        self.transfer(candidate, &manifest, &place)?;
        let model = self.register_files(registry, candidate, &manifest, &place, &body)?;
        self.printed.reset();
        self.report(&model, &manifest, &place);
        Ok(Publication { model, body })
    }

    /// Registers the version. It also succeeds if the same version was registered by another publisher, or by the request
    /// whose answer was lost.
    fn register_files(
        &self,
        registry: &InterruptibleClient,
        candidate: &FilesCandidate,
        manifest: &Manifest,
        place: &Place,
        body: &Value,
    ) -> Result<Value, PublishError> {
        let mut full = body.clone();
        full["files"] = registration::files(manifest);
        let interrupted = |what: &str| PublishError {
            class: ErrorClass::Interrupted,
            failure: Failure::interrupted(format!("interrupted; {what}; run the same command again")),
        };
        if self.interrupt.requested() {
            return Err(interrupted("nothing was registered"));
        }
        let name = self.name.clone();
        match registry.call(LAST_ANSWER, move |client| client.v1(WITHOUT_V1).register(&name, &full)) {
            Ok(model) => Ok(model),
            Err(CallError::Interrupted) => Err(interrupted("the version may have been registered")),
            Err(error) => {
                let may_be_there = matches!(
                    error,
                    CallError::Client(ClientError::Conflict { .. } | ClientError::AnswerLost { .. })
                );
                let found =
                    may_be_there.then(|| self.registered(registry, candidate, manifest).ok().flatten());
                let Some(model) = found.flatten() else { return Err(error.into()) };
                self.check_same_files(&model, manifest, place)?;
                Ok(model)
            }
        }
    }

    /// Prints what was registered.
    fn report(&self, model: &Value, manifest: &Manifest, place: &Place) {
        let is_stored = matches!(place, Place::Store(_));
        let what = registration::measured(&Measurement {
            sha256: Some(manifest.digest()),
            size_bytes: manifest.summary(is_stored).total_bytes.unsigned_abs(),
        });
        let count = print::counted(manifest.files().len() as u64, "file");
        print::line(&format!("registered {} with id {} ({count}, {what})", self.named(model), model["id"]));
        if let (Place::Unknown, _) | (Place::At(_), (None, None)) = (place, (&self.upload, &self.check)) {
            let hint = if matches!(place, Place::At(_)) { "; --check looks" } else { "" };
            print::line(&format!(
                "this is a reference: nothing was uploaded, and nothing remote was checked{hint}"
            ));
        }
    }

    /// Digests the files and returns the body of their registration, without sending anything.
    fn dry_run_of_files(&self, candidate: &FilesCandidate) -> Result<Publication, PublishError> {
        let manifest = self.manifest(&candidate.files)?;
        let place = self.uri_of_files(candidate, Some(manifest.digest()))?.map_or(Place::Unknown, Place::At);
        let mut body = self.body_of_files(candidate, &manifest, &place)?;
        body["digest"] = manifest.digest().to_string().into();
        body["files"] = registration::files(&manifest);
        print::line("dry run: nothing was uploaded or sent");
        Ok(Publication { model: body.clone(), body })
    }

    fn manifest(&self, files: &ModelFiles) -> Result<Manifest, PublishError> {
        let interrupt = &self.interrupt;
        let manifest = files.digest(|| !interrupt.requested()).map_err(|failure| {
            let class = if interrupt.requested() { ErrorClass::Interrupted } else { ErrorClass::NotReady };
            PublishError { class, failure }
        })?;
        files.confirm_unchanged()?;
        Ok(manifest)
    }

    /// Returns the URI of the destination, if there is one and it is known yet.
    fn uri_of_files(
        &self,
        candidate: &FilesCandidate,
        sha256: Option<Digest>,
    ) -> Result<Option<String>, PublishError> {
        let FilesCandidate { files, label, step } = candidate;
        if matches!(self.destination, Destination::Unnamed) {
            return Ok(None);
        }
        if let (Destination::Template(template), None) = (&self.destination, label)
            && template.to_string().contains("{version}")
        {
            return Err(usage("the template has {version}; give the label with --version"));
        }
        let basename = files.path.file_name().and_then(|name| name.to_str());
        let version = label.as_deref().unwrap_or_default();
        Ok(self.destination.uri(&Values { name: &self.name, version, step: *step, basename, sha256 })?)
    }

    /// Connects to the bucket before the files are read.
    fn connect(&self, place: &Place, files: &ModelFiles) -> Result<(), PublishError> {
        let first = |uri| {
            let name = files.files.first().map_or("", |file| file.name.as_str());
            object(&object_of(uri, name, files.is_folder))
        };
        match (&self.upload, &self.check, place) {
            (None, None, _) => Ok(()),
            (Some(upload), _, Place::At(uri)) => Ok(upload.connect(&first(uri)?).map(drop)?),
            (None, Some(check), Place::At(uri)) => Ok(check.connect(&first(uri)?).map(drop)?),
            _ => Err(usage(
                "--upload and --check need the place of the files; give --artifact-uri or --artifact-uri-template",
            )),
        }
    }

    /// Returns the version as the registry has it, if it does: by its label, or else by its files.
    fn registered(
        &self,
        registry: &InterruptibleClient,
        candidate: &FilesCandidate,
        manifest: &Manifest,
    ) -> Result<Option<Value>, PublishError> {
        let digest = manifest.digest().to_string();
        let reference = match &candidate.label {
            Some(label) => VersionRef::Label(self.name.clone(), label.clone()),
            None => VersionRef::Revision(self.name.clone(), revision_of(&digest).to_owned()),
        };
        match registry.call(Duration::ZERO, move |client| client.v1(WITHOUT_V1).version(&reference)) {
            Ok(version) if candidate.label.is_none() && version["digest"] != digest => Ok(None),
            Ok(version) => Ok(Some(version)),
            Err(CallError::Client(ClientError::NotFound { .. })) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Checks that a registered version has these files, at this place.
    fn check_same_files(
        &self,
        version: &Value,
        manifest: &Manifest,
        place: &Place,
    ) -> Result<(), PublishError> {
        let digest = manifest.digest().to_string();
        let mut differences = Vec::new();
        if version["digest"] != digest {
            let there = version["digest"].as_str().unwrap_or("unknown");
            differences.push(format!("the digest of its files is {there} there and {digest} here"));
        } else if version["file_count"] != manifest.files().len() {
            differences.push(format!(
                "it has {} files there and {} here",
                version["file_count"],
                manifest.files().len()
            ));
        }
        match place {
            Place::Store(_) if version["stored"] != true => {
                differences.push("its files are not in the registry's store".to_owned());
            }
            Place::At(uri) if version["artifact_uri"] != uri.as_str() => {
                let there = version["artifact_uri"].as_str().unwrap_or("nothing");
                differences.push(format!("its URI is {there} there and {uri} here"));
            }
            _ => {}
        }
        if differences.is_empty() {
            return Ok(());
        }
        Err(PublishError::conflict(format!(
            "{} is registered already, with id {}, and differs: {}; publish this under another version",
            self.named(version),
            version["id"],
            differences.join(", ")
        )))
    }

    /// Uploads the files to their place, or looks for them there.
    fn transfer(
        &self,
        candidate: &FilesCandidate,
        manifest: &Manifest,
        place: &Place,
    ) -> Result<(), PublishError> {
        match place {
            Place::Store(blobs) => {
                let (count, bytes) = store::upload(blobs, &candidate.files, manifest, &self.interrupt)?;
                let total = print::counted(manifest.files().len() as u64, "file");
                print::line(&match count {
                    0 if manifest.files().len() == 1 => "the file is in the registry's store".to_owned(),
                    0 => format!("all {total} are in the registry's store"),
                    _ => {
                        let (count, size) = (print::counted(count, "file"), print::size(bytes));
                        format!("uploaded {count} ({size}) of {total} to the registry's store")
                    }
                });
                Ok(())
            }
            Place::At(uri) => self.transfer_to(uri, candidate, manifest),
            Place::Unknown => Ok(()),
        }
    }

    fn transfer_to(
        &self,
        uri: &str,
        candidate: &FilesCandidate,
        manifest: &Manifest,
    ) -> Result<(), PublishError> {
        let FilesCandidate { files, label, .. } = candidate;
        let printed = OncePrinter::default();
        for file in manifest.files() {
            let target = object_of(uri, &file.path, files.is_folder);
            let size_bytes = file.size_bytes.unsigned_abs();
            if let Some(upload) = &self.upload {
                let found = files.named(&file.path).map(|found| found.path.clone()).unwrap_or_default();
                let checkpoint = Measurement { sha256: Some(file.sha256), size_bytes };
                let version = VersionArg::named(&self.name, label.as_deref().unwrap_or_default());
                let plan = Plan { version, uri: Some(target.clone()), checkpoint };
                let place = upload.find(&target, size_bytes)?;
                let open = OpenFile::open(found)?;
                upload.run(&place, &open, &plan, &printed)?;
            } else if let Some(check) = &self.check {
                let target = object(&target)?;
                let found = check.connect(&target)?.find(&target, &|| self.interrupt.requested())?;
                let found = found.ok_or_else(|| ObjectError::Missing { uri: target.clone() })?;
                let differs = found.sha256.is_some_and(|sha256| sha256 != file.sha256);
                if differs || found.size_bytes != size_bytes {
                    return Err(PublishError::conflict(format!(
                        "{target} is another object than {:?}: it has {} bytes, the file {size_bytes}; nothing was registered",
                        file.path, found.size_bytes
                    )));
                }
            }
        }
        if self.check.is_some() && self.upload.is_none() {
            print::line(&format!(
                "checked {} at {uri}",
                print::counted(manifest.files().len() as u64, "file")
            ));
        }
        Ok(())
    }

    /// Returns the body of `POST /v1/models/{name}/versions`, without the files.
    fn body_of_files(
        &self,
        candidate: &FilesCandidate,
        manifest: &Manifest,
        place: &Place,
    ) -> Result<Value, PublishError> {
        let FilesCandidate { files, label, step } = candidate;
        let own =
            manifest.config().and_then(|config| files.named(&config.path)).map(|config| config.path.clone());
        let config = match (&self.details.config_path, own) {
            (Some(path), _) => Some(read_config(&OpenFile::open(path)?, |_| true)?),
            // A file of that name need not be the configuration of a model.
            (None, Some(path)) => read_config(&OpenFile::open(path)?, |_| true).ok(),
            (None, None) => None,
        };
        let artifact_uri = if let Place::At(uri) = place { Some(uri.as_str()) } else { None };
        let mut body = Value::from(Subject {
            name: &self.name,
            version: label.as_deref().unwrap_or_default(),
            artifact_uri,
            checkpoint: None,
            config: config.as_ref(),
            local_paths: [None, None],
            details: &self.details,
            training_step: *step,
            training_loss: self.training_loss,
            metrics: self.metrics.as_ref(),
        });
        registration::make_v1(&mut body, label.as_deref());
        if matches!(place, Place::Store(_)) {
            body["stored"] = true.into();
        }
        Ok(body)
    }

    fn named(&self, version: &Value) -> VersionArg {
        VersionArg::named(&self.name, version["label"].as_str().unwrap_or_default())
    }
}

fn usage(message: &str) -> PublishError {
    PublishError { class: ErrorClass::Setup, failure: Failure::usage(message) }
}

fn object(uri: &str) -> Result<ObjectUri, PublishError> {
    Ok(ObjectUri::parse(uri).map_err(ObjectError::from)?)
}

/// Returns the URI of a file at a place.
fn object_of(uri: &str, path: &str, is_folder: bool) -> String {
    if is_folder { format!("{}/{path}", uri.trim_end_matches('/')) } else { uri.to_owned() }
}
