//! `registry model` and its subcommands.

use serde_json::{Value, json};

use crate::{Ran, at, server::Server};

/// Three models: one with versions, one with a description and tags, one in the trash.
fn stocked() -> Server {
    let server = Server::start();
    server.add("tiny", "v1", &json!({}));
    server.add("tiny", "v2", &json!({"status": "production"}));
    let create =
        ["model", "create", "big", "--description", "a large one", "--tag", "team=nlp", "--tag", "nightly"];
    assert_eq!(server.run(create).shown(), "created model big\n");
    server.add("old", "v1", &json!({}));
    server.run(["model", "delete", "old", "--yes"]).done();
    server
}

#[test]
fn models_are_listed_by_name() {
    let server = stocked();
    assert_eq!(
        server.run(["model", "list"]).shown(),
        "\
NAME  VERSIONS  LATEST  ALIASES       TAGS              UPDATED            DESCRIPTION
big          0       -  -             nightly,team=nlp  2026-01-31 13:05Z  a large one
tiny         2       2  production=2  -                 2026-01-31 13:05Z  -
"
    );
    for (flags, names) in [
        (&[][..], "big\ntiny\n"),
        (&["--search", "IN"], "tiny\n"),
        (&["--tag", "team=nlp"], "big\n"),
        (&["--tag", "team"], "big\n"),
        (&["--tag", "nightly="], "big\n"),
        (&["--deleted"], "old\n"),
    ] {
        let ran = server.run(["model", "list", "-o", "name"].iter().chain(flags));
        assert_eq!(ran.shown(), names, "{flags:?}");
    }
    let (stdout, stderr) = server.run(["model", "ls", "--tag", "team=x"]).done();
    assert_eq!((stdout.as_str(), stderr.as_str()), ("", "no models match\n"));
    let (stdout, stderr) = server.run(["model", "list", "--limit", "1", "-o", "name"]).done();
    assert_eq!((stdout.as_str(), stderr.as_str()), ("big\n", "1 shown; --all shows the rest\n"));
}

#[test]
fn each_format_has_the_registry_s_own_answer() {
    let server = stocked();
    let listed = server.get("/v1/models");
    let list = |flags: &[&str]| server.run(["model", "list"].iter().chain(flags)).stdout;
    assert_eq!(list(&["--json"]), format!("{:#}\n", listed["models"]));
    assert_eq!(list(&["-o", "jsonl"]), format!("{}\n{}\n", listed["models"][0], listed["models"][1]));
    assert!(list(&["-o", "yaml"]).starts_with("- name: big\n  description: a large one\n"));
    assert_eq!(
        list(&["-o", "csv", "--columns", "name,aliases.production,tags"]),
        "name,aliases.production,tags\nbig,,\"{\"\"nightly\"\":\"\"\"\",\"\"team\"\":\"\"nlp\"\"}\"\ntiny,2,{}\n"
    );
    let shown = server.run(["model", "show", "big", "--json"]).stdout;
    assert_eq!(shown, format!("{:#}\n", server.get("/v1/models/big")));
    assert_eq!(server.run(["model", "show", "big", "-o", "name"]).shown(), "big\n");
}

#[test]
fn a_model_is_shown_with_its_aliases_and_newest_versions() {
    let server = stocked();
    server.run(["alias", "set", "tiny", "champion", "tiny:v1"]).shown();
    server.run(["model", "update", "tiny", "--tag", "team=nlp"]).shown();
    assert_eq!(
        server.run(["model", "show", "tiny"]).shown(),
        "\
tiny
  tags      team=nlp
  versions  2
  created   2026-01-31 13:05:09Z
  updated   2026-01-31 13:05:09Z

Aliases
  champion    1
  production  2

Newest versions
  2  v2  production    2  2026-01-31 13:05Z
  1  v1  experimental  1  2026-01-31 13:05Z
"
    );
}

#[test]
fn description_and_tags_change_and_other_tags_stay() {
    let server = stocked();
    let update = [
        "model",
        "update",
        "big",
        "--description",
        "d",
        "--tag",
        "team=cv",
        "--tag",
        "a",
        "--remove-tag",
        "nightly",
    ];
    assert_eq!(server.run(update).shown(), "updated model big: description, tags\n");
    let model = server.get("/v1/models/big");
    assert_eq!((&model["description"], &model["tags"]), (&json!("d"), &json!({"a": "", "team": "cv"})));
    let ran = server.run(["model", "update", "big", "--remove-tag", "a", "--json"]);
    assert_eq!(ran.stderr, "updated model big: tags\n");
    assert_eq!(ran.stdout, format!("{:#}\n", server.get("/v1/models/big")));
}

#[test]
fn a_model_is_renamed_with_its_versions() {
    let server = stocked();
    assert_eq!(
        server.run(["model", "rename", "tiny", "org/small"]).shown(),
        "renamed model tiny to org/small\n"
    );
    assert_eq!(server.run(["show", "org/small@production", "-o", "name"]).shown(), "org/small:v2\n");
    let line = server.run(["model", "rename", "org/small", "big"]).failed(5);
    assert!(line.contains("there is a model \"big\" already; choose another name"), "{line}");
}

#[test]
fn a_model_goes_to_the_trash_and_comes_back_with_its_versions() {
    let server = stocked();
    let line = server.run(["model", "delete", "tiny"]).failed(2);
    assert!(line.contains("can't ask whether to delete model tiny with 2 versions"), "{line}");
    let line = server.run(["model", "delete", "tiny", "--yes"]).failed(5);
    assert!(line.contains("is in production; give --force to delete it anyway"), "{line}");
    let (stdout, stderr) = server.run(["model", "delete", "tiny", "--yes", "--force"]).done();
    assert_eq!(stdout, "deleted model tiny with 2 versions\n");
    assert_eq!(stderr, "`registry model restore tiny` restores it\n");
    let line = server.run(["model", "show", "tiny"]).failed(1);
    assert!(line.contains("there is no model \"tiny\""), "{line}");
    let line = server.run(["restore", "tiny:v1"]).failed(1);
    assert!(line.contains("`registry model restore tiny` restores it with its versions"), "{line}");
    assert_eq!(server.run(["model", "restore", "tiny"]).shown(), "restored model tiny with 2 versions\n");
    assert_eq!(server.run(["list", "tiny", "-o", "name"]).shown(), "tiny:v2\ntiny:v1\n");
    let line = server.run(["model", "restore", "none"]).failed(1);
    assert!(line.contains("`registry model list --deleted` shows the models in the trash"), "{line}");
}

#[test]
fn a_refused_change_names_the_fault() {
    let server = stocked();
    let long = "x".repeat(1025);
    let huge = format!("k={}", "v".repeat(100_001));
    for (arguments, code, said) in [
        (&["model", "create", "big"][..], 5, "there is a model \"big\" already; choose another name"),
        (&["model", "update", "none", "--tag", "a"], 1, "there is no model \"none\""),
        (&["model", "show", "none"], 1, "there is no model \"none\""),
        (&["model", "update", "big", "--tag", &huge], 1, "the value of tag \"k\" has 100001 characters"),
        (&["alias", "list", "none"], 1, "there is no model \"none\""),
        (&["history", "none"], 1, "there is no model \"none\""),
    ] {
        let line = server.run(arguments).failed(code);
        assert!(line.contains(said), "{arguments:?}: {line}");
    }
    for (arguments, said) in [
        (&["model", "create", " "][..], "name is blank"),
        (&["model", "create", &long], "name has 1025 bytes"),
        (&["model", "create", "m", "--tag", "=v"], "the key of a tag is blank"),
        (&["model", "create", "m", "--tag", "a", "--tag", "a=1"], "the tag \"a\" is given twice"),
        (&["model", "update", "big", "--tag", "a", "--remove-tag", "a"], "the tag \"a\" is given twice"),
        (&["model", "update", "big"], "nothing to change; give --description"),
        (&["model", "rename", "big", ""], "name is blank"),
        (&["model", "list", "--tag", "=x"], "the key of a tag is blank"),
        (&["model"], "Usage: registry model"),
    ] {
        let ran = server.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(said), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn names_are_taken_byte_for_byte() {
    let server = Server::start();
    let long = "x".repeat(1024);
    for name in [
        "org/m",
        "a:b",
        "a@b",
        "a#2",
        "a%2Fb",
        "über 模型",
        " x ",
        "a?b&c=d",
        "-",
        "a\\b",
        "{a}",
        "'\"`",
        "a;b",
        "x\u{1b}[2J\ny\u{202e}",
        &long,
    ] {
        let run = |arguments: &[&str]| {
            let ran = Ran::of(&mut at(&server.url, arguments));
            assert_eq!(ran.code, 0, "{name:?} {arguments:?}: {ran:?}");
            ran
        };
        run(&["model", "create", "--tag", "k=v", "--", name]);
        let id = server.add(name, "v1", &json!({})).to_string();
        server.add(name, "v2", &json!({}));
        let (by_number, by_label) = (format!("{name}#1"), format!("{name}:v2"));
        let aliased = format!("{name}@c/d");
        run(&["alias", "set", "--", name, "c/d", &by_number]);
        run(&["alias", "set", "--", name, "e:f", &by_label]);
        for text in [&by_number, &aliased] {
            let shown: Value = serde_json::from_str(&run(&["show", "--json", "--", text]).stdout).unwrap();
            assert_eq!((shown["id"].to_string(), &shown["name"]), (id.clone(), &json!(name)), "{text:?}");
        }
        run(&["tag", "set", "--", &by_number, "a/b", "=1"]);
        run(&["tag", "set", "--model", "--", name, "a/b", "=1"]);
        run(&["history", "--", name]);
        run(&["delete", "--yes", "--", &by_label]);
        run(&["restore", "--", &by_label]);
        run(&["model", "delete", "--yes", "--", name]);
        run(&["model", "restore", "--", name]);
        let model: Value =
            serde_json::from_str(&run(&["model", "show", "--json", "--", name]).stdout).unwrap();
        assert_eq!(model["name"], name);
        assert_eq!(model["tags"], json!({"a/b": "=1", "k": "v"}), "{name:?}");
        assert_eq!(model["versions"], 2, "{name:?}");
    }
}
