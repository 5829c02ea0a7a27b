//! Names, paths and headers that attack the reader of a log or a terminal: they are escaped.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::{KEY, registry, server::Server};

/// Forges lines, clears screens and reverses the order of characters.
const HARM: &str =
    "x\n2026-01-31T00:00:00Z  INFO forged\r\u{1b}[2J\u{9b}31m\u{85}\u{2028}\u{202e}\u{2066}y\0";

fn is_unsafe_to_display(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Sends a raw request and reads the answer to its end.
fn exchange(server: &Server, request: &[u8]) {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn no_request_forges_a_line_of_the_log() {
    for format in ["text", "json"] {
        let server = Server::with(tempfile::tempdir().unwrap(), 0, |command| {
            command.env("CAIA_REGISTRY_API_KEY", KEY).args(["--log-format", format, "--trust-actor-header"]);
        });
        let fields = json!({"name": HARM, "version": HARM, "artifact_uri": HARM, "tags": [HARM]});
        server.post("/models", &fields);
        let path = percent_encoding::utf8_percent_encode(HARM, percent_encoding::NON_ALPHANUMERIC);
        let mut sent = 1;
        for (line, head) in [
            (format!("GET /models/by-name/{path}/{path}"), String::new()),
            (format!("GET /models?q={path}&{path}={path}"), String::new()),
            (format!("GET /{path}"), String::new()),
            (format!("{} /models", "FORGED"), String::new()),
            ("POST /models/1/promote".to_owned(), "X-Actor: \u{85}forged\u{202e}\r\n".to_owned()),
            ("GET /models/1".to_owned(), "X-Request-Id: \u{85}forged\r\n".to_owned()),
            ("GET /models/1".to_owned(), "X-Request-Id: forged status=200\r\n".to_owned()),
            (
                "GET /models/1".to_owned(),
                "If-None-Match: \u{2028}forged\r\nUser-Agent: \u{9b}2J\r\n".to_owned(),
            ),
        ] {
            let request = format!(
                "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: {KEY}\r\n{head}Content-Length: 0\r\n\r\n"
            );
            exchange(&server, request.as_bytes());
            sent += 1;
        }
        server.signal("TERM");
        let log = server.ended().log;
        assert!(!log.contains(|letter| is_unsafe_to_display(letter) && letter != '\n'), "{log:?}");
        let requests = log.split_terminator('\n').filter(|line| match format {
            "json" => serde_json::from_str::<Value>(line).unwrap()["status"].is_number(),
            _ => {
                assert!(line.starts_with("20") && line.get(10..11) == Some("T"), "{line:?}");
                line.contains(" INFO request method=")
            }
        });
        assert_eq!(requests.count(), sent, "{log}");
    }
}

#[test]
fn stored_text_controls_no_terminal_in_any_format() {
    let server = Server::start();
    let fields = json!({
        "name": HARM, "version": HARM, "artifact_uri": HARM, "description": HARM, "run_id": HARM, "git_commit": HARM,
        "created_by": HARM, "source_host": HARM, "dataset": HARM, "tags": [HARM], "metrics": {HARM: HARM},
    });
    server.post("/models", &fields);
    server.score(1, HARM, &json!({HARM: 0.5, "text": HARM}));
    server.add("other", "1", &json!({"metrics": {"suites": {"s": {"score": 1}}}}));
    for command in [
        &["list"][..],
        &["show", "1"],
        &["metrics", "1"],
        &["events", "1"],
        &["compare", "1", "2"],
        &["stats"],
        &["promote", "1"],
        &["production"],
        &["update", "1", "--add-tag", HARM],
        &["delete", "1", "--yes", "--force"],
        &["show", HARM],
        &["show", &format!("{HARM}:1")],
    ] {
        let formats: &[&str] = match command[0] {
            "promote" | "update" | "delete" => &[""],
            "show" if command[1] != "1" => &[""],
            _ => &["table", "wide", "json", "jsonl", "yaml", "csv", "name"],
        };
        for format in formats {
            let output = ["-o", format];
            let arguments = command.iter().chain(output.iter().filter(|_| !format.is_empty()));
            let arguments: Vec<_> = arguments.map(|text| text.replace('\0', "")).collect();
            let ran = server.run(arguments);
            // Fields of csv may hold line breaks and tabs, between their quotes.
            let is_unsafe = |letter: char| is_unsafe_to_display(letter) && letter != '\n';
            for text in [&ran.stdout, &ran.stderr] {
                assert!(!text.contains(is_unsafe), "{command:?} -o {format}: {text:?}");
                let forged = text.lines().any(|line| line.starts_with("2026-01-31T00:00:00Z  INFO forged"));
                assert!(!forged || *format == "csv", "{command:?} -o {format}: {text}");
            }
        }
    }
    // The deletion reached the registry.
    assert_eq!(server.get("/stats")["total_models"], 1);
    assert!(registry(["show", "1"]).env("CAIA_REGISTRY_URL", HARM.replace('\0', "")).output().is_ok_and(
        |output| { !String::from_utf8_lossy(&output.stderr).trim_end().contains(is_unsafe_to_display) }
    ));
}

#[test]
fn names_aliases_tags_and_reasons_control_no_terminal() {
    let server = Server::start();
    let harm = HARM.replace('\0', "");
    server.add(&harm, &harm, &json!({}));
    let (version, by_alias) = (format!("{harm}#1"), format!("{harm}@{harm}"));
    let formats = ["table", "wide", "json", "jsonl", "yaml", "csv", "name"];
    for command in [
        &["model", "update", &harm, "--description", &harm, "--tag", &format!("{harm}={harm}")][..],
        &["alias", "set", &harm, &harm, &version, "--reason", &harm],
        &["tag", "set", &version, &harm, &harm],
        &["tag", "set", &harm, &harm, &harm, "--model"],
        &["alias", "set", &harm, "production", &by_alias, "--reason", &harm],
        &["model", "list"],
        &["model", "show", &harm],
        &["alias", "list", &harm],
        &["history", &harm],
        &["list", &harm, "--sort", "params"],
        &["show", &by_alias],
        &["show", &format!("{harm}@none")],
        &["rollback", &harm, "--reason", &harm],
        &["alias", "delete", &harm, &harm],
        &["alias", "list", &format!("{harm}none")],
        &["restore", &version],
        &["delete", &version, "--force"],
        &["delete", &version, "--yes", "--force"],
        &["restore", &version],
        &["model", "rename", &harm, &format!("{harm}2")],
        &["model", "delete", &format!("{harm}2")],
        &["model", "delete", &format!("{harm}2"), "--yes"],
        &["model", "restore", &format!("{harm}2")],
        &["list", "--filter", &harm],
    ] {
        let is_look = matches!(
            command[..2],
            ["model", "list" | "show"] | ["alias", "list"] | ["history" | "list" | "show", _]
        );
        for format in if is_look { &formats[..] } else { &[""] } {
            let output = ["-o", format];
            let ran = server.run(command.iter().chain(output.iter().filter(|_| !format.is_empty())));
            // Fields of csv may hold line breaks and tabs, between their quotes.
            let is_unsafe = |letter: char| is_unsafe_to_display(letter) && letter != '\n';
            for text in [&ran.stdout, &ran.stderr] {
                assert!(!text.contains(is_unsafe), "{command:?} -o {format}: {text:?}");
                let forged = text.lines().any(|line| line.starts_with("2026-01-31T00:00:00Z  INFO forged"));
                assert!(!forged || *format == "csv", "{command:?} -o {format}: {text}");
            }
        }
    }
    assert_eq!(server.get("/v1/models")["models"][0]["name"], format!("{harm}2"), "every change was made");
}
