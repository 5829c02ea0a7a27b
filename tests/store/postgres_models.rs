//! Changes of one model by several servers over one PostgreSQL.

use std::{ops::ControlFlow, thread};

use model_registry::{
    domain::{
        Draft, Gate, LabelReuse, Precondition, Principal, Status, TrailEvent, chain::Link, model::ModelPatch,
        query::TrailQuery,
    },
    store::{
        Backend as _, ReadStore, StoreError, WriteStore,
        operations::{self, Context},
        postgres::PostgresWriter,
    },
};

use crate::{
    now,
    postgres::{database, open, options, write_with},
};

/// Runs an operation, and again while it collides with those of other servers, as the actors do.
fn operate<T>(
    writer: &mut PostgresWriter,
    operation: impl Fn(&mut dyn WriteStore, &Context<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let context = Context {
        actor: "ann",
        principal: &Principal::administrator("ann"),
        now: now(),
        gate: &Gate::default(),
        max_event_payload_bytes: 65_536,
        max_metrics_bytes: 1 << 20,
        warnings: Default::default(),
    };
    loop {
        match write_with(writer, |store| operation(store, &context)) {
            Err(StoreError::Busy) => {}
            done => return done,
        }
    }
}

fn register(writer: &mut PostgresWriter, name: &str, label: &str, status: Status) -> Result<i64, StoreError> {
    let mut draft = Draft::named(name, label).unwrap();
    draft.artifact_uri = Some("s3://b".to_owned());
    draft.status = status;
    operate(writer, |store, context| {
        operations::register(store, draft.clone(), LabelReuse::Allowed, context).map(|version| version.number)
    })
}

/// Checks the chain of a model's events against their hashes, and returns the types, oldest first.
fn checked_chain(reader: &mut dyn ReadStore, name: &str) -> Vec<String> {
    let mut rows = Vec::new();
    let mut visit = |row: TrailEvent<'_>| {
        let event = row.event;
        let texts = [event.event_type, event.payload, event.created_at].map(|text| text.into_owned());
        let details = row.details.map(|text| text.into_owned());
        let actor = event.actor.map(|text| text.into_owned());
        rows.push((
            event.id,
            event.version_id,
            texts,
            details,
            actor,
            row.model,
            row.previous,
            row.hash.to_vec(),
        ));
        ControlFlow::Continue(())
    };
    let query = TrailQuery { model: Some(name.to_owned()), limit: 500, ..TrailQuery::default() };
    let page = reader.trail(&query, &mut visit).unwrap();
    assert_eq!(page.next, None);
    let mut last: Option<(i64, Vec<u8>)> = None;
    rows.reverse();
    for (id, version_id, [event_type, payload, created_at], details, actor, model, previous, hash) in &rows {
        assert_eq!(*previous, last.as_ref().map(|(id, _)| *id));
        let link = Link {
            model: *model,
            previous: *previous,
            version_id: *version_id,
            event_type,
            payload: Some(payload),
            details: details.as_deref(),
            actor: actor.as_deref(),
            created_at,
        };
        assert_eq!(link.hash(last.as_ref().map(|(_, hash)| hash.as_slice())).to_vec(), *hash);
        last = Some((*id, hash.clone()));
    }
    rows.into_iter().map(|(_, _, [event_type, ..], ..)| event_type).collect()
}

#[test]
fn first_versions_that_servers_register_at_once_make_one_model_with_one_chain_of_events() {
    let Some(database) = database() else { return };
    let (backend, _) = open(&options(&database));
    let mut numbers = thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|server| {
                let database = &database;
                scope.spawn(move || {
                    let (_, mut writer) = open(&options(database));
                    let register = |turn: u8| {
                        let label = format!("{server}-{turn}");
                        register(&mut writer, "m", &label, Status::Production).unwrap()
                    };
                    (0..5).map(register).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=30).collect::<Vec<_>>());
    let mut reader = backend.reader().unwrap();
    let model = reader.model("m").unwrap().unwrap();
    assert_eq!((model.versions, model.latest, model.aliases.len()), (30, Some(30), 1));
    let types = checked_chain(&mut reader, "m");
    let count = |kind: &str| types.iter().filter(|event| *event == kind).count();
    assert_eq!((count("create"), count("auto_demote"), types.len()), (30, 29, 59));
}

#[test]
fn of_models_that_servers_give_one_name_at_once_one_gets_it() {
    let Some(database) = database() else { return };
    let (backend, mut writer) = open(&options(&database));
    for number in 0..4 {
        register(&mut writer, &format!("m{number}"), "1", Status::Staging).unwrap();
    }
    let patch = ModelPatch { name: Some("one".to_owned()), ..ModelPatch::default() };
    let renamed = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let (database, patch) = (&database, &patch);
                scope.spawn(move || {
                    let (_, mut writer) = open(&options(database));
                    let name = format!("m{number}");
                    let none = Precondition::default();
                    let renamed = operate(&mut writer, |store, context| {
                        operations::update_model(store, &name, patch, &none, context)
                    });
                    assert!(matches!(renamed, Ok(_) | Err(StoreError::Refused(_))), "{renamed:?}");
                    renamed.is_ok()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|is| *is).count()
    });
    assert_eq!(renamed, 1);
    let mut reader = backend.reader().unwrap();
    assert_eq!(reader.stats().unwrap().by_name.iter().filter(|(name, _)| name == "one").count(), 1);
    assert_eq!(checked_chain(&mut reader, "one").last().map(String::as_str), Some("rename_model"));
}
