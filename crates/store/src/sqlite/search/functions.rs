//! SQL functions for what only the domain can evaluate: patterns, times, and values within the JSON of a row.

use std::convert::Infallible;

use rusqlite::{
    Connection,
    functions::{Context, FunctionFlags},
    types::ValueRef,
};

use registry_domain::{Tags, Timestamp, filter::Pattern, scores::score};

/// Adds the functions to a connection.
pub(in crate::sqlite) fn add(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_DIRECTONLY
        | FunctionFlags::SQLITE_INNOCUOUS;
    // score_of(metrics, suite, metric)
    connection.create_scalar_function("score_of", 3, flags, |context| {
        let (suite, metric) = (text(context, 1).unwrap_or_default(), text(context, 2).unwrap_or_default());
        Ok(score(text(context, 0), suite, metric))
    })?;
    // tag_of(tags, properties, key)
    connection.create_scalar_function("tag_of", 3, flags, |context| {
        let tags = Tags::stored(text(context, 0), text(context, 1));
        Ok(text(context, 2).and_then(|key| tags.get(key)).map(str::to_owned))
    })?;
    // millis(time)
    connection.create_scalar_function("millis", 1, flags, |context| {
        Ok(text(context, 0).and_then(Timestamp::parse).map(Timestamp::unix_millis))
    })?;
    // fits(text, pattern, ignores_case)
    connection.create_scalar_function("fits", 3, flags, |context| {
        let ignores_case: bool = context.get(2)?;
        // Parsed once for each statement.
        let pattern = context.get_or_create_aux(1, |pattern| {
            let pattern = pattern.as_str_or_null().ok().flatten().unwrap_or_default();
            Ok::<_, Infallible>(Pattern::new(pattern, ignores_case))
        })?;
        Ok(text(context, 0).map(|text| pattern.matches(text)))
    })
}

/// Returns an argument that is text.
fn text<'c>(context: &'c Context<'_>, at: usize) -> Option<&'c str> {
    match context.get_raw(at) {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}
