//! A folder with checkpoints, a registry behind a gateway, and an object store, for commands that publish.

use std::{fs, path::PathBuf, process::Command};

use tempfile::TempDir;

use crate::{KEY, gateway::Gateway, object_server::ObjectServer, registry, server::Server};

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
}
