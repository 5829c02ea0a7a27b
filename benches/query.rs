//! Measures lists, filters, searches and counts of the store alone, without queues and HTTP, at 1,000 to 1,000,000 versions.
//! `curve` measures the same through the server.
//!
//! `cargo bench --bench query`, or `cargo bench --bench query -- 'q rare'` for some. The first run creates the
//! registries and keeps them under `target/bench`. Good latencies hardly grow with the size.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{hint::black_box, ops::ControlFlow, time::Duration};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use model_registry::{
    domain::{
        Cursor, Filter, ListQuery, SearchQuery, Sort, SortKey, Status, VersionRef, VersionRow, filter::Scope,
    },
    store::{ReadStore, sqlite::SqliteReader},
};

use support::{options, seed, words};

const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Returns the queries by name.
fn queries(models: u64, deep: Option<Cursor>) -> Vec<(&'static str, ListQuery)> {
    let text = |text: &str| Some(text.to_owned());
    let all = ListQuery::default;
    vec![
        ("first page", all()),
        ("by updated_at", ListQuery { sort: Sort::UpdatedAt, ..all() }),
        ("by training_step", ListQuery { sort: Sort::TrainingStep, ..all() }),
        ("status", ListQuery { status: Some(Status::Staging), ..all() }),
        ("name", ListQuery { name: Some(words::name(0)), ..all() }),
        ("tag broad", ListQuery { tag: text(words::BROAD_TAG), ..all() }),
        ("tag rare", ListQuery { tag: text(words::RARE_TAG), ..all() }),
        ("q broad", ListQuery { q: text(words::BROAD_TEXT), ..all() }),
        ("q rare", ListQuery { q: text(words::RARE_TEXT), ..all() }),
        ("q two letters", ListQuery { q: text(words::TWO_LETTERS), ..all() }),
        ("q no match", ListQuery { q: text(words::NO_TEXT), ..all() }),
        ("cursor, deep", ListQuery { after: deep, ..all() }),
        ("offset, deep", ListQuery { offset: models - 50, ..all() }),
    ]
}

/// Returns filters and sort keys by name; the last reads all versions.
fn searches(models: u64) -> Vec<(&'static str, SearchQuery)> {
    let search = |filter: &str, sort: &str| SearchQuery {
        filter: Some(Filter::parse(filter, Scope::Versions).unwrap()),
        sort: SortKey::parse(sort, Scope::Versions).unwrap(),
        ..SearchQuery::default()
    };
    let by_score = "scores.smoke-v1.score:desc";
    let team = format!("tags.{} = 'team-07'", words::TEAM_TAG);
    vec![
        ("score, by score", search("scores.smoke-v1.score >= 0.8", by_score)),
        ("score and tag, by score", search(&format!("scores.smoke-v1.score >= 0.8 and {team}"), by_score)),
        ("score, newest", search("scores.smoke-v1.score >= 0.99", "created_at:desc")),
        ("tag value", search(&team, "created_at:desc")),
        ("text", search(&format!("description ILIKE '%{}%'", words::RARE_TEXT), "created_at:desc")),
        (
            "name, by score",
            search(
                &format!("name = '{}'", words::name(words::names(models) / 2)),
                "scores.mt-bench.score:desc",
            ),
        ),
        ("no index, no match", search("dataset = 'none'", "created_at:desc")),
    ]
}

fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("query");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    for models in SIZES {
        let mut reader = SqliteReader::open(&options(&seed::registry(models))).unwrap();
        let deep = ListQuery { offset: models * 9 / 10, ..ListQuery::default() };
        let deep = reader.versions(&deep, &mut |_| ControlFlow::Continue(())).unwrap().0.next;
        for (name, query) in queries(models, deep) {
            group.bench_function(BenchmarkId::new(name, models), |bencher| {
                bencher.iter(|| {
                    let visit = &mut |model: VersionRow<'_>| {
                        drop(black_box(model));
                        ControlFlow::Continue(())
                    };
                    reader.versions(&query, visit).unwrap()
                });
            });
        }
        for (name, query) in searches(models) {
            group.bench_function(BenchmarkId::new(name, models), |bencher| {
                bencher.iter(|| {
                    let visit = &mut |model: VersionRow<'_>| {
                        drop(black_box(model));
                        ControlFlow::Continue(())
                    };
                    reader.search(&query, visit).unwrap()
                });
            });
        }
        let mut ids = seed::ids(models);
        group.bench_function(BenchmarkId::new("by id", models), |bencher| {
            bencher.iter(|| {
                reader
                    .version(&VersionRef::Id(ids.next().unwrap()), &mut |model| drop(black_box(model)))
                    .unwrap()
            });
        });
        group.bench_function(BenchmarkId::new("stats", models), |bencher| {
            bencher.iter(|| black_box(reader.stats().unwrap()));
        });
    }
    group.finish();
}

criterion_group!(benches, reading);
criterion_main!(benches);
