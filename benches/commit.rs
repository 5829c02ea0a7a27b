//! The gain of group commit: metrics writes per second, by the number of operations that share a sync.
//!
//! `cargo bench --bench commit`. Each operation is the one that `POST /models/{id}/metrics` runs in the writer:
//! `record_metrics`, with one commit for the batch, at `synchronous=FULL`. The baseline is bare rusqlite, which changes the
//! same row and adds the same event with one commit each: no server can beat it with one client.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use model_registry::{
    domain::{Gate, Precondition, Principal},
    store::{
        Transaction as _,
        operations::{self, Context},
        sqlite::SqliteWriter,
    },
};

use support::{bare::BareSqlite, options, scratch, seed, words};

/// Versions in the registry, and the pages of WAL after which it is restarted; 64 MB as in the server.
const MODELS: u64 = 1_000;
const MAX_WAL_PAGES: u32 = 16_384;

fn commits(criterion: &mut Criterion) {
    let folder = scratch();
    let path = seed::copy(MODELS, folder.path());
    let mut group = criterion.benchmark_group("commit");

    let mut writer = SqliteWriter::open(&options(&path), seed::at(0)).unwrap();
    let gate = Gate::default();
    let no_condition = Precondition::default();
    let mut ids = seed::ids(MODELS);
    let mut turn = 0;
    for batch in [1_u64, 8, 64, 128] {
        group.throughput(Throughput::Elements(batch));
        group.bench_function(BenchmarkId::new("record_metrics", batch), |bencher| {
            bencher.iter(|| {
                writer.begin(Duration::from_secs(60)).unwrap();
                for _ in 0..batch {
                    turn += 1;
                    let now = seed::at(turn);
                    let context = Context {
                        actor: "key:hush…",
                        principal: &Principal::administrator("ann"),
                        now,
                        gate: &gate,
                        max_event_payload_bytes: 65_536,
                        max_metrics_bytes: 1 << 20,
                        warnings: Default::default(),
                    };
                    let evaluation = seed::evaluation(words::SUITES[0], turn as u64);
                    let id = ids.next().unwrap();
                    let model =
                        operations::record_metrics(&mut writer, id, &evaluation, &no_condition, &context);
                    black_box(model.unwrap());
                }
                writer.commit().unwrap();
                if writer.wal_pages() > MAX_WAL_PAGES {
                    writer.restart_wal(Duration::from_secs(60)).unwrap();
                }
            });
        });
    }
    drop(writer);

    let mut bare = BareSqlite::open(&path).unwrap();
    group.throughput(Throughput::Elements(1));
    group.bench_function("bare rusqlite, one commit each", |bencher| bencher.iter(|| bare.write().unwrap()));
    group.finish();
}

criterion_group!(benches, commits);
criterion_main!(benches);
