//! Runs of `registry watch` for tests, over the folder `runs` of a scene.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Ran, object_server::until, scene::Scene, server::signal};

impl Scene {
    /// Returns the checkpoint of a step, in the watched folder.
    pub(crate) fn file(&self, step: u64) -> PathBuf {
        self.path(&format!("runs/checkpoint_step_{step}.pt"))
    }

    /// Writes the checkpoint of a step.
    pub(crate) fn checkpoint(&self, step: u64, text: &str) {
        fs::write(self.file(step), text).unwrap();
    }

    /// `registry watch` over the folder `runs`, uploading to `models/{basename}`.
    pub(crate) fn watch<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.watch_after("0.05", arguments)
    }

    /// Returns the same with another quiet period, in seconds.
    pub(crate) fn watch_after<'a>(
        &self,
        quiet: &'a str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Command {
        let fixed =
            ["watch", "--name", "m", "--checkpoint-dir", "runs", "--upload", "--stable-seconds", quiet];
        let mut command = self.command(fixed.into_iter().chain(arguments));
        command.args(["--artifact-uri-template", "s3://models/{basename}"]);
        command
    }

    /// Returns the number of registrations and of uploads that were requested.
    pub(crate) fn writes(&self) -> (usize, usize) {
        (self.gateway.requests("POST ").len(), self.store.requests("PUT ").len())
    }

    pub(crate) fn state(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("runs/.publish_state.json")).unwrap()).unwrap()
    }
}

/// A running watch, whose output goes to files.
pub(crate) struct Running {
    pub(crate) child: Child,
    folder: TempDir,
}

impl Running {
    pub(crate) fn of(command: &mut Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(folder.path().join(name)).unwrap();
        let child = command.stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
        Self { child, folder }
    }

    fn stdout(&self) -> String {
        fs::read_to_string(self.folder.path().join("stdout")).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap()
    }

    /// Waits until it has published these versions, in this order.
    #[track_caller]
    pub(crate) fn published(&self, versions: &[&str]) {
        until("not published", || self.stdout().matches('\n').count() >= versions.len());
        let stdout = self.stdout();
        let models = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let published: Vec<_> = models.map(|model| model["version"].as_str().unwrap().to_owned()).collect();
        assert_eq!(published, versions, "{}", self.stderr());
    }

    /// Waits until it has printed these words.
    #[track_caller]
    pub(crate) fn printed(&self, words: &str) {
        until(words, || self.stderr().contains(words));
    }

    pub(crate) fn ended(mut self) -> Ran {
        let status = self.child.wait().unwrap();
        let (stdout, stderr) = (self.stdout().into_bytes(), self.stderr().into_bytes());
        Ran::from(Output { status, stdout, stderr })
    }

    /// Sends a signal and asserts that it ended with success.
    pub(crate) fn stopped(self, by: &str) -> Ran {
        signal(self.child.id(), by);
        let ran = self.ended();
        assert_eq!(ran.code, 0, "{ran:?}");
        ran
    }
}
