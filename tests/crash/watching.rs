//! `registry watch`, killed while it publishes.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rusqlite::Connection;
use serde_json::Value;

use crate::{
    KEY, registry,
    server::{Server, linger},
    wait_until,
};

const CHECKPOINTS: u32 = 12;
const KILLS: u32 = 8;

fn watch(folder: &Path, server: &str) -> Command {
    let mut command = registry(["watch", "--name", "m", "--checkpoint-dir", "runs", "--all", "--once"]);
    command
        .args([
            "--artifact-uri-template",
            "s3://models/{basename}",
            "--stable-seconds",
            "0.01",
            "--poll-seconds",
            "0.05",
        ])
        .env("CAIA_REGISTRY_API_KEY", KEY)
        .env("CAIA_REGISTRY_URL", server)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

#[test]
fn a_repeatedly_killed_watch_registers_each_checkpoint_once() {
    let mut random = fastrand::Rng::new();
    for kills in [0, KILLS] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.db");
        let mut server = Server::start(&path);
        let url = format!("http://{}", server.wait_for_address());
        fs::create_dir(folder.path().join("runs")).unwrap();
        for step in 1..=CHECKPOINTS {
            fs::write(
                folder.path().join(format!("runs/checkpoint_step_{step}.pt")),
                format!("weights {step}"),
            )
            .unwrap();
        }
        let state = folder.path().join("runs/.publish_state.json");
        let registered = || -> u32 {
            let file = Connection::open(&path).unwrap();
            file.query_row("SELECT count(*) FROM models", [], |row| row.get(0)).unwrap()
        };
        let mut in_the_middle = 0;
        for _ in 0..kills {
            let before = registered();
            let mut child = watch(folder.path(), &url).spawn().unwrap();
            wait_until("it publishes", || registered() > before || child.try_wait().unwrap().is_some());
            linger(&mut random, Duration::from_millis(5));
            child.kill().unwrap();
            child.wait().unwrap();
            in_the_middle += u32::from((1..CHECKPOINTS).contains(&registered()));
            if let Ok(bytes) = fs::read(&state) {
                let kept: Value = serde_json::from_slice(&bytes).expect("the state is whole");
                for name in kept["checkpoints"].as_object().unwrap().keys() {
                    let step = name.trim_start_matches("checkpoint_step_").trim_end_matches(".pt");
                    let there = Connection::open(&path).unwrap().query_row(
                        "SELECT count(*) FROM models WHERE version = 'step-' || ?1",
                        [step],
                        |row| row.get::<_, u32>(0),
                    );
                    assert_eq!(there.unwrap(), 1, "{name} is recorded before it is registered");
                }
            }
        }
        assert!(watch(folder.path(), &url).status().unwrap().success());
        assert_eq!(registered(), CHECKPOINTS);
        let file = Connection::open(&path).unwrap();
        let events: (u32, u32) = file
            .query_row(
                "SELECT count(*), count(DISTINCT model_id) FROM model_events WHERE event_type = 'create'",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap();
        assert_eq!(events, (CHECKPOINTS, CHECKPOINTS), "each once");
        let kept: Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
        assert_eq!(kept["checkpoints"].as_object().unwrap().len(), CHECKPOINTS as usize);
        println!("{kills} kills, {in_the_middle} of them with some registered and some not");
        drop(file);
        server.stop();
    }
}
