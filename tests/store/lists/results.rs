//! What lists and counts hold, compared with the naive model after random writes.

use model_registry::store::{
    Backend as _,
    postgres::{self, Postgres},
};

use super::*;
use crate::left_out::left_out;

/// The store checks all candidates up to this number, and so counts them.
const FEW: usize = 1_000;
/// Letters of a text that the index of texts can find.
const NGRAM_CHARS: usize = 3;

impl<W: Transaction, R: ReadStore, T: Tables> File<W, R, T> {
    /// A random change, which may be refused.
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
            0 | 1 => {
                operations::delete(writer, id, model_registry::domain::Force::All, &none, context).is_ok()
            }
            2 | 3 => operations::promote(writer, id, status, None, &none, context).is_ok(),
            _ => {
                let patch = Patch { description: texts.0.map(Some), tags: Some(texts.1), ..Patch::default() };
                operations::update(writer, id, &patch, &none, context).is_ok()
            }
        });
        assert!(done || self.writer.rows_written() == written_before, "a refused operation wrote something");
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
        self.other.count(sql)
    }
}

/// Compares lists after random writes and clock changes.
#[track_caller]
fn walk<W: Transaction, R: ReadStore, T: Tables>(file: &mut File<W, R, T>, versions: usize, rounds: usize) {
    file.write(versions, File::register);
    for round in 0..rounds {
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
}

fn walk_file(seed: u64, versions: usize) {
    let mut file = File::new(seed);
    walk(&mut file, versions, 14);
    assert!(file.count("SELECT count(*) FROM backdated_models") > 0);
    let unequal = "SELECT (SELECT count(*) FROM (SELECT key, count(*) FROM model_tags GROUP BY key EXCEPT SELECT value, count FROM model_counts)) \
        + (SELECT count(*) FROM (SELECT value, count FROM model_counts WHERE kind = 'tag' EXCEPT SELECT key, count(*) FROM model_tags GROUP BY key))";
    assert_eq!(file.count(unequal), 0);
    assert_eq!(file.count("SELECT count(*) FROM model_texts_docsize"), file.stored().len());
}

#[test]
fn lists_of_a_small_file_match_a_naive_model() {
    for seed in 0..4 {
        walk_file(seed, 60);
    }
}

#[test]
fn lists_of_a_large_file_match_a_naive_model() {
    for seed in 100..102 {
        walk_file(seed, 3_000);
    }
}

/// As [`walk_file`], in PostgreSQL.
fn walk_postgres(seed: u64, versions: usize, rounds: usize) {
    let Some(database) = TestDatabase::create() else {
        return left_out("PostgreSQL is not installed, so its lists are not compared");
    };
    let options = postgres::Options::parse(&database.url()).unwrap();
    let (backend, writer) = Postgres::open(&options, Timestamp::from_unix_millis(START)).unwrap();
    let mut file = File {
        writer,
        reader: backend.reader().unwrap(),
        other: database,
        clock: START,
        registered: 0,
        random: Rng::with_seed(seed),
        folder: tempfile::tempdir().unwrap(),
    };
    walk(&mut file, versions, rounds);
    let unequal = "WITH counted AS (SELECT kind, value, sum(count) AS n FROM model_counts GROUP BY kind, value HAVING sum(count) <> 0), \
        existing AS (SELECT 'tag' AS kind, key AS value, count(*) AS n FROM model_tags WHERE value = '' GROUP BY key \
            UNION ALL SELECT 'name', name, count(*) FROM models GROUP BY name \
            UNION ALL SELECT 'status', status, count(*) FROM models GROUP BY status) \
        SELECT count(*) FROM counted FULL JOIN existing USING (kind, value, n) WHERE counted IS NULL OR existing IS NULL";
    assert_eq!(file.count(unequal), 0);
    let orphans = "SELECT count(*) FROM models FULL JOIN model_texts ON version_id = id WHERE id IS NULL OR version_id IS NULL";
    assert_eq!(file.count(orphans), 0);
}

#[test]
fn lists_in_postgres_match_a_naive_model() {
    walk_postgres(1, 60, 14);
    walk_postgres(100, 1_500, 3);
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
