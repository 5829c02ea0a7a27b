//! The main workflow, on generated files: ingest, score, promote, read the audit trail; then the next version.

use std::{fs, path::Path};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{KEY, Ran, registry, server::Server};

/// Returns a file in the form of safetensors: the length of a header, the header, the tensors.
fn write_checkpoint(path: &Path, bytes: usize, seed: u8) -> String {
    let header = format!(r#"{{"w":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{bytes}]}}}}"#, bytes / 4);
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend((0..bytes).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)));
    fs::write(path, &file).unwrap();
    Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ingest(server: &Server, folder: &Path, version: &str) -> Ran {
    let mut command = registry(["ingest", "--name", "tiny", "--version", version, "--tag", "demo"]);
    command
        .args(["--registry-url", &server.url, "--training-step", "1000", "--training-loss", "2.5"])
        .arg("--checkpoint-path")
        .arg(folder.join(format!("{version}.safetensors")))
        .arg("--config-path")
        .arg(folder.join("config.json"))
        .env("CAIA_REGISTRY_API_KEY", KEY);
    Ran::of(&mut command)
}

#[test]
fn a_checkpoint_is_ingested_scored_promoted_and_audited() {
    let folder = tempfile::tempdir().unwrap();
    let first = write_checkpoint(&folder.path().join("v1.safetensors"), 5 << 20, 1);
    let second = write_checkpoint(&folder.path().join("v2.safetensors"), 5 << 20, 2);
    fs::write(folder.path().join("config.json"), r#"{"architecture": {"d_model": 64, "n_layers": 2}}"#)
        .unwrap();
    let server = Server::with(tempfile::tempdir().unwrap(), 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY).env("CAIA_REGISTRY_PROMOTION_REQUIRED_SUITE", "smoke-v1");
    });

    let ran = ingest(&server, folder.path(), "v1");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.starts_with("registered tiny:v1 with id 1 (5.2 MB, sha256 "), "{ran:?}");
    let model: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(model, server.get("/models/by-name/tiny/v1"));
    for (field, expected) in [
        ("checkpoint_sha256", json!(first)),
        ("artifact_uri", json!(format!("sha256:{first}"))),
        ("checkpoint_size_bytes", json!(fs::metadata(folder.path().join("v1.safetensors")).unwrap().len())),
        ("d_model", json!(64)),
        ("n_layers", json!(2)),
        ("created_by", json!("ann")),
        ("tags", json!(["demo"])),
        ("training_step", json!(1000)),
        ("local_checkpoint_path", json!(null)),
    ] {
        assert_eq!(model[field], expected, "{field}");
    }

    let line = ingest(&server, folder.path(), "v1").failed(5);
    assert!(line.contains("registered already, with id 1"), "{line}");

    let score = |id: i64, score: f64| {
        let body = json!({"suite": "smoke-v1", "metrics": {"score": score}, "eval_commit": "abc"});
        server.post(&format!("/models/{id}/metrics"), &body)
    };
    score(1, 0.7);
    assert_eq!(server.post("/models/1/promote", &json!({}))["status"], "production");
    assert_eq!(ingest(&server, folder.path(), "v2").code, 0);
    score(2, 0.8);
    assert_eq!(server.post("/models/2/promote", &json!({}))["status"], "production");

    let production = server.get("/production/tiny");
    assert_eq!((&production["version"], &production["checkpoint_sha256"]), (&json!("v2"), &json!(second)));
    let trail = server.get("/models/1/events");
    let kinds: Vec<_> = trail.as_array().unwrap().iter().map(|event| event["event_type"].clone()).collect();
    assert_eq!(kinds, ["auto_demote", "promote", "eval", "create"]);
    assert_eq!(trail[0]["payload"]["reason"], "new production: 2");
    assert_eq!(trail[3]["actor"], "key:hush…");
}
