//! `registry maintenance --purge-deleted`.

use super::*;

#[test]
fn a_purge_shows_what_it_removes_and_removes_only_that_and_only_with_yes() {
    let folder = database();
    let server = Server::start_in(folder);
    for id in [2, 3] {
        server.send("DELETE", &format!("/models/{id}"), KEY, None);
    }
    server.send("POST", "/v1/models", KEY, Some(&json!({"name": "gone"})));
    for name in ["gone", "n"] {
        server.send("DELETE", &format!("/v1/models/{name}"), KEY, None);
    }
    let path = server.db_path();
    let purge = |extra: &[&str]| {
        let arguments = ["--purge-deleted", "--older-than"].iter().chain(extra);
        maintenance(&path, arguments.copied())
    };
    let young = done(purge(&["1h"]));
    assert_eq!(young["purge"]["versions"], json!([]), "both were deleted less than an hour ago");
    let dry_run = Ran::of(&mut purge(&["0d"]));
    assert!(dry_run.stdout.starts_with("2 deleted versions and 2 deleted models of "), "{dry_run:?}");
    assert!(
        dry_run.stdout.contains("repeat with --yes") && dry_run.stdout.contains("\n  m:2\n"),
        "{dry_run:?}"
    );
    let refused = Ran::of(&mut purge(&["0d", "--yes"]));
    assert_eq!(refused.code, 5, "a server owns the file: {refused:?}");
    server.signal("TERM");
    let folder = server.ended().folder;

    let purged = done(purge(&["0d", "--yes", "--check"]));
    assert_eq!(purged["purge"]["versions"], json!(["m:2", "n:1"]));
    assert_eq!(purged["purge"]["models"], 2);
    assert_eq!((&purged["purge"]["done"], &purged["check"]["ok"]), (&json!(true), &json!(true)), "{purged}");
    assert_eq!(done(purge(&["0d", "--yes"]))["purge"]["versions"], json!([]));

    let server = Server::start_in(folder);
    let events = server.send("GET", "/models/2/events", KEY, None);
    let types: Vec<_> = events.as_array().unwrap().iter().map(|event| event["event_type"].clone()).collect();
    assert_eq!(types, ["purge", "delete", "create"], "events outlive what they happened to");
    let body = json!({"name": "m", "version": "2", "checkpoint_sha256": "ab".repeat(32)});
    assert_eq!(server.post("/models", &body)["id"], 4, "ids are never reused");
    let refused = server.run(["model", "rename", "m", "n"]).failed(5);
    assert!(refused.contains("a deleted model was named \"n\""), "{refused}");
    assert_eq!(server.run(["model", "rename", "m", "gone"]).code, 0, "it had no versions");
}

#[test]
fn a_wrong_age_an_old_file_and_flags_that_do_not_fit_are_refused() {
    let folder = database();
    let path = at(&folder, "registry.db");
    for (arguments, expected) in [
        (&["--purge-deleted", "--older-than", "30"][..], "a number and d, h or m"),
        (&["--purge-deleted", "--older-than=-1d"], "whole number"),
        (&["--purge-deleted", "--older-than", "1.5d"], "whole number"),
        (&["--check", "--yes"], "--purge-deleted"),
    ] {
        let ran = Ran::of(&mut maintenance(&path, arguments.iter().copied()));
        assert!(ran.code == 2 && ran.stderr.contains(expected), "{ran:?}");
    }
    let old = tempfile::tempdir().unwrap();
    let path = at(&old, "registry.db");
    Connection::open(&path).unwrap().execute_batch(OLD).unwrap();
    for extra in [&[][..], &["--yes"]] {
        let arguments = ["--purge-deleted"].iter().chain(extra).copied();
        let refused = Ran::of(&mut maintenance(&path, arguments)).failed(1);
        assert!(refused.contains("its schema is 2, not 502; start `registry serve`"), "{refused}");
        assert!(refused.trim_end().ends_with("which upgrades it"), "{refused}");
    }
}
