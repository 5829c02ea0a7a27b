//! `registry promote`, `update`, `delete`, and recording with `metrics`.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::json;

use crate::{
    KEY, Ran, at,
    fake_registry::{FakeRegistry, answer, json as json_answer},
    server::Server,
};

/// Returns a registry whose gate requires scores of `smoke`, with three versions of `m`.
fn gated() -> Server {
    let server = Server::with(tempfile::tempdir().unwrap(), 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY).env("CAIA_REGISTRY_PROMOTION_REQUIRED_SUITE", "smoke");
    });
    for (version, score) in [("v1", 0.7), ("v2", 0.8), ("v3", 0.6)] {
        let id = server.add("m", version, &json!({}));
        server.score(id, "smoke", &json!({"score": score}));
    }
    server
}

fn with_stdin(command: &mut Command, text: &str) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn promotion_prints_the_changes_of_status() {
    let server = gated();
    assert_eq!(server.run(["promote", "m:v1"]).shown(), "m:v1 (id 1): experimental → production\n");
    assert_eq!(
        server.run(["promote", "m:v2"]).shown(),
        "m:v2 (id 2): experimental → production\nm:v1 (id 1): production → staging\n"
    );
    assert_eq!(server.run(["promote", "m:v2"]).shown(), "m:v2 (id 2) was in production already\n");
    assert_eq!(server.run(["promote", "1", "--to", "archived"]).shown(), "m:v1 (id 1): staging → archived\n");
    let ran = server.run(["promote", "m:v1", "--to", "staging", "--json"]);
    assert_eq!(ran.stderr, "m:v1 (id 1): archived → staging\n");
    assert_eq!(ran.stdout, format!("{:#}\n", server.get("/models/1")));
}

#[test]
fn a_refused_promotion_changes_nothing_and_names_the_next_step() {
    let server = gated();
    server.add("m", "v4", &json!({}));
    server.run(["promote", "m:v2"]).shown();
    for (model, said) in [("m:v4", "needs scores of the suite \"smoke\""), ("m:v3", "is lower than the 0.8")]
    {
        let line = server.run(["promote", model]).failed(5);
        assert!(
            line.contains(said) && line.contains(&format!("nothing was changed; `registry metrics {model}`")),
            "{line}"
        );
    }
    assert_eq!(server.get("/production/m")["version"], "v2");
    let line = server.run(["promote", "m:v1", "--if-match", "\"1-older\""]).failed(5);
    assert!(line.contains("its revision is now"), "{line}");
}

#[test]
fn fields_are_updated_and_named() {
    let server = Server::start();
    server.add("m", "v1", &json!({"tags": ["a", "b"]}));
    let update = |flags: &[&str]| server.run(["update", "m:v1"].iter().chain(flags)).shown();
    assert_eq!(
        update(&[
            "--description",
            "words",
            "--training-loss=-2.5",
            "--set",
            "params=7",
            "--status",
            "staging"
        ]),
        "updated m:v1 (id 1): status, training_loss, description, params\n"
    );
    assert_eq!(
        update(&["--add-tag", "c", "--add-tag", "a", "--remove-tag", "b"]),
        "updated m:v1 (id 1): tags\n"
    );
    assert_eq!(update(&["--add-tag", "c"]), "m:v1 (id 1) has these tags already; nothing was changed\n");
    let model = server.get("/models/1");
    for (field, expected) in [
        ("description", json!("words")),
        ("training_loss", json!(-2.5)),
        ("params", json!(7)),
        ("status", json!("staging")),
        ("tags", json!(["a", "c"])),
    ] {
        assert_eq!(model[field], expected, "{field}");
    }
    assert_eq!(server.get("/models/1/events").as_array().unwrap().len(), 3, "no event without a change");
    update(&["--tag", "only"]);
    update(&["--freeze"]);
    let ran = server.run(["update", "1", "--dataset", "d", "--json"]);
    assert_eq!(ran.stderr, "updated m:v1 (id 1): dataset\n");
    assert_eq!(ran.stdout, format!("{:#}\n", server.get("/models/1")));
    let line = server.run(["update", "1", "--artifact-uri", "s3://x"]).failed(5);
    assert!(line.contains("this version is frozen, so artifact_uri can't change"), "{line}");
}

fn with_etag(etag: &str, tags: &str) -> String {
    let body = format!(r#"{{"id":7,"name":"m","version":"v1","tags":{tags}}}"#);
    answer(200, &format!("Content-Type: application/json\r\nETag: \"{etag}\"\r\n"), &body)
}

#[test]
fn tags_that_another_client_sets_in_between_are_not_lost() {
    let fake = FakeRegistry::answering([
        with_etag("7-a", r#"["old"]"#),
        json_answer(412, r#"{"detail":"model 7 has changed"}"#),
        with_etag("7-b", r#"["old","theirs"]"#),
        with_etag("7-b", r#"["old","theirs"]"#),
        with_etag("7-c", r#"["old","theirs","mine"]"#),
    ]);
    let ran = Ran::of(&mut at(&fake.url, ["update", "7", "--add-tag", "mine"]));
    assert_eq!(ran.shown(), "updated m:v1 (id 7): tags\n");
    let sent = fake.received();
    assert!(sent[1].head.contains("if-match: \"7-a\""), "{}", sent[1].head);
    assert!(
        sent[4].head.starts_with("patch ") && sent[4].head.contains("if-match: \"7-b\""),
        "{}",
        sent[4].head
    );
    assert_eq!(sent[4].body, r#"{"tags":["old","theirs","mine"]}"#);
}

#[test]
fn a_permanent_conflict_is_not_retried() {
    let fake = FakeRegistry::answering([
        with_etag("7-a", "null"),
        json_answer(409, r#"{"detail":"frozen"}"#),
        with_etag("7-a", "null"),
    ]);
    let line = Ran::of(&mut at(&fake.url, ["update", "7", "--add-tag", "mine"])).failed(5);
    assert!(line.contains("conflict: frozen"), "{line}");
    assert_eq!(fake.received().len(), 3);
}

#[test]
fn deleting_needs_confirmation_and_reports_what_was_not_deleted() {
    let server = gated();
    server.run(["promote", "m:v2"]).shown();
    let line = with_stdin(&mut at(&server.url, ["delete", "m:v1"]), "y\n").failed(2);
    assert!(
        line.contains("can't ask whether to delete m:v1 (id 1), since stdin is not a terminal; give --yes"),
        "{line}"
    );
    let line = server.run(["delete", "m:v1", "m:none", "--yes"]).failed(1);
    assert!(line.contains("there is no version m:none"), "{line}");
    assert_eq!(server.get("/stats")["total_models"], 3, "nothing was deleted");

    let ran = server.run(["delete", "m:v1", "m:v2", "m:v3", "--yes"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (5, "deleted m:v1 (id 1)\n"), "{ran:?}");
    let said = "`registry restore ID` restores one\nerror: m:v2 (id 2) was not deleted: conflict: ";
    assert!(ran.stderr.starts_with(said), "{ran:?}");
    assert!(
        ran.stderr.contains("give --force to delete it anyway; 2 were not deleted, this one first\n"),
        "{ran:?}"
    );
    let ran = server.run(["delete", "3", "3", "m:v3", "m:v2", "-y", "--force", "--json"]);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap(),
        json!([{"status": "deleted", "id": 3}, {"status": "deleted", "id": 2}])
    );
    assert_eq!(server.get("/stats")["total_models"], 0);
}

#[test]
fn an_update_without_changes_is_an_error() {
    let fake = FakeRegistry::answering([]);
    let line = Ran::of(&mut at(&fake.url, ["update", "1"])).failed(2);
    assert!(line.contains("nothing to change; give a change, like --description"), "{line}");
    assert!(fake.received().is_empty());
}

#[test]
fn a_blank_tag_is_refused_and_an_existing_one_can_be_removed() {
    let server = Server::start();
    server.add("m", "v1", &json!({"tags": ["", "a"]}));
    for flag in ["--tag", "--add-tag"] {
        let ran = server.run(["update", "1", flag, " "]);
        assert_eq!(ran.code, 2);
        assert!(ran.stderr.contains("a tag can't be blank"), "{ran:?}");
    }
    server.run(["update", "1", "--remove-tag", ""]).shown();
    assert_eq!(server.get("/models/1")["tags"], json!(["a"]));
}

#[test]
fn an_ambiguous_name_is_an_error_that_names_the_candidates() {
    let server = Server::start();
    let (last, first) = (server.add("a:b", "c", &json!({})), server.add("a", "b:c", &json!({})));
    for command in [
        &["delete", "a:b:c", "--yes"][..],
        &["show", "a:b:c"],
        &["promote", "a:b:c"],
        &["update", "a:b:c", "--params", "1"],
        &["metrics", "a:b:c", "--suite", "s", "--set", "score=1"],
        &["events", "a:b:c"],
        &["verify", "a:b:c"],
        &["compare", "a:b:c", "1"],
    ] {
        let line = server.run(command).failed(1);
        let said = format!(
            "a:b:c may be version {first} (version b:c of a) or version {last} (version c of a:b); use the id"
        );
        assert!(line.contains(&said), "{command:?}: {line}");
    }
    server.run(["delete", &last.to_string(), "--yes"]).done();
    assert_eq!(server.run(["delete", "a:b:c", "--yes"]).done().0, format!("deleted a:b:c (id {first})\n"));
}

#[test]
fn a_production_version_is_found_by_a_name_with_a_colon() {
    let server = Server::start();
    let id = server.add("host:5000/gpt", "v1", &json!({"status": "production"}));
    let shown = server.run(["show", "host:5000/gpt@production", "-o", "name"]).shown();
    assert_eq!(shown, "host:5000/gpt:v1\n");
    let other = server.add("host", "5000/gpt@production", &json!({}));
    let line = server.run(["delete", "host:5000/gpt@production", "--yes"]).failed(1);
    let said = format!(
        "may be version {other} (version 5000/gpt@production of host) or version {id} (alias production of host:5000/gpt); use the id"
    );
    assert!(line.contains(&said), "{line}");
    let line = server.run(["show", "no:such@production"]).failed(1);
    assert!(line.contains("there is no version no:such@production; `registry list` shows"), "{line}");
}

#[test]
fn scores_are_recorded_from_flags_files_and_stdin() {
    let server = Server::start();
    server.add("m", "v1", &json!({}));
    let (table, said) =
        server.run(["metrics", "m:v1", "--suite", " s ", "--set", "score=0.820", "--set", "r@10=.5"]).done();
    assert_eq!(said, "recorded s of m:v1 (id 1)\n");
    assert!(table.contains("s      score   0.820  "), "{table}");
    let folder = tempfile::tempdir().unwrap();
    let at_path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(at_path("scores.json"), r#"{"score": 0.9, "extra": {"a": [1]}}"#).unwrap();
    fs::write(at_path("config.json"), r#"{"shots": 5}"#).unwrap();
    let (scores, config) = (at_path("scores.json"), at_path("config.json"));
    let flags = ["--dataset", "d", "--eval-commit", "c", "--notes", "n", "--eval-config", &config, "--json"];
    let ran = server.run(["metrics", "1", "--suite", "s", "--from-json", &scores].iter().chain(&flags));
    assert_eq!(ran.stdout, format!("{:#}\n", server.get("/models/1/metrics")));
    let suite = server.get("/models/1/metrics")["s"].clone();
    assert_eq!(
        (&suite["score"], &suite["r@10"], &suite["extra"]),
        (&json!(0.9), &json!(0.5), &json!({"a": [1]}))
    );
    assert_eq!(
        (&suite["_meta"]["notes"], &suite["_meta"]["eval_config"]),
        (&json!("n"), &json!({"shots": 5}))
    );
    let mut piped = at(&server.url, ["metrics", "1", "--suite", "t", "--from-json", "-", "--set", "b=true"]);
    assert_eq!(with_stdin(&mut piped, r#"{"a": 1}"#).code, 0);
    assert_eq!(server.get("/models/1/metrics")["t"]["b"], json!(true));
}

#[test]
fn unreadable_or_late_scores_are_not_recorded() {
    let server = Server::start();
    server.add("m", "v1", &json!({}));
    let seen = server.get("/models/1")["updated_at"].as_str().unwrap().to_owned();
    let record = |flags: &[&str]| at(&server.url, ["metrics", "1", "--suite", "s"].iter().chain(flags));
    for (text, said) in
        [("[1]", "stdin contains a list"), (r#"{"a": NaN}"#, "stdin is not JSON"), ("", "stdin is not JSON")]
    {
        let line = with_stdin(&mut record(&["--from-json", "-"]), text).failed(1);
        assert!(line.contains(said), "{line}");
    }
    let line = Ran::of(&mut record(&["--from-json", "/no/such.json"])).failed(1);
    assert!(line.contains("/no/such.json does not exist"), "{line}");
    assert_eq!(Ran::of(&mut record(&["--set", "a=1", "--if-updated-at", &seen])).code, 0);
    let line = Ran::of(&mut record(&["--set", "a=2", "--if-updated-at", &seen])).failed(5);
    assert!(line.contains("the version with id 1 has changed"), "{line}");
    assert_eq!(server.get("/models/1/metrics")["s"]["a"], json!(1));
}
