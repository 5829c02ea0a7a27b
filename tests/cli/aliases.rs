//! `registry alias`, `history` and `rollback`, and references by alias and number.

use serde_json::{Value, json};

use crate::{KEY, server::Server};

/// Three versions of `m` and one of `n`.
fn stocked() -> Server {
    let server = Server::start();
    for label in ["v1", "v2", "v3"] {
        server.add("m", label, &json!({}));
    }
    server.add("n", "v1", &json!({}));
    server
}

#[test]
fn an_alias_is_set_to_any_reference_and_names_its_version() {
    let server = stocked();
    let set = |version: &str| server.run(["alias", "set", "m", "champion", version]).shown();
    assert_eq!(set("m:v1"), "m@champion is m:v1 (id 1)\n");
    assert_eq!(set("m#2"), "m@champion is m:v2 (id 2)\n");
    assert_eq!(set("3"), "m@champion is m:v3 (id 3)\n");
    server.run(["alias", "set", "m", "next/one", "m@champion"]).shown();
    for text in ["m@champion", "m@next/one", "m#3", "m:v3", "3"] {
        assert_eq!(server.run(["show", text, "-o", "name"]).shown(), "m:v3\n", "{text}");
    }
    let ran = server.run(["alias", "set", "m", "champion", "m#1", "--json"]);
    assert_eq!(ran.stderr, "m@champion is m:v1 (id 1)\n");
    assert_eq!(ran.stdout, format!("{:#}\n", server.get("/v1/versions/1")));
}

#[test]
fn every_command_takes_an_alias_and_a_number() {
    let server = stocked();
    server.run(["alias", "set", "m", "champion", "m:v2"]).shown();
    server.run(["metrics", "m@champion", "--suite", "s", "--set", "score=1"]).done();
    server.run(["update", "m#2", "--description", "d"]).shown();
    assert_eq!(server.run(["promote", "m@champion"]).shown(), "m:v2 (id 2): experimental → production\n");
    for arguments in [
        &["show", "m@champion"][..],
        &["metrics", "m#2"],
        &["events", "m@champion"],
        &["compare", "m@champion", "m#1"],
    ] {
        server.run(arguments).shown();
    }
    let (_, stderr) = server.run(["delete", "m@champion", "--yes", "--force"]).done();
    assert_eq!(stderr, "`registry restore 2` restores it\n");
}

#[test]
fn a_holder_that_somebody_else_changed_is_a_conflict() {
    let server = stocked();
    let set = |flags: &[&str]| server.run(["alias", "set", "m", "champion"].iter().chain(flags));
    assert_eq!(set(&["m#1", "--expected", "none"]).code, 0);
    assert_eq!(set(&["m#2", "--expected", "1"]).code, 0);
    for flags in [&["m#3", "--expected", "1"], &["m#3", "--expected", "none"]] {
        let line = set(flags).failed(5);
        assert!(
            line.contains("alias \"champion\" points to version number 2, not to the expected one")
                && line.contains("nothing was changed; `registry alias list m` shows its aliases"),
            "{line}"
        );
    }
    let line = server.run(["alias", "delete", "m", "champion", "--expected", "1"]).failed(5);
    assert!(line.contains("points to version number 2"), "{line}");
    assert_eq!(
        server.run(["alias", "delete", "m", "champion", "--expected", "2"]).shown(),
        "deleted m@champion\n"
    );
    let line = server.run(["alias", "delete", "m", "champion"]).failed(1);
    assert!(line.contains("has no alias \"champion\"") && line.contains("`registry alias list m`"), "{line}");
    let line = server.run(["show", "m@champion"]).failed(1);
    assert!(line.contains("no version of m has the alias champion; `registry alias list m` shows"), "{line}");
    let line = server.run(["show", "m#9"]).failed(1);
    assert!(line.contains("there is no version m#9; `registry list` shows all versions"), "{line}");
}

#[test]
fn an_alias_never_points_to_a_version_of_another_model() {
    let server = stocked();
    let line = server.run(["alias", "set", "m", "champion", "4"]).failed(2);
    assert!(line.contains("4 is n:v1 (id 4), not a version of m; name one as m:LABEL or m#NUMBER"), "{line}");
    let line = server.run(["rollback", "m", "--to", "n#1", "--reason", "r"]).failed(2);
    assert!(line.contains("n#1 is n:v1 (id 4), not a version of m"), "{line}");
    for (alias, said) in [
        ("12", "reads as a version number"),
        ("v12", "reads as a version number"),
        ("latest", "is reserved for the newest version"),
        (" ", "alias is blank"),
    ] {
        let ran = server.run(["alias", "set", "m", alias, "m:v1"]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(said), "{ran:?}");
    }
    for flags in [["--expected", "0"], ["--expected", "x"], ["--expected", "-1"]] {
        let ran = server.run(["alias", "set", "m", "a", "m:v1"].iter().chain(&flags));
        assert_eq!(ran.code, 2, "{ran:?}");
    }
}

#[test]
fn production_is_an_alias_and_the_history_tells_who_held_it() {
    let server = stocked();
    server.run(["promote", "m:v1"]).shown();
    server.run(["alias", "set", "m", "champion", "m:v3"]).shown();
    let set = ["alias", "set", "m", "production", "m:v2", "--reason", "better"];
    assert_eq!(server.run(set).shown(), "m@production is m:v2 (id 2)\n");
    assert_eq!(server.get("/production/m")["version"], "v2");
    assert_eq!(
        server.run(["alias", "list", "m"]).shown(),
        "\
ALIAS       VERSION  LABEL  SINCE                 BY         REASON
champion          3  v3     2026-01-31 13:05:09Z  key:hush…  -
production        2  v2     2026-01-31 13:05:09Z  key:hush…  better
"
    );
    assert_eq!(
        server.run(["history", "m"]).shown(),
        "\
ALIAS       VERSION  LABEL  SINCE                 UNTIL                 BY         REASON
production        2  v2     2026-01-31 13:05:09Z  -                     key:hush…  better
champion          3  v3     2026-01-31 13:05:09Z  -                     key:hush…  -
production        1  v1     2026-01-31 13:05:09Z  2026-01-31 13:05:09Z  key:hush…  -
"
    );
    let history = server.get("/v1/models/m/history")["history"].clone();
    let run = |flags: &[&str]| server.run(["history", "m"].iter().chain(flags));
    assert_eq!(run(&["--json"]).stdout, format!("{history:#}\n"));
    assert!(run(&["-o", "yaml"]).shown().starts_with("- alias: production\n  version: 2\n  label: v2\n"));
    let csv = ["-o", "csv", "--columns", "alias,label,reason", "--no-header"];
    assert_eq!(run(&csv).shown(), "production,v2,better\nchampion,v3,\nproduction,v1,\n");
    assert_eq!(run(&[&["--alias", "champion"], &csv[..]].concat()).shown(), "champion,v3,\n");
    // The moment at which v1 got into production.
    let then = history[2]["since"].as_str().unwrap();
    assert_eq!(run(&[&["--at", then], &csv[..]].concat()).shown(), "production,v1,\n");
    let (stdout, stderr) = run(&["--alias", "production", "--at", "2001-01-01T00:00:00+01:00"]).done();
    assert_eq!(stdout, "");
    assert_eq!(stderr, "no version of m had the alias production at 2001-01-01T00:00:00+01:00\n");
    let (_, stderr) = run(&["--limit", "1"]).done();
    assert_eq!(stderr, "1 shown; a larger --limit may show more\n");
    for at in ["yesterday", "2026-11-24T12:00:00", "2026-02-30"] {
        let ran = run(&["--at", at]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains("expected a time like 2026-11-24T12:00:00Z"), "{ran:?}");
    }
    assert_eq!(
        server.run(["alias", "delete", "m", "production"]).shown(),
        "deleted m@production; its version is in staging now\n"
    );
    assert_eq!(server.get("/models/2")["status"], "staging");
    let (_, stderr) = server.run(["history", "n"]).done();
    assert_eq!(stderr, "no alias of n has a history yet\n");
    let (_, stderr) = server.run(["alias", "list", "n"]).done();
    assert_eq!(stderr, "n has no aliases; `registry alias set` sets one\n");
    let ran = server.run(["alias", "delete", "m", "champion", "--json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&ran.stdout).unwrap(),
        json!({"status": "deleted", "model": "m", "alias": "champion"})
    );
}

#[test]
fn the_trail_of_a_model_has_its_own_events_and_those_of_its_versions_with_reasons() {
    let server = stocked();
    server.run(["alias", "set", "m", "champion", "m:v3", "--reason", "it is fast"]).shown();
    server.run(["promote", "m:v3"]).shown();
    server.run(["model", "rename", "m", "o"]).shown();
    let run = |flags: &[&str]| server.run(["events", "o", "--model"].iter().chain(flags));
    let shown = run(&["--limit", "3"]).done();
    assert_eq!(
        shown.0,
        "\
TIME                  VERSION  EVENT         ACTOR      WHAT                       REASON
2026-01-31 13:05:09Z        -  rename_model  key:hush…  m → o                      -
2026-01-31 13:05:09Z        3  promote       key:hush…  experimental → production  -
2026-01-31 13:05:09Z        3  set_alias     key:hush…  champion is v3             it is fast
"
    );
    assert_eq!(shown.1, "3 shown; --all shows the rest\n");
    let events = server.get("/v1/events?model=o")["events"].clone();
    assert_eq!(run(&["--json"]).stdout, format!("{events:#}\n"));
    let (stdout, stderr) = server.run(["events", "none", "--model"]).done();
    assert_eq!((stdout.as_str(), stderr.as_str()), ("", "no events of a model none\n"));
    let line = server.run(["events", "o"]).failed(2);
    assert!(line.contains("\"o\" is no version") && line.contains("--model shows the events"), "{line}");
    assert_eq!(server.run(["events", "o", "--model", "--offset", "1"]).code, 2);
}

#[test]
fn a_rollback_goes_to_the_version_before_and_says_why() {
    let server = stocked();
    let back = |flags: &[&str]| server.run(["rollback", "m", "--reason", "it shouts"].iter().chain(flags));
    let line = back(&[]).failed(5);
    assert!(
        line.contains("had no other version in production before")
            && line.contains("nothing was changed; `registry history m --alias production` shows"),
        "{line}"
    );
    for label in ["m:v1", "m:v2"] {
        server.run(["promote", label]).shown();
    }
    assert_eq!(back(&[]).shown(), "m:v1 (id 1) is in production again\nm:v2 (id 2): production → staging\n");
    let line = back(&["--to", "m:v3"]).failed(5);
    assert!(line.contains("was never in production; promote it instead"), "{line}");
    let ran = back(&["--to", "m:v2", "--json"]);
    assert_eq!(ran.stderr, "m:v2 (id 2) is in production again\nm:v1 (id 1): production → staging\n");
    assert_eq!(ran.stdout, format!("{:#}\n", server.get("/v1/versions/2")));
    let holding = server.get("/v1/models/m/history")["history"][0].clone();
    assert_eq!((&holding["label"], &holding["reason"]), (&json!("v2"), &json!("it shouts")));
    let ran = server.run(["rollback", "m"]);
    assert!(ran.code == 2 && ran.stderr.contains("--reason <TEXT>"), "{ran:?}");
    let line = server.run(["rollback", "m", "--reason", " "]).failed(2);
    assert!(line.contains("--reason is blank"), "{line}");
}

#[test]
fn a_promotion_by_alias_has_to_pass_the_gate_and_a_rollback_does_not() {
    let server = Server::with(tempfile::tempdir().unwrap(), 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY).env("CAIA_REGISTRY_PROMOTION_REQUIRED_SUITE", "smoke");
    });
    for (label, score) in [("v1", 0.7), ("v2", 0.8)] {
        let id = server.add("m", label, &json!({}));
        server.score(id, "smoke", &json!({"score": score}));
        server.run(["promote", &id.to_string()]).shown();
    }
    let line = server.run(["alias", "set", "m", "production", "m:v1"]).failed(5);
    assert!(line.contains("is lower than the 0.8") && line.contains("nothing was changed"), "{line}");
    assert!(
        server.run(["rollback", "m", "--reason", "r"]).shown().starts_with("m:v1 (id 1) is in production")
    );
}

#[test]
fn a_text_that_several_versions_have_is_ambiguous() {
    let server = stocked();
    let label = server.add("m", "x@champion", &json!({}));
    server.add("m:x", "1", &json!({}));
    server.run(["alias", "set", "m:x", "champion", "m:x#1"]).shown();
    let line = server.run(["show", "m:x@champion"]).failed(1);
    let said = format!(
        "m:x@champion may be version {label} (version x@champion of m) or version 6 (alias champion of m:x); use the id"
    );
    assert!(line.contains(&said), "{line}");
    server.add("m", "x#1", &json!({}));
    let line = server.run(["promote", "m:x#1"]).failed(1);
    assert!(line.contains("(version x#1 of m) or version 6 (number 1 of m:x); use the id"), "{line}");
    assert_eq!(server.run(["show", "6", "-o", "name"]).shown(), "m:x:1\n");
}
