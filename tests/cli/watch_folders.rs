//! Checkpoint folders of trainers: what `watch` and `publish` take as a checkpoint, and when it is complete.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    KEY, Ran, at,
    gateway::{Fate, Gateway},
    object_server::until,
    scene::Scene,
    server::{Server, signal},
    watch_runs::Running,
};

/// A server with an artifact store, and a folder `runs`.
struct Runs {
    server: Server,
    folder: TempDir,
}

impl Runs {
    fn new() -> Self {
        let (place, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let blobs = format!("file://{}/blobs", place.path().display());
        let server = Server::with(place, 0, |command| {
            command.env("CAIA_REGISTRY_API_KEY", KEY).env("CAIA_REGISTRY_ARTIFACT_STORE", blobs);
        });
        fs::create_dir(folder.path().join("runs")).unwrap();
        Self { server, folder }
    }

    fn write(&self, name: &str, content: &[u8]) {
        write(&self.folder.path().join("runs").join(name), content);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = at(&self.server.url, arguments);
        command.current_dir(self.folder.path()).env("XDG_CACHE_HOME", self.folder.path().join("cache"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    fn watch(&self, arguments: &[&str]) -> Command {
        let fixed =
            ["watch", "--name=m", "--checkpoint-dir=runs", "--stable-seconds=0.2", "--poll-seconds=0.05"];
        self.command(&[&fixed, arguments].concat())
    }

    /// Returns the labels and steps of all versions, oldest first, and their files.
    fn versions(&self) -> Vec<(String, i64, Vec<String>)> {
        let listed = self.server.get("/v1/models/m/versions");
        let mut versions = listed["versions"].as_array().unwrap().clone();
        versions.sort_by_key(|version| version["number"].as_i64());
        versions
            .iter()
            .map(|version| {
                let files = self.server.get(&format!("/v1/models/m/versions/{}/files", version["number"]));
                let files = files["files"].as_array().unwrap().iter();
                (
                    version["label"].as_str().unwrap().to_owned(),
                    version["training_step"].as_i64().unwrap(),
                    files.map(|file| file["path"].as_str().unwrap().to_owned()).collect(),
                )
            })
            .collect()
    }

    /// A process that holds a file of `runs` open for writing until its stdin ends.
    fn writer(&self, name: &str) -> Child {
        let script = "exec 3>>\"$1\"; echo open; read line";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", name]).current_dir(self.folder.path().join("runs"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut opened = [0; 5];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut opened).unwrap();
        child
    }
}

fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn close(mut writer: Child) {
    drop(writer.stdin.take());
    writer.wait().unwrap();
}

/// A file with one tensor of this many bytes.
fn safetensors(bytes: usize) -> Vec<u8> {
    let header = format!(r#"{{"w":{{"dtype":"U8","shape":[{bytes}],"data_offsets":[0,{bytes}]}}}}"#);
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![7; bytes]].concat()
}

/// A GGUF file with one tensor of 16 numbers.
fn gguf() -> Vec<u8> {
    let eight = u64::to_le_bytes;
    let start = [&b"GGUF\x03\0\0\0"[..], &eight(1), &eight(0), &eight(1), b"w", b"\x01\0\0\0", &eight(16)];
    let mut file = [&start.concat()[..], b"\0\0\0\0", &eight(0)].concat();
    file.resize(file.len().next_multiple_of(32) + 64, 0);
    file
}

#[test]
fn folders_of_trainers_become_versions_with_all_their_files() {
    let runs = Runs::new();
    let weights = safetensors(3000);
    runs.write("checkpoint-500/model.safetensors", &weights);
    runs.write("checkpoint-500/config.json", br#"{"hidden_size": 384}"#);
    runs.write("checkpoint-500/optimizer.pt", b"state");
    runs.write("iter_0001000/mp_rank_00/model_optim_rng.pt", b"megatron");
    runs.write("step_2000/.metadata", b"dcp");
    runs.write("step_2000/__0_0.distcp", b"shard");
    runs.write("epoch=3-step=1500.ckpt", b"lightning");
    runs.write("last.ckpt", b"lightning");
    runs.write("tmp-checkpoint-3000/model.safetensors", b"half");
    runs.write("trainer.log", b"a log is no checkpoint");
    fs::create_dir(runs.folder.path().join("runs/checkpoint-9")).unwrap();

    let ran = Ran::of(&mut runs.watch(&["--once", "--all", "--without-optimizer"]));
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 4), "{ran:?}");
    for text in [
        "runs/last.ckpt is passed over: its name gives no step",
        "runs/tmp-checkpoint-3000 is passed over: its name gives no step",
        "runs/checkpoint-9 is passed over: it is empty",
        "runs/checkpoint-500: kept out: optimizer.pt",
        "uploaded 2 files (3.1 kB) of 2 files to the registry's store",
        "registered m:step-500 with id 1 (2 files",
    ] {
        assert_eq!(ran.stderr.matches(text).count(), 1, "{text}: {}", ran.stderr);
    }
    assert!(!ran.stderr.contains("trainer.log"), "{ran:?}");
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let expected = [
        ("step-500".to_owned(), 500, names(&["config.json", "model.safetensors"])),
        ("step-1000".to_owned(), 1000, names(&["mp_rank_00/model_optim_rng.pt"])),
        ("step-1500".to_owned(), 1500, names(&["epoch=3-step=1500.ckpt"])),
        ("step-2000".to_owned(), 2000, names(&[".metadata", "__0_0.distcp"])),
    ];
    assert_eq!(runs.versions(), expected);
    let pulled = runs.run(&["pull", "m:step-500", "--to", "pulled"]);
    assert_eq!(pulled.code, 0, "{pulled:?}");
    assert_eq!(fs::read(runs.folder.path().join("pulled/model.safetensors")).unwrap(), weights);

    let again = Ran::of(&mut runs.watch(&["--once", "--all", "--without-optimizer"]));
    assert!(
        again.code == 0 && again.stderr.contains("holds no checkpoint to publish: nothing to do"),
        "{again:?}"
    );
    // Without the state file, the registry knows.
    fs::remove_file(runs.folder.path().join("runs/.publish_state.json")).unwrap();
    let again = Ran::of(&mut runs.watch(&["--once", "--all", "--without-optimizer"]));
    assert_eq!(again.stderr.matches("is registered already").count(), 4, "{again:?}");
    assert_eq!(runs.versions(), expected);
}

#[test]
fn a_folder_whose_file_a_process_still_writes_is_waited_for() {
    let runs = Runs::new();
    runs.write("checkpoint-1/model.safetensors", &safetensors(10));
    runs.write("checkpoint-2/model.safetensors", &safetensors(20));
    let writer = runs.writer("checkpoint-2/model.safetensors");
    let held =
        format!("runs/checkpoint-2/model.safetensors is open for writing by sh (process {})", writer.id());

    let refused = runs.run(&["publish", "m", "runs/checkpoint-2"]).failed(1);
    assert!(refused.contains(&held), "{refused}");
    let refused = Ran::of(&mut runs.watch(&["--once"])).failed(1);
    assert!(refused.contains(&held), "{refused}");
    let path = "runs/checkpoint-2/model.safetensors";
    let refused = runs.run(&["publish", "--name=m", "--checkpoint-path", path]).failed(1);
    assert!(refused.contains(&held), "{refused}");
    assert_eq!(runs.server.get("/stats")["total_models"], 0);

    // The latest complete one.
    let ran = runs.run(&["publish", "--name=m", "--checkpoint-dir=runs"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stderr.starts_with("passed over: ")
            && ran.stderr.contains(&held)
            && ran.stderr.contains("the latest complete checkpoint is runs/checkpoint-1"),
        "{ran:?}"
    );

    let running = Running::of(&mut runs.watch(&["--all"]));
    running.printed(&held);
    running.printed("m:step-1 is registered already");
    assert_eq!(runs.server.get("/stats")["total_models"], 1);
    close(writer);
    running.printed("registered m:step-2");
    let ran = running.stopped("TERM");
    assert_eq!(ran.stderr.matches(&held).count(), 1, "named once: {ran:?}");
    assert_eq!(runs.versions().len(), 2);
}

#[test]
fn a_folder_with_a_file_shorter_than_its_header_says_is_waited_for() {
    let runs = Runs::new();
    let (model, other) = (safetensors(100), gguf());
    runs.write("step_1/model.safetensors", &model[..model.len() - 1]);
    runs.write("step_1/model.gguf", &other[..other.len() - 1]);
    let running = Running::of(&mut runs.watch(&[]));
    for (name, bytes) in [("model.safetensors", model.len()), ("model.gguf", other.len())] {
        let (announced, there) = (bytes, bytes - 1);
        let text = format!(
            "runs/step_1/{name} is cut off: its header announces {announced} bytes, and it has {there}"
        );
        running.printed(&text);
        for arguments in
            [&["publish", "m", "runs/step_1"][..], &["publish", "--name=m", "--checkpoint-dir=runs"]]
        {
            let refused = runs.run(arguments);
            assert!(refused.code == 1 && refused.stderr.contains(&text), "{refused:?}");
        }
    }
    let refused = runs.run(&["publish", "--name=m", "--checkpoint-path=runs/step_1/model.gguf"]).failed(1);
    assert!(refused.contains("model.gguf is cut off"), "{refused}");
    assert_eq!(runs.server.get("/stats")["total_models"], 0);
    runs.write("step_1/model.safetensors", &model);
    runs.write("step_1/model.gguf", &other);
    running.printed("registered m:step-1 with id 1 (2 files");
    running.stopped("INT");
}

#[test]
fn a_pattern_names_other_checkpoints() {
    let runs = Runs::new();
    runs.write("ep1-0100/model.bin", b"a");
    runs.write("ep2-0200/model.bin", b"b");
    runs.write("checkpoint-300/model.bin", b"c");
    let ran = Ran::of(&mut runs.watch(&["--once", "--all", "--pattern=ep*-{step}"]));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("runs/checkpoint-300 is passed over: its name gives no step"), "{ran:?}");
    let labels: Vec<_> = runs.versions().into_iter().map(|(label, step, _)| (label, step)).collect();
    assert_eq!(labels, [("step-100".to_owned(), 100), ("step-200".to_owned(), 200)]);
    // After a restart, older ones are older.
    runs.write("ep1-0150/model.bin", b"d");
    fs::remove_dir_all(runs.folder.path().join("runs/ep2-0200")).unwrap();
    let ran = Ran::of(&mut runs.watch(&["--once", "--pattern=ep*-{step}"]));
    assert!(ran.stderr.contains("runs/ep1-0150 is older than what was published last"), "{ran:?}");

    let arguments =
        ["publish", "--name=m", "--checkpoint-dir=runs", "--pattern", "ep*-{step}", "--version=best"];
    let ran = runs.run(&arguments);
    assert_eq!(ran.code, 0, "{ran:?}");
    let (label, step, files) = runs.versions().pop().unwrap();
    assert_eq!((label.as_str(), step, files), ("best", 150, vec!["model.bin".to_owned()]));
    for pattern in ["model-*", "a/{step}", "{step}{step}"] {
        let ran = Ran::of(&mut runs.watch(&["--once", "--pattern", pattern]));
        assert!(ran.code == 2 && ran.stderr.contains("--pattern"), "{ran:?}");
    }
    let ran = runs.run(&["watch", "--name=m", "--checkpoint-dir=runs", "--upload"]).failed(2);
    assert!(ran.contains("--upload needs a destination"), "{ran}");
}

#[test]
fn a_folder_goes_to_the_place_of_the_template_beside_files() {
    let scene = Scene::new();
    write(&scene.path("runs/checkpoint-500/model.safetensors"), &safetensors(10));
    write(&scene.path("runs/checkpoint-500/sub/config.json"), b"{}");
    scene.checkpoint(7, "seven");
    let ran = Ran::of(&mut scene.watch(["--once", "--all"]));
    assert_eq!(ran.code, 0, "{ran:?}");
    let published: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&published[0]["version"], &published[1]["label"]), (&"step-7".into(), &"step-500".into()));
    assert_eq!(published[1]["artifact_uri"], "s3://models/checkpoint-500");
    assert_eq!(fs::read(scene.store.path("checkpoint-500/model.safetensors")).unwrap(), safetensors(10));
    assert_eq!(fs::read(scene.store.path("checkpoint-500/sub/config.json")).unwrap(), b"{}");
}

#[test]
fn an_unavailable_registry_delays_a_folder_and_a_signal_ends_a_call_for_it() {
    let runs = Runs::new();
    runs.write("checkpoint-500/model.safetensors", &safetensors(10));
    runs.write("checkpoint-500/config.json", b"{}");
    let gateway = Gateway::to(&runs.server.url);
    gateway.fate("POST /v1/", 1, Fate::Dropped);
    gateway.fate("POST /v1/", 1, Fate::AnswerLost);
    let watch = |arguments: &[&str]| {
        let mut command = runs.watch(arguments);
        command.env("CAIA_REGISTRY_URL", &gateway.url);
        command
    };
    let running = Running::of(&mut watch(&[]));
    running.printed("retrying until it works");
    running.printed("with id 1");
    let ran = running.stopped("TERM");
    assert_eq!(ran.stderr.matches("uploaded 2 files").count(), 1, "not again: {ran:?}");
    assert_eq!((runs.versions().len(), ran.stdout.lines().count()), (1, 1), "{ran:?}");

    for request in ["GET /v1/", "POST /v1/"] {
        runs.write("checkpoint-600/model.safetensors", &safetensors(20));
        gateway.fate(request, 1, Fate::Unanswered);
        let before = gateway.requests(request).len();
        let running = Running::of(&mut watch(&["--once"]));
        until("it asks", || gateway.requests(request).len() > before);
        signal(running.child.id(), "INT");
        let ran = running.ended();
        assert!(ran.code == 130 && ran.stderr.contains("interrupted"), "{request}: {ran:?}");
    }
    let ran = Ran::of(&mut watch(&["--once"]));
    assert!(ran.code == 0 && ran.stderr.contains("registered m:step-600"), "{ran:?}");
    assert_eq!(runs.versions().len(), 2);
}

#[test]
fn a_version_with_other_files_is_reported_once_and_others_continue() {
    let runs = Runs::new();
    runs.write("step_1/model.bin", b"one");
    let ran = Ran::of(&mut runs.watch(&["--once"]));
    assert_eq!(ran.code, 0, "{ran:?}");
    runs.write("step_1/model.bin", b"other");
    runs.write("step_2/model.bin", b"two");
    let running = Running::of(&mut runs.watch(&["--all"]));
    running.printed("registered m:step-2");
    let ran = running.stopped("TERM");
    assert_eq!(
        ran.stderr.matches("m:step-1 is registered already, with id 1, and differs").count(),
        1,
        "{ran:?}"
    );
    assert!(ran.stderr.contains("skipped until the file changes or the watch restarts"), "{ran:?}");
}
