//! Paths that are refused: not regular files, and the database itself by any name.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{allowing, file, register, text};
use crate::support::{TestApp, over_postgres};

#[test]
fn paths_are_refused_if_not_allowed_whether_or_not_a_file_exists() {
    let app = TestApp::spawn();
    app.register("kept", "1");
    let before = app.everything();
    let there = file(&app, "model.pt", "x");
    let mut details = Vec::new();
    for path in [there, "/nowhere".to_owned(), "/dev/zero".to_owned(), text(&app.db_path())] {
        for field in ["checkpoint_path", "config_path"] {
            details.push(register(&app, &json!({"artifact_uri": "s3://x", field: path})).refused(400));
            details.push(app.patch(1, &json!({field: path})).refused(400));
            details.push(app.patch(999, &json!({field: path})).refused(400));
        }
    }
    details.dedup();
    assert_eq!(details.len(), 1, "nothing of the disk shows: {details:?}");
    assert!(details[0].contains("CAIA_REGISTRY_ALLOW_LOCAL_PATHS"), "{}", details[0]);
    assert_eq!(app.everything(), before);
    // A blank path is none.
    register(&app, &json!({"artifact_uri": "s3://x", "checkpoint_path": " ", "config_path": ""})).ok();
}

/// Releases readers that wait for a writer of this FIFO, so that a failing test ends.
struct Released(PathBuf);

impl Drop for Released {
    fn drop(&mut self) {
        drop(fs::File::options().read(true).write(true).open(&self.0));
    }
}

#[test]
fn special_and_unreadable_files_are_refused_at_once() {
    let app = allowing();
    let folder = app.folder.path();
    let fifo = folder.join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let _released_at_the_end = Released(fifo.clone());
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    symlink("loop", folder.join("loop")).unwrap();
    symlink(&fifo, folder.join("to-fifo")).unwrap();
    symlink(folder.join("gone"), folder.join("dangling")).unwrap();
    let file_as_folder = file(&app, "model.pt", "x") + "/x";
    for path in [
        text(&folder.join("none.pt")),
        text(folder),
        text(&fifo),
        text(&folder.join("to-fifo")),
        text(&folder.join("socket")),
        text(&folder.join("loop")),
        text(&folder.join("dangling")),
        file_as_folder,
        "/dev/zero".to_owned(),
        "/dev/tty".to_owned(),
        "\u{0}".to_owned(),
        "x".repeat(5_000),
    ] {
        for field in ["checkpoint_path", "config_path"] {
            let answer = register(&app, &json!({"artifact_uri": "s3://x", field: path}));
            assert_eq!(answer.status, 400, "{path:?}: {}", answer.text);
            answer.refused(400);
        }
    }
    assert_eq!(app.get("/models").ok(), json!([]));
}

#[test]
fn a_configuration_that_is_not_an_object_is_refused() {
    let app = allowing();
    for content in ["[1]", "\"text\"", "null", "{half", "", "{} {}"] {
        let path = file(&app, "config.json", content);
        let detail = register(&app, &json!({"artifact_uri": "s3://x", "config_path": path})).refused(400);
        assert!(detail.contains("config.json"), "{detail}");
    }
    let path = file(&app, "config.json", b"{\"a\": \"\xff\"}");
    register(&app, &json!({"artifact_uri": "s3://x", "config_path": path})).refused(400);
    let path = file(&app, "config.json", "[".repeat(100_000));
    register(&app, &json!({"artifact_uri": "s3://x", "config_path": path})).refused(400);
    assert_eq!(app.get("/models").ok(), json!([]));
}

#[test]
fn kernel_files_are_refused_at_once_and_reveal_nothing() {
    let app = allowing();
    symlink("/proc/self/environ", app.folder.path().join("to-environ")).unwrap();
    symlink("/proc/self/fd/0", app.folder.path().join("to-stdin")).unwrap();
    let by_link = ["to-environ", "to-stdin"].map(|name| text(&app.folder.path().join(name)));
    let asked = Instant::now();
    let paths = [
        "/proc/self/environ",
        "/proc/self/mem",
        "/proc/self/maps",
        "/proc/self/cmdline",
        "/proc/self/exe",
        "/proc/self/fd/0",
        "/proc/thread-self/environ",
        "/proc/kmsg",
        "/proc/kcore",
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/random/uuid",
        "/proc/self/root/etc/passwd",
        "/proc/self/cwd/Cargo.toml",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/kernel/debug/tracing/trace_pipe",
        "/sys/fs/cgroup/cgroup.procs",
        "/dev/zero",
        "/dev/random",
        "/dev/kmsg",
        "/dev/ptmx",
        "/dev/stdin",
        "/dev/fd/0",
        "/dev/null",
    ];
    for path in paths.into_iter().chain(by_link.iter().map(String::as_str)) {
        for field in ["checkpoint_path", "config_path"] {
            let detail = register(&app, &json!({"artifact_uri": "s3://x", field: path})).refused(400);
            // Not every system has every one of these.
            let words = ["kernel generates", "a device", "links", "does not exist", "can't be read"];
            assert!(words.iter().any(|word| detail.contains(word)), "{path}: {detail}");
        }
    }
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert_eq!(app.get("/models").ok(), json!([]));
}

#[test]
fn files_with_keys_and_their_replacements_are_refused_under_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let [keys, certificate] = ["keys", "tls"].map(|name| folder.path().join(name));
    fs::write(&keys, "first").unwrap();
    fs::write(&certificate, "{}").unwrap();
    let app = TestApp::over(folder, |settings| {
        settings.rules.allow_local_paths = true;
        settings.hasher.secrets = vec![keys.clone(), certificate.clone()];
    });
    symlink(&keys, app.folder.path().join("by-link")).unwrap();
    fs::hard_link(&certificate, app.folder.path().join("by-hard-link")).unwrap();
    let refused = |name: &str| {
        let path = text(&app.folder.path().join(name));
        for field in ["checkpoint_path", "config_path"] {
            let detail = register(&app, &json!({"artifact_uri": "s3://x", field: path})).refused(400);
            assert!(detail.contains("key file"), "{name}: {detail}");
        }
    };
    ["keys", "tls", "by-link", "by-hard-link"].into_iter().for_each(refused);
    let old = file(&app, "next", "second");
    fs::rename(old, &keys).unwrap();
    refused("keys");
}

#[test]
fn the_database_is_not_reached_through_what_the_server_has_open() {
    if over_postgres() {
        return;
    }
    let app = allowing();
    app.register("kept", "1");
    let of_the_database = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        let leads = fs::read_link(&path).ok()?;
        leads.starts_with(app.folder.path()).then(|| text(&path))
    });
    let of_the_database: Vec<_> = of_the_database.collect();
    assert!(of_the_database.len() >= 4, "readers and a writer have it open: {of_the_database:?}");
    let through_the_root = format!("/proc/self/root{}", text(&app.db_path()));
    for path in of_the_database.iter().chain([&through_the_root]) {
        register(&app, &json!({"artifact_uri": "s3://x", "checkpoint_path": path})).refused(400);
    }
    assert_eq!(app.get("/stats").ok()["total_models"], 1);
}

#[test]
fn a_moved_database_and_its_replacement_are_refused() {
    if over_postgres() {
        return;
    }
    let app = allowing();
    app.register("kept", "1");
    let folder = app.folder.path();
    for (from, to) in
        [("registry.db", "moved"), ("registry.db-wal", "moved-log"), ("registry.db-shm", "moved-shm")]
    {
        fs::rename(folder.join(from), folder.join(to)).unwrap();
        fs::write(folder.join(from), "another").unwrap();
    }
    for name in ["moved", "moved-log", "moved-shm", "registry.db", "registry.db-wal", "registry.db-shm"] {
        let path = text(&folder.join(name));
        let detail = register(&app, &json!({"artifact_uri": "s3://x", "checkpoint_path": path})).refused(400);
        assert!(detail.contains("database"), "{name}: {detail}");
    }
}

/// The database, for the process that [`check_from_another_process`] starts.
const DATABASE: &str = "REGISTRY_TEST_DATABASE";

#[test]
fn the_databases_own_files_are_refused_even_if_it_is_opened_through_a_link() {
    if over_postgres() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("real")).unwrap();
    symlink("real/r.db", folder.path().join("registry.db")).unwrap();
    let app = TestApp::over(folder, |settings| settings.rules.allow_local_paths = true);
    app.register("kept", "1");
    let real = app.folder.path().join("real");
    symlink(real.join("r.db-shm"), app.folder.path().join("shm-by-link")).unwrap();
    for path in [
        app.db_path(),
        real.join("r.db"),
        real.join("r.db-wal"),
        real.join("r.db-shm"),
        app.folder.path().join("shm-by-link"),
    ] {
        assert!(path.exists(), "{path:?}");
        let detail = register(&app, &json!({"artifact_uri": "s3://x", "checkpoint_path": text(&path)}));
        assert!(detail.refused(400).contains("database"), "{path:?}");
    }
}

/// Asserts that the database is locked. Must run in another process: SQLite's locks don't hold within one.
fn assert_locked(path: OsString) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.busy_timeout(Duration::ZERO).unwrap();
    let refused = connection.execute_batch("BEGIN IMMEDIATE").unwrap_err();
    assert_eq!(refused.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy));
    // If it were the last connection, closing it would delete the WAL.
    connection.close().unwrap();
}

/// Runs this test again as another process, which calls [`assert_locked`].
fn check_from_another_process(test: &str, database: &Path) {
    let test = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    let ran = Command::new(env::current_exe().unwrap())
        .args([&test, "--exact"])
        .env(DATABASE, database)
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && output.contains("1 passed"), "{output}");
}

#[test]
fn the_databases_own_files_are_refused_under_any_name_and_its_locks_hold() {
    if over_postgres() {
        return;
    }
    if let Some(path) = env::var_os(DATABASE) {
        return assert_locked(path);
    }
    let app = allowing();
    app.register("kept", "1");
    let folder = app.folder.path().to_owned();
    symlink("registry.db", folder.join("by-link")).unwrap();
    fs::hard_link(app.db_path(), folder.join("by-hard-link")).unwrap();
    symlink("registry.db-wal", folder.join("wal-by-link")).unwrap();
    symlink(&folder, folder.join("around")).unwrap();
    for name in [
        "registry.db",
        "registry.db-wal",
        "registry.db-shm",
        "by-link",
        "by-hard-link",
        "wal-by-link",
        "./registry.db",
        "around/around/registry.db",
    ] {
        for field in ["checkpoint_path", "config_path"] {
            let path = text(&folder.join(name));
            let detail = register(&app, &json!({"artifact_uri": "s3://x", field: path})).refused(400);
            assert!(detail.contains("database"), "{name}: {detail}");
            let detail = app.patch(1, &json!({field: path})).refused(400);
            assert!(detail.contains("database"), "{name}: {detail}");
        }
    }
    // A connection of this process holds the lock to write, and another process must see it.
    let holder = app.other_process();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    check_from_another_process(
        "the_databases_own_files_are_refused_under_any_name_and_its_locks_hold",
        &app.db_path(),
    );
    holder.execute_batch("COMMIT").unwrap();
    assert!(
        folder.join("registry.db-wal").exists(),
        "the other process believed to be the last one and deleted the WAL"
    );
    let id = app.register("after", "1");
    let seen: i64 = holder.query_row("SELECT max(id) FROM models", [], |row| row.get(0)).unwrap();
    assert_eq!(seen, id);
    let verdict: String = holder.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}
