//! Registries of any size, the same on every machine and in every run.
//!
//! The store's own operations write them, so that they have all indexes and counts. A file is created once and reused; the
//! name of the file changes with the schema and the recipe.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use model_registry::{
    domain::{Evaluation, Gate, LabelReuse, Precondition, Principal, Status, Timestamp, VersionId, json},
    store::{
        Transaction as _,
        operations::{self, Context},
        sqlite::{SCHEMA_VERSION, SqliteWriter},
    },
};

use super::{folder, options, words};

/// Raise it when the content of the registries changes.
const RECIPE: u32 = 3;
/// Versions in one transaction.
const CHUNK: u64 = 20_000;
/// 2026-01-01 00:00:00, the time of the first registration; the others follow at intervals.
const BEGINNING_MS: i64 = 1_767_225_600_000;
const INTERVAL_MS: i64 = 10_000;

/// Returns the file with a registry of `models` versions, creating it if there is none. A benchmark that writes uses a
/// [`copy`].
pub fn registry(models: u64) -> PathBuf {
    let path = folder().join(format!("models-{models}-recipe-{RECIPE}-schema-{SCHEMA_VERSION}.db"));
    if path.exists() {
        return path;
    }
    let unfinished = path.with_extension("part");
    for file in model_registry::store::sqlite::Options::files_of(&unfinished) {
        let _ = fs::remove_file(file);
    }
    eprintln!("creating a registry of {models} versions: {}", path.display());
    write(&unfinished, models);
    fs::rename(&unfinished, &path).expect("the new registry is renamed");
    path
}

/// Returns a copy of that file in `into`.
pub fn copy(models: u64, into: &Path) -> PathBuf {
    let path = into.join("registry.db");
    fs::copy(registry(models), &path)
        .unwrap_or_else(|error| panic!("can't copy the registry of {models}: {error}"));
    path
}

fn write(path: &Path, models: u64) {
    let mut writer = SqliteWriter::open(&options(path), at(0)).expect("a new registry");
    // By name.
    let mut versions = vec![0; words::names(models) as usize];
    for chunk in 0..models.div_ceil(CHUNK) {
        writer.begin(Duration::from_secs(60)).expect("a transaction");
        for number in chunk * CHUNK..models.min((chunk + 1) * CHUNK) {
            version(&mut writer, number, models, &mut versions);
        }
        writer.commit().expect("a commit");
        writer.restart_wal(Duration::from_secs(60)).expect("a checkpoint");
    }
    writer.truncate_wal().expect("a checkpoint");
}

/// Registers one version, records a suite for every second one, and promotes some.
fn version(writer: &mut SqliteWriter, number: u64, models: u64, versions: &mut [u64]) {
    // The square favours the first names: some have hundreds of versions, others a few.
    let share = words::hash(number, 30) as f64 / u64::MAX as f64;
    let name = ((share * share * versions.len() as f64) as u64).min(versions.len() as u64 - 1);
    let nth = versions[name as usize];
    versions[name as usize] += 1;
    let gate = Gate::default();
    let trainer = format!("trainer-{}", words::hash(name, 31) % 40);
    let principal = Principal::administrator("key:seed");
    let context = |later_ms: i64| Context {
        actor: &trainer,
        principal: &principal,
        now: at(number as i64 * INTERVAL_MS + later_ms),
        gate: &gate,
        max_event_payload_bytes: 65_536,
        max_metrics_bytes: 1 << 20,
        warnings: Default::default(),
    };
    let draft = words::draft(number, models, name, nth);
    let model =
        operations::register(writer, draft, LabelReuse::Allowed, &context(0)).expect("a registration");
    let no_condition = Precondition::default();
    if number.is_multiple_of(2) {
        let suite = words::SUITES[words::hash(number, 32) as usize % words::SUITES.len()];
        operations::record_metrics(
            writer,
            model.id,
            &evaluation(suite, number),
            &no_condition,
            &context(3_000),
        )
        .expect("an evaluation");
    }
    // Two names in three have a production version, and a new one every twenty versions.
    if words::hash(name, 33) % 3 < 2 && nth % 20 == 1 {
        operations::promote(writer, model.id, Status::Production, None, &no_condition, &context(6_000))
            .expect("a promotion");
    }
}

/// Returns the evaluation of a `POST /models/{id}/metrics`.
pub fn evaluation(suite: &str, number: u64) -> Evaluation {
    let scores = json::read_object(&words::scores(number).to_string()).expect("an object");
    Evaluation::new(suite, scores).expect("a suite")
}

/// Returns a time after the first registration.
pub fn at(later_ms: i64) -> Timestamp {
    Timestamp::from_unix_millis(BEGINNING_MS + later_ms)
}

/// Ids of a registry of `models` versions, in an order without a pattern.
pub fn ids(models: u64) -> impl Iterator<Item = VersionId> {
    (0_u64..).map(move |turn| (words::hash(turn, 40) % models) as VersionId + 1)
}
