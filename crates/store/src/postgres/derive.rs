//! Fills the lookup tables of versions that were copied from another store.

use std::{collections::BTreeSet, ops::ControlFlow};

use tokio_postgres::types::Type;

use registry_domain::{Version, VersionFile, scores::scores};

use crate::copy::tables::{PAGE_BYTES, PageLimit};

use super::{
    connection::{Connection, Parameter, Request},
    error::Failure,
    lookup::{ADD_SCORE_KEYS, folded, stored_tags},
    rows::{Value, columns, version},
    text::encoded,
};

/// Each version has a text, so the highest id among them says where this goes on.
const NEXT: &str = concat!(
    "SELECT ",
    columns!("models."),
    " FROM models WHERE id > coalesce((SELECT max(version_id) FROM model_texts), -9223372036854775808) \
     ORDER BY id LIMIT "
);
const SCORE_KEYS: &str = "SELECT given.position, score_keys.id \
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS given (suite, metric, position) \
    JOIN score_keys USING (suite, metric)";

/// A score whose key has no id yet.
struct Named {
    version: i64,
    key: (String, String),
    value: f64,
}

/// Fills the tables for the next versions, in one transaction. Returns false if there are no more.
pub(super) fn fill(connection: &mut Connection, limit: &mut PageLimit) -> Result<bool, Failure> {
    let versions = next(connection, limit)?;
    if versions.is_empty() {
        return Ok(false);
    }
    let [mut texts, mut tags, mut files] = [const { Vec::new() }; 3];
    let mut named = Vec::new();
    for version in &versions {
        let id = Value::integer(version.id);
        texts.push(vec![id.clone(), Value::Text(Some(folded(version).into()))]);
        tags.extend(stored_tags(version).into_iter().map(|(key, value)| {
            vec![id.clone(), Value::Text(Some(key.into())), Value::Text(Some(value.into()))]
        }));
        for VersionFile { path, size_bytes, sha256, role } in VersionFile::of(version) {
            let (path, sha256) = (Value::owned(&path), Value::optional(sha256.as_deref()));
            files.push(vec![
                id.clone(),
                path,
                Value::Integer(size_bytes),
                sha256,
                Value::text(role.as_str()),
            ]);
        }
        named.extend(scores(version.metrics.as_deref()).into_iter().map(|score| {
            let key = (encoded(&score.suite).into_owned(), encoded(&score.metric).into_owned());
            Named { version: version.id, key, value: score.value }
        }));
    }
    connection.batch("BEGIN")?;
    let scores = numbered(connection, &named)?;
    let (text, id) = (Type::TEXT, Type::INT8);
    for (table, kinds, rows) in [
        ("model_texts (version_id, folded)", vec![id.clone(), text.clone()], texts),
        ("model_tags (version_id, key, value)", vec![id.clone(), text.clone(), text.clone()], tags),
        (
            "version_files (version_id, path, size_bytes, sha256, role)",
            vec![id.clone(), text.clone(), id.clone(), text.clone(), text],
            files,
        ),
        ("scores (version_id, key_id, value)", vec![id.clone(), id, Type::FLOAT8], scores),
    ] {
        if !rows.is_empty() {
            connection.copy_in(&format!("COPY {table} FROM STDIN (FORMAT binary)"), &kinds, &rows)?;
        }
    }
    connection.batch("COMMIT")?;
    Ok(true)
}

fn next(connection: &mut Connection, limit: &mut PageLimit) -> Result<Vec<Version>, Failure> {
    let (mut versions, mut size) = (Vec::new(), 0);
    let sql = format!("{NEXT}{}", limit.rows());
    connection.each(&Request::prepared(&sql, &[]), &mut |row| {
        let next = version(row)?.into_owned();
        let texts = [&next.metrics, &next.tags, &next.properties, &next.description];
        size += texts.into_iter().flatten().map(String::len).sum::<usize>();
        versions.push(next);
        Ok(if size > PAGE_BYTES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    limit.adapt(versions.len(), size);
    Ok(versions)
}

/// Returns the rows of scores, after adding the keys that are missing.
fn numbered(connection: &mut Connection, named: &[Named]) -> Result<Vec<Vec<Value<'static>>>, Failure> {
    let keys: BTreeSet<_> = named.iter().map(|score| &score.key).collect();
    let keys: Vec<_> = keys.into_iter().collect();
    let suites = Value::texts(keys.iter().map(|(suite, _)| suite.clone()));
    let metrics = Value::texts(keys.iter().map(|(_, metric)| metric.clone()));
    let parameters: [Parameter<'_>; 2] = [suites.parameter(), metrics.parameter()];
    connection.one(ADD_SCORE_KEYS, &parameters)?;
    let mut ids = vec![0; keys.len()];
    for row in connection.one(SCORE_KEYS, &parameters)? {
        let position: i64 = row.try_get(0)?;
        if let Some(id) = usize::try_from(position - 1).ok().and_then(|position| ids.get_mut(position)) {
            *id = row.try_get(1)?;
        }
    }
    let row = |score: &Named| {
        let position = keys.binary_search(&&score.key).ok();
        let id = position.and_then(|position| ids.get(position)).copied().unwrap_or_default();
        vec![Value::integer(score.version), Value::integer(id), Value::Real(Some(score.value))]
    };
    Ok(named.iter().map(row).collect())
}
