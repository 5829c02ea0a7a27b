//! Publishing a file or a folder with all its files: digest, upload, register.
//!
//! The files go into the registry's own store, or into a bucket, or stay where they are. Each step looks at what exists, so
//! running it again finishes an interrupted publication and does nothing if all is done.

use serde_json::Value;

use super::{Destination, Plan, store, upload::Upload};
use crate::{
    artifact::{
        OpenFile, Values,
        objects::{ObjectError, ObjectUri},
        read_config,
    },
    cli::{
        details::Details,
        exit::Failure,
        interrupt::Interrupt,
        model_files::ModelFiles,
        object_flags::ObjectFlags,
        print::{self, OncePrinter},
        registration::{self, Subject},
        version_arg::VersionArg,
    },
    client::{BlobStore, Client, ClientError},
    domain::{Digest, Manifest, Measurement, VersionRef, json::Object, manifest::revision_of},
};

/// The help of `/v1` on a registry that lacks it.
const WITHOUT_V1: &str = "or publish one file with --name and --checkpoint-path";

/// A version to publish with its files.
pub(in crate::cli) struct FilesPublisher {
    pub(in crate::cli) name: String,
    /// Absent if the version's number becomes its label.
    pub(in crate::cli) label: Option<String>,
    pub(in crate::cli) step: Option<i64>,
    pub(in crate::cli) details: Details,
    pub(in crate::cli) training_loss: Option<f64>,
    pub(in crate::cli) metrics: Option<Object>,
    pub(in crate::cli) destination: Destination,
    /// Uploads the files to the destination.
    pub(in crate::cli) upload: Option<Upload>,
    /// Looks for the files at the destination.
    pub(in crate::cli) check: Option<ObjectFlags>,
    pub(in crate::cli) interrupt: Interrupt,
}

/// Where the files are.
enum Place {
    /// In the registry's own store.
    Store(BlobStore),
    /// At this URI; of several files, it is their folder.
    At(String),
    /// Nowhere that the registry knows.
    Unknown,
}

impl FilesPublisher {
    /// Publishes the files. Returns the version as `/v1` shows it, and the body of its registration without the files.
    ///
    /// # Errors
    /// Why it is not published.
    pub(in crate::cli) fn publish(
        &self,
        client: &Client,
        files: &ModelFiles,
    ) -> Result<(Value, Value), Failure> {
        let v1 = client.v1(WITHOUT_V1);
        let place = match self.uri(files, None)? {
            Some(uri) => Place::At(uri),
            None if matches!(self.destination, Destination::Unnamed) => {
                match client.blob_store(&self.name)? {
                    Some(store) => Place::Store(store),
                    None => Place::Unknown,
                }
            }
            // A template with the digest.
            None => Place::Unknown,
        };
        self.connect(&place, files)?;
        let interrupt = &self.interrupt;
        let manifest = files.digest(|| !interrupt.requested())?;
        let place = match place {
            Place::Unknown => self.uri(files, Some(manifest.digest()))?.map_or(Place::Unknown, Place::At),
            place => place,
        };
        let is_stored = matches!(place, Place::Store(_));
        let body = self.body(files, &manifest, &place)?;
        if let Some(version) = self.registered(client, &manifest)? {
            self.check_same(&version, &manifest, &place)?;
            print::line(&format!(
                "{} is registered already, with id {}: nothing to do",
                self.named(&version),
                version["id"]
            ));
            return Ok((version, body));
        }
        self.transfer(files, &manifest, &place)?;
        let mut full = body.clone();
        full["files"] = registration::files(&manifest);
        if self.interrupt.requested() {
            return Err(Failure::interrupted(
                "interrupted; nothing was registered; run the same command again",
            ));
        }
        let version = match v1.register(&self.name, &full) {
            Ok(version) => version,
            Err(error @ (ClientError::Conflict { .. } | ClientError::AnswerLost { .. })) => {
                // By another publisher, or by the request whose answer was lost.
                let found = self.registered(client, &manifest).ok().flatten();
                let Some(version) = found else { return Err(error.into()) };
                self.check_same(&version, &manifest, &place)?;
                version
            }
            Err(error) => return Err(error.into()),
        };
        let what = registration::measured(&Measurement {
            sha256: Some(manifest.digest()),
            size_bytes: manifest.summary(is_stored).total_bytes.unsigned_abs(),
        });
        let count = print::counted(manifest.files().len() as u64, "file");
        print::line(&format!(
            "registered {} with id {} ({count}, {what})",
            self.named(&version),
            version["id"]
        ));
        if let (Place::Unknown, _) | (Place::At(_), (None, None)) = (&place, (&self.upload, &self.check)) {
            let hint = if matches!(place, Place::At(_)) { "; --check looks" } else { "" };
            print::line(&format!(
                "this is a reference: nothing was uploaded, and nothing remote was checked{hint}"
            ));
        }
        Ok((version, body))
    }

    /// Digests the files and returns the body of their registration, without sending anything.
    ///
    /// # Errors
    /// If a file can't be read.
    pub(in crate::cli) fn dry_run(&self, files: &ModelFiles) -> Result<Value, Failure> {
        let interrupt = &self.interrupt;
        let manifest = files.digest(|| !interrupt.requested())?;
        let place = self.uri(files, Some(manifest.digest()))?.map_or(Place::Unknown, Place::At);
        let mut body = self.body(files, &manifest, &place)?;
        body["digest"] = manifest.digest().to_string().into();
        body["files"] = registration::files(&manifest);
        print::line("dry run: nothing was uploaded or sent");
        Ok(body)
    }

    /// Returns the URI of the destination, if there is one and it is known yet.
    fn uri(&self, files: &ModelFiles, sha256: Option<Digest>) -> Result<Option<String>, Failure> {
        if matches!(self.destination, Destination::Unnamed) {
            return Ok(None);
        }
        if let (Destination::Template(template), None) = (&self.destination, &self.label)
            && template.to_string().contains("{version}")
        {
            return Err(Failure::usage("the template has {version}; give the label with --version"));
        }
        let basename = files.path.file_name().and_then(|name| name.to_str());
        let version = self.label.as_deref().unwrap_or_default();
        let values = Values { name: &self.name, version, step: self.step, basename, sha256 };
        self.destination.uri(&values).map_err(|error| Failure::usage(error.to_string()))
    }

    /// Connects to the bucket before the files are read.
    fn connect(&self, place: &Place, files: &ModelFiles) -> Result<(), Failure> {
        let first = |uri| {
            let name = files.files.first().map_or("", |file| file.name.as_str());
            object(&object_of(uri, name, files.is_folder))
        };
        match (&self.upload, &self.check, place) {
            (None, None, _) => Ok(()),
            (Some(upload), _, Place::At(uri)) => Ok(upload.connect(&first(uri)?).map(drop)?),
            (None, Some(check), Place::At(uri)) => Ok(check.connect(&first(uri)?).map(drop)?),
            _ => Err(Failure::usage(
                "--upload and --check need the place of the files; give --artifact-uri or --artifact-uri-template",
            )),
        }
    }

    /// Returns the version as the registry has it, if it does: by its label, or else by its files.
    fn registered(&self, client: &Client, manifest: &Manifest) -> Result<Option<Value>, Failure> {
        let digest = manifest.digest().to_string();
        let reference = match &self.label {
            Some(label) => VersionRef::Label(self.name.clone(), label.clone()),
            None => VersionRef::Revision(self.name.clone(), revision_of(&digest).to_owned()),
        };
        match client.v1(WITHOUT_V1).version(&reference) {
            Ok(version) if self.label.is_none() && version["digest"] != digest => Ok(None),
            Ok(version) => Ok(Some(version)),
            Err(ClientError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Checks that a registered version has these files, at this place.
    fn check_same(&self, version: &Value, manifest: &Manifest, place: &Place) -> Result<(), Failure> {
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
        Err(Failure::conflict(format!(
            "{} is registered already, with id {}, and differs: {}; publish this under another version",
            self.named(version),
            version["id"],
            differences.join(", ")
        )))
    }

    /// Uploads the files to their place, or looks for them there.
    fn transfer(&self, files: &ModelFiles, manifest: &Manifest, place: &Place) -> Result<(), Failure> {
        match place {
            Place::Store(blobs) => {
                let (count, bytes) = store::upload(blobs, files, manifest, &self.interrupt)?;
                let total = print::counted(manifest.files().len() as u64, "file");
                print::line(&match count {
                    0 => format!("all {total} are in the registry's store"),
                    _ => {
                        let (count, size) = (print::counted(count, "file"), print::size(bytes));
                        format!("uploaded {count} ({size}) of {total} to the registry's store")
                    }
                });
                Ok(())
            }
            Place::At(uri) => self.transfer_to(uri, files, manifest),
            Place::Unknown => Ok(()),
        }
    }

    fn transfer_to(&self, uri: &str, files: &ModelFiles, manifest: &Manifest) -> Result<(), Failure> {
        let printed = OncePrinter::default();
        for file in manifest.files() {
            let target = object_of(uri, &file.path, files.is_folder);
            let size_bytes = file.size_bytes.unsigned_abs();
            if let Some(upload) = &self.upload {
                let found = files.named(&file.path).map(|found| found.path.clone()).unwrap_or_default();
                let checkpoint = Measurement { sha256: Some(file.sha256), size_bytes };
                let version = VersionArg::named(&self.name, self.label.as_deref().unwrap_or_default());
                let plan = Plan { version, uri: Some(target.clone()), checkpoint };
                let place = upload.find(&target, size_bytes).map_err(|error| error.failure)?;
                let open = OpenFile::open(found)?;
                upload.run(&place, &open, &plan, &printed).map_err(|error| error.failure)?;
            } else if let Some(check) = &self.check {
                let target = object(&target)?;
                let found = check.connect(&target)?.find(&target, &|| self.interrupt.requested())?;
                let found = found.ok_or_else(|| ObjectError::Missing { uri: target.clone() })?;
                let differs = found.sha256.is_some_and(|sha256| sha256 != file.sha256);
                if differs || found.size_bytes != size_bytes {
                    return Err(Failure::conflict(format!(
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
    fn body(&self, files: &ModelFiles, manifest: &Manifest, place: &Place) -> Result<Value, Failure> {
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
            version: self.label.as_deref().unwrap_or_default(),
            artifact_uri,
            checkpoint: None,
            config: config.as_ref(),
            local_paths: [None, None],
            details: &self.details,
            training_step: self.step,
            training_loss: self.training_loss,
            metrics: self.metrics.as_ref(),
        });
        registration::make_v1(&mut body, self.label.as_deref());
        if matches!(place, Place::Store(_)) {
            body["stored"] = true.into();
        }
        Ok(body)
    }

    fn named(&self, version: &Value) -> VersionArg {
        VersionArg::named(&self.name, version["label"].as_str().unwrap_or_default())
    }
}

fn object(uri: &str) -> Result<ObjectUri, Failure> {
    Ok(ObjectUri::parse(uri).map_err(ObjectError::from)?)
}

/// Returns the URI of a file at a place.
fn object_of(uri: &str, path: &str, is_folder: bool) -> String {
    if is_folder { format!("{}/{path}", uri.trim_end_matches('/')) } else { uri.to_owned() }
}
