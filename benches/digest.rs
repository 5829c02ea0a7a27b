//! Digests a file of 64 MiB in the page cache, compared with SHA-256 over memory, which is the limit.
//!
//! `cargo bench --bench digest`. The file is read once, in chunks, by its own thread; the difference of the two figures is
//! the cost of reading.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{fs, hint::black_box};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model_registry::artifact::OpenFile;
use sha2::{Digest as _, Sha256};

use support::{scratch, words};

const WORDS: u64 = 8 << 20;

fn digests(criterion: &mut Criterion) {
    let folder = scratch();
    let path = folder.path().join("checkpoint.pt");
    let bytes: Vec<u8> = (0..WORDS).flat_map(|at| words::hash(at, 0).to_le_bytes()).collect();
    fs::write(&path, &bytes).unwrap();

    let mut group = criterion.benchmark_group("digest");
    group.sample_size(20).throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("a file", |bencher| {
        bencher.iter(|| {
            let measured = OpenFile::open(&path).unwrap().measure(|_, _| true).unwrap();
            assert!(measured.sha256.is_some());
            black_box(measured)
        });
    });
    group.bench_function("sha2 over memory", |bencher| bencher.iter(|| black_box(Sha256::digest(&bytes))));
    group.finish();
}

criterion_group!(benches, digests);
criterion_main!(benches);
