//! Only for PostgreSQL: opening, migrating, several writers, lost connections.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use model_registry::{
    domain::{Draft, Gate, Precondition, Principal, Status, VersionRef},
    store::{
        Backend as _, ReadStore, SnapshotStore as _, StoreError, Transaction as _, WriteStore,
        operations::{self, Context},
        postgres::{Options, Postgres, PostgresReader, PostgresWriter, SCHEMA_VERSION},
    },
};

use crate::{
    add,
    left_out::left_out,
    now,
    postgres_cluster::{Cluster, TestDatabase},
    suite::{self, Fixture},
};

const TIMEOUT: Duration = Duration::from_secs(10);

pub struct PostgresFixture {
    writer: PostgresWriter,
    reader: PostgresReader,
    _database: Option<TestDatabase>,
}

impl PostgresFixture {
    pub fn open(options: &Options, database: Option<TestDatabase>) -> Self {
        let (backend, writer) = open(options);
        Self { writer, reader: backend.reader().unwrap(), _database: database }
    }
}

impl Fixture for PostgresFixture {
    const RANDOM_SEARCHES: u32 = 200;

    fn write<T>(
        &mut self,
        write: impl FnOnce(&mut dyn WriteStore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        write_with(&mut self.writer, write)
    }

    fn reader(&mut self) -> &mut dyn ReadStore {
        &mut self.reader
    }
}

pub fn write_with<T>(
    writer: &mut PostgresWriter,
    write: impl FnOnce(&mut dyn WriteStore) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    writer.begin(TIMEOUT)?;
    let result = write(writer);
    if result.is_ok() {
        writer.commit()?;
    } else {
        writer.rollback()?;
    }
    result
}

pub fn database() -> Option<TestDatabase> {
    let database = TestDatabase::create_own();
    if database.is_none() {
        left_out("PostgreSQL is not installed, so its store is not tested");
    }
    database
}

pub fn options(database: &TestDatabase) -> Options {
    Options::parse(&database.url()).unwrap()
}

pub fn open(options: &Options) -> (Postgres, PostgresWriter) {
    Postgres::open(options, now()).unwrap()
}

fn draft(name: &str, version: &str) -> Draft {
    let mut draft = Draft::named(name, version).unwrap();
    draft.artifact_uri = Some("s3://b".to_owned());
    draft
}

#[test]
fn postgres_passes_the_store_suite() {
    if database().is_none() {
        return;
    }
    suite::run(|| {
        let database = TestDatabase::create().unwrap();
        PostgresFixture::open(&options(&database), Some(database))
    });
}

#[test]
fn servers_that_start_at_once_migrate_once() {
    let Some(database) = database() else { return };
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| open(&options(&database)));
        }
    });
    assert_eq!(database.sql("SELECT version FROM schema_version"), SCHEMA_VERSION.to_string());
}

#[test]
fn a_server_beside_a_newer_one_that_has_migrated_reads_and_writes_nothing_and_another_does_not_start() {
    let Some(database) = database() else { return };
    let (backend, mut writer) = open(&options(&database));
    write_with(&mut writer, |store| {
        add(store, draft("m", "1"))?;
        // A migration takes a lock that conflicts with this one.
        let locks = "SELECT mode FROM pg_locks WHERE relation = 'schema_version'::regclass AND granted";
        assert_eq!(database.sql(locks), "AccessShareLock");
        Ok(())
    })
    .unwrap();
    database.sql("UPDATE schema_version SET version = version + 1");
    // The transaction begins with a statement, or with COMMIT.
    let added = write_with(&mut writer, |store| add(store, draft("m", "2")).map(drop));
    let touched = write_with(&mut writer, |store| store.touch());
    for refused in [added, touched] {
        let Err(StoreError::Unwritable(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("use the newer server"), "{why}");
        assert!(!writer.in_transaction());
    }
    assert_eq!(backend.reader().unwrap().stats().unwrap().total_models, 1);
    assert_eq!(database.sql("SELECT count(*) FROM model_events"), "0");
    let refused = Postgres::open(&options(&database), now()).err().unwrap().to_string();
    assert!(refused.contains("use the newer one"), "{refused}");
    database.sql("UPDATE schema_version SET version = version - 1");
    write_with(&mut writer, |store| add(store, draft("m", "2"))).unwrap();
}

#[test]
fn a_database_that_can_not_be_used_is_refused_in_one_line_that_says_what_to_do() {
    let Some(database) = database() else { return };
    database.sql("CREATE ROLE guest LOGIN; CREATE TABLE models (weights bytea)");
    let Some(other) = self::database() else { return };
    other.sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    let (url, other) = (database.url(), other.url());
    let latin = "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0";
    database.sql(latin);
    let named = |name: &str| format!("postgres://registry@/{name}?{}", url.split_once('?').unwrap().1);
    for (url, said) in [
        (url.clone(), "holds tables of another program"),
        (other.replace("registry@", "guest:s3cret@"), "pg_trgm"),
        (named("none"), "there is no database \"none\""),
        (named("latin"), "has the encoding LATIN1"),
        (url.replace("registry@", "nobody:s3cret@"), "\"nobody\""),
        (url.clone() + "&sslmode=require", "server does not support TLS"),
        ("postgres://a:s3cret@127.0.0.1:1/x".to_owned(), "check host and port"),
        ("postgres://a:s3cret@none.invalid/x".to_owned(), "check host and port"),
        ("postgres://a:s3cret@h/x?sslrootcert=/none.pem&sslmode=verify-ca".to_owned(), "/none.pem"),
    ] {
        let refused = Postgres::open(&Options::parse(&url).unwrap(), now()).err().unwrap().to_string();
        assert!(refused.contains(said), "{url}: {refused}");
        assert!(!refused.contains("s3cret") && !refused.contains('\n'), "{refused}");
    }
    database.sql("DROP DATABASE latin");
}

#[test]
fn texts_with_any_letter_and_of_any_length_are_written_and_found() {
    let Some(database) = database() else { return };
    let (backend, mut writer) = open(&options(&database));
    let mut reader = backend.reader().unwrap();
    let long = "x".repeat(200_000);
    for (number, text) in
        ["nul\0byte", "\u{1}\u{fffe}", "%_\\", "a\nb", long.as_str()].into_iter().enumerate()
    {
        let mut draft = draft(&format!("m{number}\0"), "1");
        draft.description = Some(text.to_owned());
        draft.tags = vec![text.to_owned()];
        let model = write_with(&mut writer, |store| add(store, draft)).unwrap();
        let mut seen = None;
        reader.version(&VersionRef::Id(model.id), &mut |row| seen = Some(row.into_owned())).unwrap();
        assert_eq!(seen.as_ref(), Some(&model));
        let query = |q: Option<&str>, tag: Option<&str>| model_registry::domain::ListQuery {
            q: q.map(str::to_owned),
            tag: tag.map(str::to_owned),
            ..model_registry::domain::ListQuery::default()
        };
        for query in [query(Some(text), None), query(None, Some(text))] {
            let mut ids = Vec::new();
            let mut visit = |row: model_registry::domain::VersionRow<'_>| {
                ids.push(row.id);
                std::ops::ControlFlow::Continue(())
            };
            let (page, _) = reader.versions(&query, &mut visit).unwrap();
            assert_eq!((ids, page.total), (vec![model.id], Some(1)), "{number}");
        }
    }
    let names: Vec<_> = reader.stats().unwrap().by_name.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["m0\0", "m1\0", "m2\0", "m3\0", "m4\0"]);
}

#[test]
fn commits_are_synced_even_if_the_role_says_otherwise() {
    let Some(database) = database() else { return };
    let (_, mut writer) = open(&options(&database));
    write_with(&mut writer, |store| store.touch()).unwrap();
    drop(writer);
    database.sql(
        "CREATE TABLE seen (mode text);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN INSERT INTO seen SELECT current_setting('synchronous_commit'); RETURN NULL; END $$;
         CREATE TRIGGER note AFTER UPDATE ON schema_version FOR EACH STATEMENT EXECUTE FUNCTION note();
         CREATE ROLE hasty SUPERUSER LOGIN; ALTER ROLE hasty SET synchronous_commit = off",
    );
    for parameters in ["", "&pgbouncer=true"] {
        let url = database.url().replace("registry@", "hasty@") + parameters;
        let (_, mut writer) = open(&Options::parse(&url).unwrap());
        write_with(&mut writer, |store| store.touch()).unwrap();
    }
    assert_eq!(database.sql("SELECT * FROM seen"), "on\non");
    database.sql("DROP OWNED BY hasty; DROP ROLE hasty");
}

fn promote(writer: &mut PostgresWriter, id: i64) -> Result<(), StoreError> {
    write_with(writer, |store| {
        let context = Context {
            actor: "ann",
            principal: &Principal::administrator("ann"),
            now: now(),
            gate: &Gate::default(),
            max_event_payload_bytes: 65_536,
            max_metrics_bytes: 1 << 20,
            warnings: Default::default(),
        };
        operations::promote(store, id, Status::Production, None, &Precondition::default(), &context).map(drop)
    })
}

#[test]
fn servers_that_promote_versions_of_one_model_at_once_wait_for_each_other() {
    let Some(database) = database() else { return };
    let (backend, mut writer) = open(&options(&database));
    let ids: Vec<_> = (0..6)
        .map(|number| {
            let draft = draft("m", &number.to_string());
            write_with(&mut writer, |store| add(store, draft)).unwrap().id
        })
        .collect();
    std::thread::scope(|scope| {
        for id in &ids {
            scope.spawn(|| {
                let (_, mut writer) = open(&options(&database));
                for _ in 0..20 {
                    promote(&mut writer, *id).unwrap();
                }
            });
        }
        let mut reader = backend.reader().unwrap();
        for _ in 0..50 {
            reader.begin_snapshot().unwrap();
            let production: Vec<_> = reader
                .stats()
                .unwrap()
                .by_status
                .into_iter()
                .filter(|(status, _)| status == "production")
                .collect();
            assert!(production.iter().all(|(_, count)| *count == 1), "{production:?}");
        }
    });
    let count = |sql: &str| database.sql(sql).parse::<usize>().unwrap();
    assert_eq!(count("SELECT count(*) FROM models WHERE status = 'production'"), 1);
    let promoted = count("SELECT count(*) FROM model_events WHERE event_type = 'promote'");
    assert_eq!(promoted, 6 * 20);
    let unequal = "SELECT count(*) FROM (SELECT status, count(*) FROM models GROUP BY status) AS s (status, n) \
        WHERE n <> (SELECT sum(count) FROM model_counts WHERE kind = 'status' AND value = status)";
    assert_eq!(count(unequal), 0);
}

#[test]
fn a_version_registered_by_two_servers_at_once_is_registered_once() {
    let Some(database) = database() else { return };
    open(&options(&database));
    let registered = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let (_, mut writer) = open(&options(&database));
                    (0..20)
                        .filter(|number| {
                            let draft = draft("m", &number.to_string());
                            write_with(&mut writer, |store| {
                                if store.find_label(&draft.name, &draft.label)?.is_some() {
                                    return Ok(false);
                                }
                                add(store, draft).map(|_| true)
                            })
                            .unwrap()
                        })
                        .count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert_eq!(registered, 20);
    assert_eq!(database.sql("SELECT sum(count) FROM model_counts WHERE kind = 'name'"), "20");
}

#[test]
fn a_lost_connection_is_replaced_and_only_a_lost_commit_is_in_doubt() {
    let Some(database) = database() else { return };
    let (backend, mut writer) = open(&options(&database));
    let mut reader = backend.reader().unwrap();
    let lose = || {
        database.sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
             WHERE application_name = 'registry' AND datname = current_database()",
        );
    };
    write_with(&mut writer, |store| add(store, draft("m", "1"))).unwrap();
    assert_eq!(reader.stats().unwrap().total_models, 1);
    lose();
    assert_eq!(reader.stats().unwrap().total_models, 1, "a read is repeated");
    write_with(&mut writer, |store| add(store, draft("m", "2"))).unwrap();

    // In the middle of a transaction.
    let lost = write_with(&mut writer, |store| {
        add(store, draft("m", "3"))?;
        lose();
        store.find(1)
    });
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    // Before COMMIT is sent.
    writer.begin(TIMEOUT).unwrap();
    add(&mut writer, draft("m", "3")).unwrap();
    lose();
    let lost = writer.commit();
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    assert_eq!(reader.stats().unwrap().total_models, 2);

    // While PostgreSQL commits: a deferred trigger runs inside COMMIT.
    database.sql(
        "CREATE FUNCTION vanish() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER vanish AFTER INSERT ON models DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION vanish()",
    );
    let lost = write_with(&mut writer, |store| add(store, draft("m", "3")));
    assert!(matches!(lost, Err(StoreError::InDoubt(_))), "{lost:?}");
    assert!(!writer.in_transaction());
    database.sql("DROP TRIGGER vanish ON models");
    write_with(&mut writer, |store| add(store, draft("m", "3"))).unwrap();
}

#[test]
fn a_lock_that_is_held_too_long_is_busy_and_holds_no_writer() {
    let Some(database) = database() else { return };
    let mut options = options(&database);
    options.write_timeout = Duration::from_millis(200);
    let (_, mut one) = open(&options);
    let (_, mut other) = open(&options);
    let id = write_with(&mut one, |store| add(store, draft("m", "1"))).unwrap().id;
    one.begin(TIMEOUT).unwrap();
    one.find(id).unwrap();
    let waited = write_with(&mut other, |store| store.find(id));
    assert!(matches!(waited, Err(StoreError::Busy)), "{waited:?}");
    one.commit().unwrap();
    assert!(write_with(&mut other, |store| store.find(id)).unwrap().is_some());
}

#[test]
fn no_acknowledged_write_is_lost_or_doubled_when_postgres_crashes() {
    let options = ["-clisten_addresses=", "-cmax_connections=50"];
    let Some(mut cluster) = Cluster::start(&options) else {
        return left_out("PostgreSQL is not installed, so no crash of it is tested");
    };
    cluster.sql("postgres", "CREATE DATABASE crash");
    let options = Options::parse(&cluster.url("crash")).unwrap();
    open(&options);
    let ended = AtomicBool::new(false);
    let kept: [AtomicUsize; 4] = Default::default();
    let writers = std::thread::scope(|scope| {
        let threads: Vec<_> = kept
            .iter()
            .enumerate()
            .map(|(thread, kept)| {
                let (options, ended) = (&options, &ended);
                scope.spawn(move || write_until(options, ended, thread, kept))
            })
            .collect();
        let counts = || kept.each_ref().map(|kept| kept.load(Ordering::Relaxed));
        for _ in 0..3 {
            let before = counts();
            let goes_on = || counts().iter().zip(before).all(|(now, before)| *now >= before + 5);
            // A writer that fails ends, and the test with it.
            while !goes_on() && !threads.iter().any(|thread| thread.is_finished()) {
                std::thread::sleep(Duration::from_millis(1));
            }
            cluster.crash_and_restart();
        }
        ended.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    for (thread, (kept, in_doubt)) in writers.iter().enumerate() {
        let sql = format!("SELECT version FROM models WHERE name = 'm{thread}' ORDER BY id");
        let stored: Vec<usize> =
            cluster.sql("crash", &sql).lines().map(|version| version.parse().unwrap()).collect();
        assert!(kept.len() >= 15, "writer {thread} kept {}", kept.len());
        assert!(kept.iter().all(|number| stored.contains(number)), "an acknowledged write was lost");
        let unknown = stored.iter().filter(|number| !kept.contains(number));
        assert!(unknown.clone().all(|number| in_doubt.contains(number)), "a failed write was kept");
    }
    let events = "SELECT count(*) FROM models FULL JOIN model_events ON model_id = models.id \
        WHERE models.id IS NULL OR model_id IS NULL";
    assert_eq!(cluster.sql("crash", events), "0");
}

/// Registers versions, and returns those that were kept, which it also counts, and those in doubt.
fn write_until(
    options: &Options,
    ended: &AtomicBool,
    thread: usize,
    count: &AtomicUsize,
) -> (Vec<usize>, Vec<usize>) {
    let mut writer = loop {
        if let Ok((_, writer)) = Postgres::open(options, now()) {
            break writer;
        }
    };
    let (mut kept, mut in_doubt) = (Vec::new(), Vec::new());
    for number in 0.. {
        if ended.load(Ordering::Relaxed) {
            break;
        }
        count.store(kept.len(), Ordering::Relaxed);
        loop {
            let written = write_with(&mut writer, |store| {
                let model = add(store, draft(&format!("m{thread}"), &number.to_string()))?;
                let event = model_registry::domain::EventDraft::update(&["tags"]);
                store.append_event(model.model, Some(model.id), &event, "ann", "2026")
            });
            match written {
                Ok(()) => kept.push(number),
                Err(StoreError::InDoubt(_)) => in_doubt.push(number),
                Err(error) if error.is_transient() => continue,
                Err(error) => panic!("{error}"),
            }
            break;
        }
    }
    (kept, in_doubt)
}
