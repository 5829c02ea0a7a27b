//! Searches in an order of several keys, compared with the evaluation of their filters and orders.

use std::{cmp::Ordering, collections::BTreeSet};

use model_registry::domain::{
    GivenTimes, ModelKey, ModelSummary, Numbering, OrderKey, OrderedQuery, PageStart, Place,
    filter::mlflow::{parse_filter, parse_order},
    model::ModelPatch,
    query::ModelQuery,
    search::OrderBy,
};

use super::*;

const PROMPT: &str = "mlflow.prompt.is_prompt";
const FILTERS: [&str; 20] = [
    "",
    "name = 'm-1'",
    "name != 'm-1'",
    "name LIKE '%1' AND tags.team = 'nlp'",
    "name ILIKE 'M%'",
    "name IN ('nlp', 'M 2', 'none')",
    "name NOT IN ('nlp')",
    "run_id = ''",
    "run_id != 'nlp'",
    "run_id LIKE '%team'",
    "source_path = 's3://b/1'",
    "source_path LIKE 's3://b/_' AND version_number > 5",
    "version_number <= 12",
    "tags.team != 'nlp'",
    "tags.team ILIKE 'NLP%' AND tags.team != 'nlp'",
    "tags.none != 'x'",
    "scores.s.a >= 0.5",
    "tags.`mlflow.prompt.is_prompt` = 'true'",
    "tags.`mlflow.prompt.is_prompt` != 'true' AND name = 'm-1'",
    "tags.`mlflow.prompt.is_prompt` = 'true' AND name = 'p'",
];
const ORDERS: [&[&str]; 9] = [
    &[],
    &["name"],
    &["name DESC", "version_number ASC"],
    &["version_number DESC"],
    &["version_number", "name DESC"],
    &["creation_timestamp"],
    &["last_updated_timestamp ASC", "name DESC"],
    &["name", "last_updated_timestamp DESC"],
    &["creation_timestamp DESC", "last_updated_timestamp"],
];

fn query(filter: &str, order: &[&str], scope: Scope, limit: u32) -> OrderedQuery {
    let order: Vec<_> = order.iter().map(|item| (*item).to_owned()).collect();
    let found = parse_filter(filter, scope).unwrap();
    OrderedQuery {
        filter: found.filter,
        with_prompts: found.with_prompts,
        order: parse_order(&order, scope).unwrap(),
        limit,
        start: PageStart::Offset(0),
    }
}

/// Returns the ids of a page, and the place where it ended.
fn page(reader: &mut dyn ReadStore, query: &OrderedQuery) -> (Vec<i64>, Option<Place>) {
    let mut ids = Vec::new();
    let next = reader.ordered_versions(query, &mut |row| {
        ids.push(row.id);
        ControlFlow::Continue(())
    });
    (ids, next.unwrap())
}

fn directed(key: &OrderKey, order: Ordering) -> Ordering {
    if key.order == Order::Descending { order.reverse() } else { order }
}

/// Returns the ids of the whole list, computed by the model.
fn expected(all: &[(Version, Vec<String>)], prompts: &BTreeSet<String>, query: &OrderedQuery) -> Vec<i64> {
    let passes = |(version, aliases): &&(Version, Vec<String>)| {
        let read = |field: &Field| values(version, aliases, field);
        let is_of_prompt = prompts.contains(&version.name) || Tags::of(version).get(PROMPT) == Some("true");
        query.filter.as_ref().is_none_or(|filter| filter.matches(&read))
            && (query.with_prompts || !is_of_prompt)
    };
    let mut found: Vec<_> = all.iter().filter(passes).map(|(version, _)| version).collect();
    found.sort_by(|one, other| {
        let compared = query.order.iter().map(|key| {
            let order = match key.by {
                OrderBy::Name => one.name.cmp(&other.name),
                OrderBy::Number => one.number.cmp(&other.number),
                OrderBy::CreatedAt => one.created_at.cmp(&other.created_at),
                OrderBy::ChangedAt => one.changed_at().cmp(other.changed_at()),
            };
            directed(key, order)
        });
        compared.fold(Ordering::Equal, Ordering::then)
    });
    found.into_iter().map(|version| version.id).collect()
}

/// Adds a prompt with two versions, one of which does not say that it is one.
fn add_prompt(store: &mut impl Fixture) -> BTreeSet<String> {
    let tags = BTreeMap::from([(PROMPT.to_owned(), Some("true".to_owned()))]);
    let patch = ModelPatch { tags, ..ModelPatch::default() };
    operate(store, 3, |store, context| {
        operations::create_model(store, "p", &patch, GivenTimes::default(), Numbering::Continued, context)
    });
    for label in ["1", "2"] {
        let mut draft = Draft::named("p", label).unwrap();
        draft.artifact_uri = Some("dummy-source".to_owned());
        if label == "1" {
            draft.properties = BTreeMap::from([(PROMPT.to_owned(), "true".to_owned())]);
        }
        operate(store, 3, |store, context| operations::register(store, draft, LabelReuse::Allowed, context));
    }
    BTreeSet::from(["p".to_owned()])
}

/// Compares searches with the model: all pages joined are the whole list.
fn compare_orders(store: &mut impl Fixture, limit: u32) {
    let prompts = add_prompt(store);
    for name in ["a/b", "a:b"] {
        let mut draft = Draft::named(name, "1").unwrap();
        draft.artifact_uri = Some("s3://b/1".to_owned());
        operate(store, 4, |store, context| operations::register(store, draft, LabelReuse::Allowed, context));
    }
    let all = versions(store);
    for filter in FILTERS {
        for order in ORDERS {
            let query = query(filter, order, Scope::Versions, limit);
            let expected = expected(&all, &prompts, &query);
            let (mut joined, mut start) = (Vec::new(), Some(PageStart::Offset(0)));
            while let Some(from) = start {
                let (ids, next) = page(store.reader(), &OrderedQuery { start: from, ..query.clone() });
                joined.extend(ids);
                assert!(
                    joined.len() <= expected.len(),
                    "{filter:?} by {order:?}: {joined:?} of {expected:?}"
                );
                assert_eq!(next.is_some(), joined.len() < expected.len(), "{filter:?} by {order:?}");
                start = next.map(PageStart::After);
            }
            assert_eq!(joined, expected, "{filter:?} by {order:?}");
            let offset = OrderedQuery { start: PageStart::Offset(2), ..query.clone() };
            let (ids, _) = page(store.reader(), &offset);
            let skipped: Vec<_> = expected.into_iter().skip(2).take(limit as usize).collect();
            assert_eq!(ids, skipped, "{filter:?} by {order:?}");
        }
    }
}

pub fn pages_in_an_order_of_several_keys_join_to_the_whole_list(store: &mut impl Fixture) {
    fill(store, VERSIONS / 2, &mut Rng::with_seed(3));
    compare_orders(store, 23);
}

fn add(store: &mut impl Fixture, name: &str, second: i64) -> i64 {
    let mut draft = Draft::named(name, second.to_string()).unwrap();
    draft.artifact_uri = Some("s3://b/1".to_owned());
    let added = operate(store, second, |store, context| {
        operations::register(store, draft, LabelReuse::Allowed, context)
    });
    added.unwrap().id
}

pub fn a_page_begins_after_the_last_row_of_the_one_before_while_rows_come_and_go(store: &mut impl Fixture) {
    let none = Precondition::default();
    let ids: Vec<_> = (0..6).map(|at| add(store, &format!("m{at}"), at)).collect();
    let first = query("", &["name"], Scope::Versions, 2);
    let (page_ids, next) = page(store.reader(), &first);
    assert_eq!(page_ids, ids[..2]);
    // A visitor that stops ends the page.
    let mut seen = Vec::new();
    let stopped = store.reader().ordered_versions(&query("", &["name"], Scope::Versions, 5), &mut |row| {
        seen.push(row.id);
        if seen.len() < 2 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert_eq!((seen, &stopped.unwrap()), (ids[..2].to_vec(), &next));
    operate(store, 7, |store, context| operations::delete(store, ids[1], Force::All, &none, context));
    operate(store, 7, |store, context| operations::delete(store, ids[2], Force::All, &none, context));
    add(store, "m0-before", 8);
    let between = add(store, "m2-between", 8);
    let start = PageStart::After(next.unwrap());
    let (page_ids, _) = page(store.reader(), &OrderedQuery { start, ..first });
    assert_eq!(page_ids, [between, ids[3]]);
}

pub fn recorded_metrics_and_tags_leave_the_place_of_a_version(store: &mut impl Fixture) {
    let none = Precondition::default();
    let ids: Vec<_> = (0..3).map(|second| add(store, "m", second)).collect();
    let newest = query("", &[], Scope::Versions, 10);
    let scores = Evaluation::new("s", read_object(r#"{"a":1}"#).unwrap()).unwrap();
    operate(store, 5, |store, context| operations::record_metrics(store, ids[0], &scores, &none, context));
    operate(store, 6, |store, context| operations::set_tag(store, ids[1], "k", "v", &none, context));
    assert_eq!(page(store.reader(), &newest).0, [ids[2], ids[1], ids[0]]);
    operate(store, 7, |store, context| {
        operations::promote(store, ids[0], Status::Staging, None, &none, context)
    });
    assert_eq!(page(store.reader(), &newest).0, [ids[0], ids[2], ids[1]]);
    let patch = ModelPatch { name: Some("n".to_owned()), ..ModelPatch::default() };
    operate(store, 9, |store, context| operations::update_model(store, "m", &patch, &none, context));
    assert_eq!(page(store.reader(), &newest).0, [ids[2], ids[1], ids[0]]);
}

pub fn models_are_searched_by_name_and_tags_and_prompts_are_apart(store: &mut impl Fixture) {
    let models = [
        ("alpha", &[("team", "a"), ("tier", "gold")][..]),
        ("beta", &[("team", "a"), ("tier", "tin")]),
        ("Gamma", &[("team", "b")]),
        ("delta_1", &[]),
        ("delta21", &[("empty", "")]),
        ("pr", &[(PROMPT, "true"), ("team", "a")]),
        ("org/x", &[("team", "a")]),
    ];
    for (second, (name, tags)) in (0..).zip(models) {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned()))).collect();
        let patch = ModelPatch { tags, ..ModelPatch::default() };
        operate(store, second, |store, context| {
            operations::create_model(
                store,
                name,
                &patch,
                GivenTimes::default(),
                Numbering::Continued,
                context,
            )
        })
        .unwrap();
    }
    for (filter, order, expected) in [
        ("", &[][..], &["Gamma", "alpha", "beta", "delta21", "delta_1"][..]),
        ("", &["name DESC"], &["delta_1", "delta21", "beta", "alpha", "Gamma"]),
        ("", &["timestamp DESC"], &["delta21", "delta_1", "Gamma", "beta", "alpha"]),
        ("name LIKE 'delta_1'", &[], &["delta21", "delta_1"]),
        ("name ILIKE '%A' AND name != 'alpha'", &[], &["Gamma", "beta"]),
        ("tags.team = 'a'", &[], &["alpha", "beta"]),
        ("tags.team = 'a'", &["timestamp DESC"], &["beta", "alpha"]),
        ("tags.team = 'a' AND tags.tier = 'gold'", &[], &["alpha"]),
        ("tags.team = 'a' AND tags.team = 'b'", &[], &[]),
        ("tags.team != 'a'", &[], &["Gamma"]),
        ("tags.team ILIKE 'A'", &[], &["alpha", "beta"]),
        ("tags.none != 'x'", &[], &[]),
        ("tags.empty = ''", &[], &["delta21"]),
        ("tags.`mlflow.prompt.is_prompt` = 'true'", &[], &["pr"]),
        (
            "tags.`mlflow.prompt.is_prompt` = 'false'",
            &["name"],
            &["Gamma", "alpha", "beta", "delta21", "delta_1"],
        ),
    ] {
        for limit in [1, 2, 10] {
            let query = query(filter, order, Scope::Models, limit);
            let (mut names, mut start) = (Vec::new(), Some(PageStart::Offset(0)));
            while let Some(from) = start {
                let page = OrderedQuery { start: from, ..query.clone() };
                let (models, next) = store.reader().ordered_models(&page).unwrap();
                assert!(models.len() <= limit as usize);
                names.extend(models.into_iter().map(|found: ModelSummary| found.model.name));
                assert_eq!(next.is_some(), names.len() < expected.len(), "{filter:?} by {order:?}");
                start = next.map(PageStart::After);
            }
            assert_eq!(names, expected, "{filter:?} by {order:?}");
        }
    }
    let mut listed = |query: ModelQuery| {
        let (models, _) = store.reader().models(&ModelQuery { limit: 10, ..query }).unwrap();
        models.into_iter().map(|found| found.model.name).collect::<Vec<_>>()
    };
    assert_eq!(listed(ModelQuery { prompts: true, ..ModelQuery::default() }), ["pr"]);
    let models = listed(ModelQuery::default());
    assert_eq!(models, ["Gamma", "alpha", "beta", "delta21", "delta_1", "org/x"]);
    let tag = Some(("team".to_owned(), Some("a".to_owned())));
    assert_eq!(listed(ModelQuery { tag: tag.clone(), ..ModelQuery::default() }), ["alpha", "beta", "org/x"]);
    assert_eq!(listed(ModelQuery { tag, prompts: true, ..ModelQuery::default() }), ["pr"]);
}

pub fn the_newest_version_of_each_status_is_found_for_many_models(store: &mut impl Fixture) {
    fill(store, VERSIONS, &mut Rng::with_seed(5));
    let all = versions(store);
    let mut newest: BTreeMap<(ModelKey, &str), i64> = BTreeMap::new();
    for (version, _) in &all {
        let number = newest.entry((version.model, version.status.as_str())).or_default();
        *number = version.number.max(*number);
    }
    let keys: BTreeSet<ModelKey> = all.iter().map(|(version, _)| version.model).collect();
    let keys: Vec<_> = keys.into_iter().chain([999_999]).collect();
    let mut found = BTreeMap::new();
    let mut visit = |row: model_registry::domain::VersionRow<'_>| {
        assert_eq!(found.insert((row.model, row.status.as_str()), row.number), None);
    };
    store.reader().latest_versions(&keys, &mut visit).unwrap();
    assert_eq!(found, newest);
}

#[test]
fn orders_of_a_large_file_match_the_evaluation_and_are_read_along_indexes() {
    let mut store = crate::sqlite::fixture();
    fill(&mut store, 4_000, &mut Rng::with_seed(11));
    compare_orders(&mut store, 700);
    for (filter, order, index) in [
        ("", &[][..], "SEARCH v USING INDEX idx_models_changed (changed_at>?)"),
        ("run_id != 'x'", &[], "SEARCH v USING INDEX idx_models_changed (changed_at>?)"),
        ("", &["creation_timestamp"], "SEARCH v USING INDEX idx_models_created (created_at>?)"),
        ("", &["name DESC"], "SEARCH v USING INDEX idx_models_number (model_key=? AND number>?)"),
        ("name = 'm-1'", &["version_number DESC"], "SEARCH v USING INDEX idx_models_number"),
    ] {
        let planned = store.reader.planned_order(&query(filter, order, Scope::Versions, 20)).unwrap();
        let lines: Vec<_> = planned.iter().flat_map(|planned| planned.plan.clone()).collect();
        let plan = lines.join("\n");
        assert!(plan.contains(index), "{filter:?} by {order:?}:\n{plan}");
        assert!(!plan.contains("TEMP B-TREE FOR ORDER BY"), "{filter:?} by {order:?}:\n{plan}");
    }
}
