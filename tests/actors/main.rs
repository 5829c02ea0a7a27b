//! The actors through their handles: full queues, operations that panic, callers that leave, stores that fail.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod hasher;
#[path = "../support/left_out.rs"]
mod left_out;
mod memory;
#[path = "../support/postgres.rs"]
mod postgres_cluster;

use std::{
    collections::BTreeMap,
    future::Future,
    path::Path,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Waker},
    time::Duration,
};

use model_registry::{
    actors::{ActorError, Database, DatabaseOptions},
    domain::{Draft, Gate, Model, Refusal, Timestamp, Version, model::ModelPatch},
    store::{
        Backend, StoreError, WriteStore, operations,
        postgres::{self, Postgres},
        sqlite::{Options, Sqlite, Synchronous},
    },
    telemetry::Telemetry,
};

use left_out::left_out;
use memory::{Faults, Memory, MemoryOptions};
use postgres_cluster::TestDatabase;

fn now() -> Timestamp {
    Timestamp::from_unix_millis(0)
}

/// Runs `test` inside an actix system, over a database with one reader and queues of `queue` jobs.
fn serve<B: Backend, F: Future<Output = ()>>(
    store: B::Options,
    queue: usize,
    test: impl FnOnce(Database) -> F,
) {
    let options = DatabaseOptions { store, readers: 1, read_queue: queue, write_queue: queue };
    actix::System::new().block_on(async {
        let database = Database::open::<B>(&options, now(), &Telemetry::new(&[])).unwrap();
        // The system's loop, which the tests block, has to deliver the first message of each actor.
        database.read(|store| store.stats()).await.unwrap();
        database.write(|store| store.find(1)).await.unwrap();
        test(database.clone()).await;
        tokio::task::spawn_blocking(move || database.close()).await.unwrap();
    });
}

fn sqlite_options(folder: &Path) -> Options {
    Options {
        path: folder.join("registry.db"),
        busy_timeout: Duration::from_secs(5),
        synchronous: Synchronous::Normal,
    }
}

fn with_sqlite<F: Future<Output = ()>>(test: impl FnOnce(Database) -> F) {
    let folder = tempfile::tempdir().unwrap();
    serve::<Sqlite, F>(sqlite_options(folder.path()), 1, test);
}

fn with_memory<F: Future<Output = ()>>(test: impl FnOnce(Database) -> F) {
    serve::<Memory, F>(MemoryOptions::default(), 1, test);
}

/// Runs a test over PostgreSQL, with this many writers.
fn with_postgres<F: Future<Output = ()>>(writers: usize, test: impl FnOnce(Database, TestDatabase) -> F) {
    let Some(postgres) = TestDatabase::create_own() else {
        return left_out("PostgreSQL is not installed, so the actors are not tested over it");
    };
    let mut options = postgres::Options::parse(&postgres.url()).unwrap();
    options.writers = writers;
    serve::<Postgres, F>(options, 100, |database| test(database, postgres));
}

/// Runs each of these tests over each backend.
macro_rules! over_each_backend {
    ($($test:ident)*) => {
        mod over_sqlite { $(#[test] fn $test() { super::with_sqlite(super::$test); })* }
        mod over_memory { $(#[test] fn $test() { super::with_memory(super::$test); })* }
        mod over_postgres { $(#[test] fn $test() { super::with_one_writer(super::$test); })* }
    };
}

/// Runs a test over PostgreSQL with one writer and queues of one job.
fn with_one_writer<F: Future<Output = ()>>(test: impl FnOnce(Database) -> F) {
    let Some(postgres) = TestDatabase::create() else {
        return left_out("PostgreSQL is not installed, so the actors are not tested over it");
    };
    serve::<Postgres, F>(postgres::Options::parse(&postgres.url()).unwrap(), 1, test);
}

over_each_backend! {
    a_full_queue_of_reads_refuses_at_once_and_shows_its_depth
    a_full_queue_of_writes_refuses_at_once_and_shows_its_depth
    a_panic_in_a_read_ends_only_that_read
    a_panic_in_a_write_undoes_only_that_write
    a_write_that_fails_is_undone
    a_write_whose_caller_left_before_it_began_is_not_run
    closing_finishes_queued_jobs_and_refuses_later_ones
    readiness_is_a_committed_write
}

/// Starts a future without waiting for its end.
fn begin<F: Future>(future: Pin<&mut F>) {
    assert!(future.poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

/// Work that occupies an actor until it is released.
fn held() -> (impl Fn() -> Result<bool, StoreError> + Send + 'static, Held) {
    let (begin, begun) = mpsc::channel();
    let (release, end) = mpsc::channel();
    let work = move || {
        begin.send(()).unwrap();
        Ok(end.recv().is_ok())
    };
    (work, Held { begun, release })
}

struct Held {
    begun: mpsc::Receiver<()>,
    release: mpsc::Sender<()>,
}

fn insert_version(store: &mut dyn WriteStore, version: &str) -> Result<Version, StoreError> {
    let mut draft = Draft::named("m", version)?;
    draft.artifact_uri = Some("s3://b".to_owned());
    let model = match store.find_model(&draft.name)? {
        Some(model) => model,
        None => {
            let (name, created_at) = (draft.name.clone(), now().to_string());
            let (description, tags) = (None, BTreeMap::new());
            store.insert_model(Model {
                key: 0,
                name,
                description,
                tags,
                updated_at: created_at.clone(),
                created_at,
                deleted_at: None,
            })?
        }
    };
    store.insert(draft, model.key, now())
}

fn insert(store: &mut dyn WriteStore) -> Result<Version, StoreError> {
    insert_version(store, "1")
}

async fn count(database: &Database) -> u64 {
    database.read(|store| store.stats()).await.unwrap().total_models
}

fn depth(database: &Database, queue: &str) -> usize {
    database.depths().into_iter().find(|depth| depth.queue == queue).unwrap().depth
}

async fn a_full_queue_of_reads_refuses_at_once_and_shows_its_depth(database: Database) {
    let (work, held) = held();
    let mut running = pin!(database.read(move |_| work()));
    begin(running.as_mut());
    held.begun.recv().unwrap();
    let mut waiting = pin!(database.read(|store| store.stats()));
    begin(waiting.as_mut());
    assert_eq!(depth(&database, "read"), 1);
    let refused = database.read(|store| store.stats()).await;
    assert!(matches!(refused, Err(ActorError::Overloaded { queue: "read" })), "{refused:?}");
    held.release.send(()).unwrap();
    assert!(running.await.unwrap());
    assert_eq!(waiting.await.unwrap().total_models, 0);
}

async fn a_full_queue_of_writes_refuses_at_once_and_shows_its_depth(database: Database) {
    let (work, held) = held();
    let mut running = pin!(database.write(move |_| work()));
    begin(running.as_mut());
    held.begun.recv().unwrap();
    let mut waiting = pin!(database.write(|store| store.find(1)));
    begin(waiting.as_mut());
    assert_eq!(depth(&database, "write"), 1);
    let refused = database.write(|store| store.find(1)).await;
    assert!(matches!(refused, Err(ActorError::Overloaded { queue: "write" })), "{refused:?}");
    held.release.send(()).unwrap();
    assert!(running.await.unwrap());
    assert_eq!(waiting.await.unwrap(), None);
}

async fn a_panic_in_a_read_ends_only_that_read(database: Database) {
    for _ in 0..3 {
        let panicked = database.read::<()>(|_| panic!("on purpose")).await;
        let Err(ActorError::Panicked(text)) = panicked else { panic!("{panicked:?}") };
        assert_eq!(text, "on purpose");
        assert_eq!(count(&database).await, 0);
    }
}

async fn a_panic_in_a_write_undoes_only_that_write(database: Database) {
    for version in ["1", "2"] {
        let panicked = database
            .write::<()>(|store| {
                insert_version(store, "lost")?;
                panic!("on purpose")
            })
            .await;
        assert!(matches!(panicked, Err(ActorError::Panicked(_))), "{panicked:?}");
        database.write(move |store| insert_version(store, version)).await.unwrap();
    }
    assert_eq!(count(&database).await, 2);
}

async fn a_write_that_fails_is_undone(database: Database) {
    let refused = database
        .write(|store| {
            insert(store)?;
            insert(store)
        })
        .await;
    assert!(matches!(refused, Err(ActorError::Store(StoreError::Refused(_)))), "{refused:?}");
    assert_eq!(count(&database).await, 0);
}

async fn a_write_whose_caller_left_before_it_began_is_not_run(database: Database) {
    let (work, held) = held();
    let mut running = pin!(database.write(move |_| work()));
    begin(running.as_mut());
    held.begun.recv().unwrap();
    {
        let mut left = pin!(database.write(insert));
        begin(left.as_mut());
    }
    held.release.send(()).unwrap();
    running.await.unwrap();
    assert_eq!(count(&database).await, 0);
}

async fn closing_finishes_queued_jobs_and_refuses_later_ones(database: Database) {
    let (work, held) = held();
    let mut running = pin!(database.write(move |_| work()));
    begin(running.as_mut());
    held.begun.recv().unwrap();
    let mut waiting = pin!(database.write(insert));
    begin(waiting.as_mut());
    let closing = tokio::task::spawn_blocking({
        let database = database.clone();
        move || database.close()
    });
    held.release.send(()).unwrap();
    closing.await.unwrap();
    assert!(running.await.unwrap());
    assert_eq!(waiting.await.unwrap().id, 1);
    let late = database.read(|store| store.stats()).await;
    assert!(matches!(late, Err(ActorError::Closed)), "{late:?}");
}

async fn readiness_is_a_committed_write(database: Database) {
    database.ready().await.unwrap();
}

/// Runs `test` over the backend in memory, with large queues and control of its faults.
fn with_faults<F: Future<Output = ()>>(
    write_timeout: Duration,
    test: impl FnOnce(Database, std::sync::Arc<Mutex<Faults>>) -> F,
) {
    let options = MemoryOptions { write_timeout, ..MemoryOptions::default() };
    let faults = std::sync::Arc::clone(&options.faults);
    serve::<Memory, F>(options, 1_000, |database| test(database, faults));
}

/// Queues `count` inserts behind a job that is held, so that they form batches; returns their results. `end` is what the
/// insert of this number does last.
async fn batch(
    database: &Database,
    count: usize,
    end: fn(usize) -> Result<(), StoreError>,
) -> Vec<Result<Version, ActorError>> {
    let (work, held) = held();
    let mut running = pin!(database.write(move |_| work()));
    begin(running.as_mut());
    held.begun.recv().unwrap();
    let mut queued: Vec<_> = (0..count)
        .map(|number| {
            let insert = move |store: &mut dyn WriteStore| {
                let model = insert_version(store, &number.to_string())?;
                end(number).map(|()| model)
            };
            Box::pin(database.write(insert))
        })
        .collect();
    queued.iter_mut().for_each(|write| begin(write.as_mut()));
    held.release.send(()).unwrap();
    running.await.unwrap();
    let mut results = Vec::new();
    for write in queued {
        results.push(write.await);
    }
    results
}

#[test]
fn waiting_operations_share_a_commit() {
    with_faults(Duration::ZERO, |database, faults| async move {
        let before = faults.lock().unwrap().commits;
        assert!(batch(&database, 100, |_| Ok(())).await.iter().all(Result::is_ok));
        // One for the operation that held the writer, one for all others.
        assert_eq!(faults.lock().unwrap().commits - before, 2);
    });
}

/// Every third insert fails after it has written, and every fifth panics.
async fn an_operation_that_fails_after_it_wrote_is_undone_and_the_others_are_kept(database: Database) {
    let results = batch(&database, 60, |number| match number {
        _ if number % 5 == 0 => panic!("on purpose"),
        _ if number % 3 == 0 => Err(StoreError::Failed("on purpose".to_owned())),
        _ => Ok(()),
    });
    let mut kept = 0;
    for (number, result) in results.await.into_iter().enumerate() {
        match result {
            Err(ActorError::Panicked(_)) => assert_eq!(number % 5, 0),
            Err(ActorError::Store(StoreError::Failed(_))) => assert_eq!(number % 3, 0, "{number}"),
            Ok(model) => {
                assert_eq!(model.label, number.to_string());
                kept += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(kept, 32);
    assert_eq!(count(&database).await, kept);
    database.write(insert).await.unwrap_err();
}

#[test]
fn an_operation_that_fails_after_it_wrote_is_undone_in_memory() {
    let undone = an_operation_that_fails_after_it_wrote_is_undone_and_the_others_are_kept;
    with_faults(Duration::ZERO, |database, _| undone(database));
}

#[test]
fn an_operation_that_fails_after_it_wrote_is_undone_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    serve::<Sqlite, _>(
        sqlite_options(folder.path()),
        100,
        an_operation_that_fails_after_it_wrote_is_undone_and_the_others_are_kept,
    );
}

#[test]
fn reads_that_wait_share_a_snapshot_and_one_sent_after_a_write_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    serve::<Sqlite, _>(sqlite_options(folder.path()), 10, |database| async move {
        let mut has_shared = false;
        // A snapshot is shared for 2 ms, and on a busy machine the write may take longer.
        for round in 0..1_000 {
            let (work, busy) = held();
            let mut running = pin!(database.read(move |_| work()));
            begin(running.as_mut());
            busy.begun.recv().unwrap();
            let (work, reading) = held();
            let mut first = pin!(database.read(move |store| {
                let before = store.stats()?.total_models;
                work().map(|_| before)
            }));
            begin(first.as_mut());
            let mut second = pin!(database.read(|store| store.stats()));
            begin(second.as_mut());
            busy.release.send(()).unwrap();
            reading.begun.recv().unwrap();
            database.write(move |store| insert_version(store, &round.to_string())).await.unwrap();
            let mut third = pin!(database.read(|store| store.stats()));
            begin(third.as_mut());
            reading.release.send(()).unwrap();
            assert_eq!(first.await.unwrap(), round);
            has_shared = second.await.unwrap().total_models == round;
            assert_eq!(third.await.unwrap().total_models, round + 1);
            if has_shared {
                break;
            }
        }
        assert!(has_shared, "it waited when the snapshot of the first began");
    });
}

#[test]
fn a_failed_commit_fails_its_whole_batch_and_the_next_succeeds() {
    with_faults(Duration::ZERO, |database, faults| async move {
        faults.lock().unwrap().commit = Some(StoreError::Failing("on purpose".to_owned()));
        let failed = database.write(insert).await;
        assert!(matches!(failed, Err(ActorError::Store(StoreError::Failing(_)))), "{failed:?}");
        assert_eq!(count(&database).await, 0);
        database.write(insert).await.unwrap();
        assert_eq!(count(&database).await, 1);
    });
}

#[test]
fn a_transaction_that_does_not_begin_is_an_error_and_the_next_succeeds() {
    with_faults(Duration::ZERO, |database, faults| async move {
        faults.lock().unwrap().begin = Some(StoreError::Unwritable("on purpose".to_owned()));
        let failed = database.write(insert).await;
        assert!(matches!(failed, Err(ActorError::Store(StoreError::Unwritable(_)))), "{failed:?}");
        database.write(insert).await.unwrap();
    });
}

#[test]
fn operations_after_one_that_ends_the_transaction_run_in_a_new_one() {
    with_faults(Duration::ZERO, |database, faults| async move {
        faults.lock().unwrap().insert_ends_transaction = true;
        let results = batch(&database, 3, |_| Ok(())).await;
        assert!(matches!(results[0], Err(ActorError::Store(StoreError::Full))), "{results:?}");
        assert!(results[1..].iter().all(Result::is_ok), "{results:?}");
        assert_eq!(count(&database).await, 2);
    });
}

#[test]
fn a_panic_replaces_the_writers_connection() {
    with_faults(Duration::ZERO, |database, faults| async move {
        database.write::<()>(|_| panic!("on purpose")).await.unwrap_err();
        database.write(insert).await.unwrap();
        assert_eq!(faults.lock().unwrap().reopened, 1);
    });
}

#[test]
fn each_write_waits_once_for_a_foreign_lock_however_many_batches_are_queued() {
    const WRITE_TIMEOUT: Duration = Duration::from_millis(300);
    with_faults(WRITE_TIMEOUT, |database, faults| async move {
        let mut writes: Vec<_> = (0..600)
            .map(|version: usize| {
                let version = version.to_string();
                Box::pin(database.write(move |store| insert_version(store, &version)))
            })
            .collect();
        faults.lock().unwrap().is_locked = true;
        writes.iter_mut().for_each(|write| begin(write.as_mut()));
        for write in writes {
            let busy = write.await;
            assert!(matches!(busy, Err(ActorError::Store(StoreError::Busy))), "{busy:?}");
        }
        // Five batches of 128 waited this long together, and not five times as long.
        let waited = faults.lock().unwrap().waited;
        assert!(waited <= WRITE_TIMEOUT * 2, "{waited:?}");
        faults.lock().unwrap().is_locked = false;
        database.write(insert).await.unwrap();
    });
}

fn create_model(store: &mut dyn WriteStore, name: &str) -> Result<Model, StoreError> {
    let context = operations::Context {
        actor: "ann",
        now: now(),
        gate: &Gate::default(),
        max_event_payload_bytes: 65_536,
        max_metrics_bytes: 1 << 20,
    };
    operations::create_model(store, name, &ModelPatch::default(), &context)
}

#[test]
fn several_writers_of_postgres_work_at_once_and_a_collision_is_repeated() {
    with_postgres(2, |database, postgres| async move {
        database.write(|store| create_model(store, "m")).await.unwrap();
        // One writer has found that no model is named `taken`, and gives this name to `m` after the other has given it to a
        // new model.
        let (work, held) = held();
        let mut rename = Box::pin(database.write(move |store| {
            let before = store.find_model("m")?.ok_or(StoreError::Failed("m is lost".to_owned()))?;
            if store.find_model("taken")?.is_some() {
                return Err(Refusal::Conflict("taken".to_owned()).into());
            }
            work()?;
            store.update_model(&before, &Model { name: "taken".to_owned(), ..before.clone() })
        }));
        begin(rename.as_mut());
        held.begun.recv().unwrap();
        let taken = database.write(|store| create_model(store, "taken")).await.unwrap();
        held.release.send(()).unwrap();
        // Its second run finds the other model.
        let refused = rename.await;
        let is_conflict =
            matches!(refused, Err(ActorError::Store(StoreError::Refused(Refusal::Conflict(_)))));
        assert!(is_conflict, "{refused:?}");
        let found = database.read(|store| store.model("taken")).await.unwrap().unwrap();
        assert_eq!(found.model.key, taken.key);
        drop(postgres);
    });
}

#[test]
fn a_write_whose_connection_is_lost_is_repeated_and_one_whose_commit_is_lost_is_not() {
    const LOSE: &str = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
        WHERE application_name = 'registry' AND datname = current_database()";
    with_postgres(1, |database, postgres| async move {
        let postgres = Arc::new(postgres);
        let (runs, lost) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&postgres));
        let counted = Arc::clone(&runs);
        let write = database.write(move |store| {
            let model = insert(store)?;
            if counted.fetch_add(1, Ordering::Relaxed) == 0 {
                lost.sql(LOSE);
            }
            store.find(model.id)
        });
        assert!(write.await.unwrap().is_some());
        assert_eq!((runs.load(Ordering::Relaxed), count(&database).await), (2, 1));

        postgres.sql(
            "CREATE FUNCTION vanish() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER vanish AFTER INSERT ON models DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION vanish()",
        );
        let counted = Arc::clone(&runs);
        let write = database.write(move |store| {
            counted.fetch_add(1, Ordering::Relaxed);
            insert_version(store, "2")
        });
        let lost = write.await;
        assert!(matches!(lost, Err(ActorError::Store(StoreError::InDoubt(_)))), "{lost:?}");
        assert_eq!(runs.load(Ordering::Relaxed), 3);
        postgres.sql("DROP TRIGGER vanish ON models");
        database.write(|store| insert_version(store, "3")).await.unwrap();
        drop(postgres);
    });
}
