//! How many versions meet a condition, to choose between access paths.

use rusqlite::params_from_iter;

use super::{source::Source, values::Values};
use crate::sqlite::lists::Statements;

/// The maximum number of candidates that are all read at first; this takes about 5 ms.
pub(super) const FEW: i64 = 1_000;

/// Returns the versions of the source with the fewest, as a list in JSON, if these are at most [`FEW`]: to find them again
/// would take as long as to count them.
pub(super) fn few(statements: &Statements<'_>, sources: &[Source<'_>]) -> rusqlite::Result<Option<String>> {
    let (mut few, mut most) = (None, FEW);
    for source in sources {
        let mut values = Values::default();
        let ids = source.sql(&mut values);
        let limit = values.bind(most + 1);
        let sql =
            format!("WITH few (id) AS ({ids} LIMIT {limit}) SELECT count(*), json_group_array(id) FROM few");
        let mut found = statements.prepare_once(&sql)?;
        let (count, ids): (i64, String) =
            found.query_row(params_from_iter(values.into_inner()), |row| Ok((row.get(0)?, row.get(1)?)))?;
        if count <= most {
            (few, most) = (Some(ids), count - 1);
        }
        if count == 0 {
            break;
        }
    }
    Ok(few)
}

/// Returns the source with the fewest versions, if these are at most `most`.
pub(super) fn rarest<'a, 'q: 'a>(
    statements: &Statements<'_>,
    sources: impl Iterator<Item = &'a Source<'q>>,
    most: i64,
) -> rusqlite::Result<Option<&'a Source<'q>>> {
    let (mut rarest, mut most) = (None, most);
    for source in sources {
        let mut values = Values::default();
        let ids = source.sql(&mut values);
        let sql = format!("SELECT count(*) FROM ({ids} LIMIT {})", values.bind(most + 1));
        let mut count = statements.prepare_once(&sql)?;
        let count: i64 = count.query_row(params_from_iter(values.into_inner()), |row| row.get(0))?;
        if count <= most {
            (rarest, most) = (Some(source), count - 1);
        }
        if count == 0 {
            break;
        }
    }
    Ok(rarest)
}
