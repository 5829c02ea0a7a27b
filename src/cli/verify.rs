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
    object_flags::ObjectFlags,
    print, progress,
    remote::Remote,
    verify_folder,
    version_arg::{self, VersionArg},
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
  A folder:
    registry verify tiny-gpt@production /models/tiny-gpt
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
pub(super) struct Verify {
    /// The version: name:label, name@alias, name#number, or its id
    version: VersionArg,
    /// The file, the folder of the files, or an object like s3://bucket/key (or gs://, az://); without it the artifact that the registry names
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

impl Verify {
    /// Compares and reports.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        let connection = self.remote.connection()?;
        self.object_flags = self.object_flags.or(&connection.config.profile);
        let client = connection.client()?;
        if let Some(folder) = self.source.as_deref().map(Path::new).filter(|path| path.is_dir()) {
            return verify_folder::run(&client, &self.version, folder, self.json);
        }
        let model = self.version.fetch(&client)?;
        let sha256 = self.registered_digest(&model)?;
        let size_bytes = model["checkpoint_size_bytes"].as_u64();
        let source = self.source(&model)?;
        let actual = self.measure(&source, size_bytes)?;
        let difference = match (size_bytes, actual.sha256) {
            (Some(expected), _) if expected != actual.size_bytes => {
                Some(format!("it has {} bytes, expected {expected}", actual.size_bytes))
            }
            (_, Some(digest)) if digest != sha256 => {
                Some(format!("its sha256 is {digest}, expected {sha256}"))
            }
            // The sizes do not differ, so it was read.
            _ => None,
        };
        let source = source.to_string_lossy();
        if self.json {
            print::result(&json!({
                "model": model["id"], "name": model["name"], "version": model["version"],
                "source": source, "matches": difference.is_none(),
                "expected": { "sha256": sha256.to_string(), "size_bytes": size_bytes },
                "found": { "sha256": actual.sha256.map(|digest| digest.to_string()), "size_bytes": actual.size_bytes },
            }))?;
        }
        let label = version_arg::label(&model);
        match difference {
            Some(what) => Err(Failure::failed(format!("{source} is not {label}: {what}"))),
            None if self.json => Ok(()),
            None => {
                let size = print::size(actual.size_bytes);
                print::result_line(&format!(
                    "{label} is {source}: {size}, sha256 {:.12}…",
                    sha256.to_string()
                ))
            }
        }
    }

    fn registered_digest(&self, model: &Value) -> Result<Digest, Failure> {
        let text = model["checkpoint_sha256"].as_str().unwrap_or_default();
        Digest::parse("checkpoint_sha256", text).map_err(Failure::failed)?.ok_or_else(|| {
            Failure::failed(format!(
                "{} was registered without a digest, so it can't be verified; \
                 register versions with their checkpoint, by `registry publish` or `registry ingest`",
                self.version
            ))
        })
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
                self.version,
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
