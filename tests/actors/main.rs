//! The actors by their handles: queues that are full, operations that panic, callers that leave.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs::File,
    future::Future,
    path::Path,
    pin::pin,
    sync::mpsc,
    task::{Context, Waker},
    time::Duration,
};

use model_registry::{
    actors::{ActorError, Database, DatabaseOptions, Hasher, HasherOptions},
    domain::{Draft, Model, Timestamp},
    store::{
        StoreError, WriteStore,
        sqlite::{Options, Synchronous},
    },
    telemetry::Telemetry,
};

fn now() -> Timestamp {
    Timestamp::from_unix_millis(0)
}

/// Runs `test` inside an actix system, over a database with one reader and room for one job in each queue.
fn with_database<F: Future<Output = ()>>(test: impl FnOnce(Database) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let store = Options {
        path: folder.path().join("registry.db"),
        busy_timeout: Duration::from_secs(5),
        synchronous: Synchronous::Normal,
    };
    let options = DatabaseOptions { store, readers: 1, read_queue: 1, write_queue: 1 };
    actix::System::new().block_on(async {
        let database = Database::open(&options, now(), &Telemetry::new(&[])).unwrap();
        // The system's loop, which the tests hold up, has to bring each actor its first message.
        database.read(|store| store.stats()).await.unwrap();
        database.write(|store| store.find(1)).await.unwrap();
        test(database.clone()).await;
        tokio::task::spawn_blocking(move || database.close()).await.unwrap();
    });
}

/// Lets a future begin, without waiting for its end.
fn begin<F: Future>(future: std::pin::Pin<&mut F>) {
    assert!(future.poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

/// Work that keeps an actor busy until it is let go.
fn held() -> (impl FnOnce() -> Result<bool, StoreError> + Send + 'static, Held) {
    let (begin, begun) = mpsc::channel();
    let (let_go, end) = mpsc::channel();
    let work = move || {
        begin.send(()).unwrap();
        Ok(end.recv().is_ok())
    };
    (work, Held { begun, let_go })
}

fn insert(store: &mut dyn WriteStore) -> Result<Model, StoreError> {
    let mut draft = Draft::named("m", "1")?;
    draft.artifact_uri = Some("s3://b".to_owned());
    store.insert(draft, now())
}

struct Held {
    begun: mpsc::Receiver<()>,
    let_go: mpsc::Sender<()>,
}

fn depth(database: &Database, queue: &str) -> usize {
    database.depths().into_iter().find(|depth| depth.queue == queue).unwrap().depth
}

#[test]
fn a_full_queue_of_reads_is_said_at_once_and_shows_its_depth() {
    with_database(|database| async move {
        let (work, held) = held();
        let mut running = pin!(database.read(move |_| work()));
        begin(running.as_mut());
        held.begun.recv().unwrap();
        let mut waiting = pin!(database.read(|store| store.stats()));
        begin(waiting.as_mut());
        assert_eq!(depth(&database, "read"), 1);
        let refused = database.read(|store| store.stats()).await;
        assert!(matches!(refused, Err(ActorError::Overloaded { queue: "read" })), "{refused:?}");
        held.let_go.send(()).unwrap();
        assert!(running.await.unwrap());
        assert_eq!(waiting.await.unwrap().total_models, 0);
    });
}

#[test]
fn a_full_queue_of_writes_is_said_at_once_and_shows_its_depth() {
    with_database(|database| async move {
        let (work, held) = held();
        let mut running = pin!(database.write(move |_| work()));
        begin(running.as_mut());
        held.begun.recv().unwrap();
        let mut waiting = pin!(database.write(|store| store.find(1)));
        begin(waiting.as_mut());
        assert_eq!(depth(&database, "write"), 1);
        let refused = database.write(|store| store.find(1)).await;
        assert!(matches!(refused, Err(ActorError::Overloaded { queue: "write" })), "{refused:?}");
        held.let_go.send(()).unwrap();
        assert!(running.await.unwrap());
        assert_eq!(waiting.await.unwrap(), None);
    });
}

#[test]
fn a_panic_in_a_read_ends_that_read_and_the_reader_goes_on() {
    with_database(|database| async move {
        for _ in 0..3 {
            let panicked = database.read::<()>(|_| panic!("on purpose")).await;
            let Err(ActorError::Panicked(text)) = panicked else { panic!("{panicked:?}") };
            assert_eq!(text, "on purpose");
            assert_eq!(database.read(|store| store.stats()).await.unwrap().total_models, 0);
        }
    });
}

#[test]
fn a_write_whose_caller_left_before_it_began_is_not_done() {
    with_database(|database| async move {
        let (work, held) = held();
        let mut running = pin!(database.write(move |_| work()));
        begin(running.as_mut());
        held.begun.recv().unwrap();
        {
            let mut left = pin!(database.write(insert));
            begin(left.as_mut());
        }
        held.let_go.send(()).unwrap();
        running.await.unwrap();
        assert_eq!(database.read(|store| store.stats()).await.unwrap().total_models, 0);
    });
}

#[test]
fn what_waits_when_the_database_is_closed_is_done_and_what_comes_later_refused() {
    with_database(|database| async move {
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
        held.let_go.send(()).unwrap();
        closing.await.unwrap();
        assert!(running.await.unwrap());
        assert_eq!(waiting.await.unwrap().id, 1);
        let late = database.read(|store| store.stats()).await;
        assert!(matches!(late, Err(ActorError::Closed)), "{late:?}");
    });
}

/// A file whose digest would take many minutes.
fn endless(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("endless.pt");
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    path
}

#[test]
fn a_full_queue_of_files_is_said_at_once_and_a_digest_nobody_waits_for_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = endless(folder.path());
    actix::System::new().block_on(async {
        let options = HasherOptions {
            hashers: 1,
            hash_queue: 1,
            forbidden: Vec::new(),
            secrets: Vec::new(),
            root: None,
        };
        let hasher = Hasher::start(options, &Telemetry::new(&[]));
        {
            let mut running = pin!(hasher.measure(path.clone(), u64::MAX));
            begin(running.as_mut());
            while hasher.depth().depth > 0 {
                tokio::task::yield_now().await;
            }
            let mut waiting = pin!(hasher.measure(path.clone(), u64::MAX));
            begin(waiting.as_mut());
            let refused = hasher.measure(path.clone(), u64::MAX).await;
            assert!(matches!(refused, Err(ActorError::Overloaded { queue: "hash" })), "{refused:?}");
        }
        // With both callers gone it ends at once, not when a terabyte has been read. A thread that went on
        // reading could not be stopped in any other way than with the process.
        let closing = tokio::task::spawn_blocking(move || hasher.close());
        if tokio::time::timeout(Duration::from_secs(20), closing).await.is_err() {
            eprintln!("the digest was not given up");
            std::process::abort();
        }
    });
}

