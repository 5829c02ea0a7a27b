//! The WAL of a killed server, damaged WALs, and WALs of another database: each is recovered, or refused with a message
//! and not changed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    checker::is_sound,
    client::{Client, InFlight, Outcome},
    registry,
    server::{Server, serve},
};

/// Versions that are registered, each acknowledged before the next.
const VERSIONS: u64 = 12;
const HEADER_BYTES: usize = 32;
const FRAME_BYTES: usize = 24 + 4096;

/// Returns the folder of a killed server, with one registration after another in its WAL.
fn crashed() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    Server::start(&path).stop();
    let mut server = Server::start(&path);
    let in_flight = InFlight::default();
    let mut client = Client::new(server.wait_for_address(), &in_flight);
    for version in 0..VERSIONS {
        let body = json!({"name": "m", "version": version.to_string(), "artifact_uri": "s3://b"});
        let fate = client.send("POST", "/models", "damage", Some(&body));
        assert!(matches!(fate, Outcome::Answered(200, _)), "{fate:?}");
    }
    server.kill();
    folder
}

fn copy(from: &TempDir) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

/// Every file but the WAL index and the lock, which hold no data and are rewritten by the next process.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| !["-shm", ".lock"].iter().any(|end| path.to_string_lossy().ends_with(end)))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

fn at(folder: &TempDir, suffix: &str) -> PathBuf {
    folder.path().join(format!("registry.db{suffix}"))
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn versions(path: &Path) -> u64 {
    Connection::open(path).unwrap().query_row("SELECT count(*) FROM models", [], |row| row.get(0)).unwrap()
}

fn maintenance(folder: &TempDir, arguments: &[&str]) -> Output {
    registry(["maintenance", "--db-path"]).arg(at(folder, "")).args(arguments).output().unwrap()
}

/// Returns the error of a server, and of maintenance, that refuse to start.
#[track_caller]
fn refused(folder: &TempDir) -> String {
    let before = files(folder.path());
    let backup = tempfile::tempdir().unwrap();
    let backup = backup.path().join("b.db");
    let mut said = Vec::new();
    for output in [
        serve(&at(folder, "")).output().unwrap(),
        maintenance(folder, &["--check"]),
        maintenance(folder, &["--optimize"]),
        maintenance(folder, &["--backup", backup.to_str().unwrap()]),
    ] {
        let stderr = String::from_utf8(output.stderr.clone()).unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        said.push(stderr.lines().last().unwrap().to_owned());
        assert!(files(folder.path()) == before, "{stderr}");
    }
    assert!(!backup.exists());
    said.swap_remove(0)
}

/// Returns the number of frames up to the end of each transaction in the WAL.
fn ends(log: &[u8]) -> Vec<usize> {
    let frames = log[HEADER_BYTES..].chunks_exact(FRAME_BYTES);
    frames.enumerate().filter(|(_, frame)| frame[4..8] != [0; 4]).map(|(at, _)| at + 1).collect()
}

#[test]
fn the_wal_of_a_killed_server_is_recovered_completely() {
    let crashed = crashed();
    let log = fs::read(at(&crashed, "-wal")).unwrap();
    assert!(ends(&log).len() as u64 >= VERSIONS);
    for without_index in [false, true] {
        let folder = copy(&crashed);
        if without_index {
            fs::remove_file(at(&folder, "-shm")).unwrap();
        }
        Server::start(&at(&folder, "")).stop();
        assert_eq!(versions(&at(&folder, "")), VERSIONS);
        is_sound(&at(&folder, ""));
    }
}

#[test]
fn a_damaged_wal_is_refused_and_its_sound_part_is_salvaged_on_request() {
    let crashed = crashed();
    let whole = copy(&crashed);
    Server::start(&at(&whole, "")).stop();
    let ends = ends(&fs::read(at(&crashed, "-wal")).unwrap());
    let (count, middle) = (ends.len(), ends.len() / 2);
    let in_the_middle = HEADER_BYTES + ends[middle - 1] * FRAME_BYTES + 24 + 1000;
    for (case, keeps_index, at_byte, kept) in [
        ("the middle", true, in_the_middle, middle),
        ("the middle, after a loss of power", false, in_the_middle, middle),
        ("the header", true, 13, 0),
    ] {
        let folder = copy(&crashed);
        change(&at(&folder, "-wal"), |log| log[at_byte] ^= 0x10);
        if !keeps_index {
            fs::remove_file(at(&folder, "-shm")).unwrap();
        }
        let before = fs::read(at(&folder, "-wal")).unwrap();
        let said = refused(&folder);
        assert!(said.contains("registry.db-wal") && said.contains("--salvage-wal"), "{case}: {said}");
        let counts = format!("{kept} transactions in it are sound, and {} that", count - kept);
        assert!(said.contains(&counts), "{case}: {said}");

        let backup = at(&whole, "");
        let restored = maintenance(&folder, &["--restore", backup.to_str().unwrap()]);
        let text = String::from_utf8_lossy(&restored.stderr);
        assert!(!restored.status.success() && text.contains("move it and its WAL away first"), "{text}");

        let done = maintenance(&folder, &["--salvage-wal", "--check", "--json"]);
        assert!(done.status.success(), "{case}: {done:?}");
        let report: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(report["salvage"]["transactions"], kept, "{report}");
        assert_eq!(report["salvage"]["lost_transactions"], count - kept, "{report}");
        let kept_as = report["salvage"]["kept_as"].as_str().unwrap();
        assert!(fs::read(kept_as).unwrap() == before, "the log as it was is kept");
        let again = maintenance(&folder, &["--salvage-wal", "--json"]);
        let report: Value = serde_json::from_slice(&again.stdout).unwrap();
        assert_eq!(
            (&report["salvage"]["lost_transactions"], &report["salvage"]["kept_as"]),
            (&json!(0), &Value::Null)
        );
        Server::start(&at(&folder, "")).stop();
        is_sound(&at(&folder, ""));
        let there = versions(&at(&folder, ""));
        assert_eq!(there, VERSIONS.saturating_sub((count - kept) as u64), "{case}");
    }
}

#[test]
fn an_incomplete_last_transaction_is_dropped_with_a_warning() {
    let folder = crashed();
    let ends = ends(&fs::read(at(&folder, "-wal")).unwrap());
    change(&at(&folder, "-wal"), |log| log[HEADER_BYTES + ends[ends.len() - 2] * FRAME_BYTES + 2000] ^= 1);
    let mut server = Server::run(&mut serve(&at(&folder, "")));
    server.wait_for_address();
    server.log_with("the last transaction in the WAL is incomplete and is dropped");
    server.stop();
    assert_eq!(versions(&at(&folder, "")), VERSIONS - 1);
}

/// Only checkpoints sync the WAL then, so the system may have written later transactions and not an earlier one.
#[test]
fn with_synchronous_normal_a_gap_after_a_power_loss_is_reported_and_everything_before_it_is_kept() {
    let crashed = crashed();
    let ends = ends(&fs::read(at(&crashed, "-wal")).unwrap());
    let (count, kept) = (ends.len(), ends.len() / 2);
    let left = VERSIONS - (count - kept) as u64;
    for keeps_index in [true, false] {
        let folder = copy(&crashed);
        let start = HEADER_BYTES + ends[kept - 1] * FRAME_BYTES;
        change(&at(&folder, "-wal"), |log| log[start..start + FRAME_BYTES].fill(0));
        if !keeps_index {
            fs::remove_file(at(&folder, "-shm")).unwrap();
        }
        let before = fs::read(at(&folder, "-wal")).unwrap();
        assert!(refused(&folder).contains("is damaged"), "with synchronous=full a gap is damage");

        let mut server = Server::run(serve(&at(&folder, "")).args(["--synchronous", "normal"]));
        let address = server.wait_for_address();
        let log = server.log_with("the WAL has a gap");
        let hole =
            log.lines().find(|line| line.contains("the WAL has a gap")).unwrap_or_else(|| panic!("{log}"));
        for report in ["registry.db-wal.damaged", &format!("kept={kept}"), "dropped="] {
            assert!(hole.contains(report), "{report}: {hole}");
        }
        assert!(fs::read(at(&folder, "-wal.damaged")).unwrap() == before);
        let in_flight = InFlight::default();
        let body = json!({"name": "m", "version": "after", "artifact_uri": "s3://b"});
        let fate = Client::new(address, &in_flight).send("POST", "/models", "damage", Some(&body));
        assert!(matches!(fate, Outcome::Answered(200, _)), "{fate:?}");
        server.kill();
        // Nothing after the gap comes back.
        Server::start(&at(&folder, "")).stop();
        assert_eq!(versions(&at(&folder, "")), left + 1);
        is_sound(&at(&folder, ""));
    }
}

#[test]
fn a_wal_of_another_or_a_missing_database_is_refused() {
    let crashed = crashed();
    let elsewhere = tempfile::tempdir().unwrap();
    let backup = elsewhere.path().join("b.db");
    let whole = copy(&crashed);
    let done = maintenance(&whole, &["--backup", backup.to_str().unwrap()]);
    assert!(done.status.success(), "{done:?}");

    let folder = copy(&crashed);
    fs::copy(&backup, at(&folder, "")).unwrap();
    let said = refused(&folder);
    assert!(said.contains("without a WAL, such as a backup") && said.contains("move the WAL away"), "{said}");
    // The way out that the error names.
    fs::rename(at(&folder, "-wal"), folder.path().join("moved")).unwrap();
    Server::start(&at(&folder, "")).stop();
    assert_eq!(versions(&at(&folder, "")), VERSIONS);

    for empty in [false, true] {
        let folder = copy(&crashed);
        fs::remove_file(at(&folder, "")).unwrap();
        if empty {
            fs::write(at(&folder, ""), "").unwrap();
        }
        let before = files(folder.path());
        let output = serve(&at(&folder, "")).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("is missing or empty, but its WAL"), "{said}");
        assert!(files(folder.path()) == before);
    }
}

#[test]
fn a_database_in_use_is_not_salvaged() {
    let folder = crashed();
    let server = Server::start(&at(&folder, ""));
    let refused = maintenance(&folder, &["--salvage-wal"]);
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
    // The WAL of a running server is not checked.
    let checked = maintenance(&folder, &["--check"]);
    assert!(checked.status.success(), "{checked:?}");
    server.stop();
}
