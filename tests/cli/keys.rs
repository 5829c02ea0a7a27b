//! `registry key`: keys from their creation to their end, through the real binary.

use serde_json::json as value;

use crate::{Ran, at, registry, server::Server};

/// Runs a command with another key.
fn with_key(server: &Server, key: &str, arguments: &[&str]) -> Ran {
    let mut command = at(&server.url, arguments);
    command.env("CAIA_REGISTRY_API_KEY", key);
    Ran::of(&mut command)
}

#[test]
fn a_key_is_created_used_rotated_and_revoked() {
    let server = Server::start();
    let scopes = ["--scope", "read,register", "--scope", "promote:staging", "--models", "team-a/*"];
    let created = server.run([&["key", "create", "--name", "ci", "--expires", "30d"][..], &scopes].concat());
    assert_eq!(created.code, 0, "{created:?}");
    let token = created.stdout.strip_suffix('\n').unwrap();
    assert!(token.starts_with("reg_1_") && !token.contains(char::is_whitespace), "the token alone: {token}");
    assert!(created.stderr.starts_with("created key ci (id 1), which expires at 2"), "{created:?}");
    assert!(created.stderr.ends_with("; its token is shown only this once\n"), "{created:?}");

    let ingest = |name: &str| {
        with_key(&server, token, &["ingest", "--name", name, "--version", "1", "--artifact-uri", "s3://b/m"])
    };
    assert_eq!(ingest("team-a/m").code, 0);
    let refused = ingest("team-b/m").failed(4);
    assert!(refused.contains("key:ci may change only models that match team-a/*"), "{refused}");
    let refused = with_key(&server, token, &["promote", "team-a/m:1"]).failed(4);
    assert!(refused.contains("key:ci lacks the scope promote:production"), "{refused}");
    assert_eq!(with_key(&server, token, &["promote", "team-a/m:1", "--to", "staging"]).code, 0);
    let own = with_key(&server, token, &["key", "show"]);
    assert!(own.code == 0 && own.stdout.contains("key:ci"), "{own:?}");

    let listed = server.run(["key", "list"]).done();
    let lines: Vec<_> = listed.0.lines().collect();
    assert!(lines[0].starts_with("ID  NAME  SCOPES"), "{listed:?}");
    assert!(lines[1].contains("ci") && lines[1].contains("team-a/*"), "{listed:?}");
    assert_eq!(server.run(["key", "list", "-o", "name"]).done().0, "ci\n");
    let shown = server.run(["key", "show", "ci", "--json"]).done();
    let shown: serde_json::Value = serde_json::from_str(&shown.0).unwrap();
    assert_eq!(shown["scopes"], value!(["read", "register", "promote:staging"]));
    assert!(!shown.to_string().contains(token.rsplit('_').next().unwrap()));

    let rotated = server.run(["key", "rotate", "ci"]).done().0;
    with_key(&server, token, &["list"]).failed(4);
    assert_eq!(with_key(&server, rotated.trim(), &["list"]).code, 0);
    let revoked = server.run(["key", "revoke", "ci"]).done();
    assert!(revoked.0.starts_with("revoked key ci (id 1)"), "{revoked:?}");
    with_key(&server, rotated.trim(), &["list"]).failed(4);
    server.run(["key", "revoke", "ci"]).failed(1);
    let none = server.run(["key", "list"]);
    assert!(none.stderr.contains("the registry stores no keys"), "{none:?}");
    assert!(server.run(["key", "list", "--revoked"]).done().0.contains("ci"));
}

#[test]
fn a_wrong_key_is_refused_before_the_request() {
    for (arguments, words) in [
        (&["--name", "1a", "--scope", "read"][..], "begin with a letter"),
        (&["--name", "ci"], "--scope"),
        (&["--name", "ci", "--scope", "rule"], "is not a scope; give some of read, register"),
        (&["--name", "ci", "--scope", "promote"], "promote needs a status, like promote:staging"),
        (&["--name", "ci", "--scope", "promote:live"], "names no status"),
        (&["--name", "ci", "--scope", "read", "--models", ""], "blank pattern"),
        (&["--name", "ci", "--scope", "read", "--models", &"x".repeat(100_000)], "100000 bytes"),
        (&["--name", "ci", "--scope", "read", "--expires", "soon"], "like 30d"),
    ] {
        let mut command = registry(["key", "create", "--registry-url", "http://localhost:1"]);
        let ran = Ran::of(command.args(arguments).env("CAIA_REGISTRY_API_KEY", "k"));
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(words), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn one_that_could_do_more_than_its_creator_is_refused() {
    let server = Server::start();
    let lead = server.run(["key", "create", "--name", "lead", "--scope", "keys,read"]).done().0;
    let create =
        |scope: &str| with_key(&server, lead.trim(), &["key", "create", "--name", "x", "--scope", scope]);
    let line = create("register").failed(4);
    assert!(
        line.contains("no more rights than the one that creates it, which lacks the scope register"),
        "{line}"
    );
    assert_eq!(create("read").code, 0);
}

#[test]
fn scores_are_changed_only_by_a_key_that_may_evaluate() {
    let server = Server::start();
    server.add("m", "v1", &value!({"metrics": {"suites": {"eval-v1": {"score": 0.5}}}}));
    let key =
        |name: &str, scopes: &str| server.run(["key", "create", "--name", name, "--scope", scopes]).done().0;
    let (author, judge) = (key("author", "read,register,promote:*"), key("judge", "read,evaluate"));
    let forged = ["update", "m:v1", "--metrics-json", r#"{"suites":{"eval-v1":{"score":99}}}"#];
    let refused = with_key(&server, author.trim(), &forged).failed(4);
    assert!(refused.contains("key:author lacks the scope evaluate"), "{refused}");
    let set = ["metrics", "m:v1", "--suite", "eval-v1", "--set", "score=99"];
    with_key(&server, author.trim(), &set).failed(4);
    assert_eq!(server.get("/models/1/metrics")["eval-v1"]["score"], value!(0.5));
    assert_eq!(with_key(&server, judge.trim(), &forged).code, 0);
    let events = server.get("/v1/events?model=m&type=eval")["events"].clone();
    assert_eq!(
        (&events[0]["actor"], &events[0]["before"], &events[0]["payload"]["metrics"]),
        (&value!("key:judge"), &value!({"score": 0.5}), &value!({"score": 99}))
    );
    assert_eq!(
        with_key(&server, author.trim(), &["update", "m:v1", "--metrics-json", r#"{"note":1}"#]).code,
        0
    );
    assert_eq!(server.get("/models/1/metrics")["eval-v1"]["score"], value!(99), "suites stay");
}
