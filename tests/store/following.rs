//! The audit trail in order, as followers read it.

use std::{ops::ControlFlow, thread};

use model_registry::{
    domain::{Draft, EventDraft, Version, query::TrailQuery},
    store::{Backend as _, Followed, ReadStore, Transaction as _, WriteStore},
};

use crate::{
    add,
    postgres::{database, open, options, write_with},
    suite::Fixture,
};

/// Reads what follows an event. Stops after `most` events.
fn follow(reader: &mut dyn ReadStore, query: &TrailQuery, most: usize) -> (Vec<i64>, Followed) {
    let mut ids = Vec::new();
    let followed = reader.follow(query, &mut |event| {
        ids.push(event.event.id);
        if ids.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    (ids, followed.unwrap())
}

fn after(id: i64) -> TrailQuery {
    TrailQuery { after: Some(id), limit: 100, ..TrailQuery::default() }
}

fn draft(name: &str, label: &str) -> Draft {
    let mut draft = Draft::named(name, label).unwrap();
    draft.artifact_uri = Some("s3://b".to_owned());
    draft
}

fn append(store: &mut dyn WriteStore, version: &Version, field: &str, actor: &str) {
    let event = EventDraft::update(&[field]);
    store.append_event(version.model, Some(version.id), &event, actor, "2026").unwrap();
}

pub fn what_follows_an_event_comes_in_order_and_is_filtered(store: &mut impl Fixture) {
    let one = store.write(|store| add(store, draft("m", "1"))).unwrap();
    let two = store.write(|store| add(store, draft("n", "1"))).unwrap();
    assert_eq!(store.reader().newest_event().unwrap(), None);
    assert_eq!(follow(store.reader(), &after(0), 9).0, [0_i64; 0]);
    for (version, actor) in [(&one, "ann"), (&two, "ann"), (&one, "bob"), (&one, "ann"), (&two, "bob")] {
        store
            .write(|store| {
                append(store, version, "a", actor);
                Ok(())
            })
            .unwrap();
    }
    let (all, followed) = follow(store.reader(), &after(0), 9);
    assert_eq!((all.len(), followed.has_more, followed.model), (5, false, None));
    assert!(all.is_sorted() && followed.through == all[4]);
    let (newest, hash) = store.reader().newest_event().unwrap().unwrap();
    assert_eq!(newest, all[4]);
    assert_eq!(store.reader().event_hash(newest).unwrap(), Some(hash));
    assert_eq!(store.reader().event_hash(newest + 1).unwrap(), None);
    let is = |at: &[usize]| at.iter().map(|at| all[*at]).collect::<Vec<_>>();
    for (query, expected) in [
        (after(all[1]), is(&[2, 3, 4])),
        (after(all[4]), is(&[])),
        (after(i64::MAX), is(&[])),
        (TrailQuery { until: Some(all[2]), ..after(all[0]) }, is(&[1, 2])),
        (TrailQuery { model: Some("m".to_owned()), ..after(0) }, is(&[0, 2, 3])),
        (TrailQuery { model: Some("n".to_owned()), number: Some(1), ..after(all[1]) }, is(&[4])),
        (TrailQuery { model: Some("n".to_owned()), number: Some(7), ..after(0) }, is(&[])),
        (TrailQuery { model: Some("none".to_owned()), ..after(0) }, is(&[])),
        (TrailQuery { actor: Some("bob".to_owned()), ..after(0) }, is(&[2, 4])),
        (TrailQuery { event_type: Some("create".to_owned()), ..after(0) }, is(&[])),
    ] {
        let (found, followed) = follow(store.reader(), &query, 9);
        assert_eq!(found, expected, "{query:?}");
        let end = query.until.unwrap_or(all[4]).max(query.after.unwrap());
        assert_eq!((followed.through, followed.has_more), (end, false), "{query:?}");
        assert_eq!(
            followed.model,
            query
                .model
                .filter(|name| name != "none")
                .map(|name| { if name == "m" { one.model } else { two.model } })
        );
    }
    // A page that is full, and a reader that stops, go on without a gap.
    let (found, followed) = follow(store.reader(), &TrailQuery { limit: 2, ..after(0) }, 9);
    assert_eq!((found, followed.through, followed.has_more), (is(&[0, 1]), all[1], true));
    let (found, followed) = follow(store.reader(), &after(0), 3);
    assert_eq!((found, followed.through, followed.has_more), (is(&[0, 1, 2]), all[2], true));
    let (found, followed) = follow(store.reader(), &after(0), 5);
    assert_eq!((found.len(), followed.through, followed.has_more), (5, all[4], false));
}

#[test]
fn an_event_that_is_committed_after_a_later_one_is_waited_for() {
    let Some(database) = database() else { return };
    let (backend, mut slow) = open(&options(&database));
    let (_, mut fast) = open(&options(&database));
    let mut reader = backend.reader().unwrap();
    let one = write_with(&mut slow, |store| add(store, draft("m", "1"))).unwrap();
    let two = write_with(&mut fast, |store| add(store, draft("n", "1"))).unwrap();
    assert_eq!(follow(&mut reader, &after(0), 9).0, [0_i64; 0]);
    let mut last = 0;
    for is_kept in [true, false] {
        slow.begin(std::time::Duration::from_secs(10)).unwrap();
        append(&mut slow, &one, "a", "ann");
        // Sends the event, which has an id then.
        slow.find(one.id).unwrap();
        write_with(&mut fast, |store| {
            append(store, &two, "b", "ann");
            Ok(())
        })
        .unwrap();
        assert_eq!(
            database.sql("SELECT count(*) FROM model_events WHERE actor = 'ann'").parse::<i64>().unwrap() % 2,
            1
        );
        let (found, followed) = follow(&mut reader, &after(last), 9);
        assert_eq!((found, followed.through), (Vec::new(), last), "the one before it may still come");
        let newest = reader.newest_event().unwrap().map_or(0, |(id, _)| id);
        assert_eq!(newest, last, "a follower from now on gets both");
        if is_kept {
            slow.commit().unwrap();
        } else {
            slow.rollback().unwrap();
        }
        let (found, followed) = follow(&mut reader, &after(last), 9);
        let expected = if is_kept { vec![1, 2] } else { vec![4] };
        assert_eq!((found, followed.through), (expected.clone(), *expected.last().unwrap()));
        last = followed.through;
    }
}

#[test]
fn a_reader_passes_no_event_of_many_writers_at_once() {
    const WRITERS: usize = 6;
    const EVENTS: usize = 60;
    let Some(database) = database() else { return };
    let options = options(&database);
    let (backend, mut writer) = open(&options);
    let versions: Vec<_> = (0..WRITERS)
        .map(|number| write_with(&mut writer, |store| add(store, draft(&format!("m{number}"), "1"))).unwrap())
        .collect();
    let mut reader = backend.reader().unwrap();
    assert_eq!(reader.newest_event().unwrap(), None);
    let found = thread::scope(|scope| {
        for version in &versions {
            let (_, mut writer) = open(&options);
            scope.spawn(move || {
                for event in 0..EVENTS {
                    let write = |store: &mut dyn WriteStore| {
                        append(store, version, "a", "ann");
                        // With an id, and not committed for a moment.
                        store.find(version.id)?;
                        if event % 7 == 3 { Err(model_registry::store::StoreError::Busy) } else { Ok(()) }
                    };
                    let _ = write_with(&mut writer, write);
                }
            });
        }
        let kept = WRITERS * (0..EVENTS).filter(|event| event % 7 != 3).count();
        let (mut found, mut last) = (Vec::new(), 0);
        while found.len() < kept {
            let (ids, followed) = follow(&mut reader, &after(last), 9);
            last = followed.through;
            found.extend(ids);
        }
        found
    });
    let stored = database.sql("SELECT id FROM model_events ORDER BY id");
    let stored: Vec<i64> = stored.lines().map(|id| id.parse().unwrap()).collect();
    assert_eq!(found, stored);
}
