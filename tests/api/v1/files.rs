//! Versions with files: registered, listed in pages, and immutable.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Instant,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{KEY, TestApp};

use super::each;

/// Returns a file with a digest and a size of its own.
fn file(path: &str) -> Value {
    json!({"path": path, "size_bytes": path.len(), "sha256": hex::encode(Sha256::digest(path))})
}

fn files(paths: &[&str]) -> Value {
    paths.iter().map(|path| file(path)).collect()
}

const PATHS: [&str; 6] =
    ["config.json", "model.safetensors", "onnx/model.onnx", "onnx/a/b", "README.md", "tokenizer.json"];

impl TestApp {
    fn register_files(&self, body: Value) -> crate::support::Answer {
        self.v1("POST", "/v1/models/m/versions", body)
    }
}

/// Reads all pages of the files of a version.
fn all(app: &TestApp, reference: &str, query: &str) -> (Vec<Value>, Vec<Value>) {
    let (mut files, mut folders, mut cursor) = (Vec::new(), Vec::new(), String::new());
    loop {
        let page = app.get(&format!("/v1/models/m/versions/{reference}/files?{query}{cursor}")).ok();
        files.extend(each(&page["files"], "path"));
        folders.extend(page["folders"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { return (files, folders) };
        cursor = format!("&cursor={next}");
    }
}

#[test]
fn a_version_is_registered_with_its_files_under_the_next_number() {
    let app = TestApp::spawn();
    app.add("m", "2");
    let created = app.register_files(json!({"files": files(&PATHS)})).created();
    // Another version has the label 2.
    assert_eq!((&created["number"], &created["label"]), (&json!(2), &json!("2-2")));
    let digest = created["digest"].as_str().unwrap();
    assert_eq!(created["artifact_uri"], format!("sha256:{digest}"));
    assert_eq!(created["revision"], digest[..40]);
    assert_eq!((&created["file_count"], &created["manifest"]), (&json!(6), &json!(true)));
    assert_eq!(created["stored"], false);
    assert_eq!(created["total_bytes"], PATHS.iter().map(|path| path.len()).sum::<usize>());
    // One of several weights does not stand for the version.
    assert_eq!((&created["sha256"], &created["size_bytes"]), (&Value::Null, &json!(32)));
    let native = app.model(2);
    assert_eq!((&native["checkpoint_sha256"], &native["checkpoint_size_bytes"]), (&Value::Null, &json!(32)));
    assert_eq!(native["config_sha256"], file("config.json")["sha256"]);
    for reference in ["2", "label:2-2", &digest[..40]] {
        assert_eq!(app.get(&format!("/v1/models/m/versions/{reference}")).ok(), created, "{reference}");
    }

    let one = app.register_files(json!({"label": "one", "files": [file("a.bin")]})).created();
    let sha256 = file("a.bin")["sha256"].clone();
    assert_eq!((&one["digest"], &one["sha256"], &one["size_bytes"]), (&sha256, &sha256, &json!(5)));
    let none = app.register_files(json!({"label": "none", "files": []})).created();
    assert_eq!((&none["file_count"], &none["total_bytes"]), (&json!(0), &json!(0)));
    assert_eq!(app.register_files(json!({"artifact_uri": "s3://b"})).created()["label"], "5");
    app.register_files(json!({"label": "one", "files": []})).error(409, "conflict");
    let named =
        app.register_files(json!({"artifact_uri": " s3://b/folder ", "files": files(&PATHS)})).created();
    assert_eq!(named["artifact_uri"], "s3://b/folder");
    let found =
        app.get(&format!("/v1/versions?filter=sha256='{}'&sort=number", sha256.as_str().unwrap())).ok();
    assert_eq!(each(&found["versions"], "label"), ["one"]);
}

#[test]
fn files_are_listed_in_pages_with_and_without_folders() {
    let app = TestApp::spawn();
    app.register_files(json!({"files": files(&PATHS)})).created();
    let sorted =
        ["README.md", "config.json", "model.safetensors", "onnx/a/b", "onnx/model.onnx", "tokenizer.json"];
    for limit in [1, 2, 4, 10_000] {
        let (found, folders) = all(&app, "1", &format!("limit={limit}"));
        assert_eq!((found, folders), (sorted.map(Value::from).to_vec(), vec![]), "{limit}");
        let (found, folders) = all(&app, "1", &format!("limit={limit}&recursive=false"));
        assert_eq!(found, ["README.md", "config.json", "model.safetensors", "tokenizer.json"]);
        assert_eq!(folders, ["onnx"]);
        let (found, folders) = all(&app, "1", &format!("limit={limit}&recursive=false&under=onnx"));
        assert_eq!((found, folders), (vec![json!("onnx/model.onnx")], vec![json!("onnx/a")]));
        assert_eq!(all(&app, "1", &format!("limit={limit}&under=onnx/a/")).0, ["onnx/a/b"]);
    }
    let page = app.get("/v1/models/m/versions/1/files?limit=1").ok();
    let expected =
        json!({"path": "README.md", "size_bytes": 9, "sha256": file("README.md")["sha256"], "role": "other"});
    assert_eq!(page["files"][0], expected);
    for (path, status, code) in [
        ("1/files?under=none", 404, "not_found"),
        ("1/files?under=README.md", 404, "not_found"),
        ("1/files?under=../x", 400, "invalid"),
        ("1/files?under=/", 400, "invalid"),
        ("1/files?cursor=x", 400, "invalid"),
        ("9/files", 404, "not_found"),
        ("1/files?limit=10001", 422, "invalid"),
        ("1/files?recursive=maybe", 422, "invalid"),
    ] {
        app.get(&format!("/v1/models/m/versions/{path}")).error(status, code);
    }
    // An alias that moves between two pages does not mix two versions.
    app.set_alias("m", "champion", json!({"version": 1})).ok();
    let next = app.get("/v1/models/m/versions/@champion/files?limit=1").ok()["next"].clone();
    app.register_files(json!({"files": files(&PATHS[1..])})).created();
    app.set_alias("m", "champion", json!({"version": 2})).ok();
    let refused =
        app.get(&format!("/v1/models/m/versions/@champion/files?limit=1&cursor={}", next.as_str().unwrap()));
    assert!(refused.error(400, "invalid").contains("begin again"));
}

#[test]
fn invalid_files_are_refused_and_nothing_is_stored() {
    let app = TestApp::spawn();
    let with = |path: &str| files(&["a", path]);
    for (files, problem) in [
        (with("../x"), "has the part"),
        (with("/etc/passwd"), "is absolute"),
        (with("a\u{0}b"), "control character"),
        (with("a\\b"), "backslash"),
        (with(""), "is empty"),
        (with("A"), "differ only in case"),
        (with("a"), "is listed twice"),
        (with("a/b"), "also a folder"),
    ] {
        let answer = app.register_files(json!({"label": "1", "files": files}));
        assert!(answer.error(400, "invalid").contains(problem), "{problem}: {}", answer.text);
    }
    let full = file("a");
    for (change, paths) in [
        (json!({"path": 1}), &["files.1.path"][..]),
        (json!({"size_bytes": -1}), &["files.1.size_bytes"]),
        (json!({"size_bytes": "1"}), &["files.1.size_bytes"]),
        (json!({"sha256": "00"}), &["files.1.sha256"]),
        (json!({"role": "engine"}), &["files.1.role"]),
        (json!({"extra": 1}), &["files.1.extra"]),
    ] {
        let mut wrong = full.clone();
        wrong.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        app.register_files(json!({"files": [file("b"), wrong]})).unfit(paths);
    }
    app.register_files(json!({"files": [{}]})).unfit(&[
        "files.0.path",
        "files.0.size_bytes",
        "files.0.sha256",
    ]);
    app.register_files(json!({"files": ["a"]})).unfit(&["files.0"]);
    app.register_files(json!({"files": {}})).unfit(&["files"]);
    for body in [
        json!({"files": [], "sha256": "0".repeat(64)}),
        json!({"files": [], "config_size_bytes": 1}),
        json!({"stored": true, "artifact_uri": "s3://b"}),
        json!({"files": [], "stored": true}),
    ] {
        app.register_files(body).error(400, "invalid");
    }
    let head = "POST /v1/models/m/versions HTTP/1.1\r\nHost: x\r\nX-API-Key: test-key\r\n\
                Content-Type: application/json\r\nConnection: close\r\n";
    let body = b"{\"files\": [{\"path\": \"\xff\"}]}";
    let request = [format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
    assert_eq!(app.exchange(&request).status, 422, "a name that is not UTF-8");
    assert_eq!(app.trail("").len(), 0, "nothing was registered");
}

#[test]
fn the_files_of_a_version_never_change() {
    let app = TestApp::spawn();
    app.register_files(json!({"label": "1", "files": files(&PATHS)})).created();
    for change in
        [json!({"artifact_uri": "s3://b"}), json!({"sha256": "0".repeat(64)}), json!({"size_bytes": 1})]
    {
        let refused = app.v1("PATCH", "/v1/models/m/versions/1", change);
        assert!(refused.error(409, "conflict").contains("files of this version are immutable"));
    }
    app.v1("PATCH", "/v1/models/m/versions/1", json!({"files": []})).unfit(&["files"]);
    let native = app.request("PATCH", "/models/1", &[], Some(&json!({"artifact_uri": "s3://b"}).to_string()));
    assert!(native.refused(409).contains("files of this version are immutable"));
    let changed = app.v1("PATCH", "/v1/models/m/versions/1", json!({"description": "d"})).ok();
    assert_eq!((&changed["description"], &changed["file_count"]), (&json!("d"), &json!(6)));
    app.v1("DELETE", "/v1/models/m/versions/1", json!({})).ok();
    app.get("/v1/models/m/versions/1/files").error(404, "not_found");
    let spent = app.register_files(json!({"label": "1", "files": files(&PATHS[1..])}));
    spent.error(409, "conflict");
    app.v1("POST", "/v1/models/m/versions/1/restore", json!({})).ok();
    assert_eq!(all(&app, "1", "").0.len(), 6);
}

#[test]
fn ten_thousand_files_are_registered_and_listed_fast() {
    let app = TestApp::spawn();
    let names: Vec<_> = (0..10_000).map(|at| format!("folder-{}/file-{at:05}.bin", at % 7)).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    app.register_files(json!({"files": files(&names)})).created();
    let started = Instant::now();
    assert_eq!(
        app.get("/v1/models/m/versions/1/files?limit=10000").ok()["files"].as_array().unwrap().len(),
        10_000
    );
    let page = app.get("/v1/models/m/versions/1/files?recursive=false").ok();
    assert_eq!(page["folders"].as_array().unwrap().len(), 7);
    assert!(started.elapsed() < crate::support::BOUNDED, "{:?}", started.elapsed());
    assert_eq!(all(&app, "1", "under=folder-3").0.len(), 1_429);
}

/// Waits until the server has read all that the client sent.
fn wait_until_read(server: SocketAddr, client: &TcpStream) {
    let ports = [server, client.local_addr().unwrap()].map(|address| format!(":{:04X}", address.port()));
    loop {
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let unread = sockets.lines().find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let is_it = fields[1].ends_with(&ports[0]) && fields[2].ends_with(&ports[1]);
            is_it.then(|| fields[4].split_once(':').unwrap().1.to_owned())
        });
        match unread.expect("the connection is open").as_str() {
            "00000000" => return,
            _ => std::thread::yield_now(),
        }
    }
}

#[test]
fn another_client_is_answered_while_a_long_list_of_files_is_parsed() {
    let app = TestApp::with(|settings| settings.http.workers = 1);
    let sha256 = "0".repeat(64);
    let files = (0..100_000).map(|at| {
        format!(r#"{{"path":"folder-{}/file-{at:06}.bin","size_bytes":1,"sha256":"{sha256}"}}"#, at % 7)
    });
    // The unknown field ends the request when it is parsed, so no time of the database counts.
    let body = format!(r#"{{"files":[{}],"unknown":1}}"#, files.collect::<Vec<_>>().join(","));
    let head = format!(
        "POST /v1/models/m/versions HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let is_overtaken = || {
        let mut registration = TcpStream::connect(app.address).unwrap();
        registration.write_all(head.as_bytes()).unwrap();
        let (most, last) = body.split_at(body.len() - 1);
        for part in [most, last] {
            registration.write_all(part.as_bytes()).unwrap();
            wait_until_read(app.address, &registration);
        }
        app.get("/v1/models").ok();
        registration.set_nonblocking(true).unwrap();
        let peeked = registration.peek(&mut [0]);
        registration.set_nonblocking(false).unwrap();
        let mut answer = String::new();
        registration.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 422 ") && answer.contains("unknown"), "{answer}");
        peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    // On a busy machine the other client may come late. On the thread of the connections it would come late each time.
    assert!((0..5).any(|_| is_overtaken()));
}
