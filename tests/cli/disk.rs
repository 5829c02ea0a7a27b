//! A disk that is full, read-only, failing or gone: the answers, the data that is kept, and recovery without a restart.
//!
//! The faults are real: a tmpfs in a namespace of its own is filled and remounted, files are moved, and a preloaded library
//! makes syncs fail. If the system does not allow it, the test is left out.

use std::{
    env,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{KEY, Ran, left_out::left_out, registry, server::Server};

/// Set in the process that runs a test inside its namespace.
const INSIDE: &str = "REGISTRY_TEST_NAMESPACE";

/// An answer: its status, its body, and whether it has `Retry-After`.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: Value,
    retry_after: bool,
}

impl Answer {
    #[track_caller]
    fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or_else(|| panic!("no detail: {self:?}"))
    }
}

fn ask(url: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let request = ureq::http::Request::builder()
        .method(method)
        .uri(format!("{url}{path}"))
        .header("X-API-Key", KEY)
        .body(body.map(Value::to_string).unwrap_or_default())
        .unwrap();
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut answer = agent.run(request).unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    let text = answer.body_mut().read_to_string().unwrap();
    Answer {
        status: answer.status().as_u16(),
        body: serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")),
        retry_after: answer.headers().contains_key("retry-after"),
    }
}

fn draft(name: &str) -> Value {
    json!({"name": name, "version": "1", "artifact_uri": format!("s3://b/{name}"), "description": "x".repeat(2000)})
}

fn register(server: &Server, name: &str) -> Answer {
    ask(&server.url, "POST", "/models", Some(&draft(name)))
}

/// Waits until `/ready` has this status, and returns the answer, which the server caches for a second.
#[track_caller]
fn ready(server: &Server, status: u16) -> Answer {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = ask(&server.url, "GET", "/ready", None);
        if answer.status == status {
            return answer;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn total(server: &Server) -> u64 {
    server.get("/stats")["total_models"].as_u64().unwrap()
}

fn start(db_path: &Path) -> Server {
    start_with(db_path, |_| {})
}

fn start_with(db_path: &Path, change: impl FnOnce(&mut Command)) -> Server {
    Server::with(tempfile::tempdir().unwrap(), 0, |command| {
        command.env("CAIA_REGISTRY_API_KEY", KEY).arg("--db-path").arg(db_path);
        change(command);
    })
}

fn end(server: Server, signal: &str) -> String {
    server.signal(signal);
    server.ended().log
}

fn names(db_path: &Path) -> Vec<String> {
    let file = rusqlite::Connection::open(db_path).unwrap();
    file.busy_timeout(Duration::from_secs(10)).unwrap();
    let sound: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    let mut names = file.prepare("SELECT name FROM models ORDER BY id").unwrap();
    names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Runs `test` in a namespace that allows mounts, by running this test again in a process with its own namespace.
fn in_a_namespace(name: &str, test: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        return test();
    }
    let unshare = [&["--user", "--map-root-user", "--mount"][..], &["--mount"]];
    let works = |flags: &&&[&str]| {
        let mount = "mount -t tmpfs -o size=64k tmpfs /tmp";
        let tried = Command::new("unshare").args(**flags).args(["sh", "-c", mount]).output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    let Some(flags) = unshare.iter().find(works) else {
        return left_out("this system allows no mount of a tmpfs, so no disk can be filled");
    };
    let test = format!("{}::{name}", module_path!().split_once("::").unwrap().1);
    let ran = Command::new("unshare")
        .args(*flags)
        .arg(env::current_exe().unwrap())
        .args([&test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && out.contains("1 passed"), "{out}{err}");
}

/// A tmpfs; only inside a namespace.
struct Disk {
    folder: TempDir,
}

impl Disk {
    fn of(kilobytes: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        mount(&["-t", "tmpfs", "-o", &format!("size={kilobytes}k"), "tmpfs"], folder.path());
        Self { folder }
    }

    fn db_path(&self) -> PathBuf {
        self.folder.path().join("registry.db")
    }

    fn remount(&self, how: &str) {
        mount(&["-o", &format!("remount,{how}")], self.folder.path());
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut file = File::create(self.folder.path().join("fill")).unwrap();
        for bytes in [&[7; 4096][..], &[7]] {
            while file.write_all(bytes).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.folder.path().join("fill")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

fn mount(arguments: &[&str], at: &Path) {
    assert!(Command::new("mount").args(arguments).arg(at).status().unwrap().success());
}

#[test]
fn on_a_full_disk_writes_are_refused_reads_continue_and_nothing_is_lost_or_invented() {
    in_a_namespace(
        "on_a_full_disk_writes_are_refused_reads_continue_and_nothing_is_lost_or_invented",
        || {
            let disk = Disk::of(3000);
            let server = start(&disk.db_path());
            let mut kept = vec!["first".to_owned()];
            assert_eq!(register(&server, "first").status, 200);
            for round in 0..6 {
                disk.fill();
                let (mut accepted, mut refused) = (Vec::new(), Vec::new());
                // The WAL may have free space from before, which runs out.
                for wave in 0..200 {
                    let answers: Vec<_> = thread::scope(|scope| {
                        let writers: Vec<_> = (0..6)
                            .map(|writer| {
                                let (name, server) = (format!("r{round}-{wave}-{writer}"), &server);
                                scope.spawn(move || (register(server, &name), name))
                            })
                            .collect();
                        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
                    });
                    for (answer, name) in answers {
                        match answer.status {
                            200 => accepted.push(name),
                            status => {
                                assert!(matches!(status, 503 | 507) && answer.retry_after, "{answer:?}");
                                assert!(answer.detail().contains("nothing was changed"), "{answer:?}");
                                assert!(
                                    answer.detail().contains("disk of the database is full"),
                                    "{answer:?}"
                                );
                                refused.push(name);
                            }
                        }
                    }
                    if refused.len() >= 12 {
                        break;
                    }
                }
                assert!(refused.len() >= 12, "in round {round} only {} were refused", refused.len());
                kept.extend(accepted);
                assert_eq!(total(&server), kept.len() as u64, "reads continue");
                // The server caches the answer for a second, so not in each round.
                if round < 2 {
                    let not_ready = ready(&server, 503);
                    assert!(not_ready.detail().contains("disk of the database is full"), "{not_ready:?}");
                    assert!(!not_ready.detail().contains('/'), "no path is shown: {not_ready:?}");
                }
                disk.free();
                let next = format!("after-{round}");
                assert_eq!(register(&server, &next).status, 200, "at once, without a restart");
                kept.push(next);
                if round < 2 {
                    ready(&server, 200);
                }
                let mut there = names(&disk.db_path());
                there.sort();
                kept.sort();
                assert_eq!(there, kept, "round {round}");
            }
            let log = end(server, "TERM");
            assert!(!log.contains("panicked"), "{log}");
            assert_eq!(names(&disk.db_path()).len(), kept.len());
        },
    );
}

#[test]
fn a_crash_on_a_full_disk_loses_nothing_and_brings_back_no_refused_write() {
    in_a_namespace("a_crash_on_a_full_disk_loses_nothing_and_brings_back_no_refused_write", || {
        let disk = Disk::of(2500);
        for round in 0..3 {
            let server = start(&disk.db_path());
            let before = names(&disk.db_path()).len();
            assert_eq!(register(&server, &format!("ok-{round}")).status, 200);
            disk.fill();
            let mut accepted = 0;
            while register(&server, &format!("r{round}-{accepted}")).status == 200 {
                accepted += 1;
                assert!(accepted < 2000, "the disk is never full");
            }
            end(server, "KILL");
            disk.free();
            let server = start(&disk.db_path());
            assert_eq!(total(&server), (before + 1 + accepted) as u64);
            end(server, "KILL");
            assert_eq!(names(&disk.db_path()).len(), before + 1 + accepted);
        }
    });
}

/// Returns the line of a server that does not start.
#[track_caller]
fn refused_start(db_path: &Path) -> String {
    let run = ["serve", "--port", "0", "--db-path", db_path.to_str().unwrap()];
    Ran::of(registry(run).env("CAIA_REGISTRY_API_KEY", KEY).env("CAIA_REGISTRY_LOG", "off")).failed(1)
}

#[test]
fn a_server_does_not_start_on_a_disk_that_it_cannot_write() {
    in_a_namespace("a_server_does_not_start_on_a_disk_that_it_cannot_write", || {
        let disk = Disk::of(2500);
        let server = start(&disk.db_path());
        assert_eq!(register(&server, "before").status, 200);
        end(server, "TERM");
        disk.remount("ro");
        let line = refused_start(&disk.db_path());
        assert!(line.contains("can't be written") && line.contains("Read-only"), "{line}");
        disk.remount("rw");
        disk.fill();
        let line = refused_start(&disk.db_path());
        assert!(line.contains("can't be opened for writing: its disk is full"), "{line}");
        disk.free();
        assert_eq!(total(&start(&disk.db_path())), 1);
    });
}

#[test]
fn a_second_server_on_a_database_is_refused_under_any_name_and_the_error_names_the_owner() {
    let folder = tempfile::tempdir().unwrap();
    let db_path = folder.path().join("registry.db");
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink("registry.db", &link).unwrap();
    let server = start(&link);
    for name in [&db_path, &link] {
        let line = refused_start(name);
        assert!(
            line.contains("is in use by process ") && line.contains("(registry serve --port 0"),
            "{line}"
        );
        assert!(
            line.contains("one process owns a SQLite file at a time") && line.contains("PostgreSQL"),
            "{line}"
        );
    }
    assert_eq!(register(&server, "served on").status, 200);
    end(server, "KILL");
    let server = start(&db_path);
    assert_eq!(total(&server), 1, "a killed owner leaves no lock");
    end(server, "TERM");
    assert!(!folder.path().join("registry.db.lock").exists());
}

#[test]
fn a_database_with_two_names_is_refused_since_each_would_have_its_own_wal() {
    let folder = tempfile::tempdir().unwrap();
    let (db_path, twin) = (folder.path().join("registry.db"), folder.path().join("twin.db"));
    let server = start(&db_path);
    assert_eq!(register(&server, "first").status, 200);
    end(server, "TERM");
    fs::hard_link(&db_path, &twin).unwrap();
    for name in [&db_path, &twin] {
        let line = refused_start(name);
        assert!(line.contains("has 2 names (hard links)"), "{line}");
        let check = ["maintenance", "--check", "--db-path", name.to_str().unwrap()];
        assert!(Ran::of(&mut registry(check)).failed(1).contains("has 2 names"));
    }
    fs::remove_file(&twin).unwrap();
    assert_eq!(total(&start(&db_path)), 1);
}

#[test]
fn a_file_size_limit_is_a_full_disk_and_does_not_kill_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let db_path = folder.path().join("registry.db");
    let server = start_with(&db_path, |command| {
        let mut limited = Command::new("sh");
        // In blocks of 512 bytes: 1 MiB.
        limited
            .args(["-c", "ulimit -f 2048; exec \"$@\"", "sh"])
            .arg(command.get_program())
            .args(command.get_args());
        limited.env("CAIA_REGISTRY_API_KEY", KEY).current_dir("/");
        limited.stdout(Stdio::piped()).stderr(Stdio::piped());
        *command = limited;
    });
    let mut kept = 0;
    let refused = loop {
        let answer = register(&server, &format!("m{kept}"));
        if answer.status != 200 {
            break answer;
        }
        kept += 1;
        assert!(kept < 2_000, "the limit is never reached");
    };
    assert!(refused.status == 507 && refused.retry_after, "{refused:?}");
    assert!(refused.detail().contains("nothing was changed"), "{refused:?}");
    assert_eq!(total(&server), kept, "reads continue");
    end(server, "KILL");
    let server = start(&db_path);
    assert_eq!(total(&server), kept);
    assert_eq!(register(&server, "without the limit").status, 200);
}

#[test]
fn a_database_that_is_moved_away_or_replaced_accepts_no_writes_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    let [db_path, log] = ["registry.db", "registry.db-wal"].map(|name| home.join(name));
    let server = start(&db_path);
    assert_eq!(register(&server, "first").status, 200);
    let away = folder.path().join("away");
    let mut kept = vec!["first".to_owned()];
    for (place, moved) in [&db_path, &home, &log].into_iter().enumerate() {
        for replaced in [false, true] {
            fs::rename(moved, &away).unwrap();
            if replaced && moved != &home {
                fs::copy(&away, moved).unwrap();
            }
            let refused = register(&server, "lost");
            assert!(refused.status == 503 && refused.retry_after, "{refused:?}");
            let detail = refused.detail();
            assert!(detail.contains("moved, deleted or replaced") && !detail.contains("home"), "{detail}");
            assert_eq!(total(&server), kept.len() as u64, "reads continue");
            // The server caches the answer for a second, so not in each round.
            if !replaced {
                assert!(ready(&server, 503).detail().contains("moved, deleted or replaced"));
            }
            fs::rename(&away, moved).unwrap();
            let name = format!("back-{place}-{replaced}");
            assert_eq!(register(&server, &name).status, 200, "without a restart");
            kept.push(name);
        }
    }
    ready(&server, 200);
    end(server, "KILL");
    assert_eq!(names(&db_path), kept);
}

#[test]
fn acknowledged_writes_survive_a_deleted_wal() {
    let folder = tempfile::tempdir().unwrap();
    let db_path = folder.path().join("registry.db");
    let server = start(&db_path);
    for place in 0..20 {
        assert_eq!(register(&server, &format!("m{place}")).status, 200);
    }
    fs::remove_file(folder.path().join("registry.db-wal")).unwrap();
    let refused = register(&server, "refused");
    assert!(refused.status == 503 && refused.detail().contains("write-ahead log"), "{refused:?}");
    end(server, "KILL");
    // Now only the database file is left.
    fs::remove_file(folder.path().join("registry.db-shm")).unwrap();
    assert_eq!(names(&db_path).len(), 20);
}

/// Returns the library that makes syncs fail; `None` if it can't be built.
fn faulty_disk(folder: &Path) -> Option<PathBuf> {
    let library = folder.join("faulty_disk.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/faulty_disk.c");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    if !built.is_ok_and(|built| built.success()) {
        left_out("there is no C compiler for the library that makes syncs fail");
        return None;
    }
    Some(library)
}

#[test]
fn a_write_whose_sync_failed_is_refused_and_no_crash_brings_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = faulty_disk(folder.path()) else { return };
    let (db_path, control) = (folder.path().join("registry.db"), folder.path().join("fault"));
    let start = || {
        start_with(&db_path, |command| {
            command.env("LD_PRELOAD", &library).env("FAULTY_DISK", &control);
        })
    };
    let mut kept = Vec::new();
    for round in 0..3 {
        let server = start();
        let name = format!("kept-{round}");
        assert_eq!(register(&server, &name).status, 200);
        kept.push(name);
        fs::write(control.with_extension("once"), "").unwrap();
        let refused = register(&server, &format!("refused-{round}"));
        assert!(refused.status == 503 && refused.retry_after, "{refused:?}");
        let detail = refused.detail();
        assert!(detail.contains("syncing failed") && detail.contains("nothing was changed"), "{detail}");
        assert_eq!(total(&server), kept.len() as u64);
        if round == 1 {
            let name = format!("next-{round}");
            assert_eq!(register(&server, &name).status, 200, "without a restart");
            kept.push(name);
        }
        end(server, "KILL");
        assert_eq!(names(&db_path), kept, "round {round}");
    }
}

#[test]
fn a_write_in_doubt_is_answered_as_in_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = faulty_disk(folder.path()) else { return };
    let (db_path, control) = (folder.path().join("registry.db"), folder.path().join("fault"));
    let server = start_with(&db_path, |command| {
        command.env("LD_PRELOAD", &library).env("FAULTY_DISK", &control);
    });
    assert_eq!(register(&server, "kept").status, 200);
    fs::write(control.with_extension("always"), "").unwrap();
    for _ in 0..3 {
        let doubtful = register(&server, "doubtful");
        assert!(doubtful.status == 503 && !doubtful.retry_after, "{doubtful:?}");
        assert!(doubtful.detail().contains("it is not known if this write was kept"), "{doubtful:?}");
        assert_eq!(total(&server), 1, "it is not visible now");
    }
    assert!(ready(&server, 503).detail().contains("syncing failed"));
    fs::remove_file(control.with_extension("always")).unwrap();
    assert_eq!(register(&server, "next").status, 200, "without a restart");
    ready(&server, 200);
    end(server, "KILL");
    assert_eq!(names(&db_path), ["kept", "next"], "the next write has replaced it");
}

#[test]
fn after_a_checkpoint_that_could_not_be_synced_the_wal_is_kept_whole_for_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = faulty_disk(folder.path()) else { return };
    let (db_path, control) = (folder.path().join("registry.db"), folder.path().join("fault"));
    let wal = folder.path().join("registry.db-wal");
    let start = || {
        start_with(&db_path, |command| {
            command.env("LD_PRELOAD", &library).env("FAULTY_DISK", &control);
        })
    };
    let failed = |server: &Server| {
        let request = ureq::get(format!("{}/metrics", server.url)).header("X-API-Key", KEY).call();
        let page = request.unwrap().body_mut().read_to_string().unwrap();
        !page.contains("registry_checkpoints_failed_total 0")
    };
    let server = start();
    fs::write(control.with_extension("database"), "").unwrap();
    let mut kept = 0;
    while !failed(&server) {
        assert!(kept < 3000, "no checkpoint is tried");
        for _ in 0..50 {
            assert_eq!(register(&server, &format!("m{kept}")).status, 200, "commits continue");
            kept += 1;
        }
    }
    fs::remove_file(control.with_extension("database")).unwrap();
    for _ in 0..300 {
        assert_eq!(register(&server, &format!("m{kept}")).status, 200);
        kept += 1;
    }
    let before = fs::metadata(&wal).unwrap().len();
    let log = end(server, "TERM");
    assert!(log.contains("the write-ahead log is kept whole and grows from now on"), "{log}");
    assert!(fs::metadata(&wal).unwrap().len() >= before, "no part of it was dropped");

    let server = start();
    assert_eq!(total(&server), kept);
    end(server, "TERM");
    assert!(!wal.exists(), "the whole WAL was checkpointed");
    assert_eq!(names(&db_path).len() as u64, kept);
}
