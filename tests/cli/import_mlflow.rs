//! `registry import mlflow`, from a genuine MLflow server.

use std::{
    collections::BTreeMap,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    KEY, Ran, at,
    mlflow_server::{BULK, MlflowServer, mlflow},
    server::Server,
};

/// What every import from the genuine server says of models that can't be as they are in MLflow.
const LEFT_OUT: [(&str, Option<i64>, &str, &str, &str); 4] = [
    (
        "n…",
        None,
        "model",
        "left out",
        "name has 1025 bytes, and at most 1024 are allowed; choose a shorter one",
    ),
    (
        "vision",
        Some(3),
        "production",
        "taken over differently",
        "it goes to staging, since version 4 is in production too",
    ),
    (
        "digits",
        Some(2),
        "production",
        "taken over differently",
        "it goes to staging, since version 1 is in production too",
    ),
    ("digits", Some(1), "alias", "left out", "alias \"12\" reads as a version number; choose another name"),
];

/// `registry import mlflow` from `mlflow` with these flags.
fn import(server: &Server, mlflow: &MlflowServer, flags: &[&str]) -> Ran {
    server.run(["import", "mlflow", &mlflow.url].iter().chain(flags))
}

/// Runs an import that leaves out what [`LEFT_OUT`] names, and returns its report and its last words.
#[track_caller]
fn report(server: &Server, mlflow: &MlflowServer, flags: &[&str]) -> (Value, String) {
    let ran = import(server, mlflow, &[&["--json"], flags].concat());
    assert_eq!(ran.code, 1, "{ran:?}");
    (serde_json::from_str(&ran.stdout).unwrap(), ran.stderr)
}

/// Returns the rows of a report, sorted.
fn rows(report: &Value) -> Vec<(String, Option<i64>, String, String, String)> {
    let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    let name = |row: &Value| text(row, "model").replace(&"n".repeat(1_025), "n…");
    let row = |row: &Value| {
        (name(row), row["version"].as_i64(), text(row, "what"), text(row, "outcome"), text(row, "reason"))
    };
    let mut rows: Vec<_> = report["report"].as_array().unwrap().iter().map(row).collect();
    rows.sort();
    rows
}

/// [`LEFT_OUT`] and further rows, sorted.
fn expected(
    others: &[(&str, Option<i64>, &str, &str, &str)],
) -> Vec<(String, Option<i64>, String, String, String)> {
    let owned = |(model, version, what, outcome, reason): &(&str, Option<i64>, &str, &str, &str)| {
        ((*model).to_owned(), *version, (*what).to_owned(), (*outcome).to_owned(), (*reason).to_owned())
    };
    let mut rows: Vec<_> = LEFT_OUT.iter().chain(others).map(owned).collect();
    rows.sort();
    rows
}

/// The counts of a report: imported and present models, versions, aliases and production versions.
fn counts(report: &Value) -> [[i64; 2]; 4] {
    ["models", "versions", "aliases", "production"]
        .map(|what| ["imported", "present"].map(|when| report[what][when].as_i64().unwrap()))
}

fn segment(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn time(row: &Value, field: &str) -> String {
    model_registry::domain::Timestamp::from_unix_millis(row[field].as_i64().unwrap()).to_rfc3339()
}

fn tags(row: &Value) -> BTreeMap<String, Value> {
    let tags = row["tags"].as_array().cloned().unwrap_or_default();
    tags.iter().map(|tag| (tag["key"].as_str().unwrap().to_owned(), tag["value"].clone())).collect()
}

/// Returns all versions of a registry, by model and number.
fn versions(server: &Server) -> Vec<Value> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server.get(&format!("/v1/versions?limit=200{cursor}"));
        found.extend(page["versions"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { return found };
        cursor = format!("&cursor={next}");
    }
}

/// Returns what must be the same after each complete import: everything but ids, times of changes and who made them.
fn state(server: &Server) -> Vec<Value> {
    let mut rows = versions(server);
    for row in &mut rows {
        for field in ["id", "updated_at"] {
            row[field] = Value::Null;
        }
    }
    rows.sort_by_key(|row| (row["model"].to_string(), row["number"].as_i64()));
    let names = ["bulk", "copy", "digits", "empty", "greeting", "vision"];
    rows.extend(names.map(|name| server.get(&format!("/v1/models/{name}"))["aliases"].clone()));
    rows
}

fn events(server: &Server) -> usize {
    let page = server.get("/v1/events?limit=500");
    assert_eq!(page["next"], Value::Null);
    page["events"].as_array().unwrap().len()
}

#[test]
fn an_import_takes_over_all_that_mlflow_shows_and_reports_the_rest() {
    let Some(mlflow) = mlflow() else { return };
    let server = Server::start();
    let (dry, said) = report(&server, mlflow, &["--dry-run"]);
    let all = [[7, 0], [9 + BULK, 0], [2, 0], [2, 0]];
    assert_eq!((counts(&dry), &dry["dry_run"]), (all, &json!(true)));
    assert_eq!(rows(&dry), expected(&[]));
    assert!(said.starts_with("would import 7 models, 69 versions, 2 aliases and 2 production"), "{said}");
    assert_eq!(events(&server), 0, "a dry run writes nothing");

    let (done, said) = report(&server, mlflow, &[]);
    assert_eq!((counts(&done), rows(&done)), (all, expected(&[])));
    let url = &mlflow.url;
    assert_eq!(
        said,
        format!(
            "imported 7 models, 69 versions, 2 aliases and 2 production versions from {url}\n\
             error: 2 things could not be taken over; the report says why\n"
        )
    );

    let is_short = |row: &&Value| row["name"].as_str().unwrap().len() < 1_025;
    for row in mlflow.all("registered-models", "registered_models").iter().filter(is_short) {
        let model = server.get(&format!("/v1/models/{}", segment(row["name"].as_str().unwrap())));
        assert_eq!(model["description"], *row.get("description").unwrap_or(&Value::Null));
        assert_eq!(model["tags"], json!(tags(row)));
        assert_eq!(model["created_at"], time(row, "creation_timestamp"));
        assert_eq!(model["updated_at"], time(row, "last_updated_timestamp"));
    }
    let mut compared = 0;
    for row in mlflow.all("model-versions", "model_versions").iter().filter(is_short) {
        let (name, number) = (row["name"].as_str().unwrap(), row["version"].as_str().unwrap());
        let version = server.get(&format!("/v1/models/{}/versions/{number}", segment(name)));
        let given = |field: &str| row.get(field).filter(|text| **text != "").unwrap_or(&Value::Null);
        assert_eq!((&version["label"], &version["artifact_uri"]), (&row["version"], &row["source"]));
        assert_eq!((&version["run_id"], &version["description"]), (given("run_id"), given("description")));
        assert_eq!(version["tags"], json!(tags(row)));
        assert_eq!(version["created_at"], time(row, "creation_timestamp"));
        if version["status"] != "production" {
            assert_eq!(version["updated_at"], time(row, "last_updated_timestamp"), "{name} {number}");
        }
        compared += 1;
    }
    assert_eq!(compared, 9 + BULK);
    let version = |name: &str, number: i64| server.get(&format!("/v1/models/{name}/versions/{number}"));
    assert_eq!(version("vision", 1)["origin"], json!({"run_link": "http://runs/1"}));
    assert_eq!(version("copy", 1)["origin"], json!({"location": format!("runs:/{:032}/model", 3)}));
    let statuses = [1, 3, 4].map(|number| version("vision", number)["status"].clone());
    assert_eq!(statuses, ["archived", "staging", "production"]);
    assert_eq!(server.get("/v1/models/vision")["aliases"], json!({"champion": 3, "production": 4}));
    assert_eq!(server.get("/v1/models/digits")["aliases"], json!({"production": 1}));
    assert_eq!(server.get("/v1/models/greeting")["aliases"], json!({"live": 1}));
    let next = server.post("/v1/models/vision/versions", &json!({"label": "x", "artifact_uri": "s3://b/x"}));
    assert_eq!(next["number"], 5, "the gap at 2 stays");

    let mut by_id = versions(&server);
    by_id.sort_by_key(|version| (version["model"].to_string(), version["id"].as_i64()));
    for of_model in by_id.chunk_by(|one, next| one["model"] == next["model"]) {
        let times: Vec<_> = of_model.iter().map(|version| version["created_at"].as_str().unwrap()).collect();
        assert!(times.is_sorted(), "the ids of a model's versions follow time: {times:?}");
    }
    let held = server.get("/v1/models/vision/history?alias=production");
    assert_eq!(held["history"][0]["reason"], format!("imported from {url}"));
    assert!(held["history"][0]["since"].as_str() > Some(&*version("vision", 4)["created_at"].to_string()));
}

#[test]
fn another_run_takes_over_what_is_missing_and_nothing_that_was_changed_here() {
    let Some(mlflow) = mlflow() else { return };
    let server = Server::start();
    report(&server, mlflow, &[]);
    for command in [
        &["promote", "vision#3"][..],
        &["alias", "set", "vision", "champion", "vision#1"],
        &["alias", "delete", "greeting", "live"],
        &["promote", "digits#1", "--to", "archived"],
        &["delete", "bulk#7", "--yes"],
        &["delete", "copy#1", "--yes"],
        &["model", "delete", "empty", "--yes"],
        &["tag", "set", "vision#4", "eval", "mine"],
    ] {
        assert_eq!(server.run(command).code, 0, "{command:?}");
    }
    let before = (state_but_empty(&server), events(&server));
    let (again, _) = report(&server, mlflow, &[]);
    assert_eq!(counts(&again), [[0, 6], [0, 7 + BULK], [0, 0], [0, 0]]);
    let deleted = "it was deleted here; `registry restore` brings it back";
    let kept = "kept as it is here";
    let moved = "production is version 3 here; `registry alias set` moves it";
    let model = "it was deleted here; `registry model restore` brings it back";
    let others = [
        ("vision", Some(4), "production", kept, moved),
        ("vision", Some(3), "alias", kept, "champion is version 1 here; `registry alias set` moves it"),
        ("greeting", Some(1), "alias", kept, "live was removed here; `registry alias set` sets it"),
        ("digits", Some(1), "production", kept, "production was removed here; `registry alias set` sets it"),
        ("bulk", Some(7), "version", kept, deleted),
        ("copy", Some(1), "version", kept, deleted),
        ("empty", None, "model", kept, model),
    ];
    assert_eq!(rows(&again), expected(&others));
    assert_eq!((state_but_empty(&server), events(&server)), before, "nothing was written");
}

/// [`state`], if the model `empty` is deleted.
fn state_but_empty(server: &Server) -> Vec<Value> {
    let mut rows = versions(server);
    rows.sort_by_key(|row| row["id"].as_i64());
    let names = ["bulk", "copy", "digits", "greeting", "vision"];
    rows.extend(names.map(|name| server.get(&format!("/v1/models/{name}"))));
    rows
}

#[test]
fn an_import_that_is_killed_goes_on_where_it_was() {
    let Some(mlflow) = mlflow() else { return };
    let complete = Server::start();
    report(&complete, mlflow, &[]);
    let server = Server::start();
    // Killed after the first model, in the middle of the versions, and near their end.
    for enough in [0, 20, BULK] {
        let mut command = at(&server.url, ["import", "mlflow", &mlflow.url]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let is_done = |server: &Server| {
            let models = server.get("/v1/models?limit=1")["models"].as_array().unwrap().len();
            models > 0 && server.get("/stats")["total_models"].as_i64().unwrap() >= enough
        };
        while !is_done(&server) {
            assert!(Instant::now() < deadline);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (resumed, _) = report(&server, mlflow, &[]);
    assert_eq!(rows(&resumed), expected(&[]));
    assert_eq!(state(&server), state(&complete));
    let [[_, present], ..] = counts(&report(&server, mlflow, &[]).0);
    assert_eq!(present, 7);
}

#[test]
fn a_production_version_that_the_gate_refuses_is_reported_and_stays_in_staging() {
    let Some(mlflow) = mlflow() else { return };
    let server = Server::with(tempfile::tempdir().unwrap(), 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY).args(["--promotion-required-suite", "smoke"]);
    });
    let refusal = "production could not be set: a production version needs scores of the suite \"smoke\", and this one \
                   has none; record them first";
    let refused = |name, number| (name, Some(number), "production", "left out", refusal);
    for _ in 0..2 {
        let (done, said) = report(&server, mlflow, &[]);
        assert_eq!(rows(&done), expected(&[refused("vision", 4), refused("digits", 1)]));
        assert!(said.ends_with("error: 4 things could not be taken over; the report says why\n"), "{said}");
        assert_eq!(server.get("/v1/models/vision/versions/4")["status"], "staging");
    }
    let id = server.get("/v1/models/vision/versions/4")["id"].as_i64().unwrap();
    server.score(id, "smoke", &json!({"score": 0.5}));
    let (done, _) = report(&server, mlflow, &[]);
    assert_eq!(rows(&done), expected(&[refused("digits", 1)]), "a later run puts it there");
    assert_eq!(server.get("/v1/models/vision/versions/4")["status"], "production");
}

#[test]
fn models_and_versions_of_the_same_name_that_are_others_stay_as_they_are() {
    let Some(mlflow) = mlflow() else { return };
    let server = Server::start();
    server.add("bulk", "one", &json!({}));
    server.add("bulk", "two", &json!({}));
    server.add("greeting", "v1", &json!({}));
    let before = versions(&server);
    let (done, _) = report(&server, mlflow, &[]);
    let kept = "kept as it is here";
    let others = [
        (
            "bulk",
            Some(1),
            "version",
            kept,
            "version 1 is another one here, with the source \"s3://b/bulk/one\"",
        ),
        (
            "bulk",
            Some(2),
            "version",
            kept,
            "version 2 is another one here, with the source \"s3://b/bulk/two\"",
        ),
        (
            "greeting",
            None,
            "model",
            "left out",
            "it is a model here and a prompt in MLflow; rename one of them",
        ),
    ];
    assert_eq!(rows(&done), expected(&others));
    assert_eq!(counts(&done), [[5, 1], [5 + BULK, 0], [1, 0], [2, 0]]);
    assert!(before.iter().all(|version| versions(&server).contains(version)));
}

#[test]
fn an_import_that_is_interrupted_says_how_to_go_on() {
    let Some(mlflow) = mlflow() else { return };
    let server = Server::start();
    let mut command = at(&server.url, ["import", "mlflow", &mlflow.url]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while server.get("/v1/models?limit=1")["models"].as_array().unwrap().is_empty() {
        thread::sleep(Duration::from_millis(1));
    }
    crate::server::signal(child.id(), "INT");
    let ran = Ran::from(child.wait_with_output().unwrap());
    // It may have been faster than the signal.
    if ran.code != 1 {
        assert_eq!((ran.code, ran.stdout.as_str()), (130, ""), "{ran:?}");
        assert!(ran.stderr.ends_with("error: stopped; run the same command again to go on\n"), "{ran:?}");
    }
}
