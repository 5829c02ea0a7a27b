//! The actors through their handles: full queues, operations that panic, callers that leave, stores that fail.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod faults;
mod hasher;
#[path = "../support/left_out.rs"]
mod left_out;
mod memory;
#[path = "../support/postgres.rs"]
mod postgres_cluster;
mod writers;

use std::{
    collections::BTreeMap,
    future::Future,
    path::Path,
    pin::{Pin, pin},
    sync::mpsc,
    task::{Context, Waker},
    time::Duration,
};

use model_registry::{
    actors::{ActorError, Database, DatabaseOptions},
    domain::{Draft, Model, Numbering, Timestamp, Version},
    store::{
        Backend, StoreError, WriteStore,
        postgres::{self, Postgres},
        sqlite::{Options, Sqlite, Synchronous},
    },
    telemetry::Telemetry,
};

use left_out::left_out;
use memory::{Memory, MemoryOptions};
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
            let model = Model {
                key: 0,
                name,
                description,
                tags,
                updated_at: created_at.clone(),
                created_at,
                deleted_at: None,
                changed_at: None,
                next_number: 1,
            };
            store.insert_model(model, Numbering::Continued)?
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
