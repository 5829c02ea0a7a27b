//! `registry import mlflow`, from servers that fail, lie or are no MLflow server, and into registries that refuse.

use std::net::TcpListener;

use serde_json::json;

use crate::{
    Ran, at,
    fake_registry::{FakeRegistry, answer, json as json_answer},
    server::Server,
};

#[test]
fn a_server_that_is_no_mlflow_server_is_one_line_and_an_exit_code() {
    let server = Server::start();
    let dead = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let said = server.run(["import", "mlflow", &dead]).failed(3);
    assert!(said.contains(&format!("no MLflow server at {dead}: connection refused")), "{said}");
    let page = json_answer(200, r#"{"registered_models": [{"name": "m"}], "next_page_token": "x"}"#);
    let stuck = json_answer(200, r#"{"next_page_token": "x"}"#);
    for (replies, code, problem) in [
        (vec![json_answer(401, "{}")], 4, "needs credentials (401); set MLFLOW_TRACKING_USERNAME and"),
        (vec![json_answer(403, "no")], 4, "needs credentials (403)"),
        (
            vec![answer(200, "", "<html>")],
            1,
            "does not answer like an MLflow server: its answer is no JSON object",
        ),
        (vec![answer(404, "", "<html>")], 1, "it has no such path (404); check the URL"),
        (
            vec![answer(302, "Location: https://sso/login\r\n", "")],
            1,
            "it redirects (302) to https://sso/login",
        ),
        (vec![json_answer(400, r#"{"message": "no such filter"}"#)], 1, "refused this (400): no such filter"),
        (
            vec![json_answer(200, r#"{"registered_models": [{}]}"#)],
            1,
            "a row of its answer has no name or no number",
        ),
        (
            vec![json_answer(200, r#"{"registered_models": 5}"#)],
            1,
            "a row of its answer has no name or no number",
        ),
        (vec![page.clone(), page], 1, "pages do not end"),
        (vec![stuck], 1, "pages do not end"),
        (vec![json_answer(503, r#"{"message": "busy"}"#); 4], 3, "is unavailable (503): busy; see its log"),
    ] {
        let fake = FakeRegistry::answering(replies);
        let said = server.run(["import", "mlflow", &fake.url]).failed(code);
        assert!(said.contains(problem) && said.contains(&fake.url) | said.contains("pages do not"), "{said}");
        for request in fake.received() {
            assert!(request.head.starts_with("get /api/2.0/mlflow/registered-models/search?max_results="));
        }
    }
    assert_eq!(server.get("/v1/events")["events"], json!([]));
}

#[test]
fn credentials_are_chosen_as_mlflow_s_client_does_and_never_shown() {
    let server = Server::start();
    let (token, user) = (("MLFLOW_TRACKING_TOKEN", "t0k"), ("MLFLOW_TRACKING_USERNAME", "ann"));
    let password = ("MLFLOW_TRACKING_PASSWORD", "hunter2");
    for (variables, in_url, header) in [
        (&[][..], "", None),
        (&[token], "", Some("authorization: bearer t0k")),
        (&[token, user], "", Some("authorization: bearer t0k")),
        (&[token, user, password], "", Some("authorization: basic yw5uomh1bnrlcji=")),
        (&[token], "ann:hunter2@", Some("authorization: basic yw5uomh1bnrlcji=")),
    ] {
        let fake = FakeRegistry::answering([json_answer(401, "{}")]);
        let url = fake.url.replace("://", &format!("://{in_url}"));
        let mut command = at(&server.url, ["import", "mlflow", &url]);
        for (name, _) in [token, user, password] {
            command.env_remove(name);
        }
        let said = Ran::of(command.envs(variables.iter().copied())).failed(4);
        let how = if header.is_some() { "refused the credentials (401)" } else { "needs credentials (401)" };
        assert!(said.contains(how) && !said.contains("hunter2"), "{said}");
        let head = &fake.received()[0].head;
        let sent = head.lines().find(|line| line.starts_with("authorization"));
        assert_eq!(sent, header, "{variables:?}");
    }
    for url in
        ["http://ann:hunter2@", "ann:hunter2@h", "http://ann:hunter2@h:port", "http://ann:hunter2@h/?a=1"]
    {
        let said = server.run(["import", "mlflow", url]).failed(2);
        assert!(said.contains("the MLflow server's URL") && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_registry_that_refuses_the_key_or_is_lost_ends_the_import() {
    let answers = || std::iter::repeat_n(json_answer(200, "{}"), 4);
    let fake = FakeRegistry::answering(answers());
    let server = Server::start();
    let mut command = at(&server.url, ["import", "mlflow", &fake.url]);
    let said = Ran::of(command.env("CAIA_REGISTRY_API_KEY", "wrong-key-0123456")).failed(4);
    assert!(said.contains("refused the API key"), "{said}");
    fake.received();

    let model = json_answer(200, r#"{"registered_models": [{"name": "m"}]}"#);
    let empty = json_answer(200, "{}");
    let fake = FakeRegistry::answering([model, empty.clone(), empty.clone(), empty]);
    let none_deleted = json_answer(200, r#"{"models": [], "next": null}"#);
    let registry = FakeRegistry::answering([
        none_deleted.clone(),
        none_deleted,
        json_answer(404, r#"{"error": {"code": "not_found", "message": "there is no model \"m\""}}"#),
        json_answer(503, r#"{"error": {"code": "unavailable", "message": "busy"}}"#),
    ]);
    let said = Ran::of(&mut at(&registry.url, ["import", "mlflow", &fake.url])).failed(3);
    assert!(said.ends_with("run the same command again to go on\n"), "{said}");
    registry.received();
    fake.received();
}

#[test]
fn what_a_hostile_server_says_controls_no_terminal() {
    let harm = "\u{1b}[2J\u{9b}31m\n\u{202e}x";
    let name = harm.repeat(200);
    let model = json!({"registered_models": [{"name": name, "aliases": [{"alias": harm, "version": "1"}]}]});
    let version = json!({"model_versions": [{"name": name, "version": "1", "source": harm}]});
    for format in ["table", "wide", "json", "jsonl", "yaml", "csv"] {
        let server = Server::start();
        let (model, version) = (json_answer(200, &model.to_string()), json_answer(200, &version.to_string()));
        let fake = FakeRegistry::answering([model, version, json_answer(200, "{}"), json_answer(200, "{}")]);
        let ran = server.run(["import", "mlflow", &fake.url, "-o", format]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.stdout.contains("left out"), "{ran:?}");
        for text in [&ran.stdout, &ran.stderr] {
            let is_unsafe = |letter: char| {
                letter != '\n' && (letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}'))
            };
            assert!(!text.contains(is_unsafe), "{format}: {text:?}");
        }
        fake.received();
    }
    let refusal = json!({"message": harm});
    let fake = FakeRegistry::answering([json_answer(400, &refusal.to_string())]);
    let said = Server::start().run(["import", "mlflow", &fake.url]).failed(1);
    assert!(!said.trim_end().contains(char::is_control), "{said:?}");
}
