//! Several writers of PostgreSQL, and connections that are lost.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use model_registry::{
    actors::{ActorError, Database},
    domain::{Gate, GivenTimes, Model, Numbering, Principal, Refusal, model::ModelPatch},
    store::{
        StoreError, WriteStore, operations,
        postgres::{self, Postgres},
    },
};

use crate::{
    begin, count, held, insert, insert_version, left_out::left_out, now, postgres_cluster::TestDatabase,
    serve,
};

/// Runs a test over PostgreSQL, with this many writers.
fn with_postgres<F: Future<Output = ()>>(writers: usize, test: impl FnOnce(Database, TestDatabase) -> F) {
    let Some(postgres) = TestDatabase::create_own() else {
        return left_out("PostgreSQL is not installed, so the actors are not tested over it");
    };
    let mut options = postgres::Options::parse(&postgres.url()).unwrap();
    options.writers = writers;
    serve::<Postgres, F>(options, 100, |database| test(database, postgres));
}

fn create_model(store: &mut dyn WriteStore, name: &str) -> Result<Model, StoreError> {
    let context = operations::Context {
        actor: "ann",
        principal: &Principal::administrator("ann"),
        now: now(),
        gate: &Gate::default(),
        max_event_payload_bytes: 65_536,
        max_metrics_bytes: 1 << 20,
        warnings: Default::default(),
    };
    operations::create_model(
        store,
        name,
        &ModelPatch::default(),
        GivenTimes::default(),
        Numbering::Continued,
        &context,
    )
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

#[test]
fn a_write_that_postgres_undoes_because_of_a_deadlock_is_repeated() {
    with_postgres(1, |database, postgres| async move {
        // A sequence keeps its value when its transaction is undone.
        postgres.sql(
            "CREATE SEQUENCE runs;
             CREATE FUNCTION collide() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN IF nextval('runs') = 1 THEN RAISE 'on purpose' USING ERRCODE = '40P01'; END IF; RETURN NEW; END $$;
             CREATE TRIGGER collide BEFORE INSERT ON models FOR EACH ROW EXECUTE FUNCTION collide()",
        );
        database.write(insert).await.unwrap();
        assert_eq!((postgres.sql("SELECT last_value FROM runs").as_str(), count(&database).await), ("2", 1));
        drop(postgres);
    });
}
