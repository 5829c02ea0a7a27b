//! Which checkpoints `registry watch` publishes, when, and what it remembers of them.

use std::{
    fs::{self, File},
    io::Write as _,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json as value};

use crate::{Ran, registry, scene::Scene, watch_runs::Running};

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
    drop(file);
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
fn a_folder_that_replaces_another_is_watched() {
    let scene = Scene::new();
    let flags = ["--poll-seconds", "0.05", "--state-file", "state.json"];
    scene.checkpoint(1, "one");
    let running = Running::of(&mut scene.watch(flags));
    running.published(&["step-1"]);
    fs::create_dir(scene.path("next")).unwrap();
    fs::write(scene.path("next/checkpoint_step_2.pt"), "two").unwrap();
    // In one step, which only an empty folder allows.
    fs::remove_file(scene.file(1)).unwrap();
    fs::rename(scene.path("next"), scene.path("runs")).unwrap();
    running.published(&["step-1", "step-2"]);
    scene.checkpoint(3, "three");
    running.published(&["step-1", "step-2", "step-3"]);
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
