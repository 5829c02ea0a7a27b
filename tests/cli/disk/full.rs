//! A disk that is full or read-only, a tmpfs in a namespace of its own, and a limit on the size of files.

use super::*;

/// Set in the process that runs a test inside its namespace.
const INSIDE: &str = "REGISTRY_TEST_NAMESPACE";

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
fn an_upload_that_fills_the_disk_is_refused_and_goes_on_once_there_is_space() {
    in_a_namespace("an_upload_that_fills_the_disk_is_refused_and_goes_on_once_there_is_space", || {
        let (disk, home) = (Disk::of(3000), tempfile::tempdir().unwrap());
        let store = format!("file://{}", disk.folder.path().display());
        let server = Server::with(home, 0, |command| {
            command.env("CAIA_REGISTRY_API_KEY", KEY).args(["--artifact-store", &store]);
        });
        let send = |method: &str, path: &str, bytes: &[u8]| {
            let request = ureq::http::Request::builder()
                .method(method)
                .uri(format!("{}{path}", server.url))
                .header("X-API-Key", KEY)
                .body(bytes)
                .unwrap();
            let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
            let mut answer = agent.run(request).unwrap();
            let header =
                |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            let (location, offset) = (header("location"), header("upload-offset"));
            let text = answer.body_mut().read_to_string().unwrap();
            (answer.status().as_u16(), location, offset, text)
        };
        let upload = send("POST", "/v2/m/blobs/uploads/", b"").1.unwrap();
        let bytes = vec![7; 2_000_000];
        assert_eq!(send("PATCH", &upload, &bytes[..500_000]).0, 202);
        disk.fill();
        let (status, .., text) = send("PATCH", &upload, &bytes[500_000..]);
        assert_eq!(status, 507, "{text}");
        assert!(text.contains("the disk of the artifact store is full") && text.contains("resume"), "{text}");
        assert_eq!(total(&server), 0, "the registry goes on");
        disk.free();
        let kept: usize = send("GET", &upload, b"").2.unwrap().parse().unwrap();
        assert!((500_000..1_000_000).contains(&kept), "{kept}");
        let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&bytes));
        let finished = send("PUT", &format!("{upload}?digest=sha256:{digest}"), &bytes[kept..]);
        assert_eq!(finished.0, 201, "{}", finished.3);
    });
}
