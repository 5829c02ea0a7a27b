//! A root that paths can't leave, even while another process moves folders on their way.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use model_registry::artifact::LocalRoot;
use serde_json::{Value, json};

use super::{register, sha256, text};
use crate::support::{TestApp, at_once, over_postgres};

/// Returns a server whose paths must stay in the folder `root`; the folder `outside` is next to it.
fn rooted() -> (TestApp, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let [root, outside] = ["root", "outside"].map(|name| folder.path().join(name));
    fs::create_dir(&root).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(root.join("model.pt"), "inside").unwrap();
    fs::write(outside.join("model.pt"), "outside").unwrap();
    let app = TestApp::over(folder, |settings| {
        settings.rules.allow_local_paths = true;
        settings.http.expose_local_paths = true;
        settings.hasher.root = Some(LocalRoot::open(&root).unwrap());
    });
    (app, root, outside)
}

/// Replaces `path` by a link.
fn relink(target: &Path, path: &Path) {
    let beside = path.with_extension("new");
    symlink(target, &beside).unwrap();
    fs::rename(&beside, path).unwrap();
}

#[test]
fn files_under_the_root_are_digested_and_their_paths_kept_as_given() {
    let (app, root, _) = rooted();
    fs::create_dir(root.join("runs")).unwrap();
    symlink("../model.pt", root.join("runs/latest.pt")).unwrap();
    symlink(root.join("runs"), root.join("absolute")).unwrap();
    let paths = [
        "model.pt".to_owned(),
        "./runs/../model.pt".to_owned(),
        "runs/latest.pt".to_owned(),
        "absolute/latest.pt".to_owned(),
        text(&root.join("model.pt")),
        text(&root.join("absolute/latest.pt")),
    ];
    for (version, path) in paths.iter().enumerate() {
        let fields = json!({"version": version.to_string(), "checkpoint_path": path});
        let model = register(&app, &fields).ok();
        assert_eq!(model["checkpoint_sha256"], sha256("inside"), "{path}");
        assert_eq!(model["local_checkpoint_path"], json!(path));
    }
    fs::write(root.join("config.json"), r#"{"d_model": 8}"#).unwrap();
    let fields = json!({"version": "c", "artifact_uri": "s3://x", "config_path": "config.json"});
    assert_eq!(register(&app, &fields).ok()["d_model"], 8);
}

#[test]
fn files_outside_the_root_are_refused_without_revealing_whether_they_exist() {
    let (app, root, outside) = rooted();
    symlink(&outside, root.join("absolute")).unwrap();
    symlink("../outside", root.join("relative")).unwrap();
    symlink("/", root.join("everything")).unwrap();
    app.register("kept", "1");
    let before = app.everything();
    for (there, missing) in [
        ("../outside/model.pt".to_owned(), "../outside/none.pt".to_owned()),
        (text(&outside.join("model.pt")), text(&outside.join("none.pt"))),
        (text(&root.join("../outside/model.pt")), text(&root.join("../outside/none.pt"))),
        ("absolute/model.pt".to_owned(), "absolute/none.pt".to_owned()),
        ("relative/model.pt".to_owned(), "relative/none.pt".to_owned()),
        ("everything/etc/passwd".to_owned(), "everything/etc/none".to_owned()),
        ("/etc/passwd".to_owned(), "/etc/none".to_owned()),
        ("/proc/self/environ".to_owned(), "/proc/self/none".to_owned()),
        (text(&app.db_path()), text(&app.db_path()) + "x"),
    ] {
        for field in ["checkpoint_path", "config_path"] {
            let refused = |path: &str, answer: crate::support::Answer| {
                let detail = answer.refused(400);
                assert!(detail.contains("not in the folder"), "{path}: {detail}");
                assert!(path.starts_with('/') || !detail.contains(&*text(&root)), "{path}: {detail}");
                detail.replace(path, "")
            };
            let details = [&there, &missing].map(|path| {
                let registered =
                    refused(path, register(&app, &json!({"artifact_uri": "s3://x", field: path})));
                assert_eq!(registered, refused(path, app.patch(1, &json!({field: path}))));
                registered
            });
            assert_eq!(details[0], details[1]);
        }
    }
    assert_eq!(app.everything(), before);
}

#[test]
fn the_database_is_refused_even_if_it_is_under_the_root() {
    if over_postgres() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = LocalRoot::open(folder.path()).unwrap();
    let app = TestApp::over(folder, |settings| {
        settings.rules.allow_local_paths = true;
        settings.hasher.root = Some(root);
    });
    app.register("kept", "1");
    fs::hard_link(app.db_path(), app.folder.path().join("by-hard-link")).unwrap();
    symlink(app.db_path(), app.folder.path().join("by-link")).unwrap();
    for path in ["registry.db", "registry.db-wal", "registry.db-shm", "by-hard-link", "by-link"] {
        let detail = register(&app, &json!({"artifact_uri": "s3://x", "checkpoint_path": path})).refused(400);
        assert!(detail.contains("database"), "{path}: {detail}");
    }
}

#[test]
fn links_that_change_while_paths_are_resolved_never_lead_outside() {
    const ROUNDS: usize = 60;
    let (app, root, outside) = rooted();
    fs::create_dir(root.join("runs")).unwrap();
    fs::write(root.join("runs/model.pt"), "inside").unwrap();
    fs::create_dir(outside.join("runs")).unwrap();
    let (file, folder) = (root.join("file.pt"), root.join("folder"));
    let lead = |in_there: bool| {
        let base = if in_there { &root } else { &outside };
        relink(&base.join("model.pt"), &file);
        // The one is followed by the kernel, the other step by step.
        relink(Path::new(if in_there { "runs" } else { "../outside" }), &folder);
    };
    let checkpoint = |version: String, path: &str| {
        let answer =
            register(&app, &json!({"version": version, "artifact_uri": "s3://x", "checkpoint_path": path}));
        (answer.status == 200).then(|| answer.ok()["checkpoint_sha256"].clone())
    };
    let paths = ["file.pt", "folder/model.pt", "folder/../model.pt"];
    lead(true);
    for path in paths {
        assert_eq!(checkpoint(format!("before {path}"), path), Some(json!(sha256("inside"))), "{path}");
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            let mut swaps = 0;
            while !done.load(Ordering::SeqCst) || swaps < 2 {
                lead(swaps % 2 == 1);
                swaps += 1;
            }
            swaps
        });
        let found = at_once(4, |client| {
            let found = |round| {
                let path = paths[round % paths.len()];
                checkpoint(format!("{client}/{round}"), path)
            };
            (0..ROUNDS).map(found).collect::<Vec<Option<Value>>>()
        });
        done.store(true, Ordering::SeqCst);
        assert!(swapping.join().unwrap() > 1);
        for digest in found.into_iter().flatten().flatten() {
            assert_eq!(digest, sha256("inside"));
        }
    });
    lead(false);
    for path in paths {
        assert_eq!(checkpoint(format!("after {path}"), path), None, "{path}");
    }
}
