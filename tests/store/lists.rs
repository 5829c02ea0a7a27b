//! Lists compared with a naive model of them, after random writes; and that no list reads all versions.

use std::{cmp::Ordering, collections::BTreeMap, ops::ControlFlow};

use fastrand::Rng;
use model_registry::{
    domain::{Draft, Gate, ListQuery, Order, Patch, Precondition, Sort, Status, Timestamp},
    store::{
        ReadStore, Transaction as _,
        operations::{self, Context},
        sqlite::{PlannedStatement, SqliteReader, SqliteWriter},
    },
};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::options;

const START: i64 = 1_769_864_709_250;
/// The store checks all candidates up to this number, and so counts them.
const FEW: usize = 1_000;
/// Letters of a text that the index of texts can find.
const NGRAM_CHARS: usize = 3;

/// A file with a writer and a reader, and a connection that looks at its tables.
struct File {
    writer: SqliteWriter,
    reader: SqliteReader,
    other: Connection,
    clock: i64,
    registered: u64,
    random: Rng,
    _folder: TempDir,
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
        Self { writer, reader, other, clock: START, registered: 0, random, _folder: folder }
    }

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

    fn operate<T>(&mut self, operate: impl FnOnce(&mut SqliteWriter, &Context<'_>) -> T) -> T {
        let context = Context {
            actor: "ann",
            now: self.now(),
            gate: &Gate::default(),
            max_event_payload_bytes: 65_536,
            max_metrics_bytes: 1 << 20,
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
        self.operate(|writer, context| operations::register(writer, draft, context)).unwrap();
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

    /// A random query, which may be refused.
    fn change(&mut self) {
        let id = {
            let highest = i64::try_from(self.registered).unwrap();
            self.random.i64(1..=highest)
        };
        let none = Precondition::default();
        let (kind, status, texts) =
            (self.random.u8(0..8), self.random.choice(Status::ALL).unwrap(), self.texts());
        let written_before = self.writer.rows_written();
        let done = self.operate(|writer, context| match kind {
            0 | 1 => operations::delete(writer, id, true, &none, context).is_ok(),
            2 | 3 => operations::promote(writer, id, status, &none, context).is_ok(),
            _ => {
                let patch = Patch { description: texts.0, tags: Some(texts.1), ..Patch::default() };
                operations::update(writer, id, &patch, &none, context).is_ok()
            }
        });
        assert!(done || self.writer.rows_written() == written_before, "a refused operation wrote something");
    }

    fn stored(&self) -> Vec<StoredModel> {
        let mut all = self
            .other
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

    fn list(&mut self, query: &ListQuery) -> (Vec<i64>, model_registry::domain::Page) {
        let mut ids = Vec::new();
        let (page, _) = self
            .reader
            .models(query, &mut |row| {
                ids.push(row.id);
                ControlFlow::Continue(())
            })
            .unwrap();
        (ids, page)
    }

    fn query(&mut self) -> ListQuery {
        let some = |random: &mut Rng, of: &[&str]| Some((*random.choice(of).unwrap()).to_owned());
        let random = &mut self.random;
        let filters = random.u8(..);
        let set = |bit: u8| filters & filters.rotate_left(3) & bit != 0;
        ListQuery {
            status: set(1).then(|| random.choice(Status::ALL).unwrap()),
            name: if set(2) { some(random, &["big", "N7-3", "N9-41", "none"]) } else { None },
            q: if set(4) {
                let parts = ["pile", "b", "V1", "grö", "ος", "0%", "_", "\"", "OF PILE R", "rare", "nothing"];
                some(random, &parts)
            } else {
                None
            },
            tag: if set(8) { some(random, &["all", "half", "тег", "rare", "none"]) } else { None },
            sort: random.choice(Sort::ALL).unwrap(),
            order: if random.bool() { Order::Ascending } else { Order::Descending },
            limit: Some(random.u32(1..40)),
            ..ListQuery::default()
        }
    }

    fn compare(&mut self, stored: &[StoredModel]) {
        let query = self.query();
        let expected = expected(stored, &query);
        let fits = |page: &model_registry::domain::Page, place: &str| {
            let alone =
                [query.q.is_some(), query.tag.is_some(), query.status.is_some(), query.name.is_some()];
            let filters = alone.iter().filter(|filter| **filter).count();
            let is_indexed = query.q.as_ref().is_none_or(|q| q.chars().count() >= NGRAM_CHARS);
            let few = expected.len() <= FEW && filters <= 1 && is_indexed;
            let counted = filters == 0 || filters == 1 && query.q.is_none();
            assert!(page.total.is_some() || !(few || counted), "{place} is counted: {query:?}");
            assert!(
                page.total.is_none_or(|total| total == expected.len() as u64),
                "{place}: {query:?} {page:?}"
            );
        };
        let limit = query.limit.unwrap() as usize;
        // By its links, from the start and from the middle.
        let offset = self.random.usize(0..=expected.len() + 1);
        for offset in [0, offset] {
            let mut next = ListQuery { offset: offset as u64, ..query.clone() };
            let mut rest = expected.get(offset..).unwrap_or_default();
            for page_number in 0..3 {
                let (ids, page) = self.list(&next);
                let on_page = &rest[..limit.min(rest.len())];
                assert_eq!(ids, on_page, "page {page_number} from {offset}: {next:?}");
                fits(&page, "a page");
                rest = &rest[on_page.len()..];
                assert_eq!(page.next.is_some(), !rest.is_empty(), "{next:?}");
                next = ListQuery { after: page.next, offset: 0, ..query.clone() };
                if next.after.is_none() {
                    break;
                }
            }
        }
        let whole = ListQuery { limit: None, ..query.clone() };
        assert_eq!(self.list(&whole).0, expected, "{whole:?}");
    }

    fn compare_stats(&mut self, stored: &[StoredModel]) {
        let (mut names, mut statuses) = (BTreeMap::<_, u64>::new(), BTreeMap::<_, u64>::new());
        for model in stored {
            *names.entry(model.name.clone()).or_default() += 1;
            *statuses.entry(model.status.clone().unwrap_or_default()).or_default() += 1;
        }
        let stats = self.reader.stats().unwrap();
        assert_eq!(stats.by_name, names.into_iter().collect::<Vec<_>>());
        assert_eq!(stats.by_status, statuses.into_iter().collect::<Vec<_>>());
        assert_eq!(stats.total_models, stored.len() as u64);
    }

    fn count(&self, sql: &str) -> usize {
        self.other.query_row(sql, [], |row| row.get(0)).unwrap()
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

/// Compares lists after random writes and clock changes.
#[track_caller]
fn walk(seed: u64, versions: usize) {
    let mut file = File::new(seed);
    file.write(versions, File::register);
    for round in 0..14 {
        if round % 4 == 3 {
            // Back to before the start, or far ahead.
            file.clock += if round % 8 == 3 { -4 * START / 1_000_000 } else { START / 1_000_000 };
        }
        file.write(12, File::register);
        file.write(25, File::change);
        let stored = file.stored();
        file.compare_stats(&stored);
        for _ in 0..16 {
            file.compare(&stored);
        }
    }
    assert!(file.count("SELECT count(*) FROM backdated_models") > 0);
    let unequal = "SELECT (SELECT count(*) FROM (SELECT tag, count(*) FROM model_tags GROUP BY tag EXCEPT SELECT value, count FROM model_counts)) \
        + (SELECT count(*) FROM (SELECT value, count FROM model_counts WHERE kind = 'tag' EXCEPT SELECT tag, count(*) FROM model_tags GROUP BY tag))";
    assert_eq!(file.count(unequal), 0);
    assert_eq!(file.count("SELECT count(*) FROM model_texts_docsize"), file.stored().len());
}

#[test]
fn lists_of_a_small_file_match_a_naive_model() {
    for seed in 0..4 {
        walk(seed, 60);
    }
}

#[test]
fn lists_of_a_large_file_match_a_naive_model() {
    for seed in 100..102 {
        walk(seed, 3_000);
    }
}

#[test]
fn pages_of_a_search_continue_after_the_lowest_and_the_highest_id() {
    let sql = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
        INSERT INTO models (id, name, version, status, checkpoint_path, description, tags, created_at, updated_at)
        SELECT CASE i WHEN 0 THEN -9223372036854775808 WHEN 1500 THEN 9223372036854775807 ELSE i END,
            'big', i, 'staging', '/x', 'pile', '[]', printf('2026-01-01T00:%02d:%02d.000Z', i / 60, i % 60), ''
        FROM n";
    let mut file = File::of(9, sql);
    let stored = file.stored();
    for order in [Order::Ascending, Order::Descending] {
        let q = Some("pile".to_owned());
        let mut query = ListQuery { q, order, limit: Some(750), ..ListQuery::default() };
        let expected = expected(&stored, &query);
        let mut listed = Vec::new();
        loop {
            let (ids, page) = file.list(&query);
            listed.extend(ids);
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        assert_eq!(listed, expected, "{order:?}");
        // After the very first and before the very last.
        let (_, first) = file.list(&ListQuery { after: None, limit: Some(1), ..query.clone() });
        let behind = ListQuery { after: first.next, limit: Some(1_499), ..query.clone() };
        let (ids, page) = file.list(&behind);
        assert_eq!(ids, expected[1..1_500], "{order:?}");
        let last = ListQuery { after: page.next, ..query };
        assert_eq!(file.list(&last).0, expected[1_500..], "{order:?}");
    }
}

#[test]
fn a_text_that_only_old_versions_have_is_found_through_the_text_index() {
    let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
        INSERT INTO models (id, name, version, status, checkpoint_path, description, tags, created_at, updated_at)
        SELECT i, 'big', i, 'staging', '/x', iif(i <= 1500, 'pile', 'other'), '[]',
            printf('2026-01-01T%02d:%02d:%02d.000Z', i / 3600, i / 60 % 60, i % 60), ''
        FROM n";
    let mut file = File::of(10, sql);
    for order in [Order::Ascending, Order::Descending] {
        let q = Some("pile".to_owned());
        let query = ListQuery { q, order, limit: Some(5), ..ListQuery::default() };
        for PlannedStatement { sql, .. } in file.reader.planned(&query).unwrap() {
            assert!(!(sql.contains("FROM models") && sql.contains("ORDER BY")), "{order:?}: {sql}");
        }
        let (ids, page) = file.list(&query);
        assert_eq!((ids, page.total), (expected(&file.stored(), &query)[..5].to_vec(), None));
    }
}

/// Returns every possible list query.
fn every_list(file: &mut File) -> Vec<ListQuery> {
    let text = |text: &str| Some(text.to_owned());
    let mut lists = Vec::new();
    for status in [None, Some(Status::Staging), Some(Status::Production)] {
        for name in [None, text("big"), text("N7-3")] {
            for q in [None, text("pile"), text("b"), text("rare")] {
                for tag in [None, text("all"), text("rare")] {
                    for sort in Sort::ALL {
                        for order in [Order::Ascending, Order::Descending] {
                            let (name, q, tag) = (name.clone(), q.clone(), tag.clone());
                            let limit = Some(5);
                            lists.push(ListQuery {
                                status,
                                name,
                                q,
                                tag,
                                sort,
                                order,
                                limit,
                                ..ListQuery::default()
                            });
                        }
                    }
                }
            }
        }
    }
    let mut behind = Vec::new();
    for list in &lists {
        let after = file.list(list).1.next;
        behind.extend(after.is_some().then(|| ListQuery { after, ..list.clone() }));
        behind.push(ListQuery { offset: 3, ..list.clone() });
    }
    lists.extend(behind);
    lists
}

fn expect_no_scan(PlannedStatement { sql, plan }: &PlannedStatement) {
    for line in plan {
        assert!(!line.contains("TEMP B-TREE"), "{sql} sorts: {plan:?}");
        assert!(!line.starts_with("SCAN models") || line.contains(" USING "), "{sql} reads all: {plan:?}");
        assert!(
            !line.starts_with("SCAN models USING INDEX") || sql.contains("LIMIT") || sql.contains("ORDER BY"),
            "{sql}: {plan:?}"
        );
    }
}

#[test]
fn no_list_reads_all_versions_or_sorts_them_if_an_index_has_the_order_with_statistics_or_without() {
    let mut file = File::new(8);
    file.write(3_200, File::register);
    let index_of = |file: &mut File, query: &ListQuery| -> String {
        file.reader
            .planned(query)
            .unwrap()
            .into_iter()
            .flat_map(|planned| planned.plan)
            .collect::<Vec<_>>()
            .join("\n")
    };
    for analysed in [false, true] {
        if analysed {
            file.other.execute_batch("ANALYZE").unwrap();
            file.reader = SqliteReader::open(&options(file._folder.path().join("registry.db"))).unwrap();
        }
        let lists = every_list(&mut file);
        assert!(lists.len() > 1_500);
        for list in &lists {
            for planned in file.reader.planned(list).unwrap() {
                expect_no_scan(&planned);
            }
        }
        let query = ListQuery::default;
        let text = |text: &str| Some(text.to_owned());
        for (query, index) in [
            (query(), "INDEX idx_models_created"),
            (ListQuery { sort: Sort::UpdatedAt, ..query() }, "INDEX idx_models_status_updated (status=?)"),
            (ListQuery { sort: Sort::TrainingStep, ..query() }, "INDEX idx_models_step"),
            (
                ListQuery { status: Some(Status::Staging), ..query() },
                "INDEX idx_models_status_created (status=?)",
            ),
            (
                ListQuery { status: Some(Status::Staging), sort: Sort::UpdatedAt, ..query() },
                "INDEX idx_models_status_updated (status=?)",
            ),
            (ListQuery { name: text("big"), ..query() }, "INDEX idx_models_name_created (name=?)"),
            (ListQuery { tag: text("all"), ..query() }, "PRIMARY KEY (tag=? AND model_id<?)"),
            (ListQuery { q: text("pile"), ..query() }, "SCAN model_texts VIRTUAL TABLE INDEX"),
            (ListQuery { offset: 5, ..query() }, "COVERING INDEX idx_models_created"),
        ] {
            let plan = index_of(&mut file, &query);
            assert!(plan.contains(index), "{query:?} by {index}: {plan}");
        }
    }
}
