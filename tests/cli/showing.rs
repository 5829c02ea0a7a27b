//! `registry show`, `production`, `events`, and reading with `metrics`.

use serde_json::{Value, json};

use crate::server::Server;

/// Returns a version with something in every group, scored, and put into production.
fn stocked() -> Server {
    let server = Server::start();
    let fields = json!({
        "checkpoint_sha256": "ab".repeat(32), "checkpoint_size_bytes": 90_868_376, "run_id": "r7",
        "git_commit": "abc", "created_by": "ann", "source_host": "gpu-3", "d_model": 64, "training_step": 1000,
        "training_loss": 2.50, "dataset": "c4", "description": "first\u{1b}[2J\nline", "tags": ["a", "b c"],
        "metrics": {"val_loss": 2.31},
    });
    let id = server.add("tiny", "v1", &fields);
    let body = json!({"suite": "smoke-v1", "metrics": {"score": 0.82, "ok": true}, "dataset": "held-out"});
    server.post(&format!("/models/{id}/metrics"), &body);
    server.post(&format!("/models/{id}/promote"), &json!({}));
    server
}

#[test]
fn a_version_is_shown_in_groups() {
    let digest = "ab".repeat(32);
    assert_eq!(
        stocked().run(["show", "tiny:v1"]).shown(),
        format!(
            "\
tiny:v1
  id           1
  status       production
  description  first [2J line
  tags         a,b c
  created      2026-01-31 13:05:09Z
  updated      2026-01-31 13:05:09Z

Artifact
  uri         s3://b/tiny/v1
  checkpoint  90.9 MB (90,868,376 bytes)
    sha256    {digest}

Provenance
  run         r7
  commit      abc
  created by  ann
  on host     gpu-3

Training
  dataset  c4
  step     1000
  loss     2.5
  d_model  64

Suite smoke-v1
  score  0.82
  ok     true
  recorded 2026-01-31 13:05:09Z, by key:hush…, dataset held-out

Other metrics
  val_loss  2.31

Newest events
  2026-01-31 13:05:09Z  promote  key:hush…  experimental → production
  2026-01-31 13:05:09Z  eval     key:hush…  smoke-v1 score=0.82 ok=true
  2026-01-31 13:05:09Z  create   key:hush…  tiny:v1, experimental
"
        )
    );
}

#[test]
fn a_version_is_found_by_id_name_and_status_and_shown_in_each_format() {
    let server = stocked();
    let model = server.get("/models/1");
    for name in ["1", "tiny:v1", "tiny@production"] {
        assert_eq!(server.run(["show", name, "--json"]).stdout, format!("{model:#}\n"), "{name}");
    }
    assert_eq!(server.run(["production", "tiny", "-o", "json"]).stdout, format!("{model:#}\n"));
    assert_eq!(server.run(["show", "1", "-o", "jsonl"]).stdout, format!("{model}\n"));
    assert_eq!(server.run(["show", "1", "-o", "name"]).shown(), "tiny:v1\n");
    assert!(server.run(["show", "1", "-o", "yaml"]).stdout.starts_with("id: 1\nname: tiny\n"));
    assert_eq!(
        server.run(["show", "1", "--columns", "id,smoke-v1/score"]).shown().lines().nth(1),
        Some(" 1            0.82")
    );
    let csv = server.run(["production", "-o", "csv", "--columns", "name,version"]).shown();
    assert_eq!(csv, "name,version\ntiny,v1\n");
    assert!(server.run(["production", "tiny"]).shown().starts_with("tiny:v1\n"));
}

#[test]
fn a_missing_version_is_an_error_with_a_hint() {
    let server = Server::start();
    server.add("m", "v1", &json!({}));
    let scored = server.add("m", "v3", &json!({}));
    server.score(scored, "s", &json!({"score": 1}));
    server.score(scored, "t", &json!({"score": 1}));
    for (arguments, said) in [
        (&["show", "m:v2"][..], "there is no version m:v2; `registry list` shows all versions"),
        (&["show", "7"], "there is no version 7;"),
        (&["show", "m@production"], "m@production: no version is in production;"),
        (&["production", "m"], "no version is in production"),
        (&["production", "none"], "no version is in production"),
        (&["events", "m:v2"], "there is no version m:v2"),
        (&["metrics", "m:v2"], "there is no version m:v2"),
        (&["metrics", "7"], "there is no version 7; `registry list` shows all versions"),
        (&["metrics", "7", "--suite", "s"], "there is no version 7; `registry list` shows all versions"),
        (&["metrics", "1", "--suite", "s"], "no scores of 1 in the suite s; it has no scores at all"),
        (
            &["metrics", "m:v3", "--suite", "nope"],
            "no scores of m:v3 in the suite nope; it has the suites s, t",
        ),
        (
            &["bench", "--model-id", "99", "--suite", "smoke-v1"],
            "there is no version 99; `registry list` shows",
        ),
        (&["promote", "7"], "there is no version 7"),
        (&["update", "7", "--params", "1"], "there is no version 7"),
        (&["update", "7", "--add-tag", "a"], "there is no version 7"),
        (&["delete", "7", "--yes"], "there is no version 7"),
        (&["compare", "1", "7"], "there is no version 7"),
        (&["compare", "--name", "none"], "none has 0 versions, and a comparison needs two"),
    ] {
        let line = server.run(arguments).failed(1);
        assert!(line.contains(said), "{arguments:?}: {line}");
    }
    let (stdout, stderr) = server.run(["production"]).done();
    assert_eq!((stdout.as_str(), stderr.as_str()), ("", "no versions match\n"));
}

#[test]
fn the_audit_trail_outlives_its_version() {
    let server = Server::start();
    server.add("m", "v1", &json!({}));
    server.send("PATCH", "/models/1", crate::KEY, Some(&json!({"description": "d", "tags": ["a"]})));
    server.post("/models/1/promote", &json!({}));
    server.add("m", "v2", &json!({}));
    server.post("/models/2/promote", &json!({}));
    server.send("DELETE", "/models/1", crate::KEY, None);
    assert_eq!(
        server.run(["events", "1"]).shown(),
        "\
TIME                  EVENT        ACTOR      WHAT
2026-01-31 13:05:09Z  delete       key:hush…  m:v1, staging
2026-01-31 13:05:09Z  auto_demote  key:hush…  production → staging (new production: 2)
2026-01-31 13:05:09Z  promote      key:hush…  experimental → production
2026-01-31 13:05:09Z  update       key:hush…  description, tags
2026-01-31 13:05:09Z  create       key:hush…  m:v1, experimental
"
    );
    let all = server.get("/models/1/events");
    assert_eq!(server.run(["events", "1", "--json"]).stdout, format!("{all:#}\n"));
    let (two, said) = server.run(["events", "1", "--limit", "2", "--offset", "1", "-o", "jsonl"]).done();
    assert_eq!(two.lines().count(), 2);
    assert_eq!(said, "2 shown; --all shows the rest\n");
    let five = server.run(["events", "1", "--limit", "5", "-o", "csv"]).shown();
    assert_eq!(five.lines().count(), 6, "no hint at the last page");
    assert_eq!(server.run(["events", "99"]).done(), (String::new(), "no events of 99\n".to_owned()));
}

#[test]
fn all_events_are_fetched_over_several_pages() {
    let server = Server::start();
    server.add("m", "v1", &json!({}));
    for at in 0..520 {
        server.send("PATCH", "/models/1", crate::KEY, Some(&json!({"params": at})));
    }
    let events = server.run(["events", "1", "--all", "-o", "csv", "--columns", "id", "--no-header"]).shown();
    let ids: Vec<i64> = events.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(ids.len(), 521);
    assert!(ids.is_sorted_by(|a, b| a > b));
}

#[test]
fn scores_are_shown_by_suite() {
    let server = stocked();
    assert_eq!(
        server.run(["metrics", "tiny:v1"]).shown(),
        "\
SUITE     METRIC  VALUE  RECORDED           ACTOR
smoke-v1  score    0.82  2026-01-31 13:05Z  key:hush…
smoke-v1  ok       true  2026-01-31 13:05Z  key:hush…
"
    );
    let suites: Value = server.get("/models/1/metrics");
    assert_eq!(server.run(["metrics", "1", "--json"]).stdout, format!("{suites:#}\n"));
    assert_eq!(server.run(["metrics", "1", "--suite", "smoke-v1", "--json"]).stdout, format!("{suites:#}\n"));
    let columns = ["metrics", "1", "-o", "csv", "--columns", "suite,metric,value,dataset", "--no-header"];
    assert_eq!(server.run(columns).shown(), "smoke-v1,score,0.82,held-out\nsmoke-v1,ok,true,held-out\n");
    server.add("m", "v1", &json!({}));
    let (stdout, stderr) = server.run(["metrics", "m:v1"]).done();
    assert_eq!(
        (stdout.as_str(), stderr.as_str()),
        ("", "no scores of m:v1; --suite and --set record some\n")
    );
    assert_eq!(server.run(["metrics", "m:v1", "--json"]).shown(), "{}\n");
}

#[test]
fn a_path_that_repeats_the_uri_is_not_shown() {
    let server = Server::with(tempfile::tempdir().unwrap(), 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", crate::KEY).env("CAIA_REGISTRY_EXPOSE_LOCAL_PATHS", "true");
    });
    for version in ["v1", "v2"] {
        server.add("m", version, &json!({}));
    }
    assert_eq!(server.get("/models/1")["local_checkpoint_path"], "s3://b/m/v1", "the path is exposed");
    for command in [&["show", "1"][..], &["compare", "1", "2"]] {
        let shown = server.run(command).shown();
        assert_eq!(shown.matches("s3://b/m/v1").count(), 1, "{shown}");
    }
}
