//! Pulls that something goes wrong in: a server or a client that is killed, damaged bytes, a full disk.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::scene::{Cutter, PullScene, files_below};
use crate::{Ran, object_server::until, server::signal};

#[test]
fn a_server_that_is_killed_in_the_middle_and_comes_back_is_resumed_from() {
    let mut scene = PullScene::with_model();
    let cutter = Cutter::to(&scene.url, 12_000_000);
    let mut pull = scene.command_at(&cutter.url, ["pull", "m:v1", "--json"]);
    let running = pull.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the proxy never cut the connections", || cutter.is_cut());
    scene.restart();
    assert!(!scene.path("m").exists());
    cutter.open(&scene.url, i64::MAX);
    let (out, _) = Ran::from(running.wait_with_output().unwrap()).done();
    let result: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(files_below(&scene.path("m")), scene.model);
    // What had arrived was not fetched again.
    let fetched = result["fetched_bytes"].as_u64().unwrap();
    assert_eq!(fetched, 21_000_019, "{out}");
}

#[test]
fn a_server_that_stays_away_is_named_and_the_next_pull_resumes() {
    let scene = PullScene::with_model();
    let cutter = Cutter::to(&scene.url, 14_000_000);
    let mut pull = scene.command_at(&cutter.url, ["pull", "m:v1", "--connections", "1"]);
    let line = Ran::of(&mut pull).failed(3);
    assert!(line.contains("what has arrived is kept"), "{line}");
    assert!(!scene.path("m").exists() && scene.hidden().is_empty());
    let (out, _) = scene.pull(["m:v1", "--json"]).done();
    let fetched = serde_json::from_str::<Value>(&out).unwrap()["fetched_bytes"].as_u64().unwrap();
    assert!(fetched <= 13_000_000, "{out}");
    assert_eq!(files_below(&scene.path("m")), scene.model);
}

/// Starts a slow pull and waits until a part of it is on the disk.
fn half_done(scene: &PullScene, flags: &[&str]) -> std::process::Child {
    let cutter = Cutter::to(&scene.url, i64::MAX);
    cutter.slow_down(Duration::from_millis(10));
    let arguments = ["pull", "m:v1", "--connections", "1"].iter().chain(flags).copied();
    let mut pull = scene.command_at(&cutter.url, arguments);
    let child = pull.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("nothing arrived", || scene.unfinished_bytes() >= 1_000_000);
    cutter.slow_down(Duration::from_millis(500));
    child
}

#[test]
fn a_pull_that_is_killed_leaves_nothing_visible_and_the_next_one_resumes() {
    let scene = PullScene::with_model();
    for place in ["m", "there"] {
        if place == "there" {
            fs::create_dir(scene.path(place)).unwrap();
            fs::remove_dir_all(scene.path("cache")).unwrap();
        }
        let mut child = half_done(&scene, &["--to", place]);
        child.kill().unwrap();
        child.wait().unwrap();
        let kept = scene.unfinished_bytes();
        assert_eq!(
            files_below(&scene.path(place))
                .keys()
                .filter(|path| !path.starts_with(".registry-pull/"))
                .count(),
            0
        );
        let (out, _) = scene.pull(["m:v1", "--to", place, "--json"]).done();
        let fetched = serde_json::from_str::<Value>(&out).unwrap()["fetched_bytes"].as_u64().unwrap();
        assert!(kept > 0 && (21_000_000..=21_000_019).contains(&(fetched + kept)), "{kept} {out}");
        assert_eq!(files_below(&scene.path(place)), scene.model);
    }
    assert_eq!(scene.hidden(), Vec::<String>::new());
}

#[test]
fn without_a_cache_an_interrupted_pull_is_resumed_beside_its_folder() {
    let scene = PullScene::with_model();
    let child = half_done(&scene, &["--no-cache"]);
    signal(child.id(), "INT");
    assert_eq!(Ran::from(child.wait_with_output().unwrap()).code, 130);
    assert_eq!(scene.hidden(), [".m.registry-pull"]);
    let kept = scene.unfinished_bytes();
    let (out, _) = scene.pull(["m:v1", "--no-cache", "--json"]).done();
    let fetched = serde_json::from_str::<Value>(&out).unwrap()["fetched_bytes"].as_u64().unwrap();
    assert!(kept > 0 && fetched + kept <= 21_000_019, "{kept} {out}");
    assert_eq!(files_below(&scene.path("m")), scene.model);
    assert_eq!(scene.hidden(), Vec::<String>::new());
}

#[test]
fn ctrl_c_leaves_the_folder_as_it_was() {
    let scene = PullScene::with_model();
    let child = half_done(&scene, &[]);
    signal(child.id(), "INT");
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{ran:?}");
    assert!(ran.stderr.contains("m is as it was before, and what has arrived is kept"), "{ran:?}");
    assert!(!scene.path("m").exists() && scene.hidden().is_empty(), "{:?}", scene.hidden());
    scene.pull(["m:v1"]).done();
    assert_eq!(files_below(&scene.path("m")), scene.model);
}

/// Changes one byte of a file, whatever its permissions.
fn flip(path: &std::path::Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(path).unwrap();
    fs::File::create(path).unwrap().write_all(&bytes).unwrap();
}

#[test]
fn a_byte_that_flipped_in_the_store_is_never_pulled() {
    let scene = PullScene::with_model();
    flip(&scene.stored_weights());
    for connections in ["1", "4"] {
        let line = scene.pull(["m:v1", "--connections", connections]).failed(1);
        assert!(line.contains("sha256"), "{line}");
        assert!(!scene.path("m").exists() && scene.hidden().is_empty());
    }
    // Publishing the same files again repairs the store.
    scene.run(["publish", "m", "source", "--version", "v2"]).done();
    scene.pull(["m:v1"]).done();
    assert_eq!(files_below(&scene.path("m")), scene.model);
}

#[test]
fn a_damaged_cache_is_noticed_and_fetched_again() {
    let scene = PullScene::with_model();
    scene.pull(["m:v1"]).done();
    for name in ["weights.dat", "config.json"] {
        flip(&scene.cached_blob(name));
        let (_, err) = scene.pull(["m:v1", "--to", name]).done();
        assert_eq!(err, format!("warning: {name} was damaged in the cache and is removed from it\n"));
        assert_eq!(files_below(&scene.path(name)), scene.model);
    }
    flip(&scene.cached_blob("config.json"));
    let shown = scene.command(["cat", "m:v1", "config.json"]).output().unwrap();
    assert_eq!(shown.stdout, scene.model["config.json"]);
    flip(&scene.cached_blob("config.json"));
    let ran = scene.pull(["m:v1", "--to", "o", "--offline"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(!scene.path("o").exists());
}

#[test]
fn a_damaged_part_of_an_earlier_pull_is_fetched_again() {
    let scene = PullScene::with_model();
    let mut child = half_done(&scene, &[]);
    child.kill().unwrap();
    child.wait().unwrap();
    let partial = fs::read_dir(scene.path("cache/partial")).unwrap();
    partial.for_each(|entry| flip(&entry.unwrap().path()));
    scene.pull(["m:v1"]).done();
    assert_eq!(files_below(&scene.path("m")), scene.model);
}

#[test]
fn a_full_disk_is_an_error_that_leaves_nothing_and_loses_nothing() {
    let scene = PullScene::with_model();
    let limited = |arguments: &str| {
        let pull = scene.command(["pull"]);
        let mut shell = Command::new("sh");
        // In blocks of 512 bytes; a write beyond the limit fails as one to a full disk does.
        let line = format!("ulimit -f 20000; exec {} pull m:v1 {arguments}", env!("CARGO_BIN_EXE_registry"));
        shell.args(["-c", &line]).current_dir(scene.folder.path());
        shell.envs(pull.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Ran::of(&mut shell)
    };
    let line = limited("").failed(1);
    assert!(line.contains("is full; free some space and pull again"), "{line}");
    assert!(!scene.path("m").exists() && scene.hidden().is_empty());
    assert!(scene.unfinished_bytes() > 8_000_000);
    scene.pull(["m:v1"]).done();
    assert_eq!(files_below(&scene.path("m")), scene.model);
    // The cache has the bytes, and the destination has no room for a copy.
    let line = limited("--to n --copy").failed(1);
    assert!(line.contains("weights.dat can't be written: its disk is full"), "{line}");
    assert!(!scene.path("n").exists() && scene.hidden().is_empty());
}

#[test]
fn a_key_that_is_wrong_and_a_store_that_lost_a_file_are_named() {
    let scene = PullScene::with_model();
    let line = Ran::of(scene.command(["pull", "m:v1"]).env("CAIA_REGISTRY_API_KEY", "wrong-key-wrong-key"));
    assert!(line.failed(4).contains("refused the API key"));
    fs::remove_file(scene.stored_weights()).unwrap();
    let line = scene.pull(["m:v1"]).failed(1);
    assert!(line.contains("the artifact store has no blob sha256:"), "{line}");
    assert!(!scene.path("m").exists());
}
