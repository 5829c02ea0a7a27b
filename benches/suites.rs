//! Merges the scores of a suite into a version that has 1, 10 or 100 suites, and digests the old metrics, as the audit
//! trail needs it. It needs neither database nor HTTP.
//!
//! `cargo bench --bench suites`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use model_registry::domain::json::{self, canonical};
use sha2::{Digest as _, Sha256};

use support::{seed, words};

/// Returns the metrics of a version with this number of suites, as JSON text.
fn metrics(suites: u64) -> String {
    let mut text = None;
    for suite in 0..suites {
        let evaluation = seed::evaluation(&format!("suite-{suite}"), suite);
        text = Some(evaluation.record(text.as_deref(), "key:hush…", seed::at(0)).unwrap().metrics);
    }
    text.unwrap_or_default()
}

fn merging(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("suites");
    for suites in [1, 10, 100] {
        let prior = metrics(suites);
        group.throughput(Throughput::Bytes(prior.len() as u64));
        group.bench_function(BenchmarkId::new("merge", suites), |bencher| {
            bencher.iter_batched(
                || seed::evaluation("suite-0", words::hash(suites, 0)),
                |evaluation| black_box(evaluation.record(Some(&prior), "key:hush…", seed::at(1)).unwrap()),
                BatchSize::SmallInput,
            );
        });
        let object = json::read_object(&prior).unwrap();
        group.bench_function(BenchmarkId::new("canonical digest", suites), |bencher| {
            bencher.iter(|| black_box(Sha256::digest(canonical(&object))));
        });
    }
    group.finish();
}

criterion_group!(benches, merging);
criterion_main!(benches);
