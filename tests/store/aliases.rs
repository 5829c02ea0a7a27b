//! Aliases, `production` among them, and their history: a part of the suite that every store passes.

use std::ops::ControlFlow;

use model_registry::{
    domain::{PRODUCTION_ALIAS, Refusal, Status, VersionRef, query::TrailQuery},
    store::{StoreError, operations},
};

use crate::{
    models::{at, conflict, delete, find, history, promote, register, set_alias, spans, time},
    suite::Fixture,
};

pub fn an_alias_moves_only_from_the_expected_holder(store: &mut impl Fixture) {
    register(store, "m", "1");
    register(store, "m", "2");
    conflict(set_alias(store, 1, "champion", 1, Some(Some(2))), "points to no version");
    set_alias(store, 2, "champion", 1, Some(None)).unwrap();
    conflict(set_alias(store, 3, "champion", 2, Some(None)), "points to version number 1");
    set_alias(store, 4, "champion", 2, Some(Some(1))).unwrap();
    set_alias(store, 5, "champion", 2, None).unwrap();
    let expected = [(2, time(4), None), (1, time(2), Some(time(4)))];
    assert_eq!(spans(&history(store, "champion", None)), expected, "setting it again is no change");
    let delete = |store: &mut _, second, expected| {
        at(store, second, |store, context| {
            operations::delete_alias(store, "m", "champion", expected, None, context)
        })
    };
    conflict(delete(store, 6, Some(Some(1))), "not to the expected one; read the alias again");
    delete(store, 7, None).unwrap();
    assert!(matches!(delete(store, 8, None), Err(StoreError::Refused(Refusal::NotFound(_)))));
    assert_eq!(history(store, "champion", None)[0].until, Some(time(7)));
    let missing = set_alias(store, 9, "champion", 3, None);
    assert!(matches!(missing, Err(StoreError::Refused(Refusal::NotFound(_)))));
}

pub fn production_is_an_alias_and_the_history_has_no_overlap_and_no_gap(store: &mut impl Fixture) {
    let (one, two) = (register(store, "m", "1"), register(store, "m", "2"));
    promote(store, 10, one.id, Status::Production);
    promote(store, 15, one.id, Status::Production);
    set_alias(store, 20, PRODUCTION_ALIAS, two.number, Some(Some(1))).unwrap();
    assert_eq!(find(store, &VersionRef::production("m".to_owned())), Some(two.id));
    at(store, 30, |store, context| {
        operations::delete_alias(store, "m", PRODUCTION_ALIAS, None, Some("bad"), context)
    })
    .unwrap();
    promote(store, 40, one.id, Status::Production);
    delete(store, 50, one.id);
    let expected =
        [(1, time(40), Some(time(50))), (2, time(20), Some(time(30))), (1, time(10), Some(time(20)))];
    assert_eq!(spans(&history(store, PRODUCTION_ALIAS, None)), expected);
    for (second, expected) in
        [(9, None), (10, Some(1)), (19, Some(1)), (20, Some(2)), (29, Some(2)), (30, None), (50, None)]
    {
        let held = history(store, PRODUCTION_ALIAS, Some(time(second)));
        assert_eq!(held.iter().map(|held| held.number).next(), expected, "at {second}");
        assert!(held.len() < 2);
    }
    assert_eq!(history(store, PRODUCTION_ALIAS, None)[1].reason.as_deref(), Some("why"));
    set_alias(store, 42, "champion", two.number, None).unwrap();
    at(store, 43, |store, context| {
        operations::delete_alias(store, "m", "champion", None, Some("worse"), context)
    })
    .unwrap();
    let mut reasons = Vec::new();
    let mut visit = |event: model_registry::domain::TrailEvent<'_>| {
        if event.event.event_type == "delete_alias" || event.event.payload.ends_with(r#""to":"staging"}"#) {
            reasons.push(event.details.map(|details| details.into_owned()));
        }
        ControlFlow::Continue(())
    };
    let query = TrailQuery { model: Some("m".to_owned()), limit: 100, ..TrailQuery::default() };
    store.reader().trail(&query, &mut visit).unwrap();
    let reason = |text: &str| Some(format!(r#"{{"reason":"{text}"}}"#));
    assert_eq!(reasons, [reason("worse"), reason("bad")]);
    // The clock is set back.
    promote(store, 45, two.id, Status::Production);
    delete(store, 41, two.id);
    assert_eq!(spans(&history(store, PRODUCTION_ALIAS, None))[0], (2, time(50), Some(time(50))));
}

pub fn a_rollback_goes_only_to_a_version_that_was_in_production(store: &mut impl Fixture) {
    let ids: Vec<_> = ["1", "2", "3", "4"].map(|label| register(store, "m", label).id).to_vec();
    let back = |store: &mut _, second, to| {
        at(store, second, |store, context| operations::rollback(store, "m", to, "it fails", context))
    };
    conflict(back(store, 1, None), "no other version in production before; promote a version instead");
    for (second, id) in (10..).zip(&ids[..3]) {
        promote(store, second, *id, Status::Production);
    }
    assert_eq!(back(store, 20, None).unwrap().number, 2);
    assert_eq!(back(store, 21, Some(1)).unwrap().number, 1);
    conflict(back(store, 22, Some(1)), "is in production now; name another version");
    conflict(back(store, 22, Some(4)), "was never in production");
    let blank =
        at(store, 22, |store, context| operations::rollback(store, "m", Some(2), " ", context)).unwrap_err();
    assert!(blank.to_string().contains("reason is blank"), "{blank}");
    delete(store, 23, ids[1]);
    conflict(back(store, 24, None), "is deleted");
    assert_eq!(back(store, 25, Some(3)).unwrap().status, Status::Production);
    let held = history(store, PRODUCTION_ALIAS, None);
    assert_eq!((held[0].number, held[0].reason.as_deref()), (3, Some("it fails")));
}
