//! Measures lists, filters, search and counts of the store alone, without queues and HTTP, at 1,000, 10,000 and 100,000
//! versions. `curve` measures the same through the server.
//!
//! `cargo bench --bench query`, or `cargo bench --bench query -- 'q rare'` for some. The first run creates the
//! registries and keeps them under `target/bench`. Good latencies hardly grow with the size.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{hint::black_box, ops::ControlFlow, time::Duration};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use model_registry::{
    domain::{Cursor, ListQuery, Sort, Status, VersionRef, VersionRow},
    store::{ReadStore, sqlite::SqliteReader},
};

use support::{options, seed, words};

const SIZES: [u64; 3] = [1_000, 10_000, 100_000];

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
