//! How SQLite finds the versions of a search.

use model_registry::{
    domain::VersionRow,
    store::sqlite::{PlannedStatement, SqliteReader, SqliteWriter},
};
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::{now, options, sqlite::fixture};

/// Enough that common conditions have more versions than are read at once.
const MANY_VERSIONS: usize = 3_200;

fn query(filter: &str, sort: &str) -> SearchQuery {
    SearchQuery {
        filter: (!filter.is_empty()).then(|| Filter::parse(filter, Scope::Versions).unwrap()),
        sort: SortKey::parse(sort, Scope::Versions).unwrap(),
        limit: 20,
        after: None,
    }
}

/// Returns a file of versions that `sql` writes by hand, upgraded, with a reader.
fn file(sql: &str) -> (TempDir, SqliteReader) {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path().join("registry.db"));
    drop(SqliteWriter::open(&options, now()).unwrap());
    let other = Connection::open(&options.path).unwrap();
    other.execute_batch(sql).unwrap();
    other.pragma_update(None, "user_version", 0).unwrap();
    drop(other);
    drop(SqliteWriter::open(&options, now()).unwrap());
    (folder, SqliteReader::open(&options).unwrap())
}

fn plan(planned: &[PlannedStatement]) -> String {
    let lines = planned.iter().flat_map(|planned| planned.plan.clone());
    lines.collect::<Vec<_>>().join("\n").replace("COVERING INDEX", "INDEX")
}

#[test]
fn searches_of_a_large_file_match_the_evaluation_and_read_along_indexes() {
    let mut store = fixture();
    fill(&mut store, MANY_VERSIONS, &mut Rng::with_seed(9));
    let all = versions(&mut store);
    compare_many(&mut store.reader, &all, 60, 300..2_000);
    for analysed in [false, true] {
        if analysed {
            Connection::open(store.path()).unwrap().execute_batch("ANALYZE").unwrap();
            store.reader = SqliteReader::open(&options(store.path())).unwrap();
        }
        for (filter, sort, index) in [
            ("scores.s.a >= 0.5", "scores.s.a:desc", "SEARCH d USING PRIMARY KEY (key_id=? AND value>?)"),
            ("scores.s.a >= 0.5", "scores.s.a:asc", "SEARCH d USING PRIMARY KEY (key_id=? AND value>?)"),
            ("", "tags.team:asc", "SEARCH d USING PRIMARY KEY (key=?)"),
            ("scores.s.a >= 0.5", "created_at:desc", "SCAN v USING INDEX idx_models_created"),
            ("tags.team = ''", "created_at:asc", "SCAN v USING INDEX idx_models_created"),
            (
                "tags.team = ''",
                "updated_at:desc",
                "SEARCH v USING INDEX idx_models_status_updated (status=?)",
            ),
            ("name = 'm-1' or name = 'nlp'", "created_at:desc", "SCAN v USING INDEX idx_models_created"),
            ("created_at < '2026-02-01'", "created_at:desc", "INDEX idx_models_created (created_at<?)"),
            ("", "training_step:desc", "INDEX idx_models_step"),
            ("", "artifact_uri:asc", "INDEX idx_models_artifact_uri (artifact_uri>?)"),
            ("", "run_id:desc", "INDEX idx_models_run"),
        ] {
            for query in [query(filter, sort), page(&mut store.reader, &query(filter, sort)).1.unwrap()] {
                let planned = store.reader.planned_search(&query).unwrap();
                let plan = plan(&planned);
                let name = index.split(" (").next().and_then(|index| index.split(' ').next_back()).unwrap();
                assert!(plan.contains(name), "{filter} by {sort}: {plan}");
                assert!(query.after.is_some() || plan.contains(index), "{filter} by {sort}: {plan}");
                let sorts = plan.contains("TEMP B-TREE FOR ORDER BY");
                assert!(!sorts, "{filter} by {sort}: {plan}");
                assert!(plan.lines().all(|line| line != "SCAN v"), "{filter} by {sort}: {plan}");
            }
        }
        for (filter, index) in [
            ("name = 'm-1' and label = 'v7'", "idx_models_name"),
            ("artifact_uri = 's3://b/9'", "idx_models_artifact_uri (artifact_uri=?)"),
            ("run_id = 'none'", "idx_models_run (run_id=?)"),
            ("alias = 'production'", "idx_models_status"),
            ("tags.team = 'none' and name = 'm-1'", "model_tags USING PRIMARY KEY (key=? AND value=?)"),
            ("scores.s.a > 1e6", "scores USING PRIMARY KEY (key_id=? AND value>?)"),
            (&format!("sha256 = '{}'", Digest::from_bytes([9; 32])), "idx_version_files_sha256 (sha256=?)"),
            ("description ILIKE '%such a text%'", "SCAN model_texts VIRTUAL TABLE INDEX"),
        ] {
            let planned = store.reader.planned_search(&query(filter, "created_at:desc")).unwrap();
            let plan = plan(&planned);
            assert!(plan.contains(index), "{filter}: {plan}");
            if !filter.contains("label") {
                assert!(plan.contains("SEARCH v USING INTEGER PRIMARY KEY (rowid=?)"), "{filter}: {plan}");
            }
        }
    }
}

#[test]
fn candidates_that_come_late_in_the_list_are_sorted_instead_of_looked_up() {
    // The first 1,500 versions have the tag, and the list begins with the last.
    let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 90000)
        INSERT INTO models (id, name, version, status, checkpoint_path, tags, created_at, updated_at)
        SELECT i, 'm', i, 'staging', '/x', iif(i <= 1500, '[\"old\"]', '[]'),
            strftime('%Y-%m-%d %H:%M:%f', 1767225600 + i, 'unixepoch'), '2026-01-31 13:05:09.250' FROM n";
    let (_folder, mut reader) = file(sql);
    let query = query("tags.old = ''", "created_at:desc");
    let planned = reader.planned_search(&query).unwrap();
    assert!(planned.iter().any(|planned| planned.sql.starts_with("WITH found")), "{planned:?}");
    assert_eq!(page(&mut reader, &query).0, (1_481..=1_500).rev().collect::<Vec<_>>());
}

#[test]
fn times_with_and_without_a_fraction_are_compared_by_moment() {
    let times =
        ["05:09", "05:09.0", "05:09.25", "05:09.250", "05:09.2509", "05:09.251", "05:10", "05:08.999"];
    let rows: Vec<_> = times
        .iter()
        .map(|time| format!("('m', '{time}', '/x', '2026-01-31 13:{time}', '2026-01-31 13:{time}')"))
        .collect();
    let sql = format!(
        "INSERT INTO models (name, version, checkpoint_path, created_at, updated_at) VALUES {}",
        rows.join(", ")
    );
    let (_folder, mut reader) = file(&sql);
    for field in ["created_at", "updated_at"] {
        for (condition, expected) in [
            ("= '2026-01-31T13:05:09.250Z'", &["05:09.25", "05:09.250", "05:09.2509"][..]),
            ("= '2026-01-31T13:05:09Z'", &["05:09", "05:09.0"]),
            (">= '2026-01-31T13:05:09.250Z'", &["05:09.25", "05:09.250", "05:09.2509", "05:09.251", "05:10"]),
            ("> '2026-01-31T13:05:09.250Z'", &["05:09.251", "05:10"]),
            ("<= '2026-01-31T13:05:09Z'", &["05:09", "05:09.0", "05:08.999"]),
            ("< '2026-01-31T13:05:09Z'", &["05:08.999"]),
        ] {
            // Along the index, and checked row by row.
            for filter in [format!("{field} {condition}"), format!("NOT NOT {field} {condition}")] {
                let mut found = Vec::new();
                let visit = &mut |row: VersionRow<'_>| {
                    found.push(row.label.into_owned());
                    ControlFlow::Continue(())
                };
                reader.search(&query(&filter, &format!("{field}:asc")), visit).unwrap();
                let mut expected: Vec<_> = expected.iter().map(|label| (*label).to_owned()).collect();
                found.sort_unstable();
                expected.sort_unstable();
                assert_eq!(found, expected, "{filter}");
            }
        }
    }
}

#[test]
fn values_and_names_reach_sqlite_only_as_parameters() {
    let mut store = fixture();
    fill(&mut store, 20, &mut Rng::with_seed(3));
    let before = versions(&mut store).len();
    let evil = r#"x'' OR 1=1; DROP TABLE models; --"#;
    for filter in [
        format!("name = '{evil}'"),
        format!("tags.`x' OR DROP`= '{evil}' or label LIKE '%{evil}%'"),
        format!("scores.`x' OR DROP`.`DROP \"b` > 0.5 and dataset IN ('{evil}', 'DROP')"),
        format!("NOT alias = '{evil}' and description ILIKE '%{evil}%'"),
    ] {
        for sort in ["created_at", "tags.`x' OR DROP`", "scores.`DROP' OR`.`DROP`", "params"] {
            let query = query(&filter, sort);
            for PlannedStatement { sql, .. } in store.reader.planned_search(&query).unwrap() {
                assert!(!sql.contains("DROP") && !sql.contains("1=1"), "{sql}");
            }
            page(&mut store.reader, &query);
        }
    }
    assert_eq!(versions(&mut store).len(), before);
}

#[test]
fn the_rows_of_scores_tags_and_files_are_those_of_the_versions() {
    use model_registry::store::sqlite::maintenance::{Source, Watch};
    let mut store = fixture();
    fill(&mut store, 400, &mut Rng::with_seed(5));
    let watch = Watch::new(|| false, |_| {});
    let report = Source::open(&options(store.path()), &watch).unwrap().check(&watch).unwrap();
    let problems: Vec<_> = report.errors.listed.iter().map(|finding| &finding.problem).collect();
    assert!(problems.is_empty(), "{problems:?}");
    let count = |sql: &str| -> i64 {
        Connection::open(store.path()).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    };
    for table in
        ["scores", "version_files", "model_tags WHERE value != ''", "deleted_models WHERE metrics NOT NULL"]
    {
        assert!(count(&format!("SELECT count(*) FROM {table}")) > 20, "{table}");
    }
}
