//! Behaviour that all commands share: errors of the registry, missing keys, colours, invalid command lines.

use std::net::TcpListener;

use serde_json::json;

use crate::{
    Ran, at,
    fake_registry::{FakeRegistry, answer, json as json_answer},
    registry,
    server::Server,
};

const COMMANDS: [&[&str]; 46] = [
    &["pull", "m:v1"],
    &["cat", "m:v1", "config.json"],
    &["list"],
    &["list", "--json"],
    &["show", "7"],
    &["files", "7"],
    &["list", "m", "--deleted"],
    &["events", "7"],
    &["events", "m", "--model"],
    &["metrics", "m:v1"],
    &["metrics", "7", "--suite", "s", "--set", "score=1"],
    &["promote", "7"],
    &["update", "7", "--description", "d"],
    &["delete", "7", "--yes"],
    &["compare", "1", "2"],
    &["stats"],
    &["production", "m"],
    &["list", "--filter", "params > 5"],
    &["show", "m@champion"],
    &["history", "m"],
    &["rollback", "m", "--reason", "r"],
    &["restore", "7"],
    &["restore", "m:v1"],
    &["model", "list"],
    &["model", "show", "m"],
    &["model", "create", "m"],
    &["model", "update", "m", "--tag", "a"],
    &["model", "delete", "m", "--yes"],
    &["alias", "list", "m"],
    &["alias", "set", "m", "a", "m:v1"],
    &["alias", "delete", "m", "a"],
    &["policy", "list"],
    &["policy", "show", "p"],
    &["policy", "test", "--version", "m:v1"],
    &["policy", "delete", "p"],
    &["approve", "m:v1", "--target", "production"],
    &["approve", "m:v1", "--target", "production", "--withdraw"],
    &["approvals"],
    &["approvals", "m:v1"],
    &["tag", "set", "m#1", "k", "v"],
    &["tag", "delete", "m", "k", "--model"],
    &["key", "create", "--name", "ci", "--scope", "read"],
    &["key", "list"],
    &["key", "show"],
    &["key", "rotate", "ci"],
    &["key", "revoke", "ci"],
];

#[test]
fn any_error_answer_is_one_line_and_an_exit_code() {
    let fault = r#"{"detail":[{"type":"int_parsing","loc":["body","x"],"msg":"no integer","input":"a"}]}"#;
    for (reply, code, said) in [
        (
            json_answer(401, r#"{"detail":"no"}"#),
            4,
            "refused the API key from CAIA_REGISTRY_API_KEY; correct it there",
        ),
        (json_answer(429, r#"{"detail":"slow down"}"#), 3, "is unavailable: slow down; try again later"),
        (answer(429, "", "<html>"), 3, "is unavailable: too many requests (429); try again later"),
        (answer(413, "", "<html>"), 1, "so a proxy may have refused it"),
        (json_answer(404, r#"{"detail":"Not Found"}"#), 1, "it has no such path (404)"),
        (json_answer(409, r#"{"detail":"taken"}"#), 5, "conflict: taken"),
        (json_answer(412, r#"{"detail":"moved"}"#), 5, "conflict: moved"),
        (json_answer(413, r#"{"detail":"too much"}"#), 1, "refused this (413): too much"),
        (json_answer(422, fault), 1, "body.x: no integer"),
        (json_answer(503, r#"{"detail":"busy"}"#), 3, "is unavailable: busy; try again later"),
        (json_answer(503, r#"{"detail":"busy; try again"}"#), 3, "is unavailable: busy; try again later"),
        (json_answer(500, "{}"), 1, "failed (500)"),
        (answer(200, "Content-Type: text/html\r\n", "<html>"), 1, "not JSON but text/html"),
        (answer(302, "Location: https://elsewhere/\r\n", ""), 1, "it redirects to https://elsewhere/"),
    ] {
        for command in COMMANDS {
            let fake = FakeRegistry::answering([reply.clone()]);
            let line = Ran::of(&mut at(&fake.url, command)).failed(code);
            assert!(line.contains(said), "{command:?}: {line}");
        }
    }
}

#[test]
fn a_registry_that_hangs_up_or_does_not_listen_is_unreachable() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cut = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n[{".to_owned();
    // Every command retries for a while, so they run in parallel.
    std::thread::scope(|scope| {
        for command in COMMANDS {
            let cut = &cut;
            scope.spawn(move || {
                let line = Ran::of(&mut at(&format!("http://{free}"), command)).failed(3);
                assert!(line.contains("is `registry serve` running there?"), "{command:?}: {line}");
                for reply in [cut, ""] {
                    // Reads are retried.
                    let fake = FakeRegistry::answering(vec![reply.to_owned(); 4]);
                    let line = Ran::of(&mut at(&fake.url, command)).failed(3);
                    assert!(line.contains("did not answer"), "{command:?}: {line}");
                }
            });
        }
    });
}

#[test]
fn json_of_another_service_causes_no_crash() {
    for body in [
        "[]",
        "{}",
        "null",
        "7",
        r#""x""#,
        r#"{"id":"x"}"#,
        r#"[1,null,"x",[]]"#,
        r#"{"models":5,"by_name":[1]}"#,
    ] {
        for command in COMMANDS {
            let fake = FakeRegistry::answering(vec![json_answer(200, body); 4]);
            // `Ran::of` asserts that nothing panicked.
            let ran = Ran::of(&mut at(&fake.url, command));
            let is_list = matches!(command[0], "list" | "events" | "restore") && body.starts_with('[');
            if is_list {
                assert!(ran.code <= 1, "{command:?} {body}: {ran:?}");
            } else {
                let line = ran.failed(1);
                assert!(line.contains("does not answer like a registry: its answer "), "{command:?}: {line}");
            }
        }
    }
}

#[test]
fn a_missing_key_is_an_error_that_says_where_to_put_one() {
    for command in COMMANDS {
        let line = Ran::of(&mut registry(command)).failed(4);
        assert!(line.contains("there is no API key; give one in CAIA_REGISTRY_API_KEY"), "{line}");
    }
}

#[test]
fn a_busy_registry_is_retried() {
    for status in [429, 503] {
        let busy = answer(status, "Content-Type: application/json\r\nRetry-After: 0\r\n", "{}");
        let fake = FakeRegistry::answering([busy.clone(), busy, json_answer(200, r#"{"id":7}"#)]);
        let ran = Ran::of(&mut at(&fake.url, ["update", "7", "--params", "1", "-o", "jsonl"]));
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "{\"id\":7}\n"), "{ran:?}");
        assert_eq!(fake.received().len(), 3);
    }
}

#[test]
fn an_unknown_path_is_an_error_that_names_the_url() {
    let server = Server::start();
    server.add("m", "v1", &json!({}));
    let url = format!("{}/registry", server.url);
    for command in COMMANDS {
        let line = Ran::of(&mut at(&url, command)).failed(1);
        let said = format!(
            "{url} does not answer like a registry: it has no such path (404); set the registry's URL"
        );
        assert!(line.contains(&said), "{command:?}: {line}");
    }
}

#[test]
fn colours_need_a_terminal_or_a_flag() {
    let server = Server::start();
    let id = server.add("m", "v1", &json!({"status": "production"}));
    for command in [vec!["list"], vec!["show", "1"], vec!["stats"], vec!["compare", "--name", "m"]] {
        if command[0] == "compare" {
            server.add("m", "v2", &json!({"params": id}));
        }
        for (flags, variables, coloured) in [
            (&[][..], &[][..], false),
            (&["--color", "always"], &[], true),
            (&["--color", "never"], &[("CLICOLOR_FORCE", "1")], false),
            (&[], &[("CLICOLOR_FORCE", "1")], true),
            (&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        ] {
            let mut run = at(&server.url, command.iter().chain(flags));
            let ran = Ran::of(run.env_remove("NO_COLOR").envs(variables.iter().copied()));
            assert_eq!(
                (ran.code, ran.stdout.contains('\u{1b}')),
                (0, coloured),
                "{command:?} {flags:?}: {ran:?}"
            );
        }
    }
}

#[test]
fn an_invalid_command_line_is_a_usage_error_and_sends_no_request() {
    for arguments in [
        &["list", "-o", "xml"][..],
        &["list", "-o", "json", "--json"],
        &["list", "--all", "--limit", "3"],
        &["list", "--limit", "0"],
        &["list", "--status", "live"],
        &["list", "--sort", "nonsense"],
        &["list", "--columns", "nmae"],
        &["list", "--columns", "id,,name"],
        &["list", "--columns", "id", "-o", "yaml"],
        &["list", "-o", "columns=id", "--columns", "id"],
        &["show"],
        &["show", "m"],
        &["show", ":v1"],
        &["events", "1", "-o", "name"],
        &["metrics", "1", "--set", "score=1"],
        &["metrics", "1", "--suite", "s", "--set", "score"],
        &["metrics", "1", "--suite", "s", "--set", "score=NaN"],
        &["metrics", "1", "--suite", "s", "--set", "score=high"],
        &["metrics", "1", "--suite", "s", "--set", "score=0,5"],
        &["metrics", "1", "--suite", "s", "--set", "score="],
        &["metrics", "1", "--suite", "s", "--set", "a=1", "--set-text", "a=x"],
        &["key", "create", "--name", "ci"],
        &["metrics", "1", "--suite", "s", "--set", "a=1", "--set", "a=2"],
        &["metrics", "1", "--suite", " ", "--set", "a=1"],
        &["metrics", "1", "--suite", "s", "--notes", "n"],
        &["promote", "1", "--to", "live"],
        &["update", "1"],
        &["update", "1", "--if-match", "x"],
        &["update", "1", "--set", "name=x"],
        &["update", "1", "--set", "params=null"],
        &["update", "1", "--tag", "a", "--add-tag", "b"],
        &["update", "1", "--add-tag", "a", "--remove-tag", "a"],
        &["update", "1", "--params", "5", "--set", "params=6"],
        &["update", "1", "--training-loss", "NaN"],
        &["delete"],
        &["compare", "1"],
        &["compare", "1", "1"],
        &["compare"],
        &["compare", "1", "--name", "m"],
        &["compare", "1", "2", "--metric", "a/b", "--json"],
        &["completions", "tcsh"],
        &["history"],
        &["history", " "],
        &["history", "m", "--limit", "501"],
        &["rollback", "m"],
        &["restore"],
        &["restore", "m"],
        &["model", "show"],
        &["alias", "set", "m", "a"],
        &["alias", "set", "m", "latest", "m:v1"],
        &["tag", "set", "m:v1"],
        &["tag", "set", "m", "k", "v"],
        &["show", "m@latest"],
        &["show", " 7"],
        &["nonsense"],
        &["list", "--nonsense"],
    ] {
        let fake = FakeRegistry::answering([]);
        let ran = Ran::of(&mut at(&fake.url, arguments));
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.starts_with("error: "), "{arguments:?}: {ran:?}");
        assert!(fake.received().is_empty());
    }
}
