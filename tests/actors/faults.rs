//! Operations that fail after they wrote, and stores that fail: in the store in memory, whose faults the tests control.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use model_registry::{
    actors::{ActorError, Database},
    domain::Version,
    store::{StoreError, WriteStore, sqlite::Sqlite},
};

use crate::{
    begin, count, held, insert, insert_version,
    memory::{Faults, Memory, MemoryOptions},
    serve, sqlite_options,
};

/// Runs `test` over the backend in memory, with large queues and control of its faults.
fn with_faults<F: Future<Output = ()>>(
    write_timeout: Duration,
    test: impl FnOnce(Database, Arc<Mutex<Faults>>) -> F,
) {
    let options = MemoryOptions { write_timeout, ..MemoryOptions::default() };
    let faults = Arc::clone(&options.faults);
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
