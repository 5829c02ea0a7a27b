//! Lists of files with many versions: a file of random versions, and the naive model that says what a list of it holds.

mod plans;
mod results;

use std::{cmp::Ordering, collections::BTreeMap, ops::ControlFlow};

use fastrand::Rng;
use model_registry::{
    domain::{
        Draft, Gate, LabelReuse, ListQuery, Order, Patch, Precondition, Principal, Sort, Status, Timestamp,
    },
    store::{
        ReadStore, Transaction, WriteStore,
        operations::{self, Context},
        sqlite::{PlannedStatement, SqliteReader, SqliteWriter},
    },
};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::{options, postgres_cluster::TestDatabase};

const START: i64 = 1_769_864_709_250;

/// A database with a writer and a reader, and a connection that looks at its tables.
struct File<W = SqliteWriter, R = SqliteReader, T = Connection> {
    writer: W,
    reader: R,
    other: T,
    clock: i64,
    registered: u64,
    random: Rng,
    folder: TempDir,
}

/// A look at the tables without the store.
trait Tables {
    fn stored(&self) -> Vec<StoredModel>;
    fn count(&self, sql: &str) -> usize;
}

/// A version as the table stores it.
#[derive(Debug, Clone)]
struct StoredModel {
    id: i64,
    name: String,
    version: String,
    status: Option<String>,
    description: Option<String>,
    tags: Vec<String>,
    created_at: String,
    updated_at: String,
    step: Option<i64>,
}

impl File {
    fn new(seed: u64) -> Self {
        Self::of(seed, "")
    }

    /// Creates a file that is upgraded from what `sql` has written by hand.
    fn of(seed: u64, sql: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path().join("registry.db"));
        let open = || SqliteWriter::open(&options, Timestamp::from_unix_millis(START)).unwrap();
        let mut writer = open();
        if !sql.is_empty() {
            drop(writer);
            let other = Connection::open(&options.path).unwrap();
            other.execute_batch(sql).unwrap();
            other.pragma_update(None, "user_version", 0).unwrap();
            drop(other);
            writer = open();
        }
        let reader = SqliteReader::open(&options).unwrap();
        let other = Connection::open(&options.path).unwrap();
        let random = Rng::with_seed(seed);
        Self { writer, reader, other, clock: START, registered: 0, random, folder }
    }
}

impl<W: Transaction, R: ReadStore, T: Tables> File<W, R, T> {
    /// Some of each in one transaction, as the writing actor does.
    fn write(&mut self, operations: usize, mut operate: impl FnMut(&mut Self)) {
        self.writer.begin(std::time::Duration::from_secs(10)).unwrap();
        for _ in 0..operations {
            operate(self);
        }
        self.writer.commit().unwrap();
    }

    fn now(&mut self) -> Timestamp {
        self.clock += self.random.i64(0..3);
        Timestamp::from_unix_millis(self.clock)
    }

    fn operate<A>(&mut self, operate: impl FnOnce(&mut dyn WriteStore, &Context<'_>) -> A) -> A {
        let context = Context {
            actor: "ann",
            principal: &Principal::administrator("ann"),
            now: self.now(),
            gate: &Gate::default(),
            max_event_payload_bytes: 65_536,
            max_metrics_bytes: 1 << 20,
            warnings: Default::default(),
        };
        operate(&mut self.writer, &context)
    }

    fn register(&mut self) {
        let (name, texts) = (self.name(), self.texts());
        self.registered += 1;
        let mut draft = Draft::named(&name, format!("V{}", self.registered)).unwrap();
        draft.artifact_uri = Some("s3://b".to_owned());
        draft.description = texts.0;
        draft.tags = texts.1;
        draft.training_step = self.random.bool().then(|| self.random.i64(-3..4));
        draft.status = self.random.choice(Status::ALL).unwrap();
        self.operate(|writer, context| operations::register(writer, draft, LabelReuse::Allowed, context))
            .unwrap();
    }

    /// Some names have many versions, most have few.
    fn name(&mut self) -> String {
        match self.random.u8(0..10) {
            0..=5 => "big".to_owned(),
            other => format!("N{other}-{}", self.random.u8(0..60)),
        }
    }

    fn texts(&mut self) -> (Option<String>, Vec<String>) {
        let words = ["Größe", "ΟΔΟΣ", "100%", "a_b", "x\"y", "run", "rare", ""];
        let description = self.random.bool().then(|| {
            let common = if self.random.u8(0..10) < 7 { "of pile " } else { "" };
            format!("{common}{} {}", self.random.choice(&words).unwrap(), self.random.u16(..))
        });
        let mut tags = Vec::new();
        for (tag, share) in [("all", 240), ("half", 128), ("тег", 12), ("rare", 2)] {
            if self.random.u8(..) < share {
                tags.push(tag.to_owned());
            }
        }
        (description, tags)
    }

    fn stored(&self) -> Vec<StoredModel> {
        self.other.stored()
    }

    fn list(&mut self, query: &ListQuery) -> (Vec<i64>, model_registry::domain::Page) {
        let mut ids = Vec::new();
        let (page, _) = self
            .reader
            .versions(query, &mut |row| {
                ids.push(row.id);
                ControlFlow::Continue(())
            })
            .unwrap();
        (ids, page)
    }
}

impl Tables for Connection {
    fn stored(&self) -> Vec<StoredModel> {
        let mut all = self
            .prepare(
                "SELECT id, name, version, status, description, tags, created_at, updated_at, training_step \
                 FROM models",
            )
            .unwrap();
        let stored = all.query_map([], |row| {
            let tags: Option<String> = row.get(5)?;
            Ok(StoredModel {
                id: row.get(0)?,
                name: row.get(1)?,
                version: row.get(2)?,
                status: row.get(3)?,
                description: row.get(4)?,
                tags: tags.and_then(|tags| serde_json::from_str(&tags).ok()).unwrap_or_default(),
                created_at: row.get(6)?,
                updated_at: row.get(7)?,
                step: row.get(8)?,
            })
        });
        stored.unwrap().map(Result::unwrap).collect()
    }

    fn count(&self, sql: &str) -> usize {
        self.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

impl Tables for TestDatabase {
    fn stored(&self) -> Vec<StoredModel> {
        let rows = self.sql("SELECT coalesce(json_agg(row_to_json(models)), '[]') FROM models");
        let rows: Vec<serde_json::Value> = serde_json::from_str(&rows).unwrap();
        let stored = rows.iter().map(|row| {
            let text = |column: &str| row[column].as_str().map(str::to_owned);
            StoredModel {
                id: row["id"].as_i64().unwrap(),
                name: text("name").unwrap(),
                version: text("version").unwrap(),
                status: text("status"),
                description: text("description"),
                tags: text("tags").and_then(|tags| serde_json::from_str(&tags).ok()).unwrap_or_default(),
                created_at: text("created_at").unwrap(),
                updated_at: text("updated_at").unwrap(),
                step: row["training_step"].as_i64(),
            }
        });
        stored.collect()
    }

    fn count(&self, sql: &str) -> usize {
        self.sql(sql).parse().unwrap()
    }
}

/// Returns the ids of a whole list, computed by the model.
fn expected(stored: &[StoredModel], query: &ListQuery) -> Vec<i64> {
    let lower = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<String>().replace('ς', "σ");
    let mut found: Vec<&StoredModel> = stored
        .iter()
        .filter(|model| {
            let texts = [Some(&model.name), Some(&model.version), model.description.as_ref()];
            query.status.is_none_or(|status| model.status.as_deref() == Some(status.as_str()))
                && query.name.as_ref().is_none_or(|name| model.name == *name)
                && query.tag.as_ref().is_none_or(|tag| model.tags.contains(tag))
                && query
                    .q
                    .as_ref()
                    .is_none_or(|part| texts.iter().flatten().any(|text| lower(text).contains(&lower(part))))
        })
        .collect();
    found.sort_by(|one, other| {
        let by_key = match query.sort {
            Sort::CreatedAt => one.created_at.cmp(&other.created_at),
            Sort::UpdatedAt => one.updated_at.cmp(&other.updated_at),
            Sort::TrainingStep => one.step.unwrap_or(i64::MIN).cmp(&other.step.unwrap_or(i64::MIN)),
        };
        let ascending = by_key.then(one.id.cmp(&other.id));
        if query.order == Order::Ascending { ascending } else { Ordering::reverse(ascending) }
    });
    found.into_iter().map(|model| model.id).collect()
}
