//! `registry maintenance --verify-audit`, `registry events export` and `registry events verify`, over both stores.

use std::ffi::OsStr;

use super::*;
use crate::postgres_cluster::TestDatabase;

/// A registry's database at rest.
enum Store {
    File(TempDir),
    Postgres(TestDatabase),
}

/// Calls a test with each store, which has `m:1` with three events, `m:2` and `n:1`.
fn each_store(test: impl Fn(&Store)) {
    test(&Store::File(database()));
    if let Some(database) = postgres::database() {
        test(&Store::Postgres(database));
    }
}

impl Store {
    /// Copies it, and changes the copy by SQL, in which `{hash:…}` is replaced by the literal of a hash.
    fn tampered(&self, sql: &str) -> Self {
        match self {
            Self::File(folder) => {
                let copy = tempfile::tempdir().unwrap();
                fs::copy(at(folder, "registry.db"), at(&copy, "registry.db")).unwrap();
                Connection::open(at(&copy, "registry.db")).unwrap().execute_batch(sql).unwrap();
                Self::File(copy)
            }
            Self::Postgres(database) => {
                let copy = database.copy();
                copy.sql(sql);
                Self::Postgres(copy)
            }
        }
    }

    fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    fn verify<'a>(&self, more: impl IntoIterator<Item = &'a OsStr>) -> Command {
        let mut command = match self {
            Self::File(folder) => maintenance(&at(folder, "registry.db"), ["--verify-audit"]),
            Self::Postgres(database) => postgres::maintain(database, ["--verify-audit"]),
        };
        command.args(more);
        command
    }

    fn against(&self, export: &Path) -> Command {
        self.verify(["--against".as_ref(), export.as_os_str()])
    }

    fn serve(&self) -> Server {
        match self {
            // The file is served where it is.
            Self::File(folder) => {
                let path = at(folder, "registry.db");
                Server::with(tempfile::tempdir().unwrap(), 0, |command| {
                    command.env("CAIA_REGISTRY_API_KEY", KEY).arg("--db-path").arg(&path);
                })
            }
            Self::Postgres(database) => serve_postgres(&database.url()),
        }
    }

    fn served<T>(&self, work: impl FnOnce(&Server) -> T) -> T {
        let server = self.serve();
        let done = work(&server);
        server.signal("TERM");
        assert!(server.ended().status.success());
        done
    }

    /// Exports its trail to a new file.
    fn export(&self, path: &Path, format: &str) {
        self.served(|server| {
            let ran = server.run(["events", "export", "--format", format, "--to", path.to_str().unwrap()]);
            assert_eq!(ran.code, 0, "{ran:?}");
        });
    }

    fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        match self {
            Self::File(folder) => {
                let connection = Connection::open(at(folder, "registry.db")).unwrap();
                let mut rows = connection.prepare(sql).unwrap();
                let columns = rows.column_count();
                let row = |row: &rusqlite::Row<'_>| {
                    Ok((0..columns)
                        .map(|at| row.get::<_, Option<String>>(at).unwrap().unwrap_or_default())
                        .collect())
                };
                rows.query_map([], row).unwrap().map(Result::unwrap).collect()
            }
            Self::Postgres(database) => {
                let rows = database.sql(sql);
                rows.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
            }
        }
    }
}

/// Returns the problems that a verification lists; none if it succeeds.
#[track_caller]
fn problems(mut command: Command) -> Vec<String> {
    let ran = Ran::of(command.arg("--json"));
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let audit = &report["verify_audit"];
    let listed: Vec<_> = audit["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(audit["problem_count"], listed.len());
    assert_eq!(
        (ran.code, &audit["ok"]),
        (i32::from(!listed.is_empty()), &json!(listed.is_empty())),
        "{ran:?}"
    );
    assert_eq!(ran.stderr.is_empty(), listed.is_empty(), "{ran:?}");
    listed
}

/// Statements that compute the hashes of the events of model 1 again, from `first` on, and its end: what only a comparison with
/// an export shows.
fn rewritten(store: &Store, first: i64) -> String {
    let of_file = store.is_file();
    let rows = if of_file {
        store.rows(
            "SELECT cast(id AS text), cast(previous_of_model AS text), cast(model_id AS text), event_type, payload_json, \
             details, actor, created_at FROM model_events JOIN event_chain ON event_id = id WHERE model_key = 1 ORDER BY id",
        )
    } else {
        store.rows(
            "SELECT id, previous_of_model, model_id, event_type, payload_json, details, actor, created_at \
             FROM model_events WHERE model_key = 1 ORDER BY id",
        )
    };
    let (mut previous, mut sql) = (None::<Vec<u8>>, String::new());
    for row in rows {
        let mut hasher = sha2::Sha256::new();
        let mut bytes = |bytes: Option<&[u8]>| {
            hasher.update(bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
            hasher.update(bytes.unwrap_or_default());
        };
        bytes(previous.as_deref());
        for number in ["1", &row[1], &row[2]] {
            bytes(Some(&number.parse::<i64>().unwrap_or(0).to_le_bytes()));
        }
        let details = Some(row[5].as_bytes()).filter(|details| !details.is_empty());
        for text in [
            Some(row[3].as_bytes()),
            Some(row[4].as_bytes()),
            details,
            Some(row[6].as_bytes()),
            Some(row[7].as_bytes()),
        ] {
            bytes(text);
        }
        let hash = hasher.finalize().to_vec();
        let id: i64 = row[0].parse().unwrap();
        if id >= first {
            let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            sql += &if of_file {
                format!(
                    "UPDATE event_chain SET hash = x'{hex}' WHERE event_id = {id}; UPDATE model_heads SET hash = x'{hex}' WHERE model_key = 1;"
                )
            } else {
                format!(
                    "UPDATE model_events SET hash = '\\x{hex}' WHERE id = {id}; UPDATE model_heads SET hash = '\\x{hex}' WHERE model_key = 1;"
                )
            };
        }
        previous = Some(hash);
    }
    sql
}

#[test]
fn an_unmodified_trail_is_sound_beside_a_server_and_its_ends_are_printed() {
    each_store(|store| {
        assert_eq!(problems(store.verify([])), [""; 0]);
        store.served(|_| {
            let ran = Ran::of(&mut store.verify([]));
            assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
            for line in [
                " is sound: 5 events of 2 models, 0 problems (",
                "  head of model m (1): event 5, ",
                "  head of model n (2): event 3, ",
                "the digest of the chains' ends is ",
            ] {
                assert!(ran.stdout.contains(line), "{line}: {ran:?}");
            }
        });
    });
}

#[test]
fn each_tampered_removed_added_or_reordered_event_is_named() {
    each_store(|store| {
        let changed = "the event, or one before it, has changed";
        let swapped = "UPDATE model_events SET id = -1 WHERE id = 4; UPDATE model_events SET id = 4 WHERE id = 5; \
            UPDATE model_events SET id = 5 WHERE id = -1;";
        let swap_links = "UPDATE event_chain SET event_id = -1 WHERE event_id = 4; \
            UPDATE event_chain SET event_id = 4 WHERE event_id = 5; UPDATE event_chain SET event_id = 5 WHERE event_id = -1;";
        let (links, heads) = if store.is_file() { (swap_links, "event_chain") } else { ("", "model_events") };
        let both = |condition: &str| {
            let events = format!("DELETE FROM model_events WHERE id {condition};");
            if store.is_file() {
                format!("{events} DELETE FROM event_chain WHERE event_id {condition}")
            } else {
                events
            }
        };
        let cases: Vec<(String, Vec<String>)> = vec![
            (
                "UPDATE model_events SET actor = 'eve' WHERE id IN (2, 3)".to_owned(),
                vec![format!("event 2 of model m (1): {changed}"), format!("event 3 of model n (2): {changed}")],
            ),
            (
                "UPDATE model_events SET payload_json = '{}' WHERE id = 5".to_owned(),
                vec![format!("event 5 of model m (1): {changed}")],
            ),
            (
                "UPDATE model_events SET created_at = '2020-01-01 00:00:00.000' WHERE id = 1".to_owned(),
                vec![format!("event 1 of model m (1): {changed}")],
            ),
            (
                format!("UPDATE {heads} SET previous_of_model = 1 WHERE previous_of_model = 2"),
                vec!["event 4 of model m (1): another tool has added this event, or the one before it".to_owned()],
            ),
            // Removed, from the middle.
            (both("= 2"), vec!["event 4 of model m (1): the event before it is gone: event 2".to_owned()]),
            // The newest of a model, and all of one.
            (
                both("> 3"),
                vec!["model m (1): the audit trail of this model does not end where it should: event 5 is gone, and others after 2".to_owned()],
            ),
            (
                both("= 3"),
                vec!["model n (2): the audit trail of this model does not end where it should: event 3 is gone".to_owned()],
            ),
            (
                "UPDATE model_heads SET hash = hash WHERE model_key = 7; DELETE FROM model_heads WHERE model_key = 2".to_owned(),
                vec!["model n (2): the end of this model's audit trail is missing".to_owned()],
            ),
        ];
        for (sql, expected) in cases {
            assert_eq!(problems(store.tampered(&sql).verify([])), expected, "{sql}");
        }
        let reordered = problems(store.tampered(&format!("{swapped}{links}")).verify([]));
        assert!(
            reordered.iter().any(|problem| problem.starts_with(
                "event 4 of model m (1): it names event 4 as the one before it: events were reordered"
            )),
            "{reordered:?}"
        );
    });
}

#[test]
fn an_export_shows_what_a_chain_alone_can_not() {
    each_store(|store| {
        let folder = tempfile::tempdir().unwrap();
        for format in ["jsonl", "csv"] {
            let export = folder.path().join(format!("trail.{format}"));
            store.export(&export, format);
            assert_eq!(problems(store.against(&export)), [""; 0], "unmodified");

            // A chain that is written again, with all hashes after it.
            let forged = store.tampered("UPDATE model_events SET actor = 'eve' WHERE id = 2");
            let forged = forged.tampered(&rewritten(&forged, 2));
            assert_eq!(problems(forged.verify([])), [""; 0], "its own chains are sound");
            assert_eq!(
                problems(forged.against(&export)),
                [
                    "event 2 of model m (1) has changed since the export: actor",
                    "2 more events of model 1 have other hashes than in the export, because those before them have changed",
                ]
            );

            // The newest events of a chain, with its end.
            let newest = "(SELECT max(id) FROM model_events)";
            let sql = if store.is_file() {
                "DELETE FROM model_events WHERE id = 5; DELETE FROM event_chain WHERE event_id = 5; UPDATE model_heads \
                    SET last_event_id = 4, hash = (SELECT hash FROM event_chain WHERE event_id = 4) WHERE model_key = 1"
            } else {
                "DELETE FROM model_events WHERE id = 5; UPDATE model_heads \
                    SET last_event_id = 4, hash = (SELECT hash FROM model_events WHERE id = 4) WHERE model_key = 1"
            };
            let cut = store.tampered(sql);
            assert_eq!(problems(cut.verify([])), [""; 0], "{newest}");
            assert_eq!(problems(cut.against(&export)), ["event 5 of model m (1) is gone: the export has it"]);

            // A whole model.
            let sql = if store.is_file() {
                "DELETE FROM model_events WHERE id = 3; DELETE FROM event_chain WHERE event_id = 3; DELETE FROM model_heads WHERE model_key = 2"
            } else {
                "DELETE FROM model_events WHERE id = 3; DELETE FROM model_heads WHERE model_key = 2"
            };
            let cut = store.tampered(sql);
            assert_eq!(problems(cut.against(&export)), ["event 3 of model n (2) is gone: the export has it"]);
        }
    });
}

#[test]
fn what_a_registry_does_later_is_no_tampering() {
    each_store(|store| {
        let store = store.tampered("SELECT 1");
        let folder = tempfile::tempdir().unwrap();
        let export = folder.path().join("trail.jsonl");
        store.export(&export, "jsonl");
        store.served(|server| {
            server.send("PATCH", "/v1/models/m", KEY, Some(&json!({"name": "renamed"})));
            server.send("DELETE", "/models/2", KEY, None);
            server.send("DELETE", "/v1/models/n", KEY, None);
        });
        let mut purge = match &store {
            Store::File(folder) => maintenance(&at(folder, "registry.db"), []),
            Store::Postgres(database) => postgres::maintain(database, []),
        };
        purge.args(["--purge-deleted", "--older-than", "0d", "--yes"]);
        assert_eq!(done(purge)["purge"]["models"], 1);
        let report = done(store.against(&export));
        assert_eq!(report["verify_audit"]["problems"], json!([]));
        let new = report["verify_audit"]["against"]["new_events"].as_u64().unwrap();
        assert!(new >= 6, "{report}");
        // Vacuum and a backup change no event.
        if let Store::File(folder) = &store {
            let path = at(folder, "registry.db");
            done(back_up(&path, &at(folder, "copy.db")));
            done(maintenance(&path, ["--vacuum", "--optimize", "--check"]));
            assert_eq!(problems(store.against(&export)), [""; 0]);
            let mut copy = maintenance(&at(folder, "copy.db"), ["--verify-audit", "--against"]);
            copy.arg(&export);
            assert_eq!(problems(copy), [""; 0]);
        }
    });
}

#[test]
fn an_export_is_verified_alone_and_each_change_of_it_is_found() {
    let folder = database();
    let store = Store::File(folder);
    let exports = tempfile::tempdir().unwrap();
    let verify = |path: &Path| Ran::of(&mut registry(["events", "verify", path.to_str().unwrap()]));
    for format in ["jsonl", "csv"] {
        let path = exports.path().join(format);
        store.export(&path, format);
        let ran = verify(&path);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
        assert!(
            ran.stdout.contains(" is sound: 5 events of 2 models; the digest of the chains' ends is "),
            "{ran:?}"
        );
        let good = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = good.lines().collect();
        let header = usize::from(format == "csv");
        let without = |at: usize| {
            let kept = lines.iter().enumerate().filter(|(line, _)| *line != at);
            kept.map(|(_, line)| format!("{line}\n")).collect::<String>()
        };
        let mut swapped = lines.clone();
        swapped.swap(header + 3, header + 4);
        for (text, said) in [
            (
                good.replacen("promote", "update", 1),
                "event 5 of model m (1): the event, or one before it, has changed",
            ),
            (without(header + 1), "event 4 of model m (1): the event before it is gone: event 2"),
            (
                swapped.join("\n") + "\n",
                "event 4 of model m (1): it stands after event 5: events were reordered",
            ),
            (
                without(header + 5),
                "the export has 5 events and the ends of 1 models, and should have 5 and 2",
            ),
            (without(header + 7), "the export is cut off: its last record is missing"),
            (without(header + 4), "event 5 is gone, and others after 4"),
            (format!("{good}{}\n", lines[header]), "something was added after the end of the export"),
        ] {
            let changed = exports.path().join("changed");
            fs::write(&changed, text).unwrap();
            let ran = verify(&changed);
            assert!(ran.code == 1 && ran.stdout.contains(said), "{said}: {ran:?}");
            let compared = problems(store.against(&changed));
            assert!(compared.iter().any(|problem| problem.contains(said)), "{compared:?}");
        }
    }
}

#[test]
fn an_export_replaces_no_file_and_says_if_the_trail_is_broken() {
    let store = Store::File(database());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trail.jsonl");
    let to = path.to_str().unwrap();
    store.served(|server| {
        let (stdout, stderr) = server.run(["events", "export"]).done();
        assert_eq!(stdout.lines().count(), 8);
        assert!(
            stderr.starts_with("exported 5 events of 2 models; the digest of the chains' ends is "),
            "{stderr}"
        );
        assert_eq!(server.run(["events", "export", "--to", to]).code, 0);
        assert_eq!(crate::timeless(&fs::read_to_string(&path).unwrap()), stdout);
        let refused = server.run(["events", "export", "--to", to]).failed(1);
        assert!(refused.contains("exists, and an older export may prove more"), "{refused}");
        let refused = server.run(["events", "export", "--to", "/nonexistent/trail"]).failed(1);
        assert!(refused.contains("/nonexistent/trail can't be written"), "{refused}");
        assert_eq!(names(folder.path()), ["trail.jsonl"], "no other file is left");
    });
    let broken = store.tampered("UPDATE model_events SET payload_json = '{', actor = '=cmd' WHERE id = 2");
    broken.served(|server| {
        let ran = server.run([
            "events",
            "export",
            "--format",
            "csv",
            "--to",
            folder.path().join("b").to_str().unwrap(),
        ]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(
            ran.stderr.contains("  event 2 of model m (1): the event, or one before it, has changed\n"),
            "{ran:?}"
        );
        assert!(fs::read_to_string(folder.path().join("b")).unwrap().contains(",'=cmd,"));
    });
}

#[test]
fn flags_that_do_not_fit_and_files_that_are_no_exports_are_refused() {
    let folder = database();
    let path = at(&folder, "registry.db");
    for (arguments, code, said) in [
        (&["--against", "x"][..], 2, "--verify-audit"),
        (&["--verify-audit", "--against", "/nonexistent"], 1, "/nonexistent: No such file"),
        (
            &["--verify-audit", "--against", "/dev/null"],
            1,
            "its first line does not name the columns of an export",
        ),
        (&["--verify-audit", "--copy-to", "x.db"], 2, "cannot be used with"),
    ] {
        let ran = Ran::of(&mut maintenance(&path, arguments.iter().copied()));
        assert!(ran.code == code && ran.stderr.contains(said), "{ran:?}");
    }
    let old = tempfile::tempdir().unwrap();
    let path = at(&old, "registry.db");
    Connection::open(&path).unwrap().execute_batch(OLD).unwrap();
    let ran = Ran::of(&mut maintenance(&path, ["--verify-audit"]));
    assert!(ran.code == 1 && ran.stderr.contains("start `registry serve`"), "{ran:?}");
}
