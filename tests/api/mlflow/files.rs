//! The files of versions in the artifact store, as MLflow's client takes them. Real clients are in `tests/mlflow`.

use serde_json::{Value, json};

use crate::{
    hub::{publish, sha256, with_store},
    support::{Answer, TestApp},
};

const FILES: &str = "/api/2.0/mlflow-artifacts/artifacts";

/// Returns where MLflow's client finds the files of a version.
#[track_caller]
fn location(app: &TestApp, name: &str, number: &str) -> String {
    let path = format!("/api/2.0/mlflow/model-versions/get-download-uri?name={name}&version={number}");
    app.get(&path).ok()["artifact_uri"].as_str().unwrap().to_owned()
}

fn list(app: &TestApp, path: &str) -> Answer {
    app.get(&format!("{FILES}?path={path}"))
}

#[test]
fn the_location_of_stored_files_is_an_address_of_this_server_in_every_answer() {
    let app = with_store();
    let id = publish(&app, "m", "v1", &["MLmodel", "data/x"])["id"].clone();
    let expected = format!("http://{}{FILES}/versions/{id}", app.address);
    assert_eq!(location(&app, "m", "1"), expected);
    app.request("PUT", "/v1/models/m/aliases/a", &[], Some(r#"{"version": 1}"#)).ok();
    let version = |answer: Value, pointer: &str| answer.pointer(pointer).cloned();
    // These calls name another host.
    let source = Some(json!(format!("http://x{FILES}/versions/{id}")));
    let named = json!({"name": "m"});
    for (method, call, arguments, pointer) in [
        ("GET", "model-versions/get", json!({"name": "m", "version": "1"}), "/model_version/source"),
        ("GET", "model-versions/search", json!({}), "/model_versions/0/source"),
        ("GET", "registered-models/alias", json!({"name": "m", "alias": "a"}), "/model_version/source"),
        ("GET", "registered-models/get", named.clone(), "/registered_model/latest_versions/0/source"),
        ("GET", "registered-models/search", json!({}), "/registered_models/0/latest_versions/0/source"),
        ("POST", "registered-models/get-latest-versions", named.clone(), "/model_versions/0/source"),
        (
            "PATCH",
            "model-versions/update",
            json!({"name": "m", "version": "1", "description": "d"}),
            "/model_version/source",
        ),
        (
            "POST",
            "model-versions/transition-stage",
            json!({"name": "m", "version": "1", "stage": "Staging"}),
            "/model_version/source",
        ),
    ] {
        assert_eq!(version(app.mlflow(method, call, arguments).ok(), pointer), source, "{call}");
    }
    // The address is the one by which the client reaches the server.
    let named = "/api/2.0/mlflow/model-versions/get-download-uri?name=m&version=1";
    let at = |host: &str| app.request("GET", named, &[("Host", host)], None).ok()["artifact_uri"].clone();
    assert_eq!(at("localhost:1234"), format!("http://localhost:1234{FILES}/versions/{id}"));
    assert_eq!(at("[::1]"), format!("http://[::1]{FILES}/versions/{id}"));
    // A new name does not move them.
    let renamed = json!({"name": "m", "new_name": "n"});
    app.mlflow("POST", "registered-models/rename", renamed).ok();
    assert_eq!(location(&app, "n", "1"), expected);
}

#[test]
fn a_version_with_a_uri_of_its_own_keeps_it_as_source_and_one_without_stored_files_as_location() {
    let app = with_store();
    let path = "/v2/m/blobs/uploads/?digest=sha256:";
    assert_eq!(app.send("POST", format!("{path}{}", sha256(b"a")), "", "a").status, 201);
    let file = json!({"path": "a", "size_bytes": 1, "sha256": sha256(b"a")});
    for stored in [true, false] {
        let body = json!({"files": [file], "stored": stored, "artifact_uri": "s3://b/m"});
        assert_eq!(app.post("/v1/models/m/versions", &body).status, 201);
    }
    assert_eq!(app.mlflow_get("m", "1")["source"], "s3://b/m");
    assert_eq!(location(&app, "m", "1"), format!("http://{}{FILES}/versions/1", app.address));
    assert_eq!(location(&app, "m", "2"), "s3://b/m");
    let message = list(&app, "versions/2").mlflow_error(404, "RESOURCE_DOES_NOT_EXIST");
    assert_eq!(
        message,
        "the files of version 2 of \"m\" are not in this registry's store, but at \"s3://b/m\""
    );
    app.get(&format!("{FILES}/versions/2/a")).mlflow_error(404, "RESOURCE_DOES_NOT_EXIST");
}

#[test]
fn files_are_listed_folder_by_folder_and_sent_whole_or_in_ranges() {
    let app = with_store();
    let paths = ["MLmodel", "data/a b.bin", "data/deep/ü 100%.txt", "other#?/x"];
    let id = publish(&app, "org/m", "v1", &paths)["id"].clone();
    let file = |path: &str, bytes: usize| json!({"path": path, "is_dir": false, "file_size": bytes});
    let folder = |path: &str| json!({"path": path, "is_dir": true});
    for prefix in ["/api/2.0", "/ajax-api/2.0"] {
        for (path, expected) in [
            ("", json!({"files": [file("MLmodel", 7), folder("data"), folder("other#?")]})),
            ("/", json!({"files": [file("MLmodel", 7), folder("data"), folder("other#?")]})),
            ("/data", json!({"files": [file("a b.bin", 12), folder("deep")]})),
            ("/data/deep", json!({"files": [file("ü 100%.txt", 21)]})),
            ("/other%23%3F", json!({"files": [file("x", 9)]})),
            // The client takes nothing for a file.
            ("/MLmodel", json!({})),
            ("/data/none", json!({})),
        ] {
            let url = format!("{prefix}/mlflow-artifacts/artifacts?path=versions/{id}{path}");
            assert_eq!(app.get(&url).ok(), expected, "{url}");
        }
        for path in paths {
            let encoded: Vec<_> = path.split('/').map(crate::support::encoded).collect();
            let url = format!("{prefix}/mlflow-artifacts/artifacts/versions/{id}/{}", encoded.join("/"));
            let answer = app.get(&url);
            assert_eq!((answer.status, answer.text.as_str()), (200, path), "{url}");
            assert_eq!(answer.header("content-length"), Some(path.len().to_string().as_str()));
            assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
            let part = app.request("GET", &url, &[("Range", "bytes=1-3")], None);
            assert_eq!((part.status, part.text.as_bytes()), (206, &path.as_bytes()[1..4]));
            let beyond = app.request("GET", &url, &[("Range", "bytes=99-")], None);
            beyond.mlflow_error(416, "BAD_REQUEST");
        }
    }
}

#[test]
fn a_list_of_many_files_has_all_of_them() {
    let app = with_store();
    let digest = sha256(b"x");
    let upload = format!("/v2/m/blobs/uploads/?digest=sha256:{digest}");
    assert_eq!(app.send("POST", upload, "", "x").status, 201);
    let paths: Vec<_> = (0..2_345).map(|number| format!("{number:05}-{}", "n".repeat(200))).collect();
    let file = |path| json!({"path": path, "size_bytes": 1, "sha256": digest});
    let files: Vec<_> = paths.iter().map(file).collect();
    let registered = app.post("/v1/models/m/versions", &json!({"files": files, "stored": true}));
    let id = registered.json()["id"].clone();
    let listed = list(&app, &format!("versions/{id}")).ok();
    let names: Vec<_> =
        listed["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(names, paths);
}

#[test]
fn a_path_that_leads_elsewhere_is_refused_and_one_that_is_not_there_is_missing() {
    let app = with_store();
    let id = publish(&app, "m", "v1", &["a"])["id"].clone();
    for path in [
        "versions/1/../1/a",
        "..",
        "%2Fetc%2Fpasswd",
        "versions/1/..%2F..",
        "versions/1/%5C",
        "versions/1/%00",
    ] {
        let message = list(&app, path).mlflow_error(400, "INVALID_PARAMETER_VALUE");
        assert!(message.starts_with("Invalid path"), "{path}: {message}");
        let message = app.get(&format!("{FILES}/{path}")).mlflow_error(400, "INVALID_PARAMETER_VALUE");
        assert!(message.starts_with("Invalid path"), "{path}: {message}");
    }
    app.get(&format!("{FILES}/versions/{id}/%FF")).mlflow_error(400, "INVALID_PARAMETER_VALUE");
    for path in
        ["", "0/run/artifacts", "versions", "versions/99", "versions/x", "versions/99999999999999999999"]
    {
        list(&app, path).mlflow_error(404, "RESOURCE_DOES_NOT_EXIST");
    }
    app.get(FILES).mlflow_error(404, "RESOURCE_DOES_NOT_EXIST");
    for path in ["none", "", "a/b", "a/"] {
        let answer = app.get(&format!("{FILES}/versions/{id}/{path}"));
        // Of a file, a slash at the end is forgiven.
        assert_eq!(answer.status, if path == "a/" { 200 } else { 404 }, "{path}: {}", answer.text);
    }
    let twice = list(&app, &format!("versions/{id}%252F..%252F.."));
    twice.mlflow_error(404, "RESOURCE_DOES_NOT_EXIST");
}

#[test]
fn files_need_a_key_and_go_with_their_version_and_can_not_be_changed() {
    let app = with_store();
    let id = publish(&app, "m", "v1", &["a"])["id"].clone();
    let url = format!("{FILES}/versions/{id}/a");
    let basic = "Basic dXNlcjp0ZXN0LWtleQ==";
    for (headers, status) in [
        (&[("X-API-Key", "")][..], 401),
        (&[("X-API-Key", "wrong")], 401),
        (&[("X-API-Key", ""), ("Authorization", "Bearer test-key")], 200),
        (&[("X-API-Key", ""), ("Authorization", basic)], 200),
    ] {
        for url in [url.clone(), format!("{FILES}?path=versions/{id}")] {
            let answer = app.request("GET", &url, headers, None);
            assert_eq!(answer.status, status, "{}", answer.text);
            if status == 401 {
                answer.mlflow_error(401, "UNAUTHENTICATED");
            }
        }
    }
    for method in ["PUT", "DELETE"] {
        let refused = app.send(method, url.clone(), "", "other bytes");
        let message = refused.mlflow_error(400, "INVALID_PARAMETER_VALUE");
        assert!(message.contains("registry publish"), "{message}");
    }
    app.send("POST", url.clone(), "", "").mlflow_error(405, "BAD_REQUEST");
    assert_eq!(app.get(&url).text, "a");

    app.mlflow("DELETE", "model-versions/delete", json!({"name": "m", "version": "1"})).ok();
    app.get(&url).mlflow_error(404, "RESOURCE_DOES_NOT_EXIST");
    list(&app, &format!("versions/{id}")).mlflow_error(404, "RESOURCE_DOES_NOT_EXIST");
}

#[test]
fn a_copy_has_the_files_of_what_it_copies_also_after_that_is_deleted() {
    let app = with_store();
    let paths = ["MLmodel", "model.bin", "config.json"];
    let original = publish(&app, "m", "v1", &paths);
    app.mlflow_model("n");
    for (source, name) in [("models:/m/1", "m"), ("models:/n/1", "n")] {
        let copy = app.mlflow("POST", "model-versions/create", json!({"name": "n", "source": source})).ok();
        assert_eq!(copy["model_version"]["source"], source);
        app.mlflow("DELETE", "model-versions/delete", json!({"name": name, "version": "1"})).ok();
    }
    let copy = app.get("/v1/models/n/versions/2").ok();
    for field in ["digest", "revision", "file_count", "total_bytes", "sha256", "size_bytes", "config_sha256"]
    {
        assert_eq!(copy[field], original[field], "{field}");
    }
    assert_eq!((&copy["stored"], &copy["artifact_uri"]), (&json!(true), &json!("models:/n/1")));
    let at = location(&app, "n", "2");
    let at = at.split_once(&app.address.to_string()).unwrap().1;
    for path in paths {
        assert_eq!(app.get(&format!("{at}/{path}")).text, path);
    }
}

#[test]
fn without_an_artifact_store_a_location_stays_as_it_was_registered() {
    let app = TestApp::spawn();
    let file = json!({"path": "a", "size_bytes": 1, "sha256": sha256(b"a")});
    let body = json!({"files": [file], "stored": false});
    assert_eq!(app.post("/v1/models/m/versions", &body).status, 201);
    assert_eq!(location(&app, "m", "1"), format!("sha256:{}", sha256(b"a")));
    list(&app, "versions/1").mlflow_error(404, "RESOURCE_DOES_NOT_EXIST");
}
