//! Hostile texts in fields, paths, queries and heads: each is kept exactly, matches nothing, or is refused and changes nothing.

use std::time::Instant;

use serde_json::json;

use crate::support::{BOUNDED, TestApp, encoded};

#[test]
fn text_in_any_script_is_kept_found_and_returned() {
    let app = TestApp::spawn();
    let texts = [
        "\0",
        "a\0b",
        "a\nb\r\nc",
        "\u{1b}[2J\u{1b}]0;title\u{7}",
        "\u{202e}gnp.tfel",
        "a\u{2028}b\u{2029}c",
        "\u{feff}bom",
        "\u{ffff}\u{fffd}",
        "\u{7f}\u{85}\u{9b}31m",
        "..",
        "%2F%00",
        "a/b?c#d&e=f;g+h",
        "'; DROP TABLE models; --",
        "😀\u{200d}\u{e0001}",
        "\\\"\u{8}",
    ];
    for text in texts {
        let fields = json!({
            "description": text, "run_id": text, "created_by": text, "source_host": text, "dataset": text,
            "tags": [text], "metrics": {text: text},
        });
        let id = app.register_with(text, text, &fields);
        app.record(id, text, json!({text: 1})).ok();
        let model = app.model(id);
        for field in ["name", "version", "description", "run_id", "created_by", "source_host", "dataset"] {
            assert_eq!(model[field], text, "{field} of {text:?}");
        }
        assert_eq!((&model["tags"], &model["metrics"][text]), (&json!([text]), &json!(text)));
        let path = encoded(text);
        assert_eq!(app.get(&format!("/models/by-name/{path}/{path}")).ok(), model, "{text:?}");
        assert_eq!(
            app.get(&format!("/models/{id}/metrics?suite={path}")).status,
            if text.trim().is_empty() { 404 } else { 200 }
        );
        for filter in ["name", "tag", "q"] {
            let found = app.ids(&format!("/models?{filter}={path}"));
            assert!(found.contains(&id), "{filter}={text:?} finds {found:?}");
        }
        app.promote(id).ok();
        assert_eq!(app.get(&format!("/production/{path}")).ok()["id"], id);
        assert_eq!(app.get("/stats").ok()["by_name"][text], 1, "{text:?}");
        assert_eq!(app.last_payload(id), json!({"from": "experimental", "to": "production"}));
        let created = &app.events(id)[0]["payload"];
        assert_eq!((&created["name"], &created["version"]), (&json!(text), &json!(text)));
    }
    assert_eq!(app.get("/models?limit=200").ok().as_array().unwrap().len(), texts.len());
}

#[test]
fn paths_and_queries_are_decoded_once_and_invalid_utf_8_matches_nothing() {
    let app = TestApp::spawn();
    app.register("/", "1");
    app.register("a", "1");
    app.register("%2F", "1");
    for (path, status) in [
        ("/models/by-name/%2F/1", 200),
        ("/models/by-name/%252F/1", 200),
        ("/models/by-name/%2f/%31", 200),
        ("/models/by-name/%61/1", 200),
        ("/models/by-name/%00/1", 404),
        ("/models/by-name/a%00/1", 404),
        ("/models/by-name/%c0%af/1", 404),
        ("/models/by-name/%ed%a0%80/1", 404),
        ("/models/by-name/%/1", 404),
        ("/models/by-name/%zz/1", 404),
        ("/models/by-name/%2/1", 404),
        ("/models/by-name/a/1/", 404),
        ("/models/by-name//1", 404),
        ("/models/%31", 200),
        ("/models/1%00", 422),
        ("/models/1;x=y", 422),
        ("/models/1%2Fevents", 422),
        ("/models/%c0%b1", 422),
        ("/models/../stats", 404),
        ("/models/%2e%2e/stats", 404),
        ("//stats", 404),
        ("/stats/", 404),
        ("/STATS", 404),
        ("/models?q=%c0%af", 200),
        ("/models?q=%00", 200),
        ("/models?q=%", 200),
        ("/models?limit=%31", 200),
        ("/models?limit=1%00", 422),
        ("/models?limit=1;offset=1", 422),
        ("/models?limit=x&limit=1", 200),
        ("/models?limit=1&limit=x", 422),
        ("/models?status=%00", 422),
        ("/models?cursor=%00", 400),
        ("/models?cursor=W10", 400),
        ("/models?=&&=&a%00=1", 200),
        ("/compare?ids=1,", 422),
        ("/compare?ids=1%2C2", 200),
        ("/compare?ids=1;2", 422),
    ] {
        let answer = app.send("GET", path, "", b"");
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        if status >= 400 {
            assert!(!answer.json()["detail"].is_null(), "{path}");
        }
    }
    // Bytes that are not allowed in a request line never become a path.
    for path in [&b"/models/\xc3\xa9"[..], b"/models?q=\xff", b"/models?q=\x7f"] {
        assert_eq!(app.send("GET", path, "", b"").status, 400, "{path:?}");
    }
}

#[test]
fn the_longest_paths_and_queries_get_quick_answers() {
    let app = TestApp::spawn();
    app.register("kept", "1");
    let ids = vec!["1"; 32_000].join(",");
    for (path, status) in [
        (format!("/compare?ids={ids}"), 422),
        (format!("/compare?ids={}", ",".repeat(60_000)), 422),
        (format!("/models?cursor={}", "W1tb".repeat(15_000)), 400),
        (format!("/models?q={}", "a".repeat(60_000)), 200),
        (format!("/models?q={}", "%".repeat(60_000)), 200),
        (format!("/models?tag={}", "+".repeat(60_000)), 200),
        (format!("/models?status={}", "a".repeat(60_000)), 422),
        (format!("/models?{}", "a&".repeat(30_000)), 200),
        (format!("/models?limit={}", "1".repeat(60_000)), 422),
        (format!("/models/{}", "1".repeat(60_000)), 422),
        (format!("/models/{}", "a/".repeat(30_000)), 404),
        (format!("/models/by-name/{}/1", "%2f".repeat(20_000)), 404),
    ] {
        let asked = Instant::now();
        let answer = app.get(&path);
        let shown = &path[..24.min(path.len())];
        assert!(asked.elapsed() < BOUNDED, "{shown}… took {:?}", asked.elapsed());
        assert_eq!(answer.status, status, "{shown}…: {}", &answer.text[..answer.text.len().min(200)]);
    }
}

#[test]
fn an_actor_that_would_forge_a_line_is_refused_and_changes_nothing() {
    let app = TestApp::with(|settings| settings.http.trust_actor_header = true);
    app.register("kept", "1");
    let before = app.everything();
    let body = br#"{"suite":"s","metrics":{"a":1}}"#;
    for actor in [
        "a\tb",
        "a\u{85}b",
        "a\u{9b}31mb",
        "a\u{202e}b",
        "a\u{2028}b",
        "a\u{1b}[2Jb",
        "a\u{7f}b",
        "a\0b",
        "a\u{1}b",
    ] {
        for (method, path) in
            [("POST", "/models/1/metrics"), ("POST", "/models/1/promote"), ("DELETE", "/models/1")]
        {
            let head = format!("X-Actor: {actor}\r\n");
            assert_eq!(app.send(method, path, head, body).status, 400, "{method} {actor:?}");
        }
    }
    let latin_1 = app.send("POST", "/models/1/metrics", b"X-Actor: a\x9b31mb\r\n", body);
    assert!(latin_1.refused(400).contains("X-Actor"));
    assert_eq!(app.everything(), before);
    for (sent, actor) in
        [(&b"Jos\xe9"[..], "José"), ("模·é".as_bytes(), "模·é"), (&[b'a'; 60_000], &"a".repeat(200))]
    {
        let head = [b"X-Actor: ", sent, b"\r\n"].concat();
        app.send("POST", "/models/1/metrics", head, body).ok();
        assert_eq!(app.events(1).last().unwrap()["actor"], actor);
    }
    // A condition that is not text matches no state.
    for (head, status) in [
        (&b"If-Match: \xff\r\n"[..], 412),
        (b"If-Match: \"\xc3\"\r\n", 412),
        (b"If-Updated-At: \xff\r\n", 409),
    ] {
        app.send("POST", "/models/1/metrics", head, body).refused(status);
    }
}
