//! `registry bench`: the results of the smoke suites.

use std::{fs, net::TcpListener, path::Path, process::Command};

use serde_json::{Value, json as value};

use crate::{
    KEY, Ran,
    fake_registry::{FakeRegistry, json},
    object_server::ObjectServer,
    registry,
    server::Server,
};

fn bench(url: &str, arguments: &[&str]) -> Command {
    let mut command = registry(["bench", "--registry-url", url]);
    command.args(arguments).env("CAIA_REGISTRY_API_KEY", KEY);
    command
}

fn at(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_version_is_scored_by_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let (checkpoint, config) = (folder.path().join("m.pt"), folder.path().join("c.json"));
    fs::write(&checkpoint, "hello").unwrap();
    fs::write(&config, r#"{"d_model": 8, "dropout": NaN}"#).unwrap();
    let server = Server::start();
    server.post(
        "/models",
        &value!({"name": "m", "version": "v1", "artifact_uri": "s3://b/m", "checkpoint_size_bytes": 5}),
    );

    let files = ["--checkpoint-path", at(&checkpoint), "--config-path", at(&config), "--suite", "smoke-v1"];
    let found = value!({"artifact_accessible": true, "checkpoint_size_bytes": 5, "config_parse_ok": true, "score": 1.0});
    let dry = Ran::of(bench(&server.url, &files).args(["--model-id", "1", "--dry-run"]));
    assert_eq!(dry.code, 0, "{dry:?}");
    assert_eq!(
        serde_json::from_str::<Value>(&dry.stdout).unwrap(),
        value!({"suite": "smoke-v1", "metrics": found})
    );
    assert_eq!(server.get("/models/1/metrics"), value!({}));

    let meta = ["--dataset", "d", "--eval-commit", "c", "--notes", "n"];
    let ran = Ran::of(bench(&server.url, &files).args(["--name", "m", "--version", "v1"]).args(meta));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "recorded smoke-v1 for m:v1 (id 1): score 1.0\n"));
    let mut suite = server.get("/models/1/metrics")["smoke-v1"].clone();
    let kept = suite.as_object_mut().unwrap().remove("_meta").unwrap();
    assert_eq!(suite, found);
    assert_eq!(
        (&kept["dataset"], &kept["eval_commit"], &kept["notes"]),
        (&value!("d"), &value!("c"), &value!("n"))
    );
}

#[test]
fn scores_of_someone_else_stay_unless_they_are_to_be_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("c.json");
    fs::write(&config, "{}").unwrap();
    let server = Server::start();
    server.post("/models", &value!({"name": "m", "version": "v1", "artifact_uri": "s3://b/m"}));
    server.run(["metrics", "m:v1", "--suite", "smoke-v1", "--set", "score=0.12"]).done();
    let bench = |more: &[&str]| {
        let files = ["--model-id", "1", "--config-path", at(&config), "--suite", "smoke-v1"];
        Ran::of(bench(&server.url, &files).args(more))
    };
    for more in [&[][..], &["--dry-run"]] {
        let line = bench(more).failed(5);
        assert!(line.contains("has scores of smoke-v1 that this command has not written"), "{line}");
    }
    let score = || server.get("/models/1/metrics")["smoke-v1"]["score"].clone();
    assert_eq!(score(), value!(0.12));
    server.run(["metrics", "m:v1", "--suite", "core-v1", "--set", "score=0.12"]).done();
    assert_eq!(bench(&["--overwrite"]).code, 0);
    assert_eq!(score(), value!(1.0));
    assert_eq!(bench(&[]).code, 0, "it replaces its own");
    server.run(["metrics", "m:v1", "--suite", "smoke-v1", "--set", "score=0.3"]).done();
    bench(&[]).failed(5);
}

#[test]
fn an_artifact_in_a_store_is_looked_up_there() {
    let objects = ObjectServer::with_bucket();
    let server = Server::start();
    for (version, size) in [("v1", 5), ("v2", 6)] {
        let uri = "s3://models/m.pt";
        let model =
            value!({"name": "m", "version": version, "artifact_uri": uri, "checkpoint_size_bytes": size});
        server.post("/models", &model);
    }
    let look = |id: &str| {
        let mut command = bench(&server.url, &["--model-id", id, "--suite=smoke-v1", "--dry-run"]);
        objects.env(&mut command);
        Ran::of(&mut command)
    };
    assert!(look("1").stderr.contains("not accessible: s3://models/m.pt does not exist"));
    fs::write(objects.path("m.pt"), "hello").unwrap();
    let found: Value = serde_json::from_str(&look("1").stdout).unwrap();
    assert_eq!(
        (&found["metrics"]["artifact_accessible"], &found["metrics"]["checkpoint_size_bytes"]),
        (&value!(true), &value!(5))
    );
    assert!(look("2").failed(5).contains("s3://models/m.pt is not the checkpoint of m:v2 (id 2)"));
}

#[test]
fn an_invalid_configuration_scores_zero() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("c.json");
    let server = Server::start();
    server.post("/models", &value!({"name": "m", "version": "v1", "artifact_uri": "file:///no/such/m.pt"}));
    for (content, words) in [("{\"half\": ", "is not JSON"), ("[1]", "contains a list")] {
        fs::write(&config, content).unwrap();
        let mut command =
            bench(&server.url, &["--model-id=1", "--suite=core-v1", "--config-path", at(&config)]);
        let ran = Ran::of(&mut command);
        assert_eq!(ran.code, 0, "{ran:?}");
        let lines: Vec<_> = ran.stderr.lines().collect();
        assert!(lines[0].contains("the artifact is not accessible: /no/such/m.pt does not exist"), "{ran:?}");
        assert!(lines[1].contains(words), "{ran:?}");
        assert_eq!(lines[2], "recorded core-v1 for m:v1 (id 1): score 0.0");
        let metrics: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(metrics["metrics"]["artifact_accessible"], value!(false));
    }
    let ran = Ran::of(&mut bench(&server.url, &["--model-id=1", "--suite=smoke-v1"]));
    assert!(ran.stderr.contains("its location is unknown; give --config-path"), "{ran:?}");
}

#[test]
fn files_of_another_version_are_not_scored() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "{}").unwrap();
    let server = Server::start();
    let model = value!({"name": "m", "version": "v1", "artifact_uri": "u", "checkpoint_size_bytes": 5,
        "config_sha256": "ab".repeat(32)});
    server.post("/models", &model);
    for (flag, words) in [
        ("--checkpoint-path", "it has 2 bytes, registered are 5"),
        ("--config-path", "its digest differs from the registered one"),
    ] {
        let mut command = bench(&server.url, &["--model-id=1", "--suite=smoke-v1", flag, at(&file)]);
        let mut ran = Ran::of(&mut command);
        ran.stderr = ran
            .stderr
            .lines()
            .filter(|line| line.starts_with("error"))
            .map(|line| format!("{line}\n"))
            .collect();
        let line = ran.failed(5);
        assert!(line.contains("of m:v1 (id 1)") && line.contains(words), "{line}");
    }
    assert_eq!(server.get("/models/1/metrics"), value!({}));
}

#[test]
fn a_command_line_that_names_no_version_or_two_is_refused() {
    for (arguments, words) in [
        (&["--suite=smoke-v1"][..], "--model-id"),
        (&["--suite=smoke-v1", "--name=m"], "--version"),
        (&["--suite=smoke-v1", "--model-id=1", "--name=m", "--version=v"], "cannot be used with"),
        (&["--suite=other", "--model-id=1"], "smoke-v1, core-v1"),
        (&["--model-id=1"], "--suite"),
    ] {
        let ran = Ran::of(&mut bench("http://localhost:1", arguments));
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(words), "{ran:?}");
    }
}

#[test]
fn a_failure_is_one_line() {
    let server = Server::start();
    let text = Ran::of(&mut bench(&server.url, &["--name=m", "--version=v", "--suite=smoke-v1"])).failed(1);
    assert!(text.contains("there is no version m:v; `registry list` shows"), "{text}");
    let text = Ran::of(&mut bench(&server.url, &["--model-id=3", "--suite=smoke-v1"])).failed(1);
    assert!(text.contains('3'), "{text}");

    server.post("/models", &value!({"name": "m", "version": "v1", "artifact_uri": "u"}));
    for flag in ["--checkpoint-path", "--config-path"] {
        let mut command = bench(&server.url, &["--model-id=1", "--suite=smoke-v1", flag, "/no/such/file"]);
        let ran = Ran::of(&mut command);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
        assert!(ran.stderr.contains("/no/such/file does not exist; check the path"), "{ran:?}");
    }
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{unused}");
    Ran::of(&mut bench(&url, &["--model-id=1", "--suite=smoke-v1"])).failed(3);
    let fake = FakeRegistry::answering([json(200, "[]")]);
    let text = Ran::of(&mut bench(&fake.url, &["--model-id=1", "--suite=smoke-v1"])).failed(1);
    assert!(text.contains("contains no model"), "{text}");
}
