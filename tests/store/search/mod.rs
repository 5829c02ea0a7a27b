//! Searches: a part of the suite that every store passes. The pure evaluation of filters says what a search holds.

pub mod ordered;
mod plans;

use std::{cell::RefCell, collections::BTreeMap, ops::ControlFlow};

use fastrand::Rng;
use model_registry::{
    domain::{
        Digest, Draft, Evaluation, Filter, Force, Gate, LabelReuse, ListQuery, Order, Patch, Precondition,
        Principal, SearchQuery, SortKey, Status, Tags, Timestamp, Version, VersionFile,
        filter::{Attribute, Field, Scope, Value},
        json::read_object,
        scores::score,
    },
    store::{
        ReadStore, StoreError, WriteStore,
        operations::{self, Context},
    },
};
use proptest::{
    prelude::{Just, Strategy, prop_oneof},
    test_runner::{Config, TestRunner},
};

use crate::suite::Fixture;

const START: i64 = 1_769_864_709_250;
const VERSIONS: usize = 160;
const TEXTS: [&str; 8] = ["nlp", "NLP team", "", "ΟΔΟΣ", "οδος x", "a%b_c", "50% of pile", "it's"];
const NUMBERS: [f64; 6] = [0.0, 0.5, 0.8, 0.81, -1.5, 1e6];

/// Runs an operation that may be refused.
fn operate<T>(
    store: &mut impl Fixture,
    second: i64,
    operation: impl FnOnce(&mut dyn WriteStore, &Context<'_>) -> Result<T, StoreError>,
) -> Option<T> {
    let gate = Gate::default();
    let context = Context {
        actor: "ann",
        principal: &Principal::administrator("ann"),
        now: Timestamp::from_unix_millis(START + second * 1_000),
        gate: &gate,
        max_event_payload_bytes: 65_536,
        max_metrics_bytes: 1 << 20,
        warnings: Default::default(),
    };
    match store.write(|store| operation(store, &context)) {
        Ok(done) => Some(done),
        Err(StoreError::Refused(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

fn some<T: Copy>(random: &mut Rng, of: &[T]) -> Option<T> {
    random.bool().then(|| *random.choice(of).unwrap())
}

fn draft(random: &mut Rng, at: usize) -> Draft {
    let text = |random: &mut Rng| some(random, &TEXTS).map(str::to_owned);
    let mut draft = Draft::named(*random.choice(&["m-1", "M 2", "nlp"]).unwrap(), format!("v{at}")).unwrap();
    draft.status = *random.choice(&Status::ALL).unwrap();
    draft.artifact_uri = Some(format!("s3://b/{}", random.u8(0..4)));
    if random.bool() {
        draft.checkpoint.sha256 = Some(Digest::from_bytes([random.u8(0..3); 32]));
        draft.checkpoint.size_bytes = Some(random.i64(0..5));
    }
    if random.u8(0..4) == 0 {
        draft.config.sha256 = Some(Digest::from_bytes([random.u8(0..3); 32]));
    }
    draft.provenance.run_id = text(random);
    draft.provenance.git_commit = text(random);
    draft.provenance.created_by = text(random);
    draft.frozen = random.bool();
    draft.architecture.d_model = some(random, &[512, 1024]);
    draft.params = some(random, &[1, 5_000_000_000]);
    draft.training_step = some(random, &[-3, 0, 500, i64::MIN]);
    draft.training_loss = some(random, &NUMBERS);
    draft.dataset = text(random);
    draft.description = text(random);
    if random.bool() {
        draft.tags = vec!["team".to_owned(), "smoke".to_owned()];
    } else if random.bool() {
        draft.properties = BTreeMap::from([("team".to_owned(), TEXTS[random.usize(0..2)].to_owned())]);
    }
    draft.metrics = metrics(random);
    draft
}

fn metrics(random: &mut Rng) -> model_registry::domain::json::Object {
    let mut scores = |name: &str| {
        let value = random.choice(NUMBERS).unwrap();
        let noise = random.choice(["", r#","c":null,"d":{"e":1}"#, r#","c":"0.8""#]).unwrap();
        format!(r#""{name}":{{"a":{value}{noise}}}"#)
    };
    let suites = [scores("s"), scores("t.x")];
    let count = random.usize(0..3);
    read_object(&format!(r#"{{"loss":1,"suites":{{{}}}}}"#, suites[..count].join(","))).unwrap()
}

/// Registers, changes and deletes versions.
fn fill(store: &mut impl Fixture, versions: usize, random: &mut Rng) {
    let none = Precondition::default();
    let mut ids = Vec::new();
    for at in 0..versions {
        let second = random.i64(0..20);
        let draft = draft(random, at);
        let added = operate(store, second, |store, context| {
            operations::register(store, draft, LabelReuse::Allowed, context)
        });
        ids.push(added.unwrap().id);
        let id = *random.choice(&ids).unwrap();
        let second = random.i64(0..20);
        match random.u8(0..8) {
            0 => drop(operate(store, second, |store, context| {
                operations::delete(store, id, Force::All, &none, context)
            })),
            1 | 2 => {
                let suite = random.choice(["s", "t.x"]).unwrap();
                let given = format!(r#"{{"a":{},"b":{}}}"#, random.choice(NUMBERS).unwrap(), random.u8(0..3));
                let evaluation = Evaluation::new(suite, read_object(&given).unwrap()).unwrap();
                operate(store, second, |store, context| {
                    operations::record_metrics(store, id, &evaluation, &none, context)
                });
            }
            3 => {
                let patch = Patch {
                    metrics: Some(metrics(random)),
                    description: Some(Some("changed of pile".to_owned())),
                    tags: random.bool().then(|| vec!["team".to_owned()]),
                    ..Patch::default()
                };
                operate(store, second, |store, context| {
                    operations::update(store, id, &patch, &none, context)
                });
            }
            4 | 5 => {
                let key = random.choice(["team", "smoke", "a.b c"]).unwrap();
                let value = random.choice(TEXTS).unwrap();
                operate(store, second, |store, context| {
                    operations::set_tag(store, id, key, value, &none, context)
                });
            }
            6 => drop(operate(store, second, |store, context| {
                operations::delete_tag(store, id, "team", &none, context)
            })),
            _ => {
                let (name, number) = (random.choice(["m-1", "nlp"]).unwrap(), random.i64(1..20));
                operate(store, second, |store, context| {
                    operations::set_alias(store, name, "champion", number, None, None, context)
                });
            }
        }
    }
}

/// Returns all versions, each with the aliases that point to it.
fn versions(store: &mut impl Fixture) -> Vec<(Version, Vec<String>)> {
    let mut all = Vec::new();
    let every = ListQuery { limit: None, ..ListQuery::default() };
    store
        .reader()
        .versions(&every, &mut |row| {
            all.push(row.into_owned());
            ControlFlow::Continue(())
        })
        .unwrap();
    let mut with_aliases = Vec::new();
    for version in all {
        let aliases = store.reader().model(&version.name).unwrap().unwrap().aliases;
        let own = aliases.into_iter().filter(|alias| alias.version == version.id).map(|alias| alias.name);
        let own = own.collect();
        with_aliases.push((version, own));
    }
    with_aliases
}

/// Returns the values of a field of a version, which is what filters are about.
fn values(version: &Version, aliases: &[String], field: &Field) -> Vec<Value> {
    let text = |text: &Option<String>| text.clone().map(Value::Text);
    let integer = |number: Option<i64>| number.map(Value::Integer);
    let time = |text: &str| Timestamp::parse(text).map(Value::Time);
    let attribute = match field {
        Field::Tag(key) => Tags::of(version).get(key).map(|value| Value::Text(value.to_owned())),
        Field::Score { suite, metric } => score(version.metrics.as_deref(), suite, metric).map(Value::Number),
        Field::Attribute(attribute) => match attribute {
            Attribute::Name => Some(Value::Text(version.name.clone())),
            Attribute::Label => Some(Value::Text(version.label.clone())),
            Attribute::Number => integer(Some(version.number)),
            Attribute::Status => Some(Value::Text(version.status.to_string())),
            Attribute::Alias => return aliases.iter().cloned().map(Value::Text).collect(),
            Attribute::ArtifactUri => text(&version.artifact_uri),
            Attribute::Sha256 => {
                let digests = VersionFile::of(version).into_iter().filter_map(|file| file.sha256);
                return digests.map(Value::Text).collect();
            }
            Attribute::SizeBytes => integer(version.checkpoint_size_bytes),
            Attribute::RunId => text(&version.run_id),
            Attribute::GitCommit => text(&version.git_commit),
            Attribute::CreatedBy => text(&version.created_by),
            Attribute::SourceHost => text(&version.source_host),
            Attribute::Frozen => Some(Value::Flag(version.frozen)),
            Attribute::DModel => integer(version.d_model),
            Attribute::NLayers => integer(version.n_layers),
            Attribute::NHeads => integer(version.n_heads),
            Attribute::VocabSize => integer(version.vocab_size),
            Attribute::Params => integer(version.params),
            Attribute::TrainingStep => integer(version.training_step),
            Attribute::TrainingLoss => version.training_loss.map(Value::Number),
            Attribute::Dataset => text(&version.dataset),
            Attribute::Description => text(&version.description),
            Attribute::CreatedAt => time(&version.created_at),
            Attribute::UpdatedAt => time(&version.updated_at),
        },
    };
    attribute.into_iter().collect()
}

/// Returns the ids of the whole list, computed by the model.
fn expected(all: &[(Version, Vec<String>)], query: &SearchQuery) -> Vec<i64> {
    let passes = |(version, aliases): &&(Version, Vec<String>)| {
        let read = |field: &Field| values(version, aliases, field);
        query.filter.as_ref().is_none_or(|filter| filter.matches(&read))
    };
    let mut found: Vec<_> = all.iter().filter(passes).collect();
    let key = |(version, aliases): &(Version, Vec<String>)| {
        (values(version, aliases, &query.sort.field).pop(), version.id)
    };
    found.sort_by(|one, other| {
        let (one, other) = (key(one), key(other));
        query.sort.compare((one.0.as_ref(), one.1), (other.0.as_ref(), other.1))
    });
    found.into_iter().map(|(version, _)| version.id).collect()
}

/// Returns the ids of a page, and the query for the next one.
fn page(reader: &mut dyn ReadStore, query: &SearchQuery) -> (Vec<i64>, Option<SearchQuery>) {
    let mut ids = Vec::new();
    let visit = &mut |row: model_registry::domain::VersionRow<'_>| {
        ids.push(row.id);
        ControlFlow::Continue(())
    };
    let (page, rest) = reader.search(query, visit).unwrap();
    assert_eq!((rest.len(), page.total), (0, None));
    let next = page.next.map(|cursor| {
        // As a client sends it back.
        let after = query.sort.cursor(&cursor.encode()).unwrap();
        SearchQuery { after: Some(after), ..query.clone() }
    });
    (ids, next)
}

/// Compares a search with the model: all pages joined are the whole list.
#[track_caller]
fn compare(reader: &mut dyn ReadStore, all: &[(Version, Vec<String>)], query: &SearchQuery) {
    let shown = || query.filter.as_ref().map(ToString::to_string);
    let expected = expected(all, query);
    let (mut joined, mut next) = (Vec::new(), Some(query.clone()));
    while let Some(query) = next {
        let (ids, following) = page(reader, &query);
        assert!(ids.len() <= query.limit as usize);
        joined.extend(ids);
        next = following;
        assert!(
            joined.len() <= expected.len(),
            "{:?} by {}: {joined:?} of {expected:?}",
            shown(),
            query.sort
        );
        assert_eq!(next.is_some(), joined.len() < expected.len(), "{:?} by {}", shown(), query.sort);
    }
    assert_eq!(joined, expected, "{:?} by {}", shown(), query.sort);
}

/// A condition on any field, with any operator that it has.
fn condition() -> impl Strategy<Value = String> {
    let pick =
        |of: &[&str]| proptest::sample::select(of.iter().map(|of| (*of).to_owned()).collect::<Vec<_>>());
    let texts = pick(&[
        "name",
        "label",
        "artifact_uri",
        "run_id",
        "git_commit",
        "created_by",
        "source_host",
        "dataset",
        "description",
        "tags.team",
        "tags.smoke",
        "tags.`a.b c`",
        "tags.none",
    ]);
    let text = pick(&[
        "nlp",
        "NLP team",
        "",
        "m-1",
        "M 2",
        "v7",
        "v12",
        "s3://b/1",
        "ΟΔΟΣ",
        "οδος x",
        "a%b_c",
        "it''s",
        "50% of pile",
    ]);
    let pattern = pick(&[
        "%",
        "nlp%",
        "%PILE",
        "%of pi%",
        "_lp",
        "%οδοσ%",
        "%\\%%",
        "v1_",
        "%e%m%",
        "s3://%/1",
        "",
        "%''%",
    ]);
    let comparators = || pick(&["=", "!=", "<", "<=", ">", ">="]);
    let integers = pick(&["number", "size_bytes", "d_model", "params", "training_step"]);
    let numbers =
        pick(&["training_loss", "scores.s.a", "scores.s.b", "scores.`t.x`.a", "scores.s.c", "scores.no.no"]);
    let times = pick(&["created_at", "updated_at"]);
    let time = (-1..21_i64, 0..2_i64).prop_map(|(second, millis)| {
        let time = Timestamp::from_unix_millis(START + second * 1_000 + millis);
        format!("'{}'", time.to_iso())
    });
    let not = || pick(&["", "NOT "]);
    prop_oneof![
        4 => (texts.clone(), comparators(), text.clone()).prop_map(|(field, is, value)| format!("{field} {is} '{value}'")),
        2 => (texts.clone(), not(), pick(&["LIKE", "ILIKE"]), pattern)
            .prop_map(|(field, not, like, value)| format!("{field} {not}{like} '{value}'")),
        2 => (texts.clone(), not(), text.clone(), text).prop_map(|(field, not, one, other)| format!("{field} {not}IN ('{one}', '{other}')")),
        2 => (integers.clone(), comparators(), pick(&["0", "1", "3", "500", "1024", "5000000000", "-9223372036854775808"]))
            .prop_map(|(field, is, value)| format!("{field} {is} {value}")),
        4 => (numbers.clone(), comparators(), pick(&["0", "0.8", "0.805", "-1.5", "1e6"]))
            .prop_map(|(field, is, value)| format!("{field} {is} {value}")),
        1 => (numbers.clone(), not()).prop_map(|(field, not)| format!("{field} {not}IN (0.8, 1, -0.0)")),
        2 => (times.clone(), comparators(), time.clone()).prop_map(|(field, is, value)| format!("{field} {is} {value}")),
        1 => (times, not(), time.clone(), time).prop_map(|(field, not, one, other)| format!("{field} {not}IN ({one}, {other})")),
        1 => (prop_oneof![texts, integers, numbers, pick(&["sha256", "alias"])], not())
            .prop_map(|(field, not)| format!("{field} IS {not}NULL")),
        1 => pick(&["frozen = true", "frozen != true", "status = 'production'", "status != 'staging'",
            "status NOT IN ('staging', 'archived')", "alias = 'champion'", "alias = 'production'", "alias LIKE '%p%'",
            "alias IN ('none', 'champion')"]),
        1 => (0..4_u8).prop_map(|byte| format!("sha256 = '{}'", Digest::from_bytes([byte; 32]))),
        1 => Just(format!("sha256 IN ('{}', '{}')", Digest::from_bytes([1; 32]), Digest::from_bytes([2; 32]))),
    ]
}

fn filter() -> impl Strategy<Value = String> {
    condition().prop_recursive(4, 12, 3, |part| {
        prop_oneof![
            2 => proptest::collection::vec(part.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" AND "))),
            1 => proptest::collection::vec(part.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" OR "))),
            1 => part.prop_map(|part| format!("NOT ({part})")),
        ]
    })
}

/// Every sort key of a version, in both directions.
fn sorts() -> Vec<SortKey> {
    let attributes = Attribute::NAMES.iter().map(|name| (*name).to_owned());
    let others = ["tags.team", "tags.`a.b c`", "scores.s.a", "scores.`t.x`.a", "scores.no.no"];
    let fields: Vec<_> = attributes.chain(others.map(str::to_owned)).collect();
    let mut sorts = Vec::new();
    for field in fields.iter().filter(|field| !["alias", "sha256", "description"].contains(&field.as_str())) {
        for order in [Order::Ascending, Order::Descending] {
            sorts.push(SortKey::parse(&format!("{field}:{}", order.as_str()), Scope::Versions).unwrap());
        }
    }
    sorts
}

/// Compares searches by generated filters.
fn compare_many(
    reader: &mut dyn ReadStore,
    all: &[(Version, Vec<String>)],
    cases: u32,
    limits: std::ops::Range<u32>,
) {
    let sort = proptest::sample::select(sorts());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let reader = RefCell::new(reader);
    let queries = (proptest::option::weighted(0.95, filter()), sort, limits);
    TestRunner::new(config)
        .run(&queries, |(filter, sort, limit)| {
            let filter = filter.map(|text| Filter::parse(&text, Scope::Versions).unwrap());
            compare(*reader.borrow_mut(), all, &SearchQuery { filter, sort, limit, after: None });
            Ok(())
        })
        .unwrap();
}

pub fn searches_match_the_evaluation_of_their_filters<F: Fixture>(store: &mut F) {
    fill(store, VERSIONS, &mut Rng::with_seed(7));
    let all = versions(store);
    assert!(all.len() > VERSIONS / 2);
    for sort in sorts() {
        for limit in [1_000, 7] {
            compare(
                store.reader(),
                &all,
                &SearchQuery { filter: None, sort: sort.clone(), limit, after: None },
            );
        }
    }
    let time = Timestamp::from_unix_millis(START + 7_000).to_iso();
    let digest = Digest::from_bytes([1; 32]);
    for filter in [
        format!("created_at IN ('{time}') and updated_at >= '{time}'"),
        format!("updated_at IN ('{time}') or created_at < '{time}'"),
        "name = 'm-1' and status = 'staging'".to_owned(),
        "tags.team = '' and scores.s.a >= 0.5".to_owned(),
        "scores.s.a IS NULL and tags.team IS NULL".to_owned(),
        format!("alias IN ('champion', 'production') and NOT sha256 = '{digest}'"),
    ] {
        let filter = Some(Filter::parse(&filter, Scope::Versions).unwrap());
        for sort in sorts() {
            compare(
                store.reader(),
                &all,
                &SearchQuery { filter: filter.clone(), sort, limit: 9, after: None },
            );
        }
    }
    compare_many(store.reader(), &all, F::RANDOM_SEARCHES, 1..60);
}

pub fn a_visitor_that_stops_a_search_gets_the_other_ids_of_the_page(store: &mut impl Fixture) {
    fill(store, 20, &mut Rng::with_seed(8));
    let query = SearchQuery { limit: 7, ..SearchQuery::default() };
    let (whole, next) = page(store.reader(), &query);
    for most in 1..=whole.len() {
        let mut seen = Vec::new();
        let visit = &mut |row: model_registry::domain::VersionRow<'_>| {
            seen.push(row.id);
            if seen.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let (page, rest) = store.reader().search(&query, visit).unwrap();
        assert_eq!(
            ([seen, rest].concat(), page.next),
            (whole.clone(), next.clone().and_then(|next| next.after))
        );
    }
}
