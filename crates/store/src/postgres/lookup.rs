//! The lookup tables: `model_counts`, `model_tags`, `model_texts`, `scores` and `version_files`. Each write updates them in
//! the transaction that changes the version.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use registry_domain::{
    ScoreChange, Status, Tags, Version, VersionFile, VersionId,
    scores::{changes, scores},
    text::fold,
};

use super::{
    rows::{Value, Values, columns_of},
    text::encoded,
    writer::Write,
};

/// The maximum length of a tag's key in an index, which can't hold rows of more than 2,700 bytes.
const MAX_KEY_BYTES: usize = 500;
/// Stands between two texts of a version. No encoded text contains it.
const SEPARATOR: &str = "\u{1}\u{1}";

/// Adds to counters. `$1`: kinds, `$2`: values, `$3`: changes.
const COUNT: &str = "INSERT INTO model_counts AS counted (kind, value, slot, count) \
    SELECT kind, value, CASE kind WHEN 'name' THEN 0 ELSE pg_backend_pid() % 128 END, change \
    FROM unnest($1::text[], $2::text[], $3::bigint[]) AS changes (kind, value, change) ORDER BY kind, value \
    ON CONFLICT (kind, value, slot) DO UPDATE SET count = counted.count + excluded.count";
const SET_TEXT: &str = "UPDATE model_texts SET folded = $2 WHERE version_id = $1";
/// The name is the first of the texts.
const RENAME_TEXTS: &str = "UPDATE model_texts SET folded = $2 || substr(folded, strpos(folded, $3)) \
    WHERE version_id IN (SELECT id FROM models WHERE model_key = $1)";
const REMOVE_TEXT: &str = "DELETE FROM model_texts WHERE version_id = $1";
const SET_TAGS: &str = "INSERT INTO model_tags (version_id, key, value) \
    SELECT $1, key, value FROM unnest($2::text[], $3::text[]) AS given (key, value) \
    ON CONFLICT (version_id, key) DO UPDATE SET value = excluded.value";
const REMOVE_TAGS: &str = "DELETE FROM model_tags WHERE version_id = $1 AND key = ANY($2)";
const REMOVE_ALL_TAGS: &str = "DELETE FROM model_tags WHERE version_id = $1";
const ADD_FILES: &str = "INSERT INTO version_files (version_id, path, size_bytes, sha256, role) \
    SELECT $1, path, size_bytes, sha256, role \
    FROM unnest($2::text[], $3::bigint[], $4::text[], $5::text[]) AS given (path, size_bytes, sha256, role)";
const REMOVE_FILES: &str = "DELETE FROM version_files WHERE version_id = $1";
/// A statement of its own: the next one sees keys that another transaction has just added, this one does not.
pub(super) const ADD_SCORE_KEYS: &str = "INSERT INTO score_keys (suite, metric) \
    SELECT suite, metric FROM unnest($1::text[], $2::text[]) AS given (suite, metric) \
    WHERE NOT EXISTS (SELECT 1 FROM score_keys AS known \
        WHERE known.suite = given.suite AND known.metric = given.metric) \
    ORDER BY suite, metric ON CONFLICT (suite, metric) DO NOTHING";
const SET_SCORES: &str = "INSERT INTO scores (version_id, key_id, value) \
    SELECT $1, score_keys.id, given.value \
    FROM unnest($2::text[], $3::text[], $4::float8[]) AS given (suite, metric, value) \
    JOIN score_keys USING (suite, metric) \
    ON CONFLICT (version_id, key_id) DO UPDATE SET value = excluded.value";
const REMOVE_SCORES: &str = "DELETE FROM scores USING unnest($2::text[], $3::text[]) AS lost (suite, metric) \
    JOIN score_keys USING (suite, metric) WHERE version_id = $1 AND key_id = score_keys.id";
const REMOVE_ALL_SCORES: &str = "DELETE FROM scores WHERE version_id = $1";

/// Returns a tag's key as the tables hold it: a long one by its digest, which no text can imitate.
pub(super) fn tag_key(key: &str) -> String {
    let stored = encoded(key);
    if stored.len() <= MAX_KEY_BYTES {
        return stored.into_owned();
    }
    format!("{SEPARATOR}sha256:{}", hex::encode(Sha256::digest(key)))
}

/// Returns the tags of a version as the tables hold them.
pub(super) fn stored_tags(version: &Version) -> BTreeMap<String, String> {
    let tags = Tags::of(version);
    tags.by_key().into_iter().map(|(key, value)| (tag_key(key), encoded(value).into_owned())).collect()
}

/// Returns the searched texts of a version.
pub(super) fn folded<S: AsRef<str>>(version: &Version<S>) -> String {
    let description = version.description.as_ref().map(AsRef::as_ref).unwrap_or_default();
    [version.name.as_ref(), version.label.as_ref(), description]
        .map(|text| encoded(&fold(text)).into_owned())
        .join(SEPARATOR)
}

/// Returns the LIKE pattern for versions that contain `folded`.
pub(super) fn pattern(folded: &str) -> String {
    let mut pattern = String::from("%");
    for letter in encoded(folded).chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

/// Changes of counters that a transaction has not written yet. It writes them last, so that it holds these rows, which others
/// may change too, only for its commit; and in one order, so that two transactions don't wait for each other.
#[derive(Debug, Default)]
pub(super) struct Counts(BTreeMap<(&'static str, String), i64>);

impl Counts {
    fn add(&mut self, kind: &'static str, value: &str, change: i64) {
        *self.0.entry((kind, value.to_owned())).or_default() += change;
    }

    fn name(&mut self, name: &str, change: i64) {
        self.add("name", &encoded(name), change);
    }

    /// Counts the tags that have no value.
    fn tags(&mut self, tags: &BTreeMap<String, String>, change: i64) {
        tags.iter().filter(|(_, value)| value.is_empty()).for_each(|(key, _)| self.add("tag", key, change));
    }

    /// Counts a change of status.
    pub(super) fn change_status(&mut self, from: Status, to: Status) {
        self.add("status", from.as_str(), -1);
        self.add("status", to.as_str(), 1);
    }

    /// Returns the statement that writes the changes, if there are any, and forgets them.
    pub(super) fn take(&mut self) -> Option<Write> {
        let changes = std::mem::take(&mut self.0).into_iter().filter(|(_, change)| *change != 0);
        let (names, changes): (Vec<_>, Vec<_>) = changes.map(|(name, change)| (name, Some(change))).unzip();
        let (kinds, values): (Vec<_>, Vec<_>) =
            names.into_iter().map(|(kind, value)| (kind.to_owned(), value)).unzip();
        let is_any = !changes.is_empty();
        let lists = [Value::texts(kinds), Value::texts(values), Value::Integers(changes)];
        is_any.then(|| Write::new(COUNT, lists))
    }
}

/// Returns the statement that adds a version to all tables, which returns its id and its number, and one that must run before.
/// A version is restored under the id and the number that it has; a new one gets both, and at least the number that it has.
pub(super) fn add(version: &Version, is_restored: bool, counts: &mut Counts) -> (Write, Option<Write>) {
    let tags = stored_tags(version);
    counts.name(&version.name, 1);
    counts.add("status", version.status.as_str(), 1);
    counts.tags(&tags, 1);
    let scores = scores(version.metrics.as_deref()).into_iter();
    let scores: Vec<NamedScore> = scores.map(|score| (score.suite, score.metric, score.value)).collect();
    let keys = (!scores.is_empty()).then(|| add_score_keys(&scores));
    (insert(version, is_restored, tags, &scores), keys)
}

fn insert(
    version: &Version,
    is_restored: bool,
    tags: BTreeMap<String, String>,
    scores: &[NamedScore],
) -> Write {
    let mut values = Values::default();
    let columns = columns_of(version).into_iter().filter(|(column, _)| is_restored || *column != "number");
    let (columns, bound): (Vec<_>, Vec<_>) =
        columns.map(|(column, value)| (column, values.bind(value.into_owned()))).unzip();
    let (columns, bound) = (columns.join(", "), bound.join(", "));
    let added = if is_restored {
        let id = values.bind(Value::integer(version.id));
        format!("added AS (INSERT INTO models ({columns}, id) VALUES ({bound}, {id}) RETURNING id, number)")
    } else {
        let model = values.bind(Value::integer(version.model));
        let given = values.bind(Value::integer(version.number));
        let created_at = values.bind(Value::owned(&version.created_at));
        format!(
            "numbered AS (UPDATE registered_models SET next_number = greatest(next_number, {given}) + 1, \
             changed_at = greatest(changed_at, updated_at, {created_at}) WHERE id = {model} \
             RETURNING next_number - 1 AS number), \
             added AS (INSERT INTO models ({columns}, number) SELECT {bound}, number FROM numbered \
             ON CONFLICT (name, version) DO NOTHING RETURNING id, number)"
        )
    };
    let text = values.bind(Value::Text(Some(folded(version).into())));
    let [keys, tag_values] = tag_arrays(tags).map(|list| values.bind(list));
    let files = file_arrays(&VersionFile::of(version));
    let [paths, sizes, digests, roles] = files.map(|list| values.bind(list));
    let [suites, metrics] = name_arrays(scores).map(|list| values.bind(list));
    let numbers = values.bind(Value::Reals(scores.iter().map(|(_, _, value)| *value).collect()));
    let sql = format!(
        "WITH {added}, \
         texts AS (INSERT INTO model_texts (version_id, folded) SELECT id, {text} FROM added), \
         tagged AS (INSERT INTO model_tags (version_id, key, value) SELECT added.id, given.key, given.value \
             FROM added, unnest({keys}::text[], {tag_values}::text[]) AS given (key, value)), \
         filed AS (INSERT INTO version_files (version_id, path, size_bytes, sha256, role) \
             SELECT added.id, given.path, given.size_bytes, given.sha256, given.role \
             FROM added, unnest({paths}::text[], {sizes}::bigint[], {digests}::text[], {roles}::text[]) \
                 AS given (path, size_bytes, sha256, role)), \
         scored AS (INSERT INTO scores (version_id, key_id, value) SELECT added.id, score_keys.id, given.value \
             FROM added, unnest({suites}::text[], {metrics}::text[], {numbers}::float8[]) \
                 AS given (suite, metric, value) JOIN score_keys USING (suite, metric)) \
         SELECT id, number FROM added"
    );
    Write::new(sql, values.into_inner())
}

/// Returns the statements that change a version. Its name and its label never change.
pub(super) fn change(before: &Version, after: &Version, counts: &mut Counts) -> Vec<Write> {
    let mut values = Values::default();
    let id = values.bind(Value::integer(after.id));
    let columns = columns_of(before).into_iter().zip(columns_of(after));
    let assigned: Vec<_> = columns
        .filter(|(old, new)| old != new)
        .map(|(_, (column, value))| format!("{column} = {}", values.bind(value.into_owned())))
        .collect();
    if assigned.is_empty() {
        return Vec::new();
    }
    let sql = format!("UPDATE models SET {} WHERE id = {id}", assigned.join(", "));
    // There is a statement for each set of columns, too many to prepare.
    let mut writes = vec![Write::unprepared(sql, values.into_inner())];
    let id = || Value::integer(after.id);
    counts.change_status(before.status, after.status);
    if before.tags != after.tags || before.properties != after.properties {
        let (old, new) = (stored_tags(before), stored_tags(after));
        let lost: Vec<_> = old.keys().filter(|key| !new.contains_key(*key)).cloned().collect();
        let set: BTreeMap<_, _> = without(&new, &old);
        counts.tags(&without(&old, &new), -1);
        counts.tags(&set, 1);
        if !lost.is_empty() {
            writes.push(Write::new(REMOVE_TAGS, [id(), Value::texts(lost)]));
        }
        if !set.is_empty() {
            let [keys, values] = tag_arrays(set);
            writes.push(Write::new(SET_TAGS, [id(), keys, values]));
        }
    }
    let (old, new) = (VersionFile::of(before), VersionFile::of(after));
    if old != new {
        writes.push(Write::new(REMOVE_FILES, [id()]));
        let [paths, sizes, digests, roles] = file_arrays(&new);
        writes.push(Write::new(ADD_FILES, [id(), paths, sizes, digests, roles]));
    }
    writes.extend(change_scores(after.id, &changes(before.metrics.as_deref(), after.metrics.as_deref())));
    if before.description != after.description {
        writes.push(Write::new(SET_TEXT, [id(), Value::Text(Some(folded(after).into()))]));
    }
    writes
}

/// Returns the statements that remove a version from the lookup tables.
pub(super) fn remove(version: &Version, counts: &mut Counts) -> Vec<Write> {
    counts.name(&version.name, -1);
    counts.add("status", version.status.as_str(), -1);
    counts.tags(&stored_tags(version), -1);
    let removals = [REMOVE_ALL_TAGS, REMOVE_FILES, REMOVE_ALL_SCORES, REMOVE_TEXT];
    removals.map(|sql| Write::new(sql, [Value::integer(version.id)])).into()
}

/// Returns the statement that renames this many versions of a model in the lookup tables.
pub(super) fn rename(model: i64, before: &str, after: &str, versions: i64, counts: &mut Counts) -> Write {
    counts.name(before, -versions);
    counts.name(after, versions);
    let separator = Value::Text(Some(SEPARATOR.into()));
    Write::new(RENAME_TEXTS, [Value::integer(model), Value::owned(&fold(after)), separator])
}

/// Returns the statements that change the scores of a version.
pub(super) fn change_scores(version: VersionId, changes: &[ScoreChange]) -> Vec<Write> {
    let (mut new, mut set, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for ScoreChange { suite, metric, before, after } in changes {
        let named = |value| (suite.clone(), metric.clone(), value);
        match after {
            None => lost.push(named(0.0)),
            Some(value) => {
                // A score that had a value has a key.
                if before.is_none() {
                    new.push(named(*value));
                }
                set.push(named(*value));
            }
        }
    }
    let id = || Value::integer(version);
    let mut writes = Vec::new();
    if !lost.is_empty() {
        let [suites, metrics] = name_arrays(&lost);
        writes.push(Write::new(REMOVE_SCORES, [id(), suites, metrics]));
    }
    if !new.is_empty() {
        writes.push(add_score_keys(&new));
    }
    if !set.is_empty() {
        let [suites, metrics] = name_arrays(&set);
        let numbers = Value::Reals(set.iter().map(|(_, _, value)| *value).collect());
        writes.push(Write::new(SET_SCORES, [id(), suites, metrics, numbers]));
    }
    writes
}

/// Suite, metric and value.
type NamedScore = (String, String, f64);

fn add_score_keys(scores: &[NamedScore]) -> Write {
    Write::new(ADD_SCORE_KEYS, name_arrays(scores))
}

fn name_arrays(scores: &[NamedScore]) -> [Value<'static>; 2] {
    let list = |name: fn(&NamedScore) -> &str| {
        Value::texts(scores.iter().map(|score| encoded(name(score)).into_owned()))
    };
    [list(|(suite, _, _)| suite), list(|(_, metric, _)| metric)]
}

fn tag_arrays(tags: BTreeMap<String, String>) -> [Value<'static>; 2] {
    let (keys, values): (Vec<_>, Vec<_>) = tags.into_iter().unzip();
    [Value::texts(keys), Value::texts(values)]
}

fn file_arrays(files: &[VersionFile]) -> [Value<'static>; 4] {
    let stored = |text: &str| encoded(text).into_owned();
    [
        Value::texts(files.iter().map(|file| stored(&file.path))),
        Value::Integers(files.iter().map(|file| file.size_bytes).collect()),
        Value::Texts(files.iter().map(|file| file.sha256.as_deref().map(stored)).collect()),
        Value::texts(files.iter().map(|file| file.role.as_str().to_owned())),
    ]
}

/// Returns the tags in `one` that `other` does not have with the same value.
fn without(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let differs = |(key, value): &(&String, &String)| other.get(*key) != Some(*value);
    one.iter().filter(differs).map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_wildcards_literally() {
        for (text, expected) in [("a", "%a%"), ("100%", "%100\\%%"), ("a_\\", "%a\\_\\\\%")] {
            assert_eq!(pattern(text), expected);
        }
    }

    #[test]
    fn a_long_key_of_a_tag_has_a_key_of_its_own_that_fits_into_an_index() {
        let (one, other) = ("a".repeat(100_000), "a".repeat(100_001));
        assert!(tag_key(&one).len() < 100);
        assert!(tag_key(&"\0".repeat(MAX_KEY_BYTES)).len() < 100);
        assert_ne!(tag_key(&one), tag_key(&other));
        assert_ne!(tag_key(&tag_key(&one)), tag_key(&one));
        assert_eq!(tag_key("short"), "short");
    }
}
