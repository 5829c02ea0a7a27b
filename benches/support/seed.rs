//! Registries of a thousand to a million versions, each the same on every machine and in every run.
//!
//! They are written through the store's own operations, so that whatever indexes and counts it keeps are kept
//! here as well, in transactions large enough that a sync costs nothing. A file is made once and used again; one of
//! an older schema or an older recipe has another name and is left alone.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use model_registry::{
    domain::{Evaluation, Gate, ModelId, Precondition, Status, Timestamp, json},
    store::{
        Transaction as _,
        operations::{self, Context},
        sqlite::{SCHEMA_VERSION, SqliteWriter},
    },
};

use super::{folder, options, words};

/// Raise it when the content of the registries changes.
const RECIPE: u32 = 2;
/// Versions in one transaction.
const CHUNK: u64 = 20_000;
/// 2026-01-01 00:00:00; registrations stand ten seconds apart from there.
const BEGINNING_MS: i64 = 1_767_225_600_000;
const APART_MS: i64 = 10_000;

/// The file with a registry of `models` versions, made now if there is none.
///
/// It must not be written to; a benchmark that writes uses a [`copy`].
pub fn registry(models: u64) -> PathBuf {
    let path = folder().join(format!("models-{models}-recipe-{RECIPE}-schema-{SCHEMA_VERSION}.db"));
    if path.exists() {
        return path;
    }
    let unfinished = path.with_extension("part");
    for file in model_registry::store::sqlite::Options::files_of(&unfinished) {
        let _ = fs::remove_file(file);
    }
    let begun = Instant::now();
    write(&unfinished, models);
    fs::rename(&unfinished, &path).expect("the new registry takes its name");
    eprintln!("seeded {models} models in {:.1} s: {}", begun.elapsed().as_secs_f64(), path.display());
    path
}

/// A copy of that file in `into`, to be written to.
pub fn copy(models: u64, into: &Path) -> PathBuf {
    let path = into.join("registry.db");
    fs::copy(registry(models), &path)
        .unwrap_or_else(|error| panic!("can't copy the registry of {models}: {error}"));
    path
}

fn write(path: &Path, models: u64) {
    let mut writer = SqliteWriter::open(&options(path), at(0)).expect("a new registry");
    let mut progress = Progress::of(models);
    // Ids are given from one, in order, so they need not be asked for.
    let mut versions = vec![0; words::names(models) as usize];
    for chunk in 0..models.div_ceil(CHUNK) {
        writer.begin(Duration::from_secs(60)).expect("a transaction");
        for number in chunk * CHUNK..models.min((chunk + 1) * CHUNK) {
            version(&mut writer, number, models, &mut versions);
            progress.reached(number + 1);
        }
        writer.commit().expect("a commit");
        writer.restart_wal(Duration::from_secs(60)).expect("a checkpoint");
    }
    writer.truncate_wal().expect("a checkpoint");
}

/// Registers one version, records a suite for every second one, and puts some into production.
fn version(writer: &mut SqliteWriter, number: u64, models: u64, versions: &mut [u64]) {
    // The square favours the first names: some have hundreds of versions, some a handful.
    let share = words::hash(number, 30) as f64 / u64::MAX as f64;
    let name = ((share * share * versions.len() as f64) as u64).min(versions.len() as u64 - 1);
    let nth = versions[name as usize];
    versions[name as usize] += 1;
    let gate = Gate::default();
    let trainer = format!("trainer-{}", words::hash(name, 31) % 40);
    let context = |later_ms: i64| Context {
        actor: &trainer,
        now: at(number as i64 * APART_MS + later_ms),
        gate: &gate,
        max_event_payload_bytes: 65_536,
        max_metrics_bytes: 1 << 20,
    };
    let draft = words::draft(number, models, name, nth);
    let model = operations::register(writer, draft, &context(0)).expect("a registration");
    let anything = Precondition::default();
    if number.is_multiple_of(2) {
        let suite = words::SUITES[words::hash(number, 32) as usize % words::SUITES.len()];
        operations::record_metrics(writer, model.id, &evaluation(suite, number), &anything, &context(3_000))
            .expect("an evaluation");
    }
    // Two names in three have a production version, and another one each twenty versions.
    if words::hash(name, 33) % 3 < 2 && nth % 20 == 1 {
        operations::promote(writer, model.id, Status::Production, &anything, &context(6_000))
            .expect("a promotion");
    }
}

/// The evaluation that `POST /models/{id}/metrics` brings.
pub fn evaluation(suite: &str, number: u64) -> Evaluation {
    let scores = json::read_object(&words::scores(number).to_string()).expect("an object");
    Evaluation::new(suite, scores).expect("a suite")
}

/// A time in a registry that is seeded, so long after its beginning.
pub fn at(later_ms: i64) -> Timestamp {
    Timestamp::from_unix_millis(BEGINNING_MS + later_ms)
}

/// Ids all over a registry of so many versions, in an order without a pattern.
pub fn ids(models: u64) -> impl Iterator<Item = ModelId> {
    (0_u64..).map(move |turn| (words::hash(turn, 40) % models) as ModelId + 1)
}

/// A line on a terminal: seeding a million takes a while.
struct Progress {
    models: u64,
    shown: u64,
}

impl Progress {
    fn of(models: u64) -> Self {
        Self { models, shown: 0 }
    }

    fn reached(&mut self, done: u64) {
        let share = done * 100 / self.models;
        if io::IsTerminal::is_terminal(&io::stderr()) && self.models >= 50_000 && share > self.shown {
            self.shown = share;
            let mut terminal = io::stderr().lock();
            let end = if share == 100 { "\n" } else { "" };
            let _ = write!(terminal, "\rseeding {} models: {share} %{end}", self.models);
        }
    }
}
