//! Files on the server's disk: read where that is allowed, and only what may be read.

use std::{fs, path::Path};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Answer, TestApp};

mod digested;
mod refused;
mod root;

pub fn allowing() -> TestApp {
    TestApp::with(|settings| settings.rules.allow_local_paths = true)
}

/// Returns a file beside the database.
pub fn file(app: &TestApp, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = app.folder.path().join(name);
    fs::write(&path, content).unwrap();
    text(&path)
}

pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

pub fn sha256(content: impl AsRef<[u8]>) -> String {
    hex::encode(Sha256::digest(content))
}

pub fn register(app: &TestApp, fields: &Value) -> Answer {
    let mut body = json!({"name": "m", "version": "1"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    app.post("/models", &body)
}
