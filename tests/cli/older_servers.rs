//! A registry without `/v1`: errors say so, and what works there.

use crate::{
    Ran, at,
    fake_registry::{FakeRegistry, json as json_answer},
};

/// What a server without `/v1` answers there, and then about its health.
fn without_v1() -> [String; 2] {
    [json_answer(404, r#"{"detail":"Not Found"}"#), json_answer(200, r#"{"status":"healthy"}"#)]
}

#[test]
fn commands_that_need_v1_say_what_works_instead() {
    for (arguments, instead) in [
        (&["model", "list"][..], "list versions with `registry list`"),
        (&["model", "show", "m"], "list the versions with `registry list NAME`"),
        (&["model", "create", "m"], "register its first version"),
        (&["model", "update", "m", "--tag", "a"], "change its versions with `registry update`"),
        (&["model", "rename", "m", "n"], "register the versions under the new name"),
        (&["model", "delete", "m", "--yes"], "delete its versions with `registry delete`"),
        (&["model", "restore", "m"], "register the versions again"),
        (&["alias", "list", "m"], "show the production version with `registry production NAME`"),
        (&["alias", "set", "m", "a", "m:v1"], "promote a version into production with `registry promote`"),
        (
            &["alias", "delete", "m", "a"],
            "move the production version to staging with `registry promote --to staging`",
        ),
        (&["history", "m"], "show the audit trail of one version with `registry events`"),
        (&["events", "m", "--model"], "show the events of one version with `registry events`"),
        (&["tag", "set", "m:v1", "a"], "use tags without values: `registry update --add-tag`"),
        (&["tag", "delete", "m", "a", "--model"], "use tags without values"),
        (&["restore", "m:v1"], "register the version again"),
        (&["list", "--filter", "params > 5"], "use only NAME, --status, --search and --tag"),
        (&["show", "m@champion"], "name the version as name:label or by its id"),
        (&["promote", "m#2"], "name the version as name:label or by its id"),
    ] {
        let fake = FakeRegistry::answering(without_v1());
        let line = Ran::of(&mut at(&fake.url, arguments)).failed(1);
        let said = format!(
            "the registry at {} is too old for this: it has no /v1 API; update the server, or {instead}",
            fake.url
        );
        assert!(line.contains(&said), "{arguments:?}: {line}");
    }
    let [missing, healthy] = without_v1();
    let none = json_answer(404, r#"{"detail":"nothing is in production"}"#);
    let fake = FakeRegistry::answering([none, missing, healthy]);
    let line = Ran::of(&mut at(&fake.url, ["rollback", "m", "--reason", "r"])).failed(1);
    assert!(line.contains("or promote the earlier version with `registry promote`"), "{line}");
}

#[test]
fn what_needs_no_alias_and_no_number_works_there() {
    let version = r#"{"id":7,"name":"a","version":"b@c"}"#;
    for (text, answers) in [
        ("7", vec![json_answer(200, version)]),
        ("a@production", vec![json_answer(200, version)]),
        // Without aliases, only one reading is left.
        ("a:b@c", [vec![json_answer(200, version)], without_v1().to_vec()].concat()),
    ] {
        let fake = FakeRegistry::answering(answers);
        assert_eq!(Ran::of(&mut at(&fake.url, ["show", text, "-o", "name"])).shown(), "a:b@c\n", "{text}");
        fake.received();
    }
}

#[test]
fn a_deletion_there_promises_no_way_back() {
    let version = json_answer(200, r#"{"id":7,"name":"m","version":"v1"}"#);
    let [missing, healthy] = without_v1();
    let deleted = json_answer(200, r#"{"status":"deleted","id":7}"#);
    let fake = FakeRegistry::answering([version, missing, healthy, deleted]);
    assert_eq!(Ran::of(&mut at(&fake.url, ["delete", "7", "--yes"])).shown(), "deleted m:v1 (id 7)\n");
}

#[test]
fn a_sick_server_is_not_called_old() {
    let [missing, _] = without_v1();
    let fake = FakeRegistry::answering([missing, json_answer(404, r#"{"detail":"Not Found"}"#)]);
    let line = Ran::of(&mut at(&fake.url, ["model", "list"])).failed(1);
    assert!(line.contains("it has no such path (404); set the registry's URL"), "{line}");
}

#[test]
fn an_unknown_outcome_asks_to_look_first_and_is_not_retried() {
    let body = r#"{"error":{"code":"outcome_unknown","message":"the connection was lost"}}"#;
    let fake = FakeRegistry::answering([json_answer(503, body)]);
    let line = Ran::of(&mut at(&fake.url, ["model", "create", "m"])).failed(3);
    assert!(
        line.contains("can't tell if this was executed: the connection was lost; check before you try again"),
        "{line}"
    );
    assert_eq!(fake.received().len(), 1);
}
