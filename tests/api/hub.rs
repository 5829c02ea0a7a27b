//! The pull API of the Hugging Face Hub: statuses, headers and bodies. Real clients are in `tests/hub`.

mod lists;

use model_registry::{
    actors::ArtifactOptions,
    artifact::blobs::{BlobOptions, StoreLocation},
    http::Keys,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Answer, TestApp, encoded};

const NO_REVISION: &str = "0000000000000000000000000000000000000000";

pub fn with_store() -> TestApp {
    let folder = tempfile::tempdir().unwrap();
    let location = StoreLocation::Folder(folder.path().join("artifacts"));
    TestApp::over(folder, |settings| {
        let store = BlobOptions { location, uploads: None };
        settings.artifacts = Some(ArtifactOptions { store, threads: 2, queue: 64, redirect: false });
    })
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Registers a version whose files have their paths as contents, and returns it.
#[track_caller]
pub fn publish(app: &TestApp, name: &str, label: &str, paths: &[&str]) -> Value {
    for path in paths {
        let upload = format!("/v2/m/blobs/uploads/?digest=sha256:{}", sha256(path.as_bytes()));
        assert_eq!(app.send("POST", upload, "", path).status, 201);
    }
    register(app, name, label, paths, true)
}

#[track_caller]
fn register(app: &TestApp, name: &str, label: &str, paths: &[&str], stored: bool) -> Value {
    let file =
        |path: &&str| json!({"path": path, "size_bytes": path.len(), "sha256": sha256(path.as_bytes())});
    let files: Vec<_> = paths.iter().map(file).collect();
    let body = json!({"label": label, "files": files, "stored": stored});
    let answer = app.post(&format!("/v1/models/{}/versions", encoded(name)), &body);
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()
}

fn revision(version: &Value) -> &str {
    version["revision"].as_str().unwrap()
}

/// Asserts the status, and the code and a part of the message in the headers and in the body.
#[track_caller]
fn fails(answer: &Answer, status: u16, code: Option<&str>, message: &str) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.header("x-error-code"), code, "{}", answer.text);
    assert!(answer.header("x-error-message").unwrap().contains(message), "{:?}", answer.headers);
    assert!(answer.text.is_empty() || !answer.json()["error"].as_str().unwrap().is_empty());
}

#[test]
fn a_file_comes_with_the_headers_that_clients_need() {
    let app = with_store();
    let version = publish(&app, "org/m", "v1", &["config.json", "a/b c.bin"]);
    for (path, content) in [("config.json", "config.json"), ("a/b%20c.bin", "a/b c.bin")] {
        let digest = sha256(content.as_bytes());
        let tag = format!("\"{digest}\"");
        let url = format!("/org/m/resolve/main/{path}");
        for method in ["HEAD", "GET"] {
            let answer =
                app.request(method, &url, &[("Authorization", "Bearer test-key"), ("X-API-Key", "")], None);
            assert_eq!(answer.status, 200, "{}", answer.text);
            for (name, value) in [
                ("x-repo-commit", revision(&version)),
                ("etag", &tag),
                ("x-linked-etag", &tag),
                ("x-linked-size", &content.len().to_string()),
                ("content-length", &content.len().to_string()),
                ("accept-ranges", "bytes"),
                ("cache-control", "private, no-cache"),
            ] {
                assert_eq!(answer.header(name), Some(value), "{method} {path}: {name}");
            }
            assert_eq!(answer.text, if method == "GET" { content } else { "" });
        }
        let part = app.request("GET", &url, &[("Range", "bytes=2-4")], None);
        assert_eq!((part.status, part.text.as_str()), (206, &content[2..5]));
        assert_eq!(part.header("content-range"), Some(format!("bytes 2-4/{}", content.len()).as_str()));
        let seen = app.request("GET", &url, &[("If-None-Match", &tag)], None);
        assert_eq!((seen.status, seen.header("x-repo-commit")), (304, Some(revision(&version))));
        let beyond = app.request("GET", &url, &[("Range", "bytes=99-")], None);
        fails(&beyond, 416, None, "beyond the end");
        assert_eq!(beyond.header("content-range"), Some(format!("bytes */{}", content.len()).as_str()));
    }
}

#[test]
fn main_is_the_production_version_or_else_the_newest() {
    let app = with_store();
    let sha = || app.get("/api/models/m").ok()["sha"].clone();
    app.post("/v1/models", &json!({"name": "m"}));
    fails(&app.get("/api/models/m"), 404, Some("RevisionNotFound"), "has no version yet");
    let first = publish(&app, "m", "1", &["a"]);
    assert_eq!(sha(), first["revision"]);
    let second = publish(&app, "m", "2", &["b"]);
    assert_eq!(sha(), second["revision"]);
    app.request("PUT", "/v1/models/m/aliases/production", &[], Some(r#"{"version": 1}"#)).ok();
    assert_eq!(sha(), first["revision"]);
    app.register("m", "no-digest");
    assert_eq!(sha(), first["revision"]);
    fails(
        &app.get("/api/models/m/revision/no-digest"),
        404,
        Some("RevisionNotFound"),
        "version number 3 of \"m\" has no SHA-256",
    );
}

#[test]
fn a_revision_is_an_alias_or_a_label_or_forty_digits() {
    let app = with_store();
    let first = publish(&app, "org/m", "release/1", &["a"]);
    let second = publish(&app, "org/m", "champion", &["b"]);
    // A label of the form of a revision, and an alias that is another version's label.
    let third = publish(&app, "org/m", NO_REVISION, &["c"]);
    let alias = "/v1/models/org%2Fm/aliases/champion";
    app.request("PUT", alias, &[], Some(r#"{"version": 1}"#)).ok();
    for (text, expected) in [
        ("release%2F1", &first),
        ("champion", &first),
        (revision(&first), &first),
        (revision(&second), &second),
        (NO_REVISION, &third),
        ("main", &third),
    ] {
        let info = app.get(&format!("/api/models/org/m/revision/{text}")).ok();
        assert_eq!(info["sha"], expected["revision"], "{text}");
        let encoded = app.get(&format!("/api/models/org%2Fm/revision/{text}")).ok();
        assert_eq!(encoded, info);
        let tree = app.get(&format!("/api/models/org/m/tree/{text}")).ok();
        let path = tree[0]["path"].as_str().unwrap();
        assert_eq!(app.get(&format!("/org/m/resolve/{text}/{path}")).text, path);
    }
    fails(&app.get("/api/models/org/m/revision/2"), 404, Some("RevisionNotFound"), "revision \"2\"");
}

#[test]
fn what_is_missing_is_in_the_headers() {
    let app = with_store();
    let version = publish(&app, "m", "1", &["a/b", "c"]);
    for (path, code, message) in [
        ("/api/models/x", "RepoNotFound", "there is no model \"x\""),
        ("/api/models/x%FF", "RepoNotFound", "there is no model"),
        ("/api/models/%C3%BC", "RepoNotFound", "there is no model \"?\""),
        ("/api/models/x/revision/main", "RepoNotFound", "there is no model"),
        ("/api/models/x/tree/main", "RepoNotFound", "there is no model"),
        ("/api/models/x/refs", "RepoNotFound", "there is no model"),
        ("/api/models/x/commits/main", "RepoNotFound", "there is no model"),
        ("/api/models/x/auth-check", "RepoNotFound", "there is no model"),
        ("/x/resolve/main/c", "RepoNotFound", "there is no model"),
        ("/api/models/v1/m", "RepoNotFound", "belong to another API"),
        ("/api/datasets/m", "RepoNotFound", "only models"),
        ("/api/spaces/m/revision/main", "RepoNotFound", "only models"),
        ("/api/models/m/revision/x", "RevisionNotFound", "alias, label or revision \"x\""),
        ("/api/models/m/tree/x", "RevisionNotFound", "\"x\""),
        ("/api/models/m/commits/x", "RevisionNotFound", "\"x\""),
        ("/m/resolve/x/c", "RevisionNotFound", "\"x\""),
        ("/m/resolve/main/x", "EntryNotFound", "has no file or folder \"x\""),
        ("/m/resolve/main/a", "EntryNotFound", "has no file or folder \"a\""),
        ("/m/resolve/main/a%00b", "EntryNotFound", "has no file or folder"),
        ("/m/resolve/main/a/%2E%2E/c", "EntryNotFound", "has no file or folder"),
        ("/api/models/m/tree/main/x", "EntryNotFound", "has no file or folder \"x\""),
        ("/api/models/m/tree/main/c", "EntryNotFound", "has no file or folder \"c\""),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = app.request(method, path, &[], None);
            fails(&answer, 404, Some(code), message);
            let commit = (code == "EntryNotFound").then(|| revision(&version));
            assert_eq!(answer.header("x-repo-commit"), commit, "{path}");
        }
    }
    for (path, status, message) in [
        ("/api/models/m/auth-check/write", 403, "this API only reads"),
        ("/api/models?sort=lastModified", 400, "listed by name only"),
        ("/api/models?num_parameters=min:1B", 400, "num_parameters"),
        ("/api/models?limit=none", 400, "limit is \"none\""),
        ("/api/models?cursor=x", 400, "invalid cursor"),
        ("/api/models/m/tree/main?limit=0", 400, "limit is \"0\""),
        ("/api/models/m/commits/main?cursor=x", 400, "invalid cursor"),
    ] {
        fails(&app.get(path), status, None, message);
    }
    let deleted = app.request("DELETE", "/m/resolve/main/c", &[], None);
    fails(&deleted, 405, None, "GET, HEAD");
}

#[test]
fn a_wrong_key_differs_from_a_missing_one() {
    let app = with_store();
    publish(&app, "m", "1", &["c"]);
    for path in ["/m/resolve/main/c", "/api/models/m", "/api/models", "/api/datasets/m"] {
        let wrong = app.request("GET", path, &[("X-API-Key", "hf_wrong")], None);
        fails(&wrong, 401, None, "Invalid credentials in Authorization header");
        assert!(wrong.json()["error"].as_str().unwrap().contains("this API key is not valid"));
        let missing = app.request("GET", path, &[("X-API-Key", "")], None);
        fails(&missing, 401, Some("GatedRepo"), "an API key is required");
    }
    let open = TestApp::with(|settings| settings.http.keys = Keys::of([]));
    fails(&open.get("/api/models/m"), 401, Some("GatedRepo"), "no API key is configured");
    let caller = app.get("/api/whoami-v2").ok();
    assert_eq!((&caller["name"], &caller["type"]), (&json!("key:test…"), &json!("user")));
}

#[test]
fn the_paths_of_other_apis_are_theirs() {
    let app = with_store();
    for path in ["/models/7/resolve/main/c", "/v1/m/resolve/main/c", "/v2/m/resolve/main/c", "/m/raw/main/c"]
    {
        let answer = app.get(path);
        assert_eq!((answer.status, answer.header("x-error-code")), (404, None), "{path}");
    }
    let unknown = app.get("/models/7/unknown/main/c").refused(404);
    assert_eq!(app.get("/models/7/resolve/main/c").refused(404), unknown);
}

#[test]
fn a_tree_is_listed_in_pages_by_folder_or_whole() {
    let app = with_store();
    let paths: Vec<_> = (0..25).map(|number| format!("d{}/{number:02}.bin", number / 10)).collect();
    let paths: Vec<_> = paths.iter().map(String::as_str).chain(["config.json"]).collect();
    let version = publish(&app, "org/m", "v1", &paths);
    let all = |path: &str| {
        let (mut entries, mut next) = (Vec::new(), Some(path.to_owned()));
        while let Some(path) = next {
            let page = app.get(&path);
            next = page.next_page().map(|url| {
                // Clients take the link as it is.
                let rest = url.strip_prefix(&format!("http://{}", app.address)).expect("an absolute address");
                rest.to_owned()
            });
            entries.extend(page.ok().as_array().unwrap().clone());
        }
        entries
    };
    let names = |entries: &[Value]| -> Vec<String> {
        entries.iter().map(|entry| entry["path"].as_str().unwrap().to_owned()).collect()
    };
    let mut sorted: Vec<_> = paths.iter().map(|path| (*path).to_owned()).collect();
    sorted.sort();
    assert_eq!(names(&all("/api/models/org/m/tree/main?recursive=True&limit=7")), sorted);
    let top = all("/api/models/org/m/tree/main?recursive=False&limit=1");
    assert_eq!(names(&top), ["config.json", "d0", "d1", "d2"]);
    assert_eq!(names(&all("/api/models/org/m/tree/v1/d2")), sorted[21..]);
    assert_eq!(names(&all("/api/models/org/m/tree/v1/d2%2F?limit=2")), sorted[21..]);
    let digest = sha256(b"config.json");
    assert_eq!(
        top[0],
        json!({
            "type": "file", "oid": digest[..40], "size": 11, "path": "config.json",
            "lfs": {"oid": digest, "size": 11, "pointerSize": 127},
        })
    );
    assert_eq!(top[1], json!({"type": "directory", "oid": version["revision"], "size": 0, "path": "d0"}));
    let expanded = app.get("/api/models/org/m/tree/main?expand=True&limit=1").ok();
    assert_eq!(
        expanded[0]["lastCommit"],
        json!({"id": version["revision"], "title": "version v1", "date": version["created_at"]})
    );
    let other = publish(&app, "org/m", "v2", &["d0/a", "d0/b"]);
    let link = app.get("/api/models/org/m/tree/v1?limit=1").next_page().unwrap();
    let cursor = link.split_once('?').unwrap().1;
    fails(&app.get(&format!("/api/models/org/m/tree/v2?{cursor}")), 400, None, "another version");
    assert_ne!(other["revision"], version["revision"]);
}

#[test]
fn links_have_the_scheme_of_the_client() {
    let app = TestApp::with(|settings| {
        settings.http.proxies = model_registry::http::Proxies::parse(["127.0.0.1"]).unwrap();
    });
    let file = |path: &str| json!({"path": path, "size_bytes": 1, "sha256": "0".repeat(64)});
    let body = json!({"files": [file("a"), file("b")]});
    assert_eq!(app.post("/v1/models/m/versions", &body).status, 201);
    for (headers, start) in [
        ("", "<http://x/api/models/m/tree/main?limit=1&cursor="),
        ("X-Forwarded-Proto: https\r\n", "<https://x/api/models/m/tree/main?limit=1&cursor="),
    ] {
        let page = app.send("GET", "/api/models/m/tree/main?limit=1", headers, "");
        assert!(page.header("link").unwrap().starts_with(start), "{:?}", page.headers);
    }
}

#[test]
fn paths_are_looked_up_together() {
    let app = with_store();
    publish(&app, "m", "v1", &["a/b", "a-c", "c"]);
    let form = |body: &str| {
        let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
        app.send("POST", "/api/models/m/paths-info/main", headers, body)
    };
    let found = form("paths=c&paths=a%2F&paths=x&paths=a%2Fb&paths=a/b/c&expand=False").ok();
    let found: Vec<_> = found.as_array().unwrap().iter().map(|one| (&one["type"], &one["path"])).collect();
    let expected =
        [("file", "c"), ("directory", "a"), ("file", "a/b")].map(|(kind, path)| (json!(kind), json!(path)));
    assert_eq!(found, expected.iter().map(|(kind, path)| (kind, path)).collect::<Vec<_>>());
    assert!(form("paths=c&expand=True").ok()[0]["lastCommit"]["id"].is_string());
    assert_eq!(form("").ok(), json!([]));
    let given = app.post("/api/models/m/paths-info/main", &json!({"paths": ["c"], "expand": true})).ok();
    assert!(given[0]["lastCommit"]["id"].is_string());
    for body in [json!({}), json!({"paths": [1]}), json!([])] {
        fails(&app.post("/api/models/m/paths-info/main", &body), 400, None, "a list of texts");
    }
    fails(&form(&"paths=c&".repeat(10_001)), 400, None, "at most 10000");
    let missing = app.send("POST", "/api/models/m/paths-info/x", "", "");
    fails(&missing, 404, Some("RevisionNotFound"), "\"x\"");
}

#[test]
fn a_description_has_all_files_of_a_large_version() {
    let app = with_store();
    let paths: Vec<_> = (0..12_000).map(|number| format!("shards/{number:05}.bin")).collect();
    let version = register(&app, "org/m", "v1", &paths.iter().map(String::as_str).collect::<Vec<_>>(), false);
    let info = app.get("/api/models/org/m").ok();
    let siblings: Vec<_> =
        info["siblings"].as_array().unwrap().iter().map(|file| file["rfilename"].as_str().unwrap()).collect();
    assert_eq!(siblings, paths);
    assert_eq!(info["usedStorage"], version["total_bytes"]);
    let info = app.get("/api/models/org/m/revision/v1?blobs=True").ok();
    let digest = sha256(paths[11_999].as_bytes());
    assert_eq!(
        info["siblings"][11_999],
        json!({
            "rfilename": paths[11_999], "size": 16, "blobId": digest[..40],
            "lfs": {"sha256": digest, "size": 16, "pointerSize": 127},
        })
    );
    for (name, value) in [("id", "org/m"), ("modelId", "org/m"), ("author", "org")] {
        assert_eq!(info[name], value);
    }
    assert_eq!(app.request("HEAD", "/api/models/org/m", &[], None).status, 200);
}

#[test]
fn bytes_that_are_elsewhere_are_not_promised_and_not_denied_for_good() {
    let app = with_store();
    let elsewhere = json!({"checkpoint_sha256": "ab".repeat(32), "checkpoint_size_bytes": 5});
    app.register_with("m", "v1", &elsewhere);
    let tree = app.get("/api/models/m/tree/main").ok();
    assert_eq!((&tree[0]["path"], &tree[0]["size"]), (&json!("v1"), &json!(5)));
    let answer = app.get("/m/resolve/main/v1");
    fails(&answer, 404, Some("EntryNotFound"), "its artifact is at s3://b/m/v1");
    assert_eq!(answer.header("x-repo-commit"), None, "clients would never ask again");
    let without = TestApp::spawn();
    without.register_with("m", "v1", &elsewhere);
    fails(&without.get("/m/resolve/main/v1"), 404, Some("EntryNotFound"), "s3://b/m/v1");
}
