//! `registry watch`, against a real registry and a real S3 server.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    process::{Child, Command, Output},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json as value};
use tempfile::TempDir;

use crate::{
    Ran,
    fake_registry::{answer, json},
    gateway::Fate,
    object_server::{Fault, Gate, until, until_within},
    registry,
    scene::Scene,
    server::signal,
};

impl Scene {
    /// Returns the checkpoint of a step, in the watched folder.
    fn file(&self, step: u64) -> PathBuf {
        self.path(&format!("runs/checkpoint_step_{step}.pt"))
    }

    /// Writes the checkpoint of a step.
    fn checkpoint(&self, step: u64, text: &str) {
        fs::write(self.file(step), text).unwrap();
    }

    /// `registry watch` over the folder `runs`, uploading to `models/{basename}`.
    fn watch<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        self.watch_after("0.05", arguments)
    }

    /// Returns the same with another quiet period, in seconds.
    fn watch_after<'a>(&self, quiet: &'a str, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let fixed =
            ["watch", "--name", "m", "--checkpoint-dir", "runs", "--upload", "--stable-seconds", quiet];
        let mut command = self.command(fixed.into_iter().chain(arguments));
        command.args(["--artifact-uri-template", "s3://models/{basename}"]);
        command
    }

    /// Returns the number of registrations and of uploads that were requested.
    fn writes(&self) -> (usize, usize) {
        (self.gateway.requests("POST ").len(), self.store.requests("PUT ").len())
    }

    fn state(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("runs/.publish_state.json")).unwrap()).unwrap()
    }
}

/// A running watch, whose output goes to files.
struct Running {
    child: Child,
    folder: TempDir,
}

impl Running {
    fn of(command: &mut Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(folder.path().join(name)).unwrap();
        let child = command.stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
        Self { child, folder }
    }

    fn stdout(&self) -> String {
        fs::read_to_string(self.folder.path().join("stdout")).unwrap()
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap()
    }

    /// Waits until it has published these versions, in this order.
    #[track_caller]
    fn published(&self, versions: &[&str]) {
        until("not published", || self.stdout().matches('\n').count() >= versions.len());
        let stdout = self.stdout();
        let models = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let published: Vec<_> = models.map(|model| model["version"].as_str().unwrap().to_owned()).collect();
        assert_eq!(published, versions, "{}", self.stderr());
    }

    /// Waits until it has printed these words.
    #[track_caller]
    fn printed(&self, words: &str) {
        until(words, || self.stderr().contains(words));
    }

    fn ended(mut self) -> Ran {
        let status = self.child.wait().unwrap();
        let (stdout, stderr) = (self.stdout().into_bytes(), self.stderr().into_bytes());
        Ran::from(Output { status, stdout, stderr })
    }

    /// Sends a signal and asserts that it ended with success.
    fn stopped(self, by: &str) -> Ran {
        signal(self.child.id(), by);
        let ran = self.ended();
        assert_eq!(ran.code, 0, "{ran:?}");
        ran
    }
}

#[test]
fn checkpoints_are_published_as_they_appear() {
    let scene = Scene::new();
    scene.checkpoint(1, "one");
    scene.checkpoint(2, "two");
    let running = Running::of(&mut scene.watch(["--poll-seconds", "0.05"]));
    running.published(&["step-2"]);
    scene.checkpoint(10, "ten");
    running.published(&["step-2", "step-10"]);
    let model = scene.server.get("/models/by-name/m/step-10");
    assert_eq!(
        (&model["training_step"], &model["artifact_uri"]),
        (&value!(10), &value!("s3://models/checkpoint_step_10.pt"))
    );
    assert_eq!(fs::read_to_string(scene.store.path("checkpoint_step_10.pt")).unwrap(), "ten");
    // A file older than the latest is skipped.
    scene.checkpoint(5, "five");
    fs::remove_file(scene.file(10)).unwrap();
    running.printed("runs/checkpoint_step_5.pt is older than what was published last");
    let ran = running.stopped("INT");
    assert!(
        ran.stderr
            .starts_with("watching runs for checkpoints of m\nuploaded s3://models/checkpoint_step_2.pt"),
        "{ran:?}"
    );
    let state = scene.state();
    assert_eq!(
        (&state["last_step"], &state["last_path"]),
        (&value!(10), &value!("runs/checkpoint_step_10.pt"))
    );
    assert_eq!(scene.server.get("/stats")["total_models"], 2);
}

#[test]
fn a_slow_writer_is_waited_for_and_a_rename_is_seen() {
    let scene = Scene::new();
    let running = Running::of(&mut scene.watch_after("2", ["--poll-seconds", "0.05"]));
    running.printed("watching runs");
    // For longer than the quiet period, and with far shorter pauses.
    let mut file = File::create(scene.file(1)).unwrap();
    let begun = Instant::now();
    let mut pieces = 0;
    while begun.elapsed().as_millis() < 2500 {
        file.write_all(b"piece").unwrap();
        pieces += 1;
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(scene.writes(), (0, 0), "nothing was published while it was written");
    running.published(&["step-1"]);
    assert_eq!(fs::metadata(scene.store.path("checkpoint_step_1.pt")).unwrap().len(), pieces * 5);
    fs::write(scene.path("runs/checkpoint_step_2.pt.tmp"), "renamed").unwrap();
    fs::rename(scene.path("runs/checkpoint_step_2.pt.tmp"), scene.file(2)).unwrap();
    running.published(&["step-1", "step-2"]);
    assert_eq!(fs::read_to_string(scene.store.path("checkpoint_step_2.pt")).unwrap(), "renamed");
    running.stopped("TERM");
}

#[test]
fn all_are_published_in_the_order_of_steps_and_none_again_after_a_restart() {
    let scene = Scene::new();
    for (step, text) in [(10, "ten"), (9, "nine"), (100, "hundred")] {
        scene.checkpoint(step, text);
    }
    fs::write(scene.file(11), "").unwrap();
    let all = ["--all", "--poll-seconds", "0.05"];
    let running = Running::of(&mut scene.watch(all));
    running.published(&["step-9", "step-10", "step-100"]);
    running.stopped("TERM");
    let (writes, gets) = (scene.writes(), scene.gateway.requests("GET ").len());
    let running = Running::of(&mut scene.watch(all));
    running.printed("watching runs");
    scene.checkpoint(50, "fifty");
    running.published(&["step-50"]);
    running.stopped("TERM");
    assert_eq!(scene.writes(), (writes.0 + 1, writes.1 + 1));
    assert_eq!(scene.gateway.requests("GET ").len(), gets + 1, "what the state file knows is not asked for");
    assert_eq!(scene.state()["last_step"], 100);

    // Without the state file the registry knows, and nothing is uploaded or registered again.
    fs::remove_file(scene.path("runs/.publish_state.json")).unwrap();
    let ran = Ran::of(&mut scene.watch(["--all", "--once"]));
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 4), "{ran:?}");
    assert_eq!(ran.stderr.matches(": nothing to do").count(), 4, "{ran:?}");
    assert_eq!(scene.writes(), (writes.0 + 1, writes.1 + 1));
}

#[test]
fn an_unavailable_registry_is_retried() {
    let scene = Scene::new();
    scene.gateway.fate("", usize::MAX, Fate::Dropped);
    scene.checkpoint(1, "one");
    let running = Running::of(&mut scene.watch(["--poll-seconds", "0.05"]));
    running.printed("did not answer");
    let lines = running.stderr().lines().count();
    let asked = scene.gateway.requests("").len();
    until("it tries again", || scene.gateway.requests("").len() > asked);
    assert_eq!(running.stderr().lines().count(), lines, "it is reported once");
    scene.gateway.forward_all();
    running.published(&["step-1"]);
    running.stopped("TERM");
}

#[test]
fn a_proxy_that_answers_for_a_known_registry_is_an_outage() {
    let scene = Scene::new();
    let running = Running::of(&mut scene.watch([]));
    scene.checkpoint(1, "one");
    running.published(&["step-1"]);
    // A proxy answers during a redeploy, first to everything and then only to registrations.
    let lost = answer(404, "Content-Type: text/plain\r\n", "default backend - 404");
    scene.gateway.fate("GET ", 1, Fate::Answered(lost.clone()));
    scene.gateway.fate("POST ", 1, Fate::Answered(lost));
    scene.checkpoint(2, "two");
    running.published(&["step-1", "step-2"]);
    scene.gateway.fate("POST ", 1, Fate::Answered(json(404, r#"{"detail":"Not Found"}"#)));
    scene.checkpoint(3, "three");
    running.published(&["step-1", "step-2", "step-3"]);
    scene.gateway.fate("POST ", 1, Fate::Answered(json(429, r#"{"detail":"slow down"}"#)));
    scene.checkpoint(4, "four");
    running.published(&["step-1", "step-2", "step-3", "step-4"]);
    let ran = running.stopped("TERM");
    assert!(ran.stderr.contains("retrying until it works"), "{ran:?}");
}

#[test]
fn a_server_that_is_not_a_registry_ends_the_watch() {
    let scene = Scene::new();
    scene.checkpoint(1, "one");
    for body in ["<html>", r#"{"detail":"Not Found"}"#] {
        scene.gateway.fate("", usize::MAX, Fate::Answered(json(404, body)));
        let ran = Ran::of(&mut scene.watch([]));
        assert_eq!(ran.code, 1, "{ran:?}");
        scene.gateway.forward_all();
    }
}

#[test]
fn a_signal_ends_a_call_to_a_registry_that_hangs() {
    for (request, message) in
        [("GET ", "interrupted while the registry was asked"), ("POST ", "may have been registered")]
    {
        let scene = Scene::new();
        scene.checkpoint(1, "one");
        scene.gateway.fate(request, 1, Fate::Unanswered);
        let running = Running::of(&mut scene.watch(["--once"]));
        until("it asks", || !scene.gateway.requests(request).is_empty());
        signal(running.child.id(), "INT");
        let ran = running.ended();
        assert_eq!(ran.code, 130, "{ran:?}");
        assert!(ran.stderr.contains(message), "{ran:?}");
    }
}

#[test]
fn a_registration_that_fails_after_the_upload_is_retried() {
    let scene = Scene::new();
    scene.gateway.fate("POST ", 2, Fate::Answered(json(500, r#"{"detail":"broken"}"#)));
    scene.checkpoint(1, "one");
    let running = Running::of(&mut scene.watch([]));
    running.printed("s3://models/checkpoint_step_1.pt is in place");
    running.published(&["step-1"]);
    assert_eq!(scene.writes(), (3, 1), "registered at the third try, uploaded at the first");
    let ran = running.stopped("TERM");
    assert_eq!(ran.stderr.matches("is uploaded already").count(), 1, "{ran:?}");
}

#[test]
fn an_unavailable_store_is_retried() {
    let scene = Scene::new();
    // All tries of its client: one, and seven retries.
    scene.store.fault("checkpoint_step_1.pt", 8, Fault::Answer(503));
    scene.checkpoint(1, "one");
    let running = Running::of(&mut scene.watch([]));
    // Those retries take some ten seconds.
    until_within(Duration::from_secs(120), "is unavailable", || running.stderr().contains("is unavailable"));
    running.published(&["step-1"]);
    let ran = running.stopped("TERM");
    assert_eq!(ran.stderr.matches("retrying until it works").count(), 1, "{ran:?}");
    assert_eq!(fs::read_to_string(scene.store.path("checkpoint_step_1.pt")).unwrap(), "one");
}

#[test]
fn a_version_with_other_bytes_is_reported_once_and_others_continue() {
    let scene = Scene::new();
    let body = value!({"name": "m", "version": "step-1", "artifact_uri": "s3://elsewhere/x"});
    scene.server.post("/models", &body);
    scene.checkpoint(1, "one");
    scene.checkpoint(2, "two");
    let all = ["--all", "--poll-seconds", "0.05"];
    let running = Running::of(&mut scene.watch(all));
    running.published(&["step-2"]);
    scene.checkpoint(3, "three");
    running.published(&["step-2", "step-3"]);
    let ran = running.stopped("TERM");
    assert_eq!(
        ran.stderr.matches("m:step-1 is registered already, as model 1, and differs").count(),
        1,
        "{ran:?}"
    );
    assert!(ran.stderr.contains("skipped until the file changes"), "{ran:?}");

    let again = Running::of(&mut scene.watch(all));
    // A new run retries it, and so does this one when it is written again.
    again.printed("no size there and 3 bytes here");
    scene.checkpoint(1, "one, again");
    again.printed("and 10 bytes here");
    let ran = again.stopped("TERM");
    assert_eq!(ran.stderr.matches("and differs").count(), 2, "{ran:?}");
    assert_eq!(scene.server.get("/models/1")["artifact_uri"], "s3://elsewhere/x");
}

#[test]
fn a_refusal_lasts_no_longer_than_its_run() {
    let scene = Scene::new();
    scene.checkpoint(1, "one");
    fs::write(scene.store.path("checkpoint_step_1.pt"), "another").unwrap();
    for _ in 0..2 {
        let ran = Ran::of(&mut scene.watch(["--once"]));
        assert_eq!(ran.code, 5, "{ran:?}");
        assert!(ran.stderr.contains("--force-upload replaces it"), "{ran:?}");
    }
    let ran = Ran::of(&mut scene.watch(["--once", "--force-upload"]));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(fs::read_to_string(scene.store.path("checkpoint_step_1.pt")).unwrap(), "one");
}

#[test]
fn once_publishes_the_checkpoints_that_exist() {
    let scene = Scene::new();
    let ran = Ran::of(&mut scene.watch(["--once"]));
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    assert!(ran.stderr.ends_with("runs holds no checkpoint: nothing to do\n"), "{ran:?}");
    scene.checkpoint(1, "one");
    fs::write(scene.file(2), "").unwrap();
    let ran = Ran::of(&mut scene.watch(["--once"]));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap()["version"], "step-1");
    assert_eq!(ran.stdout.lines().count(), 1, "one line for a model");
    let ran = Ran::of(&mut scene.watch(["--once"]));
    assert!(ran.stderr.ends_with("runs holds no checkpoint to publish: nothing to do\n"), "{ran:?}");
}

#[test]
fn once_fails_with_the_exit_code_of_its_failure() {
    let scene = Scene::new();
    scene.checkpoint(1, "one");
    scene.gateway.fate("GET ", 1, Fate::Answered(json(503, r#"{"detail":"busy"}"#)));
    let ran = Ran::of(&mut scene.watch(["--once"]));
    assert_eq!(ran.code, 3, "{ran:?}");
    scene.gateway.fate("GET ", 1, Fate::Answered(json(401, r#"{"detail":"no"}"#)));
    let ran = Ran::of(&mut scene.watch(["--once"]));
    assert_eq!((ran.code, ran.stderr.matches("refused the API key").count()), (4, 1), "{ran:?}");
    scene.server.post("/models", &value!({"name": "m", "version": "step-1", "artifact_uri": "u"}));
    scene.checkpoint(2, "two");
    let ran = Ran::of(&mut scene.watch(["--once", "--all"]));
    assert_eq!((ran.code, ran.stdout.lines().count()), (5, 1), "the other one is published: {ran:?}");
    let ran = Ran::of(&mut scene.watch(["--once", "--checkpoint-dir-typo"]));
    assert_eq!(ran.code, 2);
}

#[test]
fn a_failure_that_concerns_all_checkpoints_ends_the_watch() {
    let scene = Scene::new();
    scene.checkpoint(1, "one");
    for (change, code, message) in [
        (("AWS_SECRET_ACCESS_KEY", "wrong"), 4, "refused the credentials"),
        (("CAIA_REGISTRY_URL", "nonsense"), 2, "set one like http://localhost:8001"),
    ] {
        let ran = Ran::of(scene.watch([]).env(change.0, change.1));
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.stderr.lines().last().unwrap().contains(message), "{ran:?}");
    }
    let mut command = scene.watch([]);
    fs::remove_dir_all(scene.store.path("")).unwrap();
    let ran = Ran::of(&mut command);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("there is no bucket"), "{ran:?}");
    assert_eq!(scene.server.get("/models"), value!([]));
}

#[test]
fn a_signal_in_the_middle_of_an_upload_leaves_nothing() {
    let scene = Scene::new();
    File::create(scene.file(1)).unwrap().set_len(20_000_000).unwrap();
    let gate = Gate::new();
    scene.store.fault("partNumber=2&", 1, Fault::Hold(gate.clone()));
    let running = Running::of(&mut scene.watch([]));
    gate.wait_for_a_request();
    let ran = running.stopped("TERM");
    assert!(
        ran.stderr.contains("interrupted; s3://models/checkpoint_step_1.pt is as it was before"),
        "{ran:?}"
    );
    assert!(!scene.store.path("checkpoint_step_1.pt").exists());
    assert_eq!(scene.store.unfinished(), [""; 0]);
    gate.open();
    // When started again, it continues.
    assert_eq!(Ran::of(&mut scene.watch(["--once"])).code, 0);
    assert_eq!(scene.server.get("/stats")["total_models"], 1);
}

#[test]
fn a_signal_ends_once_with_the_code_of_an_interruption() {
    let scene = Scene::new();
    File::create(scene.file(1)).unwrap().set_len(20_000_000).unwrap();
    let gate = Gate::new();
    scene.store.fault("partNumber=1&", 1, Fault::Hold(gate.clone()));
    let running = Running::of(&mut scene.watch(["--once"]));
    gate.wait_for_a_request();
    signal(running.child.id(), "INT");
    assert_eq!(running.ended().code, 130);
    gate.open();
}

#[test]
fn a_file_that_vanishes_or_changes_during_its_upload_does_not_end_the_watch() {
    let scene = Scene::new();
    File::create(scene.file(1)).unwrap().set_len(20_000_000).unwrap();
    let gate = Gate::new();
    scene.store.fault("checkpoint_step_1.pt?partNumber=1&", 1, Fault::Hold(gate.clone()));
    let running = Running::of(&mut scene.watch(["--poll-seconds", "0.05"]));
    gate.wait_for_a_request();
    File::options().append(true).open(scene.file(1)).unwrap().write_all(b"more").unwrap();
    gate.open();
    running.printed("changed while it was read");
    running.published(&["step-1"]);
    assert_eq!(scene.server.get("/models/1")["checkpoint_size_bytes"], 20_000_004);
    scene.checkpoint(2, "two");
    fs::remove_file(scene.file(2)).unwrap();
    scene.checkpoint(3, "three");
    running.published(&["step-1", "step-3"]);
    running.stopped("TERM");
}

#[test]
fn an_invalid_state_file_is_an_error_that_says_what_to_do() {
    let scene = Scene::new();
    scene.checkpoint(1, "one");
    fs::write(scene.path("runs/.publish_state.json"), "{half").unwrap();
    let line = Ran::of(&mut scene.watch([])).failed(1);
    assert!(line.contains("is not valid") && line.contains("remove it"), "{line}");
    let line = Ran::of(&mut scene.watch(["--state-file", "none/state.json"])).failed(1);
    assert!(line.contains("none/state.json"), "{line}");
    assert_eq!(scene.writes(), (0, 0));
    // A state file of 0.2.0 is read.
    let old = r#"{"last_step": 1, "last_path": "/old/runs/checkpoint_step_1.pt"}"#;
    fs::write(scene.path("runs/.publish_state.json"), old).unwrap();
    let ran = Ran::of(&mut scene.watch(["--once"]));
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
}

#[test]
fn a_second_watch_on_one_state_file_is_refused() {
    let scene = Scene::new();
    let running = Running::of(&mut scene.watch([]));
    running.printed("watching runs");
    let line = Ran::of(&mut scene.watch([])).failed(1);
    assert!(line.contains("another `registry watch` uses the state file runs/.publish_state.json"), "{line}");
    running.stopped("TERM");
    let ran = Ran::of(&mut scene.watch(["--once"]));
    assert_eq!(ran.code, 0, "the lock goes with its owner: {ran:?}");
}

#[test]
fn the_folder_may_be_created_later() {
    let scene = Scene::new();
    fs::remove_dir(scene.path("runs")).unwrap();
    let line = Ran::of(&mut scene.watch(["--once"])).failed(1);
    assert!(line.contains("runs does not exist; check the path"), "{line}");
    let running = Running::of(&mut scene.watch(["--poll-seconds", "0.05"]));
    running.printed("runs does not exist; waiting for it");
    fs::create_dir(scene.path("runs")).unwrap();
    scene.checkpoint(1, "one");
    running.published(&["step-1"]);
    running.stopped("TERM");
    let line = Ran::of(&mut scene.watch(["--checkpoint-dir", "runs/checkpoint_step_1.pt"]));
    assert_eq!(line.code, 2, "given twice");
}

#[test]
fn a_dry_run_shows_what_would_be_sent_and_records_nothing() {
    let scene = Scene::new();
    scene.checkpoint(1, "one");
    let mut command = scene.watch(["--once", "--dry-run"]);
    let ran = Ran::of(command.env_remove("CAIA_REGISTRY_API_KEY").env_remove("AWS_SECRET_ACCESS_KEY"));
    assert_eq!(ran.code, 0, "{ran:?}");
    let sent: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&sent["version"], ran.stdout.lines().count()), (&value!("step-1"), 1));
    assert!(ran.stderr.contains("3 B would go to s3://models/checkpoint_step_1.pt"), "{ran:?}");
    let names: Vec<_> =
        fs::read_dir(scene.path("runs")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["checkpoint_step_1.pt"]);
    assert_eq!((scene.gateway.requests("").len(), scene.store.requests("").len()), (0, 0));
}

#[test]
fn an_invalid_command_line_is_refused() {
    let scene = Scene::new();
    for (arguments, complaint) in [
        (&["--stable-seconds=-1"][..], "like 2 or 0.5"),
        (&["--poll-seconds", "soon"], "like 2 or 0.5"),
        (&["--artifact-uri=u"], "unexpected argument"),
        (&["--force-upload", "--skip-upload-if-exists"], "cannot be used with"),
    ] {
        let ran = Ran::of(
            registry(["watch", "--name=m", "--checkpoint-dir=runs", "--upload"])
                .args(arguments)
                .arg("--artifact-uri-template=s3://b/{step}"),
        );
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.stderr.contains(complaint), "{}", ran.stderr);
    }
    for (template, complaint) in [
        ("s3://models/{name}.pt", "is the same URI for all checkpoints"),
        ("https://h/{step}", "use s3://, gs:// or az://"),
        ("s3://models/{step}/", "ends with a slash"),
    ] {
        let mut command = registry([
            "watch",
            "--name=m",
            "--checkpoint-dir=.",
            "--upload",
            "--dry-run",
            "--artifact-uri-template",
            template,
        ]);
        let line = Ran::of(command.current_dir(scene.folder.path())).failed(2);
        assert!(line.contains(complaint), "{line}");
    }
    let ran = Ran::of(&mut registry(["watch", "--help"]));
    for text in ["Examples:", "SIGTERM", "Exit codes:", "--stable-seconds", "--all"] {
        assert!(ran.stdout.contains(text), "{text}");
    }
}
