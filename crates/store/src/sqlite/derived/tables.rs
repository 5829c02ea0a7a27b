//! The derived tables, the triggers that keep them, and how they are filled from the versions.

use rusqlite::{Connection, OptionalExtension as _};

/// Versions a block of `model_blocks` spans, as a power of two.
pub(in super::super) const BLOCK_BITS: i64 = 10;
/// More steps than this are as good as none kept: the order of ids says little then.
const MAX_STEPS: usize = 64;

/// `name_counts`, `status_counts`, `model_blocks`: how many versions there are of each. A status that another
/// process made NULL counts as the empty one.
///
/// `creation_steps`: where `created_at` does not rise with the id. `earlier_latest` is the latest of all before
/// the version `id`, `first` its own. Between two steps, order by id is order by `(created_at, id)`. A row whose
/// `earlier_latest` is no text says that no order of ids is known.
///
/// `model_conflicts` holds rows for the moment of one statement: see [`triggers`].
///
/// `index_pending`: versions whose rows in `model_tags` and `model_grams` may be out of date. What is not in it
/// is indexed.
const CREATE: &str = "
CREATE TABLE name_counts (name TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE status_counts (status TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE model_blocks (block INTEGER PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE creation_steps (id INTEGER PRIMARY KEY, earlier_latest, first);
CREATE TABLE model_conflicts (id INTEGER PRIMARY KEY, name TEXT, status TEXT);
CREATE TABLE index_pending (model_id INTEGER PRIMARY KEY);
CREATE TABLE model_tags (tag TEXT NOT NULL, model_id INTEGER NOT NULL, PRIMARY KEY (tag, model_id)) WITHOUT ROWID;
CREATE INDEX idx_model_tags_model ON model_tags (model_id);
CREATE TABLE tag_counts (tag TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
CREATE VIRTUAL TABLE model_grams USING
    fts5(grams, content = '', contentless_delete = 1, detail = 'none', tokenize = 'ascii');
";

/// In the order in which they can be dropped.
pub(in super::super) const TABLES: [&str; 9] = [
    "name_counts",
    "status_counts",
    "model_blocks",
    "creation_steps",
    "model_conflicts",
    "index_pending",
    "model_tags",
    "tag_counts",
    "model_grams",
];

/// A table of counts, its key, and the key of a version that is called `{row}`.
struct Counter {
    table: &'static str,
    key: &'static str,
    of: &'static str,
}

const COUNTERS: [Counter; 3] = [
    Counter { table: "name_counts", key: "name", of: "{row}.name" },
    Counter { table: "status_counts", key: "status", of: "ifnull({row}.status, '')" },
    Counter { table: "model_blocks", key: "block", of: "{row}.id >> 10" },
];

impl Counter {
    fn of(&self, row: &str) -> String {
        self.of.replace("{row}", row)
    }

    /// A conflict clause of the statement that fires a trigger takes the place of those in the trigger, so
    /// there are none.
    fn one_more(&self, row: &str) -> String {
        let (Self { table, key, .. }, of) = (self, self.of(row));
        format!(
            "INSERT INTO {table} SELECT {of}, 0 WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE {key} = {of});
             UPDATE {table} SET n = n + 1 WHERE {key} = {of};"
        )
    }

    fn one_less(&self, row: &str) -> String {
        let (Self { table, key, .. }, of) = (self, self.of(row));
        format!(
            "UPDATE {table} SET n = n - 1 WHERE {key} = {of};
             DELETE FROM {table} WHERE {key} = {of} AND n <= 0;"
        )
    }

    /// All of `model_conflicts` less.
    fn conflicts_less(&self) -> String {
        let (Self { table, key, .. }, of) = (self, self.of("model_conflicts"));
        format!(
            "UPDATE {table} SET n = n - (SELECT count(*) FROM model_conflicts WHERE {of} = {table}.{key})
                WHERE {key} IN (SELECT {of} FROM model_conflicts);
             DELETE FROM {table} WHERE n <= 0 AND {key} IN (SELECT {of} FROM model_conflicts);"
        )
    }
}

fn each(statement: impl Fn(&Counter) -> String) -> String {
    COUNTERS.iter().map(statement).collect()
}

fn note_pending(id: &str) -> String {
    format!(
        "INSERT INTO index_pending SELECT {id}
            WHERE NOT EXISTS (SELECT 1 FROM index_pending WHERE model_id = {id});"
    )
}

/// The triggers by name, each with its event, its condition and what it does.
///
/// REPLACE takes rows away without firing their delete triggers. So before a row is written, those that it could
/// displace are put down in `model_conflicts`; once it *is* written they are gone, and are counted out. Where the
/// write did not happen (OR IGNORE, DO NOTHING), the next one forgets them. `WHERE true` keeps SQLite from emptying a table
/// that is empty already, which would write a page.
fn triggers() -> Vec<(&'static str, String)> {
    let forget = "DELETE FROM model_conflicts WHERE true;";
    // Before an insert that leaves the id to SQLite, NEW.id is -1, and a row of that id stays where it is.
    let counted_out = format!(
        "EXISTS (SELECT 1 FROM model_conflicts) BEGIN
         DELETE FROM model_conflicts WHERE id IS NOT NEW.id AND id IN (SELECT id FROM models);
         {}
         INSERT INTO index_pending SELECT id FROM model_conflicts
            WHERE NOT EXISTS (SELECT 1 FROM index_pending WHERE model_id = model_conflicts.id);
         {forget} END",
        each(Counter::conflicts_less)
    );
    let conflicts = |but: &str| {
        format!(
            "BEGIN {forget}
             INSERT INTO model_conflicts SELECT id, name, status FROM models WHERE id = NEW.id {but}
             UNION SELECT id, name, status FROM models WHERE name = NEW.name AND version = NEW.version {but}
             UNION SELECT id, name, status FROM models
                WHERE NEW.status = 'production' AND name = NEW.name AND status = 'production' {but};
             END"
        )
    };
    let no_order = "DELETE FROM creation_steps WHERE true;
                    INSERT INTO creation_steps VALUES (NEW.id, x'', NULL);";
    // `UPDATE OF id` would pass over a statement that calls it rowid.
    let moves = "NEW.id IS NOT OLD.id";
    let step_back =
        "NEW.created_at < (SELECT created_at FROM models WHERE id < NEW.id ORDER BY id DESC LIMIT 1)";
    // Left by rows that are gone, or by the one that this replaces.
    let stale = "FROM creation_steps WHERE id >= NEW.id AND typeof(earlier_latest) = 'text'";
    let recounted = |counter: &Counter, column: &str| {
        let changed = format!("WHEN NEW.{column} IS NOT OLD.{column}");
        format!(
            "AFTER UPDATE OF {column} ON models {changed} BEGIN {} {} END",
            counter.one_less("OLD"),
            counter.one_more("NEW")
        )
    };
    let [names, statuses, blocks] = &COUNTERS;
    vec![
        ("trg_models_before_insert", format!("BEFORE INSERT ON models {}", conflicts(""))),
        (
            "trg_models_before_update",
            format!(
                "BEFORE UPDATE OF name, version, status ON models {}",
                conflicts("AND id IS NOT OLD.id")
            ),
        ),
        (
            "trg_models_before_move",
            format!("BEFORE UPDATE ON models WHEN {moves} {}", conflicts("AND id IS NOT OLD.id")),
        ),
        ("trg_models_insert_replaced", format!("AFTER INSERT ON models WHEN {counted_out}")),
        (
            "trg_models_update_replaced",
            format!("AFTER UPDATE OF name, version, status ON models WHEN {counted_out}"),
        ),
        ("trg_models_move_replaced", format!("AFTER UPDATE ON models WHEN {moves} AND {counted_out}")),
        (
            "trg_models_inserted",
            format!(
                "AFTER INSERT ON models BEGIN {} {} END",
                each(|counter| counter.one_more("NEW")),
                note_pending("NEW.id")
            ),
        ),
        (
            "trg_models_deleted",
            format!(
                "AFTER DELETE ON models BEGIN {} {}
                 DELETE FROM model_conflicts WHERE id = OLD.id; END",
                each(|counter| counter.one_less("OLD")),
                note_pending("OLD.id")
            ),
        ),
        ("trg_models_renamed", recounted(names, "name")),
        ("trg_models_status_changed", recounted(statuses, "status")),
        (
            "trg_models_moved",
            format!(
                "AFTER UPDATE ON models WHEN {moves} BEGIN {} {} {} {} {no_order} END",
                blocks.one_less("OLD"),
                blocks.one_more("NEW"),
                note_pending("OLD.id"),
                note_pending("NEW.id")
            ),
        ),
        (
            "trg_models_described",
            format!(
                "AFTER UPDATE OF name, version, description, tags ON models BEGIN {} END",
                note_pending("NEW.id")
            ),
        ),
        (
            "trg_models_stepped_back",
            format!(
                "AFTER INSERT ON models WHEN {step_back} OR EXISTS (SELECT 1 {stale}) BEGIN
                 DELETE {stale};
                 INSERT INTO creation_steps SELECT NEW.id, (SELECT max(created_at) FROM models), NEW.created_at
                    WHERE {step_back}
                    AND NOT EXISTS (SELECT 1 FROM creation_steps WHERE typeof(earlier_latest) <> 'text');
                 DELETE FROM creation_steps WHERE (SELECT count(*) FROM creation_steps) > {MAX_STEPS};
                 INSERT INTO creation_steps SELECT NEW.id, x'', NULL
                    WHERE {step_back} AND NOT EXISTS (SELECT 1 FROM creation_steps);
                 END"
            ),
        ),
        (
            "trg_models_out_of_turn",
            format!(
                "AFTER INSERT ON models
                 WHEN NEW.created_at IS NULL OR EXISTS (SELECT 1 FROM models WHERE id > NEW.id)
                 BEGIN {no_order} END"
            ),
        ),
        (
            "trg_models_redated",
            format!(
                "AFTER UPDATE OF created_at ON models WHEN NEW.created_at IS NOT OLD.created_at
                 BEGIN {no_order} END"
            ),
        ),
    ]
}

/// Takes the triggers away, so that what is changed from here on is counted once, by [`rebuild`].
pub(in super::super) fn drop_triggers(connection: &Connection) -> rusqlite::Result<()> {
    triggers()
        .iter()
        .try_for_each(|(name, _)| connection.execute_batch(&format!("DROP TRIGGER IF EXISTS {name}")))
}

/// Makes the derived tables anew and fills them: counters and steps at once, tags and letters by noting every
/// version as pending. Inside a transaction.
pub(in super::super) fn rebuild(connection: &Connection) -> rusqlite::Result<()> {
    drop_triggers(connection)?;
    for table in TABLES {
        connection.execute_batch(&format!("DROP TABLE IF EXISTS {table}"))?;
    }
    connection.execute_batch(CREATE)?;
    for Counter { table, of, .. } in &COUNTERS {
        let of = of.replace("{row}", "models");
        connection
            .execute_batch(&format!("INSERT INTO {table} SELECT {of}, count(*) FROM models GROUP BY 1"))?;
    }
    connection.execute_batch("INSERT INTO index_pending SELECT id FROM models")?;
    fill_steps(connection)?;
    triggers().iter().try_for_each(|(name, does)| connection.execute_batch(&create(name, does)))
}

/// The statement that makes a trigger, in one line, so that it reads well where a tool shows it.
fn create(name: &str, does: &str) -> String {
    let does = does.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("CREATE TRIGGER {name} {does}")
}

/// Whether the tables and the triggers are there. A tool that changes a table by making another one in its place
/// loses the triggers without a word, and nothing would be counted from then on.
pub(in super::super) fn are_whole(connection: &Connection) -> rusqlite::Result<bool> {
    let has = |sql: &str, name: &str, made: &str| {
        connection.prepare(sql)?.query_row([name, made], |_| Ok(())).optional().map(|found| found.is_some())
    };
    let table = "SELECT 1 FROM sqlite_schema WHERE type = ?2 AND name = ?1";
    let trigger = "SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND name = ?1 AND sql = ?2";
    for name in TABLES {
        if !has(table, name, "table")? {
            return Ok(false);
        }
    }
    for (name, does) in triggers() {
        if !has(trigger, name, &create(name, &does))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Each table of counts, and the statement that counts its rows that are wrong, or missing.
pub(in super::super) fn miscounts() -> Vec<(&'static str, String)> {
    let tags = ("tag_counts", "tag", "tag".to_owned(), "model_tags");
    let counters =
        COUNTERS.iter().map(|counter| (counter.table, counter.key, counter.of("models"), "models"));
    counters
        .chain([tags])
        .map(|(table, key, of, rows)| {
            let (kept, counted) =
                (format!("SELECT {key}, n FROM {table}"), format!("SELECT {of}, count(*) FROM {rows} GROUP BY 1"));
            let wrong = format!(
                "SELECT (SELECT count(*) FROM ({kept} EXCEPT {counted})) + (SELECT count(*) FROM ({counted} EXCEPT {kept}))"
            );
            (table, wrong)
        })
        .collect()
}

/// Looks anew how ids and `created_at` lie to each other, where that is unknown; whether it is known now. Inside a
/// transaction.
pub(in super::super) fn find_steps(connection: &Connection) -> rusqlite::Result<bool> {
    if steps(connection)?.is_some() {
        return Ok(false);
    }
    connection.execute_batch("DELETE FROM creation_steps")?;
    fill_steps(connection)?;
    Ok(steps(connection)?.is_some())
}

/// Walks the versions by id for the places where `created_at` falls.
fn fill_steps(connection: &Connection) -> rusqlite::Result<()> {
    let unordered = "SELECT 1 FROM models WHERE typeof(created_at) <> 'text' LIMIT 1";
    let mut steps = Vec::new();
    let mut known = connection.query_row(unordered, [], |_| Ok(())).optional()?.is_none();
    if known {
        let mut rows = connection.prepare("SELECT id, created_at FROM models ORDER BY id")?;
        let mut rows = rows.query([])?;
        let (mut latest, mut previous) = (Vec::new(), Vec::new());
        while let Some(row) = rows.next()? {
            let created = row.get_ref(1)?.as_bytes()?;
            if created < previous.as_slice() {
                steps.push((row.get::<_, i64>(0)?, latest.clone(), created.to_owned()));
                known = steps.len() <= MAX_STEPS;
                if !known {
                    break;
                }
            }
            if created > latest.as_slice() {
                latest = created.to_owned();
            }
            created.clone_into(&mut previous);
        }
    }
    if !known {
        return connection.execute_batch("INSERT INTO creation_steps VALUES (0, x'', NULL)");
    }
    let mut insert =
        connection.prepare("INSERT INTO creation_steps VALUES (?1, CAST(?2 AS TEXT), CAST(?3 AS TEXT))")?;
    steps.iter().try_for_each(|step| insert.execute((step.0, &step.1, &step.2)).map(drop))
}

/// How ids and `created_at` lie to each other: the steps by rising id, or none where no order is known.
pub(in super::super) fn steps(connection: &Connection) -> rusqlite::Result<Option<Vec<Step>>> {
    let mut rows = connection
        .prepare_cached("SELECT id, earlier_latest, first FROM creation_steps ORDER BY id LIMIT ?1")?;
    let mut rows = rows.query([MAX_STEPS as i64 + 1])?;
    let mut steps = Vec::new();
    while let Some(row) = rows.next()? {
        let (Ok(earlier_latest), Ok(first)) = (row.get_ref(1)?.as_str(), row.get_ref(2)?.as_str()) else {
            return Ok(None);
        };
        let (earlier_latest, first) = (earlier_latest.to_owned(), first.to_owned());
        steps.push(Step { id: row.get(0)?, earlier_latest, first });
    }
    Ok((steps.len() <= MAX_STEPS).then_some(steps))
}

/// Where `created_at` falls as ids rise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Step {
    /// The version that is older than the one before it.
    pub(in super::super) id: i64,
    /// No version before it was created later than this.
    pub(in super::super) earlier_latest: String,
    /// No version from here to the next step was created before this.
    pub(in super::super) first: String,
}
