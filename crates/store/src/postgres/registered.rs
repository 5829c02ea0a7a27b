//! Registered models, their aliases and their holdings.

use std::{collections::BTreeMap, ops::ControlFlow};

use tokio_postgres::{Row, types::Type};

use registry_domain::{
    Alias, Cursor, DeletedVersion, Holding, Model, ModelKey, ModelSummary, Numbering, Page,
    query::{CursorKey, DeletedQuery, HistoryQuery, ModelQuery},
    text::fold,
};

use crate::VisitDeleted;

use super::{
    connection::{Connection, Parameter, Request},
    error::Failure,
    lists::BEGIN_SNAPSHOT,
    lookup::pattern,
    rows::{self, Value, Values, columns, optional_text, owned_text, text, version},
    search::{case, ordered::IS_PROMPT_MODEL},
    text::encoded,
    writer::Write,
};

macro_rules! model_columns {
    () => {
        "id, name, description, created_at, updated_at, deleted_at, changed_at, next_number"
    };
}
pub(super) use model_columns;
/// How many columns [`model`] reads; a statement may have more after them.
pub(super) const COLUMNS: usize = 8;

const DELETED_VERSIONS: &str = concat!(
    "SELECT ",
    columns!("deleted_models."),
    ", deleted_at, deleted_by FROM deleted_models \
     WHERE model_key = (SELECT id FROM registered_models WHERE name = $1 AND deleted_at IS NULL) \
     AND number < $2 ORDER BY number DESC LIMIT $3"
);

macro_rules! with_head {
    ($condition:expr) => {
        concat!(
            "SELECT ",
            model_columns!(),
            ", last_event_id, hash FROM registered_models LEFT JOIN model_heads ON model_key = id WHERE ",
            $condition
        )
    };
}
macro_rules! live {
    () => {
        "name = $1 AND deleted_at IS NULL"
    };
}
/// The model that was deleted last under a name.
macro_rules! deleted {
    () => {
        "name = $1 AND deleted_at IS NOT NULL AND NOT purged ORDER BY deleted_at DESC, id DESC LIMIT 1"
    };
}
pub(super) const LIVE: &str = with_head!(live!());
pub(super) const DELETED: &str = with_head!(deleted!());
pub(super) const LOCK_DELETED: &str =
    concat!("SELECT id FROM registered_models WHERE ", deleted!(), " FOR UPDATE");
pub(super) const SPENT: &str = "SELECT EXISTS (SELECT 1 FROM registered_models \
    WHERE name = $1 AND deleted_at IS NOT NULL AND next_number > 1)";
/// The numbers of deleted models of this name stay spent.
pub(super) const FIRST_NUMBER: &str =
    "SELECT coalesce(max(next_number), 1) FROM registered_models WHERE name = $1";
pub(super) const TAGS_BY_NAME: &str = concat!(
    "SELECT key, value FROM registered_model_tags WHERE model_key = (SELECT id FROM registered_models WHERE ",
    live!(),
    ")"
);
pub(super) const TAGS_BY_DELETED_NAME: &str = concat!(
    "SELECT key, value FROM registered_model_tags WHERE model_key = (SELECT id FROM registered_models WHERE ",
    deleted!(),
    ")"
);

/// `$7`: the numbers continue those of deleted models.
const INSERT: &str = "WITH added AS (\
        INSERT INTO registered_models (name, description, created_at, updated_at, next_number) \
        VALUES ($1, $2, $3, $4, \
            (SELECT coalesce(max(next_number), 1) FROM registered_models WHERE $7 AND name = $1)) \
        RETURNING id, next_number), \
    tagged AS (INSERT INTO registered_model_tags (model_key, key, value) \
        SELECT added.id, given.key, given.value \
        FROM added, unnest($5::text[], $6::text[]) AS given (key, value)) \
    SELECT id, next_number FROM added";
const UPDATE: &str = "UPDATE registered_models \
    SET name = $2, description = $3, updated_at = $4, changed_at = $5 WHERE id = $1";
pub(super) const TOUCH: &str = "UPDATE registered_models SET changed_at = $2 WHERE id = $1";
const SET_TAGS: &str = "INSERT INTO registered_model_tags (model_key, key, value) \
    SELECT $1, key, value FROM unnest($2::text[], $3::text[]) AS given (key, value) \
    ON CONFLICT (model_key, key) DO UPDATE SET value = excluded.value";
const REMOVE_TAGS: &str = "DELETE FROM registered_model_tags WHERE model_key = $1 AND key = ANY($2)";
/// Moves the times of the versions forward, as each change of them does.
const RENAME: &str = "WITH renamed AS (UPDATE models SET name = $2, (updated_at, changed_at) = \
        (SELECT later, later FROM (SELECT CASE WHEN updated_at < $3 THEN $3 \
            ELSE to_char(updated_at::timestamp + interval '1 millisecond', 'YYYY-MM-DD HH24:MI:SS.MS') END) AS moved (later)) \
        WHERE model_key = $1 RETURNING 1), \
    in_trash AS (UPDATE deleted_models SET name = $2 WHERE model_key = $1) \
    SELECT count(*) FROM renamed";
pub(super) const SET_DELETED: &str =
    "UPDATE registered_models SET deleted_at = $2, updated_at = $3, changed_at = NULL WHERE id = $1";

pub(super) const ALIASES: &str = "SELECT aliases.model_key, alias, models.id, number, version FROM aliases \
    JOIN models ON models.id = version_id WHERE aliases.model_key = ANY($1) ORDER BY alias";
pub(super) const ALIASES_OF: &str =
    "SELECT alias FROM aliases WHERE model_key = $1 AND version_id = $2 ORDER BY alias";
const PRODUCTION: &str = "SELECT registered.id, 'production', models.id, number, version \
    FROM registered_models AS registered JOIN models ON models.name = registered.name AND status = 'production' \
    WHERE registered.id = ANY($1) AND deleted_at IS NULL";
const TAGS: &str = "SELECT model_key, key, value FROM registered_model_tags WHERE model_key = ANY($1)";
/// A model in the trash has its versions there.
const COUNTS: &str = "SELECT id, \
        CASE WHEN deleted_at IS NULL \
            THEN coalesce((SELECT counted.count FROM model_counts AS counted \
                WHERE counted.kind = 'name' AND counted.value = registered.name AND counted.slot = 0), 0) \
            ELSE (SELECT count(*) FROM deleted_models WHERE model_key = registered.id) END, \
        CASE WHEN deleted_at IS NULL \
            THEN (SELECT max(number) FROM models WHERE model_key = registered.id) \
            ELSE (SELECT max(number) FROM deleted_models WHERE model_key = registered.id) END \
    FROM registered_models AS registered WHERE id = ANY($1)";

macro_rules! holdings {
    ($condition:literal) => {
        concat!(
            "SELECT alias, version_id, number, label, since, until, actor, reason FROM holdings WHERE ",
            $condition,
            " ORDER BY id DESC LIMIT "
        )
    };
}
/// `$3` must be the version, `$4` must not.
pub(super) const LAST_HOLDING: &str = concat!(
    holdings!(
        "model_key = $1 AND alias = $2 AND ($3::bigint IS NULL OR version_id = $3) \
         AND ($4::bigint IS NULL OR version_id <> $4)"
    ),
    "1"
);
const HISTORY: &str = concat!(
    holdings!(
        "model_key = (SELECT id FROM registered_models WHERE name = $1 AND deleted_at IS NULL) \
         AND ($2::text IS NULL OR alias = $2) AND ($3::text IS NULL OR since <= $3 \
         AND (until IS NULL OR until > $3))"
    ),
    "$4"
);

/// A page ends early once the descriptions and tags of its models have this many bytes.
pub(super) const MAX_PAGE_BYTES: usize = 1024 * 1024;
/// How much the tags and aliases of a model, `m`, are; for [`bytes`].
pub(super) const BYTES: &str = "(SELECT coalesce(sum(octet_length(key) + octet_length(value)), 0) \
    FROM registered_model_tags WHERE model_key = m.id) + (SELECT coalesce(sum(octet_length(alias)), 0) \
    FROM aliases WHERE model_key = m.id)";

/// Reads a model without its tags.
pub(super) fn model(row: &Row) -> Result<Model, Failure> {
    Ok(Model {
        key: row.try_get(0)?,
        name: owned_text(row, 1)?,
        description: optional_text(row, 2)?,
        tags: BTreeMap::new(),
        created_at: owned_text(row, 3)?,
        updated_at: owned_text(row, 4)?,
        deleted_at: optional_text(row, 5)?,
        changed_at: optional_text(row, 6)?,
        next_number: row.try_get(7)?,
    })
}

/// Reads how much the description, tags and aliases of a model are, from a row that ends with [`BYTES`].
pub(super) fn bytes(row: &Row) -> Result<usize, Failure> {
    let others = usize::try_from(row.try_get::<_, i64>(COLUMNS)?).unwrap_or_default();
    Ok(text(row, 2)?.map_or(0, |description| description.len()) + others)
}

/// Reads key and value of a tag.
pub(super) fn tag(row: &Row) -> Result<(String, String), Failure> {
    Ok((owned_text(row, 0)?, owned_text(row, 1)?))
}

/// Reads the key of a model, and one of its aliases.
pub(super) fn alias(row: &Row) -> Result<(ModelKey, Alias), Failure> {
    let alias = Alias {
        name: owned_text(row, 1)?,
        version: row.try_get(2)?,
        number: row.try_get(3)?,
        label: owned_text(row, 4)?,
    };
    Ok((row.try_get(0)?, alias))
}

pub(super) fn holding(row: &Row) -> Result<Holding, Failure> {
    Ok(Holding {
        alias: owned_text(row, 0)?,
        version: row.try_get(1)?,
        number: row.try_get(2)?,
        label: owned_text(row, 3)?,
        since: owned_text(row, 4)?,
        until: optional_text(row, 5)?,
        actor: optional_text(row, 6)?,
        reason: optional_text(row, 7)?,
    })
}

/// Returns the statement that adds a model, which returns its key and its next number.
pub(super) fn insert(model: &Model, numbering: Numbering) -> Write {
    let [keys, values] = tag_arrays(model.tags.iter());
    Write::new(
        INSERT,
        [
            Value::owned(&model.name),
            Value::optional(model.description.as_deref()),
            Value::owned(&model.created_at),
            Value::owned(&model.updated_at),
            keys,
            values,
            Value::Boolean(numbering == Numbering::Continued),
        ],
    )
}

/// Returns the statements that change a model itself.
pub(super) fn update(before: &Model, after: &Model) -> Vec<Write> {
    let key = || Value::integer(after.key);
    let values = [
        key(),
        Value::owned(&after.name),
        Value::optional(after.description.as_deref()),
        Value::owned(&after.updated_at),
        Value::optional(after.changed_at.as_deref()),
    ];
    let mut writes = vec![Write::new(UPDATE, values)];
    let lost: Vec<_> = before.tags.keys().filter(|tag| !after.tags.contains_key(*tag)).collect();
    if !lost.is_empty() {
        let lost = lost.into_iter().map(|tag| encoded(tag).into_owned());
        writes.push(Write::new(REMOVE_TAGS, [key(), Value::texts(lost)]));
    }
    let mut set = after.tags.iter().filter(|(tag, value)| before.tags.get(*tag) != Some(value)).peekable();
    if set.peek().is_some() {
        let [keys, values] = tag_arrays(set);
        writes.push(Write::new(SET_TAGS, [key(), keys, values]));
    }
    writes
}

/// Returns the statement that gives all versions of a model its name, and returns how many have it now.
pub(super) fn rename(model: &Model) -> Write {
    let values = [Value::integer(model.key), Value::owned(&model.name), Value::owned(&model.updated_at)];
    Write::new(RENAME, values)
}

fn tag_arrays<'t>(tags: impl Iterator<Item = (&'t String, &'t String)>) -> [Value<'static>; 2] {
    let stored = |text: &str| encoded(text).into_owned();
    let (keys, values): (Vec<_>, Vec<_>) = tags.map(|(key, value)| (stored(key), stored(value))).unzip();
    [Value::texts(keys), Value::texts(values)]
}

/// Runs statements and returns the rows of each.
pub(super) type Run<'r> = &'r mut dyn FnMut(&[Request<'_>]) -> Result<Vec<Vec<Row>>, Failure>;

/// Returns models with their tags, and with summaries of their versions.
pub(super) fn summaries(models: Vec<Model>, run: Run<'_>) -> Result<Vec<ModelSummary>, Failure> {
    let keys: Vec<ModelKey> = models.iter().map(|model| model.key).collect();
    let keys: [Parameter<'_>; 1] = [(&keys, Type::INT8_ARRAY)];
    let answers = run(&[TAGS, COUNTS, ALIASES, PRODUCTION].map(|sql| Request::prepared(sql, &keys)))?;
    let [tags, counts, aliases, production] = answers.as_slice() else { return Ok(Vec::new()) };
    let summary =
        |model: Model| (model.key, ModelSummary { model, versions: 0, latest: None, aliases: Vec::new() });
    let order: Vec<_> = models.iter().map(|model| model.key).collect();
    let mut summaries: BTreeMap<ModelKey, ModelSummary> = models.into_iter().map(summary).collect();
    for row in tags {
        if let Some(summary) = summaries.get_mut(&row.try_get(0)?) {
            summary.model.tags.insert(owned_text(row, 1)?, owned_text(row, 2)?);
        }
    }
    for row in counts {
        if let Some(summary) = summaries.get_mut(&row.try_get(0)?) {
            summary.versions = u64::try_from(row.try_get::<_, i64>(1)?).unwrap_or_default();
            summary.latest = row.try_get(2)?;
        }
    }
    for row in aliases.iter().chain(production) {
        let (key, alias) = alias(row)?;
        if let Some(summary) = summaries.get_mut(&key) {
            summary.aliases.push(alias);
        }
    }
    for summary in summaries.values_mut() {
        summary.aliases.sort_by(|one, other| one.name.cmp(&other.name));
    }
    Ok(order.iter().filter_map(|key| summaries.remove(key)).collect())
}

/// Returns the model with this name.
pub(super) fn summary(connection: &mut Connection, name: &str) -> Result<Option<ModelSummary>, Failure> {
    let name = encoded(name);
    let key: [Parameter<'_>; 1] = [(&name, Type::TEXT)];
    let found = connection.all(Some(BEGIN_SNAPSHOT), &[Request::prepared(LIVE, &key)])?;
    let models = found.iter().flatten().map(model).collect::<Result<Vec<_>, _>>()?;
    let mut summaries = summaries(models, &mut |requests| connection.all(None, requests))?;
    connection.batch("COMMIT")?;
    Ok(summaries.pop())
}

/// Returns a page of models, by name.
pub(super) fn page(
    connection: &mut Connection,
    query: &ModelQuery,
) -> Result<(Vec<ModelSummary>, Page), Failure> {
    let mut values = Values::default();
    let mut conditions = vec![
        if query.deleted { "deleted_at IS NOT NULL AND NOT purged" } else { "deleted_at IS NULL" }.to_owned(),
    ];
    if let Some(after) = &query.after {
        let CursorKey::Text(name) = &after.key else {
            return Ok((Vec::new(), Page { total: None, next: None }));
        };
        let (name, id) = (values.bind(Value::text(name)), values.bind(Value::integer(after.id)));
        conditions.push(format!("(name, id) > ({name}, {id})"));
    }
    let not = if query.prompts { "" } else { "NOT " };
    conditions.push(format!("{not}{IS_PROMPT_MODEL}"));
    if let Some((key, value)) = &query.tag {
        let key = values.bind(Value::text(key));
        let value = value.as_ref().map(|value| format!(" AND value = {}", values.bind(Value::text(value))));
        conditions.push(format!(
            "EXISTS (SELECT 1 FROM registered_model_tags WHERE model_key = id AND key = {key}{})",
            value.unwrap_or_default()
        ));
    }
    if let Some(q) = &query.q {
        let folded = fold(q);
        let name = case::folded("name", &folded, false, &mut values);
        let pattern = values.bind(Value::Text(Some(pattern(&folded).into())));
        conditions.push(format!("{name} LIKE {pattern}"));
    }
    let limit = values.bind(Value::integer(i64::from(query.limit) + 1));
    let sql = format!(
        "SELECT {}, {BYTES} FROM registered_models AS m WHERE {} ORDER BY name, id LIMIT {limit}",
        model_columns!(),
        conditions.join(" AND ")
    );
    connection.batch(BEGIN_SNAPSHOT)?;
    let (mut models, mut bytes, mut next): (Vec<Model>, _, _) = (Vec::new(), 0, None);
    connection.each(&Request::unprepared(&sql, &values.parameters()), &mut |row| {
        if models.len() == query.limit as usize || bytes > MAX_PAGE_BYTES {
            next = models.last().map(|last| Cursor {
                list: ModelQuery::LIST_NAME.to_owned(),
                key: CursorKey::Text(last.name.clone()),
                id: last.key,
            });
            return Ok(ControlFlow::Break(()));
        }
        bytes += self::bytes(row)?;
        models.push(model(row)?);
        Ok(ControlFlow::Continue(()))
    })?;
    let summaries = summaries(models, &mut |requests| connection.all(None, requests))?;
    connection.batch("COMMIT")?;
    Ok((summaries, Page { total: None, next }))
}

/// Visits a page of a model's versions in the trash.
pub(super) fn deleted_versions(
    connection: &mut Connection,
    query: &DeletedQuery,
    visit: VisitDeleted<'_>,
) -> Result<Page, Failure> {
    let values = [
        Value::text(&query.model),
        Value::integer(query.before.unwrap_or(i64::MAX)),
        Value::integer(i64::from(query.limit) + 1),
    ];
    let parameters: Vec<_> = values.iter().map(Value::parameter).collect();
    let mut page = Page { total: None, next: None };
    let (mut visited, mut last) = (0, None);
    connection.each(&Request::prepared(DELETED_VERSIONS, &parameters), &mut |row| {
        if let Some(number) = last.filter(|_| visited == query.limit) {
            page.next = Some(Cursor::at(DeletedQuery::LIST_NAME, number));
            return Ok(ControlFlow::Break(()));
        }
        let deleted = DeletedVersion {
            version: version(row)?,
            deleted_at: text(row, rows::COLUMNS)?.unwrap_or_default(),
            deleted_by: text(row, rows::COLUMNS + 1)?,
        };
        (visited, last) = (visited + 1, Some(deleted.version.number));
        if visit(deleted).is_break() {
            // The next row, if there is one, begins the next page.
            visited = query.limit;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(page)
}

/// Returns who held the aliases of a model that a query names.
pub(super) fn history(connection: &mut Connection, query: &HistoryQuery) -> Result<Vec<Holding>, Failure> {
    let values = [
        Value::text(&query.model),
        Value::optional(query.alias.as_deref()),
        Value::optional(query.at.as_deref()),
        Value::integer(query.limit.into()),
    ];
    let parameters: Vec<_> = values.iter().map(Value::parameter).collect();
    connection.one(HISTORY, &parameters)?.iter().map(holding).collect()
}
