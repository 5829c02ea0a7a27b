//! `registry verify`: checks that a file or an object is the registered artifact.
//!
//! It only reads, so Ctrl-C may end it at any point.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

use clap::Args;
use serde_json::{Value, json};

use super::{
    exit::{self, Failure},
    location::Location,
    model_ref::ModelRef,
    object_flags::ObjectFlags,
    print, progress,
    remote::Remote,
};
use crate::{
    artifact::{
        OpenFile,
        objects::{ObjectError, ObjectUri},
    },
    domain::{Digest, Measurement},
};

const EXAMPLES: &str = "\
Examples:
  A file that was copied somewhere:
    registry verify tiny-gpt:v1 /models/tiny-gpt.pt
  The object that the registry names:
    registry verify tiny-gpt:v1
  An object on your own S3 server:
    registry verify tiny-gpt@production s3://models/tiny-gpt/v1/model.pt \\
      --s3-endpoint-url http://minio:9000";

/// Verify that a file or an object is the registered artifact.
///
/// Compares size and SHA-256 with the registry's; if the sizes differ, nothing is read. A match is one line on stdout, a
/// difference one line on stderr.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub struct Verify {
    /// The version: name:version, an id, or name@production
    #[arg(value_name = "MODEL")]
    model: ModelRef,
    /// The file, or an object like s3://bucket/key (or gs://, az://); without it the artifact that the registry names
    #[arg(value_name = "FILE_OR_URI")]
    source: Option<OsString>,
    /// Print the result as a JSON object on stdout
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    object_flags: ObjectFlags,
    #[command(flatten)]
    remote: Remote,
}

/// The artifact as it is registered.
struct Registered {
    id: Value,
    name: String,
    version: String,
    sha256: Digest,
    size_bytes: Option<u64>,
}

impl Verify {
    /// Compares and reports.
    ///
    /// # Errors
    /// If it is not that artifact, or could not be read.
    pub fn run(mut self) -> Result<(), Failure> {
        let connection = self.remote.connection()?;
        self.object_flags = self.object_flags.or(&connection.config.profile);
        let model = self.model.fetch(&connection.client()?)?;
        let registered = Registered::of(&self.model, &model)?;
        let source = self.source(&model)?;
        let found = self.measure(&source, registered.size_bytes)?;
        let source = source.to_string_lossy();
        let difference = registered.difference(&found);
        if self.json {
            print::result(&json!({
                "model": registered.id, "name": registered.name, "version": registered.version,
                "source": source, "matches": difference.is_none(),
                "expected": { "sha256": registered.sha256.to_string(), "size_bytes": registered.size_bytes },
                "found": { "sha256": found.sha256.map(|found| found.to_string()), "size_bytes": found.size_bytes },
            }))?;
        }
        let (name, version) = (&registered.name, &registered.version);
        match difference {
            Some(what) => Err(Failure::failed(format!("{source} is not {name}:{version}: {what}"))),
            None if self.json => Ok(()),
            None => print::result_line(&format!(
                "{name}:{version} is {source}: {}, sha256 {:.12}…",
                print::size(found.size_bytes),
                registered.sha256.to_string()
            )),
        }
    }

    /// Returns what to read: the argument, or the registered artifact.
    fn source(&self, model: &Value) -> Result<OsString, Failure> {
        if let Some(source) = &self.source {
            return Ok(source.clone());
        }
        match model["artifact_uri"].as_str() {
            // An invalid URI of a known store is reported when it is read.
            Some(uri) if ObjectUri::has_known_scheme(uri) || Location::registered(uri).is_some() => {
                Ok(uri.into())
            }
            uri => Err(Failure::usage(format!(
                "the artifact of {} is registered as {}, which can't be read from this machine; give the file to verify",
                self.model,
                uri.unwrap_or("nothing")
            ))),
        }
    }

    /// Digests it, unless its size differs already.
    fn measure(&self, source: &OsStr, expected_bytes: Option<u64>) -> Result<Measurement, Failure> {
        let differs = |size_bytes| expected_bytes.is_some_and(|expected| expected != size_bytes);
        match Location::given(source)? {
            Location::Object(uri) => {
                let objects = self.object_flags.connect(&uri)?;
                let found = objects.find(&uri, &|| false)?;
                let found = found.ok_or_else(|| ObjectError::Missing { uri: uri.clone() })?;
                if differs(found.size_bytes) {
                    return Ok(Measurement { sha256: None, size_bytes: found.size_bytes });
                }
                let bar = progress::only_bar(Path::new(uri.file_name()), found.size_bytes);
                Ok(objects.measure(&uri, |done| bar.set(done), &|| false)?)
            }
            Location::File(path) => {
                let opened = OpenFile::open(path)?;
                if differs(opened.size_bytes()) {
                    return Ok(Measurement { sha256: None, size_bytes: opened.size_bytes() });
                }
                Ok(progress::digest(&opened, || true)?)
            }
        }
    }
}

impl Registered {
    fn of(named: &ModelRef, model: &Value) -> Result<Self, Failure> {
        let text = |field: &str| model[field].as_str().unwrap_or_default().to_owned();
        let sha256 = Digest::parse("checkpoint_sha256", &text("checkpoint_sha256"))
            .map_err(|refusal| Failure::failed(refusal.to_string()))?;
        let Some(sha256) = sha256 else {
            return Err(Failure::failed(format!(
                "{named} was registered without a digest, so it can't be verified; \
                 register versions with their checkpoint, by `registry publish` or `registry ingest`"
            )));
        };
        Ok(Self {
            id: model["id"].clone(),
            name: text("name"),
            version: text("version"),
            sha256,
            size_bytes: model["checkpoint_size_bytes"].as_u64(),
        })
    }

    /// Returns what differs from the registration; `None` if nothing does.
    fn difference(&self, found: &Measurement) -> Option<String> {
        match (self.size_bytes, found.sha256) {
            (Some(expected), _) if expected != found.size_bytes => {
                Some(format!("it has {} bytes, registered are {expected}", found.size_bytes))
            }
            (_, Some(digest)) if digest != self.sha256 => {
                Some(format!("its sha256 is {digest}, registered is {}", self.sha256))
            }
            // The sizes do not differ, so it was read.
            _ => None,
        }
    }
}
