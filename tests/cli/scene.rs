//! A folder with checkpoints, a registry behind a gateway, and an object store, for commands that publish.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;
use tempfile::TempDir;

use crate::{KEY, gateway::Gateway, object_server::ObjectServer, registry, server::Server};

/// `hello`, by `sha256sum`.
pub(crate) const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

pub(crate) struct Scene {
    pub(crate) folder: TempDir,
    pub(crate) server: Server,
    pub(crate) gateway: Gateway,
    pub(crate) store: ObjectServer,
}

impl Scene {
    /// Creates a scene with an empty folder `runs` and an empty bucket `models`.
    pub(crate) fn new() -> Self {
        let server = Server::start();
        let gateway = Gateway::to(&server.url);
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("runs")).unwrap();
        Self { folder, gateway, server, store: ObjectServer::with_bucket() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `registry` with these arguments in the folder, for this registry and this store.
    pub(crate) fn command<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = registry(arguments);
        command
            .env("CAIA_REGISTRY_API_KEY", KEY)
            .env("CAIA_REGISTRY_URL", &self.gateway.url)
            .current_dir(self.folder.path());
        self.store.env(&mut command);
        command
    }

    /// Returns a checkpoint that holds `text`.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// `registry publish --name m` with these arguments, at this registry and this store.
    pub(crate) fn publish<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.command(["publish", "--name", "m"].into_iter().chain(arguments))
    }

    /// Returns the same, uploading to `models/m/{basename}`.
    pub(crate) fn upload<'a>(&self, path: &'a Path, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let path = path.to_str().unwrap();
        let fixed =
            ["--checkpoint-path", path, "--upload", "--artifact-uri-template=s3://models/m/{basename}"];
        self.publish(fixed.into_iter().chain(arguments))
    }

    /// Asserts that neither the registry nor the store has anything, not even parts.
    #[track_caller]
    pub(crate) fn nothing_was_done(&self) {
        assert_eq!(self.server.get("/models"), json!([]));
        assert!(!self.store.path("m").exists(), "no object");
        assert_eq!(self.store.unfinished(), [""; 0]);
    }

    pub(crate) fn uploads(&self) -> usize {
        self.store.requests("PUT ").len()
    }
}
