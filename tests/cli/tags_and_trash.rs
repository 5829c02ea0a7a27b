//! `registry tag`, and `restore` of what `delete` deleted.

use serde_json::json;

use crate::{
    Ran, at,
    fake_registry::{FakeRegistry, json as json_answer},
    server::Server,
};

#[test]
fn tags_of_a_version_have_values_and_plain_ones_are_the_native_tags() {
    let server = Server::start();
    server.add("m", "v1", &json!({}));
    let set = |arguments: &[&str]| server.run(["tag", "set"].iter().chain(arguments)).shown();
    assert_eq!(set(&["m:v1", "team", "nlp"]), "m:v1 (id 1): tag team=nlp set\n");
    assert_eq!(set(&["1", "nightly"]), "m:v1 (id 1): tag nightly set\n");
    assert_eq!(set(&["m#1", "a=b", ""]), "m:v1 (id 1): tag a=b set\n");
    let version = server.get("/v1/versions/1");
    assert_eq!(version["tags"], json!({"nightly": "", "a=b": "", "team": "nlp"}));
    assert_eq!(server.get("/models/1")["tags"], json!(["nightly", "a=b"]));
    let ran = server.run(["tag", "delete", "m:v1", "team", "--json"]);
    assert_eq!(ran.stderr, "m:v1 (id 1): tag team deleted\n");
    assert_eq!(ran.stdout, format!("{:#}\n", server.get("/v1/versions/1")));
    assert_eq!(server.get("/v1/versions/1")["tags"], json!({"nightly": "", "a=b": ""}));
}

#[test]
fn a_tag_is_deleted_with_two_requests_and_an_absent_one_is_an_error() {
    let version = |tags: &str| {
        json_answer(200, &format!(r#"{{"id":7,"model":"m","label":"v1","number":1,"tags":{tags}}}"#))
    };
    let fake = FakeRegistry::answering([version(r#"{"team":"nlp"}"#), version("{}")]);
    let ran = Ran::of(&mut at(&fake.url, ["tag", "delete", "7", "team"]));
    assert_eq!(ran.shown(), "m:v1 (id 7): tag team deleted\n");
    assert!(fake.received()[1].head.starts_with("delete /v1/models/m/versions/1/tags/team "));

    let server = Server::start();
    server.add("m", "v1", &json!({}));
    for arguments in [&["m:v1", "team"][..], &["m", "team", "--model"]] {
        let line = server.run(["tag", "delete"].iter().chain(arguments)).failed(1);
        assert!(line.contains("there is no tag team; nothing was changed"), "{line}");
    }
}

#[test]
fn tags_of_a_model_need_the_flag() {
    let server = Server::start();
    server.add("m", "v1", &json!({}));
    assert_eq!(server.run(["tag", "set", "m", "team", "nlp", "--model"]).shown(), "m: tag team=nlp set\n");
    let ran = server.run(["tag", "set", "m", "size", "-1", "--model", "-o", "jsonl"]);
    assert_eq!(ran.stdout, format!("{}\n", server.get("/v1/models/m")), "{ran:?}");
    assert_eq!(server.run(["tag", "rm", "m", "team", "--model"]).shown(), "m: tag team deleted\n");
    assert_eq!(server.get("/v1/models/m")["tags"], json!({"size": "-1"}));
    let line = server.run(["tag", "set", "m", "team", "nlp"]).failed(2);
    assert!(
        line.contains("\"m\" is no version: expected name:label")
            && line.contains("--model sets a tag of a model"),
        "{line}"
    );
    let line = server.run(["tag", "set", "m", "team=nlp", "--model"]).failed(2);
    assert!(
        line.contains("the key \"team=nlp\" contains =; give key and value apart, like team \"nlp\""),
        "{line}"
    );
    let line = server.run(["tag", "set", "none", "a", "--model"]).failed(1);
    assert!(line.contains("there is no model \"none\""), "{line}");
    let line = server.run(["tag", "set", "m:v2", "a"]).failed(1);
    assert!(line.contains("there is no version m:v2"), "{line}");
    let huge = "k".repeat(1025);
    let ran = server.run(["tag", "set", "m:v1", &huge]);
    assert!(ran.code == 2 && ran.stderr.contains("has 1025 bytes"), "{ran:?}");
}

#[test]
fn a_deleted_version_comes_back_by_label_number_or_id() {
    let server = Server::start();
    for label in ["v1", "v2", "v3"] {
        server.add("m", label, &json!({}));
    }
    server.run(["promote", "m:v2"]).shown();
    let (stdout, stderr) = server.run(["delete", "m:v1", "m:v2", "m:v3", "--yes", "--force"]).done();
    assert_eq!(stdout, "deleted m:v1 (id 1)\ndeleted m:v2 (id 2)\ndeleted m:v3 (id 3)\n");
    assert_eq!(stderr, "`registry restore ID` restores one\n");
    assert_eq!(server.run(["restore", "m:v1"]).shown(), "restored m:v1 (id 1) in experimental\n");
    assert_eq!(server.run(["restore", "m#2"]).shown(), "restored m:v2 (id 2) in staging\n");
    let ran = server.run(["undelete", "3", "--json"]);
    assert_eq!(ran.stderr, "restored m:v3 (id 3) in experimental\n");
    assert_eq!(ran.stdout, format!("{:#}\n", server.get("/v1/versions/3")));
    assert_eq!(server.run(["list", "-o", "name"]).shown(), "m:v3\nm:v2\nm:v1\n");
    for (version, said) in [
        ("m:v1", "m:v1 is not deleted"),
        ("m#1", "m#1 is not deleted"),
        ("m:none", "no deleted version is m:none"),
        ("m@champion", "no deleted version is m@champion"),
        ("99", "no deleted version is 99"),
    ] {
        let line = server.run(["restore", version]).failed(1);
        assert!(line.contains(said), "{version}: {line}");
    }
    let new = server.add("m", "v4", &json!({}));
    let line = server.run(["restore", &new.to_string()]).failed(1);
    assert!(line.contains("4 is not deleted"), "{line}");
}

#[test]
fn the_trash_of_a_model_is_listed_with_who_deleted_and_when() {
    let server = Server::start();
    for label in ["v1", "v2", "v3"] {
        server.add("m", label, &json!({}));
    }
    server.run(["delete", "m:v1", "m:v3", "--yes"]).done();
    let trash = |flags: &[&str]| server.run(["list", "m", "--deleted"].iter().chain(flags));
    let shown = trash(&[]).shown();
    assert!(shown.starts_with("ID  MODEL  NUMBER  LABEL  STATUS        DELETED"), "{shown}");
    assert_eq!(trash(&["-o", "name"]).shown(), "m:v3\nm:v1\n");
    let actor = trash(&["-o", "csv", "--no-header", "--columns", "id,number,deleted_by"]).shown();
    assert_eq!(actor, "3,3,key:hush…\n1,1,key:hush…\n");
    let (stdout, stderr) = trash(&["--limit", "1", "-o", "name"]).done();
    assert_eq!((stdout.as_str(), stderr.as_str()), ("m:v3\n", "1 shown; --all shows the rest\n"));
    server.add("n", "v1", &json!({}));
    let (_, stderr) = server.run(["list", "n", "--deleted"]).done();
    assert_eq!(stderr, "no version of n is in the trash\n");
    let line = server.run(["list", "none", "--deleted"]).failed(1);
    assert!(line.contains("there is no model \"none\""), "{line}");
    for flags in [&["list", "--deleted"][..], &["list", "m", "--deleted", "--status", "staging"]] {
        assert_eq!(server.run(flags).code, 2, "{flags:?}");
    }
    let line = server.run(["restore", "m:none"]).failed(1);
    assert!(line.contains("`registry list m --deleted` shows its deleted versions"), "{line}");
}

#[test]
fn a_deleted_version_whose_label_was_given_out_again_is_restored_by_its_id_once_the_label_is_free() {
    let server = Server::start();
    for id in ["1", "2"] {
        server.add("m", "v1", &json!({}));
        server.run(["delete", id, "--yes"]).done();
    }
    let line = server.run(["restore", "m:v1"]).failed(1);
    assert!(line.contains("m:v1 may be one of the deleted versions 2, 1; use the id"), "{line}");
    assert_eq!(server.run(["restore", "1"]).shown(), "restored m:v1 (id 1) in experimental\n");
    let line = server.run(["restore", "2"]).failed(5);
    assert!(
        line.contains("another version of \"m\" has the label \"v1\" now, with id 1; delete that one first"),
        "{line}"
    );
}

#[test]
fn a_version_of_a_renamed_model_is_restored_under_the_new_name() {
    let server = Server::start();
    server.add("m", "v1", &json!({}));
    server.add("m", "v2", &json!({}));
    server.run(["delete", "1", "--yes"]).done();
    server.run(["model", "rename", "m", "n"]).shown();
    let line = server.run(["restore", "1"]).failed(1);
    assert!(
        line.contains("1 was deleted as m:v1") && line.contains("under the new name, as NEW:v1"),
        "{line}"
    );
    assert_eq!(server.run(["restore", "n:v1"]).shown(), "restored n:v1 (id 1) in experimental\n");
}
