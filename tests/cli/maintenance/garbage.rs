//! `registry maintenance --collect-garbage`, over a store in a folder.

use std::time::SystemTime;

use super::*;
use crate::{left_out::left_out, postgres_cluster::TestDatabase};

/// Sends a request to a server and returns its status.
fn send(server: &Server, method: &str, path: &str, body: &[u8]) -> (u16, Option<String>) {
    let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", server.url));
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let answer = agent.run(request.header("X-API-Key", KEY).body(body).unwrap()).unwrap();
    let location = answer.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), location)
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn path_of(store: &Path, bytes: &[u8]) -> PathBuf {
    let digest = digest(bytes);
    store.join("blobs/sha256").join(&digest[..2]).join(digest)
}

fn upload(server: &Server, bytes: &[u8]) {
    let path = format!("/v2/m/blobs/uploads/?digest=sha256:{}", digest(bytes));
    assert_eq!(send(server, "POST", &path, bytes).0, 201);
}

/// Makes a file look as if it was last written a week ago.
fn age(path: &Path) {
    let old = SystemTime::now() - Duration::from_secs(7 * 24 * 3_600);
    File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
}

/// Runs the collection beside a server, over both databases. `command` names the database.
fn collects_only_what_no_version_has(server: &Server, store: &Path, command: &dyn Fn() -> Command) {
    let blobs = [&b"used"[..], b"in the trash", b"unused", b"unused, young", b"of a manifest"];
    for bytes in blobs {
        upload(server, bytes);
    }
    for bytes in [blobs[0], blobs[1], blobs[2], blobs[4]] {
        age(&path_of(store, bytes));
    }
    let register =
        |label: &str, bytes: &[u8]| server.add("m", label, &json!({ "checkpoint_sha256": digest(bytes) }));
    register("1", blobs[0]);
    let deleted = register("2", blobs[1]);
    server.send("DELETE", &format!("/models/{deleted}"), KEY, None);
    let files = json!([{"path": "a/m.bin", "size_bytes": blobs[4].len(), "sha256": digest(blobs[4]), "role": "weights"}]);
    server.post("/v1/models/m/versions", &json!({"label": "3", "artifact_uri": "s3://b/m", "files": files}));
    // Two unfinished uploads: an abandoned one, and one that the server works on.
    let [abandoned, current] =
        [(), ()].map(|()| send(server, "POST", "/v2/m/blobs/uploads/", b"").1.unwrap());
    let file_of = |upload: &str| store.join("uploads").join(upload.rsplit('/').next().unwrap());
    fs::copy(file_of(&abandoned), store.join("uploads").join("0".repeat(32))).unwrap();
    age(&store.join("uploads").join("0".repeat(32)));
    age(&file_of(&current));

    let collect = |flags: &[&str]| {
        let mut command = command();
        command.args(["--collect-garbage", "--artifact-store"]).arg(store).args(flags);
        command
    };
    let shown = Ran::of(&mut collect(&[]));
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.starts_with("1 blob (6 B) and 1 unfinished upload (0 B) of "), "{shown:?}");
    assert!(shown.stdout.contains("would be removed; repeat with --yes"), "{shown:?}");
    assert!(shown.stdout.contains(&format!("\n  sha256:{}\n", digest(blobs[2]))), "{shown:?}");
    assert!(path_of(store, blobs[2]).exists(), "nothing is removed without --yes");

    let did = done(collect(&["--yes"]));
    let garbage = &did["garbage"];
    assert_eq!(garbage["blobs"], json!([format!("sha256:{}", digest(blobs[2]))]), "{garbage}");
    assert_eq!((&garbage["uploads"], &garbage["kept"]), (&json!(1), &json!(4)), "{garbage}");
    for bytes in blobs {
        let is_kept = bytes != blobs[2];
        assert_eq!(path_of(store, bytes).exists(), is_kept);
        let status = send(server, "GET", &format!("/v2/m/blobs/sha256:{}", digest(bytes)), b"").0;
        assert_eq!(status, if is_kept { 200 } else { 404 });
    }
    let finish = format!("{current}?digest=sha256:{}", digest(b"going on"));
    assert_eq!(send(server, "PUT", &finish, b"going on").0, 201, "an upload that a server works on stays");
    let young = done(collect(&["--grace", "0m", "--yes"]));
    assert_eq!(young["garbage"]["blobs"].as_array().unwrap().len(), 2, "{young}");
}

/// Runs a command with `--json` and returns its result, whatever is on stderr.
#[track_caller]
fn done(mut command: Command) -> Value {
    let ran = Ran::of(command.arg("--json"));
    assert_eq!(ran.code, 0, "{ran:?}");
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn garbage_is_collected_beside_a_server_with_a_database_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("artifacts");
    let server = Server::with(folder, 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY).args(["--artifact-store", "./artifacts"]);
    });
    let path = server.db_path();
    collects_only_what_no_version_has(&server, &store, &|| maintenance(&path, []));
}

#[test]
fn garbage_is_collected_beside_a_server_with_postgres() {
    let Some(database) = TestDatabase::create_own() else {
        return left_out("PostgreSQL is not installed, so garbage is not collected beside it");
    };
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("artifacts");
    let server = Server::with(folder, 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY).env("CAIA_REGISTRY_DATABASE_URL", database.url());
        command.args(["--artifact-store", "./artifacts"]);
    });
    let command = || {
        let mut command = registry(["maintenance"]);
        command.env("CAIA_REGISTRY_DATABASE_URL", database.url());
        command
    };
    collects_only_what_no_version_has(&server, &store, &command);
}

#[test]
fn a_collection_needs_a_store_and_a_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    let refused = Ran::of(&mut maintenance(&path, ["--collect-garbage"]));
    assert_eq!(refused.code, 1, "{refused:?}");
    let refused = Ran::of(&mut maintenance(&path, ["--yes", "--check"])).failed(2);
    assert!(refused.contains("--collect-garbage"), "{refused}");
}

#[test]
fn a_blob_that_a_killed_collection_left_aside_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("artifacts");
    let server = Server::with(folder, 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY).args(["--artifact-store", "./artifacts"]);
    });
    upload(&server, b"weights");
    let blob = path_of(&store, b"weights");
    let mut aside = blob.clone().into_os_string();
    aside.push(".removing");
    fs::rename(&blob, &aside).unwrap();
    let path = server.db_path();
    let mut collect = maintenance(&path, ["--collect-garbage", "--artifact-store"]);
    collect.arg(&store);
    assert_eq!(done(collect)["garbage"]["kept"], 1);
    assert!(blob.exists() && !Path::new(&aside).exists());
}
