//! `registry policy`, `approve` and `approvals`.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::{Ran, server::Server};

const NAMED_KEYS: &str = "ann=key-of-ann-47110815,bob=key-of-bob-47110815";

/// A server with the keys of two people, and two versions of `m` by the first.
fn stocked() -> Server {
    let server = Server::with(tempfile::tempdir().unwrap(), 0, |command| {
        command.env("CAIA_REGISTRY_API_KEYS", NAMED_KEYS);
    });
    for label in ["v1", "v2"] {
        run(&server, "ann", &["ingest", "--name", "m", "--version", label, "--artifact-uri", "s3://b/x"])
            .done();
    }
    server
}

fn command(server: &Server, who: &str, arguments: &[&str]) -> Command {
    let mut command = crate::registry(arguments);
    command
        .args(["--registry-url", &server.url])
        .env("CAIA_REGISTRY_API_KEY", format!("key-of-{who}-47110815"));
    command
}

fn run(server: &Server, who: &str, arguments: &[&str]) -> Ran {
    Ran::of(&mut command(server, who, arguments))
}

#[test]
fn a_policy_is_set_from_a_file_shown_tried_and_deleted() {
    let server = stocked();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let quality = write(
        "quality.yaml",
        "# a comment\nname: quality\ntarget: production\nconditions:\n\
         \x20 - expression: candidate.scores.core.score >= 0.9\n    message: no\n",
    );
    let ran = run(&server, "ann", &["policy", "list"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
    assert_eq!(ran.stderr, "there are no policies; `registry policy set` stores one\n");
    // Before it is stored.
    let ran = run(&server, "ann", &["policy", "test", "-f", &quality, "--version", "m:v1"]);
    assert_eq!(ran.code, 5);
    assert!(ran.stdout.contains("candidate.scores has no \"core\"; it is empty"), "{}", ran.stdout);
    assert_eq!(ran.stderr, "error: a policy keeps m:v1 from production\n");
    let json = write(
        "owner.json",
        r#"{"name": "owner", "target": "champion", "action": "warn",
            "conditions": [{"expression": "\"owner\" in candidate.tags", "message": "set the tag owner"}]}"#,
    );
    let ran = run(&server, "ann", &["policy", "set", "-f", &quality, "-f", &json]);
    assert_eq!(ran.shown(), "policy quality is stored, as version 1\npolicy owner is stored, as version 1\n");
    assert_eq!(run(&server, "ann", &["policy", "list", "-o", "name"]).shown(), "owner\nquality\n");
    let shown = run(&server, "ann", &["policy", "show", "quality"]).shown();
    assert!(shown.starts_with("# version 1, by key:ann\nname: quality\n"), "{shown}");
    // What is shown can be stored again.
    let again = write("again.yaml", &shown.replace(">= 0.9", ">= 0.8"));
    assert_eq!(
        run(&server, "ann", &["policy", "set", "-f", &again]).shown(),
        "policy quality is stored, as version 2\n"
    );
    let first = run(&server, "ann", &["policy", "show", "quality", "--version", "1", "--json"]);
    let first: Value = serde_json::from_str(&first.shown()).unwrap();
    assert_eq!(first["conditions"][0]["expression"], "candidate.scores.core.score >= 0.9");
    assert_eq!(first["conditions"][0]["message"], "no", "a text, and not false");
    // In the way of a promotion.
    let line = run(&server, "ann", &["promote", "m:v1"]).failed(5);
    assert!(line.contains("policy \"quality\": no (candidate.scores has no \"core\""), "{line}");
    assert!(
        line.trim_end()
            .ends_with("`registry policy test --version m:v1 --target production` tries the policies"),
        "{line}"
    );
    run(&server, "ann", &["metrics", "m:v1", "--suite", "core", "--set", "score=0.85"]).done();
    let tried = run(&server, "ann", &["policy", "test", "quality", "--version", "m:v1", "-o", "csv"]).shown();
    assert!(tried.contains("quality,2,deny,true,candidate.scores.core.score >= 0.8,no,"), "{tried}");
    assert_eq!(run(&server, "ann", &["promote", "m:v1"]).shown(), "m:v1 (id 1): experimental → production\n");
    // A warning.
    let ran = run(&server, "ann", &["alias", "set", "m", "champion", "m:v1"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "m@champion is m:v1 (id 1)\n"));
    assert_eq!(ran.stderr, "warning: policy \"owner\": set the tag owner\n");
    let ran = run(&server, "ann", &["policy", "test", "owner", "--version", "m:v1"]);
    assert_eq!(ran.code, 0, "a policy that warns refuses nothing");
    assert_eq!(run(&server, "ann", &["policy", "delete", "owner"]).shown(), "deleted policy owner\n");
    let ran = run(&server, "ann", &["policy", "test", "--version", "m:v1", "--target", "champion"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "no policy is about m:v1 and champion\n"));
    // Bad files.
    for (text, code, said) in [
        ("name: x\n  target: [", 2, "is neither YAML nor JSON: "),
        ("- 1\n", 2, "holds no policy"),
        ("target: production\n", 2, "has no name; add a line like name: quality"),
        ("name: x\ntarget: production\nconditions: []\n", 1, "1 to 32 conditions"),
        (
            "name: x\ntarget: production\nconditions:\n  - {expression: candidate.scroes == 1, message: m}\n",
            1,
            "did you mean \"scores\"?",
        ),
        ("name: x\ntarget: production\nconditions: []\nmore: 1\n", 1, "more: unknown"),
    ] {
        let line = run(&server, "ann", &["policy", "set", "-f", &write("bad.yaml", text)]).failed(code);
        assert!(line.contains("bad.yaml") && line.contains(said), "{line}");
    }
    let line = run(&server, "ann", &["policy", "set", "-f", "/nowhere/x.yaml"]).failed(2);
    assert!(line.contains("can't be read"), "{line}");
    run(&server, "ann", &["policy", "show", "x"]).failed(1);
}

#[test]
fn a_version_is_approved_by_others_and_what_waits_is_listed() {
    let server = stocked();
    let approve = |who: &str, more: &[&str]| {
        run(&server, who, &[&["approve", "m:v1", "--target", "production"], more].concat())
    };
    let ran = run(&server, "bob", &["approvals"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "nothing waits for an approval\n"));
    let line = approve("ann", &[]).failed(4);
    assert!(line.contains("key:ann is the author of version \"v1\" of \"m\""), "{line}");
    let asked = approve("ann", &["--request", "--comment", "please"]);
    assert_eq!(asked.shown(), "asked for approval of m:v1 (id 1) for production\n");
    let list =
        run(&server, "bob", &["approvals", "-o", "custom-columns=label,target,kind,actor,state,comment"])
            .shown();
    assert!(list.contains("v1"), "{list}");
    assert_eq!(approve("bob", &[]).shown(), "approved m:v1 (id 1) for production\n");
    approve("bob", &[]).failed(5);
    let json = run(&server, "bob", &["approvals", "m:v1", "--json"]);
    let list: Value = serde_json::from_str(&json.shown()).unwrap();
    let kinds: Vec<_> = list.as_array().unwrap().iter().map(|given| given["kind"].clone()).collect();
    assert_eq!(kinds, [json!("approval"), json!("request")]);
    assert_eq!(
        approve("bob", &["--withdraw"]).shown(),
        "withdrew what you said of m:v1 (id 1) for production\n"
    );
    approve("bob", &["--withdraw"]).failed(1);
    let ran = run(&server, "bob", &["approvals", "m:v2"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "m:v2 has no approvals\n"));
    let line = run(&server, "bob", &["approve", "m:v1", "--target", "latest"]).failed(1);
    assert!(line.contains("neither a status nor an alias"), "{line}");
}
