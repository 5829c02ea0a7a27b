//! `registry webhook` and its subcommands, with a real receiver.

use serde_json::{Value, json};

use crate::{
    KEY, Ran, at,
    receiver::{Receiver, Reply, until},
    server::Server,
};

fn server() -> Server {
    Server::with(tempfile::tempdir().unwrap(), 0, |command| {
        command
            .env("CAIA_REGISTRY_API_KEY", KEY)
            .env("CAIA_REGISTRY_WEBHOOK_ALLOW", "127.0.0.0/8")
            .args(["--webhook-retry-ms", "20"]);
    })
}

fn receiver() -> Receiver {
    Receiver::with(|got| Reply::Status(if got.path.starts_with("/bad") { 503 } else { 200 }))
}

#[test]
fn a_webhook_is_created_shown_tested_changed_and_deleted() {
    let (server, receiver) = (server(), receiver());
    let (stdout, stderr) = server.run(["webhook", "list"]).done();
    assert_eq!(
        (stdout.as_str(), stderr.as_str()),
        ("", "there are no webhooks; `registry webhook create` creates one\n")
    );
    let url = receiver.url("/hook");
    let create = ["webhook", "create", "deploy", &url, "--event", "promote", "--model", "tiny-*"];
    let created = server.run(create).shown();
    let (line, secret) = created.split_once("its secret, which is not shown again: ").unwrap();
    assert!(line.starts_with("created webhook deploy (") && secret.starts_with("whsec_"), "{created}");
    let webhook = server.get("/v1/webhooks")["webhooks"][0].clone();
    assert_eq!((&webhook["events"], &webhook["model"]), (&json!(["promote"]), &json!("tiny-*")));
    let id = webhook["id"].as_str().unwrap();
    let listed = server.run(["webhook", "list", "-o", "csv", "--columns", "name,status,events"]).shown();
    assert_eq!(listed, "name,status,events\ndeploy,active,\"[\"\"promote\"\"]\"\n");
    assert_eq!(server.run(["webhook", "list", "-o", "name"]).shown(), format!("{id}\n"));
    for named in ["deploy", id] {
        let shown = server.run(["webhook", "show", named]).shown();
        assert!(
            shown.starts_with("deploy\n") && shown.contains(&url) && !shown.contains("whsec_"),
            "{shown}"
        );
    }
    let tested = server.run(["webhook", "test", "deploy"]).shown();
    assert!(tested.starts_with(&format!("deploy ({id}) answers 200 (")), "{tested}");
    assert_eq!(receiver.received()[0].json()["type"], "ping");

    let rotated = server.run(["webhook", "update", "deploy", "--rotate-secret", "--any-model"]).shown();
    assert!(rotated.contains("model, rotate_secret\n") && rotated.contains("whsec_"), "{rotated}");
    let updated = server.run(["webhook", "update", "deploy", "--disable", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&updated.stdout).unwrap()["status"], "disabled");
    assert!(!format!("{updated:?}").contains("whsec_"));
    let refused = server.run(["webhook", "replay", "deploy", "--since", "2026-01-31"]).failed(5);
    assert!(refused.contains("the webhook is disabled; enable it first"), "{refused}");
    let unsure = server.run(["webhook", "delete", "deploy"]).failed(2);
    assert!(unsure.contains("give --yes to confirm"), "{unsure}");
    assert_eq!(
        server.run(["webhook", "delete", "deploy", "--yes"]).shown(),
        format!("deleted webhook deploy ({id})\n")
    );
    let missing = server.run(["webhook", "show", "deploy"]).failed(1);
    assert!(
        missing.contains("there is no webhook \"deploy\"; `registry webhook list` shows all"),
        "{missing}"
    );
}

#[test]
fn deliveries_are_logged_and_sent_again() {
    let (server, receiver) = (server(), receiver());
    for (name, path) in [("good", "/"), ("bad", "/bad"), ("twin", "/"), ("twin", "/")] {
        server.run(["webhook", "create", name, &receiver.url(path), "--filter", "params > 5"]).done();
    }
    server.add("m", "v1", &json!({"params": 7}));
    server.add("m", "v2", &json!({"params": 5}));
    let log = until("it is delivered", || {
        let ran = server.run([
            "webhook",
            "deliveries",
            "good",
            "-o",
            "csv",
            "--columns",
            "event,type,model,state,attempts,status",
        ]);
        ran.stdout.contains("delivered").then_some(ran.stdout)
    });
    assert_eq!(log, "event,type,model,state,attempts,status\n5,create,m,delivered,1,200\n");
    assert_eq!(
        server.run(["webhook", "replay", "good", "--event", "5", "-o", "jsonl"]).stdout,
        "{\"replayed\":1}\n"
    );
    let replayed = server.run(["webhook", "replay", "good", "--since", "2026-01-31"]).shown();
    assert!(replayed.starts_with("good (") && replayed.contains(" gets "), "{replayed}");
    until("it comes again", || {
        (receiver.received().iter().filter(|got| got.path == "/").count() > 3).then_some(())
    });
    let table = server.run(["webhook", "deliveries", "bad", "--state", "pending"]).shown();
    assert!(table.contains("503") && table.contains("pending"), "{table}");
    let (_, none) = server.run(["webhook", "deliveries", "bad", "--state", "parked"]).done();
    assert!(none.starts_with("no deliveries of bad ("), "{none}");
    let failed = server.run(["webhook", "test", "bad"]).failed(1);
    assert!(failed.contains("did not accept the test: 503 ("), "{failed}");
    let unclear = server.run(["webhook", "show", "twin"]).failed(2);
    assert!(unclear.contains("2 webhooks are named \"twin\"; give an id: "), "{unclear}");
}

#[test]
fn what_is_wrong_with_a_webhook_is_said_in_one_line() {
    let server = Server::start();
    for (arguments, said) in [
        (&["http://127.0.0.1/"][..], "leads to 127.0.0.1, which is not public"),
        (&["http://user:pw@e.org/"], "has a user name or a password"),
        (&["https://1.1.1.1/", "--event", "promoted"], "has \"promoted\", which is no type of events"),
        (&["https://1.1.1.1/", "--filter", "nonsense = 1"], "unknown field"),
        (&["https://1.1.1.1/", "--secret-file", "/nonexistent"], "/nonexistent: No such file"),
    ] {
        let ran = Ran::of(&mut at(&server.url, ["webhook", "create", "w"].iter().chain(arguments)));
        let line = ran.failed(1);
        assert!(line.contains(said), "{arguments:?}: {line}");
    }
}

#[test]
fn the_log_of_a_server_has_no_secret() {
    let (server, receiver) = (server(), receiver());
    let created = server.run(["webhook", "create", "w", &receiver.url("/bad?token=hidden"), "-o", "json"]);
    let secret =
        serde_json::from_str::<Value>(&created.stdout).unwrap()["secret"].as_str().unwrap().to_owned();
    server.run(["webhook", "update", "w", "--rotate-secret"]).done();
    server.add("m", "v1", &json!({}));
    receiver.wait_for(2);
    server.signal("TERM");
    let log = server.ended().log;
    assert!(log.contains("/v1/webhooks"), "{log}");
    assert!(!log.contains("whsec_") && !log.contains(&secret) && !log.contains("hidden"), "{log}");
}
