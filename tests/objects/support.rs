//! Files, digests and a connection to the test server.

use std::{
    fs::{self, File},
    path::PathBuf,
    time::{Duration, SystemTime},
};

use model_registry::{
    artifact::{
        OpenFile,
        objects::{ObjectError, ObjectOptions, ObjectUri, Objects, Replace, Sizes},
    },
    domain::{Digest, Measurement},
};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::object_server::ObjectServer;

pub(crate) const MIB: usize = 1 << 20;

/// The smallest parts that the protocol allows, so that small files have many.
pub(crate) const SMALL: Sizes = Sizes { part_bytes: 5 * MIB, parts_at_once: 2 };

/// A file of `length` random bytes, written long ago.
pub(crate) struct LocalFile {
    _folder: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

impl LocalFile {
    pub(crate) fn new(length: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.pt");
        let mut random = fastrand::Rng::with_seed(length as u64);
        let mut bytes = vec![0; length];
        random.fill(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let old = SystemTime::now() - Duration::from_secs(3600);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        Self { _folder: folder, path, bytes }
    }

    pub(crate) fn open(&self) -> OpenFile {
        OpenFile::open(&self.path).unwrap()
    }

    pub(crate) fn digest(&self) -> Digest {
        digest(&self.bytes)
    }

    pub(crate) fn measurement(&self) -> Measurement {
        Measurement { sha256: Some(self.digest()), size_bytes: self.bytes.len() as u64 }
    }
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

pub(crate) fn uri(text: &str) -> ObjectUri {
    ObjectUri::parse(text).unwrap()
}

/// Connects with the variables of the server, some of them changed; a blank one is unset.
pub(crate) fn connect_with(server: &ObjectServer, changed: &[(&str, &str)]) -> Result<Objects, ObjectError> {
    connect_to("s3://models/x", server, changed)
}

/// Connects to the bucket of another object.
pub(crate) fn connect_to(
    of: &str,
    server: &ObjectServer,
    changed: &[(&str, &str)],
) -> Result<Objects, ObjectError> {
    let variable = |name: &str| {
        let changed = changed.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned());
        changed.or_else(|| server.variables().into_iter().find(|(of, _)| *of == name).map(|(_, value)| value))
    };
    Objects::connect(&uri(of), &ObjectOptions::default(), variable)
}

pub(crate) fn connect(server: &ObjectServer) -> Objects {
    connect_with(server, &[]).unwrap().with_sizes(SMALL)
}

/// Uploads a file without an interruption, over any existing object.
pub(crate) fn upload(objects: &Objects, to: &str, file: &LocalFile) -> Result<(), ObjectError> {
    objects.upload(&uri(to), &file.open(), file.digest(), Replace::Anything, |_| {}, &|| false)
}

/// Uploads a file without an interruption, unless there is another object.
pub(crate) fn create(objects: &Objects, to: &str, file: &LocalFile) -> Result<(), ObjectError> {
    objects.upload(&uri(to), &file.open(), file.digest(), Replace::Nothing, |_| {}, &|| false)
}

/// Asserts that the object is the file, with its digest as the only metadata, and that no parts remain.
#[track_caller]
pub(crate) fn assert_uploaded(server: &ObjectServer, key: &str, file: &LocalFile) {
    assert!(fs::read(server.path(key)).unwrap() == file.bytes, "{key}");
    let attributes = server.attributes(key);
    let sha256 = digest(&file.bytes).to_string();
    assert_eq!(attributes["user_metadata"], serde_json::json!({ "sha256": sha256 }), "{key}");
    assert_eq!(attributes["content_type"], "application/octet-stream", "{key}");
    assert_eq!(server.unfinished(), [""; 0], "{key}");
    let found = connect(server).find(&uri(&format!("s3://models/{key}")), &|| false).unwrap().unwrap();
    assert_eq!(
        (found.size_bytes, found.sha256),
        (file.bytes.len() as u64, Some(digest(&file.bytes))),
        "{key}"
    );
}

/// Asserts that there is neither an object nor a part of one.
#[track_caller]
pub(crate) fn assert_nothing_there(server: &ObjectServer, key: &str) {
    assert!(!server.path(key).exists(), "{key}");
    assert_eq!(server.unfinished(), [""; 0]);
    assert_eq!(connect(server).find(&uri(&format!("s3://models/{key}")), &|| false).unwrap(), None);
}
