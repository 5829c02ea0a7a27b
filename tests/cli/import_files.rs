//! `registry import mlflow --with-artifacts`, from a genuine MLflow server.

use std::{fs, os::unix::fs::symlink, path::Path, process::Stdio};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    KEY, Ran, at,
    mlflow_server::{MlflowServer, mlflow_with_files},
    object_server::{ObjectServer, until},
    server::Server,
};

/// The files of the model that each version but the last ones has.
fn model() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("MLmodel", b"flavors: {}\n".to_vec()),
        ("data/model.bin", (0..300_000_u32).flat_map(|number| number.to_le_bytes()).collect()),
        ("data/sub dir/\u{fc} 100%.txt", b"text".to_vec()),
        ("empty", Vec::new()),
    ]
}

fn write(folder: &Path, files: &[(&str, Vec<u8>)]) {
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn run_of(server: &MlflowServer, experiment: &Value) -> (String, String) {
    let run = server.post("runs/create", json!({"experiment_id": experiment, "start_time": 1}));
    let text = |field: &str| run["run"]["info"][field].as_str().unwrap().to_owned();
    (text("run_id"), text("artifact_uri"))
}

/// Versions whose files are in all places that an MLflow server of this machine may name.
fn seed(server: &MlflowServer) {
    let local = server.folder.join("local");
    fs::create_dir(&local).unwrap();
    let experiment = json!({"name": "local", "artifact_location": local});
    let experiment = server.post("experiments/create", experiment)["experiment_id"].clone();
    let (passed, passed_uri) = run_of(server, &json!("0"));
    let (own, own_uri) = run_of(server, &experiment);
    write(&server.folder.join(format!("passed/0/{passed}/artifacts/model")), &model());
    write(&Path::new(&own_uri).join("model"), &model());
    // Not a model, so it is not read from this machine.
    write(&Path::new(&own_uri).join("plain"), &model()[1..]);
    write(&Path::new(&own_uri).join("linked"), &model()[..1]);
    symlink("/etc/passwd", Path::new(&own_uri).join("linked/link")).unwrap();
    server.post("registered-models/create", json!({"name": "m"}));
    for (source, run) in [
        (format!("runs:/{passed}/model"), &passed),
        (format!("{passed_uri}/model"), &passed),
        (format!("{own_uri}/model"), &own),
        (format!("{own_uri}/plain"), &own),
        (format!("runs:/{passed}/model/data"), &passed),
        (format!("runs:/{passed}/model/MLmodel"), &passed),
        (format!("runs:/{passed}/none"), &passed),
        ("dbfs:/model".to_owned(), &String::new()),
        ("s3://models/run/model".to_owned(), &String::new()),
        ("s3://models/run/none".to_owned(), &String::new()),
    ] {
        let fields = if run.is_empty() { json!({}) } else { json!({"run_id": run}) };
        server.version("m", &source, fields);
    }
    server.post("registered-models/create", json!({"name": "copy"}));
    server.version("copy", "models:/m/1", json!({}));
    let prompt = json!({"key": "mlflow.prompt.is_prompt", "value": "true"});
    server.post("registered-models/create", json!({"name": "greeting", "tags": [prompt]}));
    let text = json!({"key": "mlflow.prompt.text", "value": "Hi"});
    server.version("greeting", "dummy-source", json!({"tags": [prompt, text]}));
}

fn with_store() -> Server {
    Server::with(tempfile::tempdir().unwrap(), 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY).args(["--artifact-store", "./artifacts"]);
    })
}

#[track_caller]
fn import(server: &Server, mlflow: &MlflowServer, store: &ObjectServer, flags: &[&str]) -> (Value, Ran) {
    let command = ["import", "mlflow", &mlflow.url, "--with-artifacts", "--json"];
    let ran = Ran::of(store.env(&mut at(&server.url, command.iter().chain(flags))));
    (serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}")), ran)
}

/// The rows of a report: version, what, outcome, reason.
fn rows(report: &Value) -> Vec<(i64, String, String, String)> {
    let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    let row = |row: &Value| {
        (row["version"].as_i64().unwrap(), text(row, "what"), text(row, "outcome"), text(row, "reason"))
    };
    report["report"].as_array().unwrap().iter().map(row).collect()
}

/// Asserts that a version has these files in the artifact store.
#[track_caller]
fn has(server: &Server, name: &str, number: i64, files: &[(&str, Vec<u8>)]) {
    let version = server.get(&format!("/v1/models/{name}/versions/{number}"));
    assert_eq!(version["stored"], true, "{name} {number}");
    let listed = server.get(&format!("/v1/models/{name}/versions/{number}/files"));
    let listed: Vec<_> = listed["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| (file["path"].clone(), file["size_bytes"].clone(), file["sha256"].clone()))
        .collect();
    let expected: Vec<_> = files
        .iter()
        .map(|(path, bytes)| (json!(path), json!(bytes.len()), json!(hex::encode(Sha256::digest(bytes)))))
        .collect();
    assert_eq!(listed, expected, "{name} {number}");
}

#[test]
fn files_are_copied_from_wherever_they_can_be_read_and_the_report_says_which_can_not() {
    let Some(mlflow) = mlflow_with_files(seed) else { return };
    let (server, store) = (with_store(), ObjectServer::with_bucket());
    let model = model();
    write(&store.path("run/model"), &model);
    write(&store.path("run/model-2"), &model);
    let bytes: usize = model.iter().map(|(_, bytes)| bytes.len()).sum();
    let (whole, plain, data, one) =
        (bytes, bytes - model[0].1.len(), bytes - model[0].1.len(), model[0].1.len());
    let total = 5 * whole + plain + data + one;
    let nothing = "the MLflow server at {url} refused this (404): ";
    let expected = [
        (7, "files", "left out", nothing.replace("{url}", &mlflow.url)),
        (8, "files", "left out", "\"dbfs:/model\" can't be fetched from here".to_owned()),
        (10, "files", "left out", "s3://models/run/none does not exist; check the URI".to_owned()),
    ];
    for flags in [&["--dry-run"][..], &[]] {
        let (report, ran) = import(&server, mlflow, &store, flags);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert_eq!(report["versions"], json!({"imported": 12, "present": 0}));
        assert_eq!(report["files"], json!({"imported": 8, "present": 0, "bytes": total}));
        for (found, expected) in rows(&report).iter().zip(&expected) {
            assert_eq!((found.0, found.1.as_str(), found.2.as_str()), (expected.0, expected.1, expected.2));
            assert!(found.3.starts_with(&expected.3), "{found:?}");
        }
        assert_eq!(rows(&report).len(), expected.len());
        let verb = if flags.is_empty() { "copied" } else { "would copy" };
        assert!(ran.stderr.contains(&format!("{verb} the files of 8 versions (")), "{ran:?}");
    }
    for number in [1, 2, 3, 9] {
        has(&server, "m", number, &model);
    }
    has(&server, "copy", 1, &model);
    has(&server, "m", 4, &model[1..]);
    has(&server, "m", 5, &[("model.bin", model[1].1.clone()), ("sub dir/\u{fc} 100%.txt", b"text".to_vec())]);
    has(&server, "m", 6, &model[..1]);
    for (name, number) in [("m", 7), ("m", 8), ("m", 10), ("greeting", 1)] {
        assert_eq!(server.get(&format!("/v1/models/{name}/versions/{number}"))["stored"], false);
    }
    let first = server.get("/v1/models/m/versions/1");
    assert!(first["artifact_uri"].as_str().unwrap().starts_with("runs:/"), "{first}");

    let (again, ran) = import(&server, mlflow, &store, &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(again["files"], json!({"imported": 0, "present": 8, "bytes": 0}));
    let kept = "they stay where they are, since the version is here already without files";
    let kept = |number| (number, "files".to_owned(), "kept as it is here".to_owned(), kept.to_owned());
    assert_eq!(rows(&again), [kept(7), kept(8), kept(10)]);
}

#[test]
fn an_import_that_is_killed_while_it_copies_goes_on_where_it_was() {
    let Some(mlflow) = mlflow_with_files(seed) else { return };
    let (server, store) = (with_store(), ObjectServer::with_bucket());
    write(&store.path("run/model"), &model());
    let mut command = at(&server.url, ["import", "mlflow", &mlflow.url, "--with-artifacts"]);
    store.env(&mut command).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    until("no version was imported", || {
        !server.get("/v1/versions")["versions"].as_array().unwrap().is_empty()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let (report, _) = import(&server, mlflow, &store, &[]);
    let count = |what: &str, when: &str| report[what][when].as_i64().unwrap();
    assert_eq!(count("versions", "imported") + count("versions", "present"), 12);
    assert_eq!(count("files", "imported") + count("files", "present"), 8);
    for number in [1, 2, 3, 9] {
        has(&server, "m", number, &model());
    }
    has(&server, "copy", 1, &model());
}

#[test]
fn files_are_not_copied_into_a_registry_without_a_store_nor_unless_it_is_asked_for() {
    let Some(mlflow) = mlflow_with_files(seed) else { return };
    let server = Server::start();
    let ran = server.run(["import", "mlflow", &mlflow.url, "--with-artifacts"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(ran.stderr.contains("this registry has no artifact store"), "{ran:?}");
    assert_eq!(server.get("/v1/models")["models"], json!([]), "nothing was written");

    let server = with_store();
    let ran = server.run(["import", "mlflow", &mlflow.url, "--json"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &report["files"], &report["report"]), (0, &Value::Null, &json!([])));
    assert_eq!(server.get("/v1/models/m/versions/1")["stored"], false);
}
