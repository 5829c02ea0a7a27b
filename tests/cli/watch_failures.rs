//! What `registry watch` retries, skips, or ends with: outages, refusals, files that change, and signals.

use std::{
    fs::{self, File},
    io::Write as _,
    time::Duration,
};

use serde_json::json as value;

use crate::{
    Ran,
    fake_registry::{answer, json},
    gateway::Fate,
    object_server::{Fault, Gate, until, until_within},
    scene::Scene,
    server::signal,
    watch_runs::Running,
};

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
        [("GET ", "interrupted while waiting for the registry"), ("POST ", "may have been registered")]
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
        ran.stderr.matches("m:step-1 is registered already, with id 1, and differs").count(),
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
