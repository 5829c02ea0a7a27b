//! The files of versions with a manifest. They stay with a version in the trash, and go when it is purged.

use std::ops::ControlFlow;

use tokio_postgres::{Row, types::Type};

use registry_domain::{FileRole, Manifest, VersionFile, VersionId};

use crate::{FileRange, VisitFiles};

use super::{
    connection::{Connection, Parameter, Request},
    error::Failure,
    rows::{Value, optional_text, owned_text, text},
    text::encoded,
    writer::Write,
};

/// Files that one statement adds.
const BATCH: usize = 10_000;

const ADD: &str = "INSERT INTO manifest_files (version_id, path, size_bytes, sha256, role) \
    SELECT $1, path, size_bytes, sha256, role \
    FROM unnest($2::text[], $3::bigint[], $4::text[], $5::text[]) AS given (path, size_bytes, sha256, role)";
const RANGE: &str = "SELECT path, size_bytes, sha256, role FROM manifest_files \
    WHERE version_id = $1 AND path >= $2 AND path < $3 ORDER BY path LIMIT $4";
pub(super) const ALL: &str =
    "SELECT path, size_bytes, sha256, role FROM manifest_files WHERE version_id = $1 ORDER BY path";
pub(super) const REMOVE: &str = "DELETE FROM manifest_files WHERE version_id = $1";

/// The trash is small, so it has no index for this.
const HAS_FILE: &str = "SELECT EXISTS (SELECT 1 FROM manifest_files WHERE sha256 = $1) \
    OR EXISTS (SELECT 1 FROM version_files WHERE sha256 = $1) \
    OR EXISTS (SELECT 1 FROM deleted_models WHERE checkpoint_sha256 = $1 OR config_sha256 = $1)";

/// Returns true if a version, perhaps one in the trash, has a file with this digest.
pub(super) fn has_file(connection: &mut Connection, sha256: &str) -> Result<bool, Failure> {
    let rows = connection.one(HAS_FILE, &[(&sha256, Type::TEXT)])?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
}

/// Returns the statements that add the files of a version.
pub(super) fn add(version: VersionId, manifest: &Manifest) -> impl Iterator<Item = Write> {
    manifest.files().chunks(BATCH).map(move |files| {
        let values = [
            Value::integer(version),
            Value::texts(files.iter().map(|file| encoded(&file.path).into_owned())),
            Value::Integers(files.iter().map(|file| Some(file.size_bytes)).collect()),
            Value::texts(files.iter().map(|file| file.sha256.to_string())),
            Value::texts(files.iter().map(|file| file.role.as_str().to_owned())),
        ];
        Write::new(ADD, values)
    })
}

/// Visits files in the order of their paths.
pub(super) fn visit(
    connection: &mut Connection,
    range: &FileRange<'_>,
    visit: VisitFiles<'_>,
) -> Result<(), Failure> {
    let (from, before, limit) = (encoded(range.from), encoded(range.before), i64::from(range.limit));
    let parameters: [Parameter<'_>; 4] =
        [(&range.version, Type::INT8), (&from, Type::TEXT), (&before, Type::TEXT), (&limit, Type::INT8)];
    connection.each(&Request::prepared(RANGE, &parameters), &mut |row| {
        let flow: ControlFlow<()> = visit(file(row)?);
        Ok(flow)
    })
}

/// Reads a file from a row of [`ALL`].
pub(super) fn file(row: &Row) -> Result<VersionFile, Failure> {
    Ok(VersionFile {
        path: owned_text(row, 0)?,
        size_bytes: row.try_get(1)?,
        sha256: optional_text(row, 2)?,
        role: text(row, 3)?.and_then(|role| FileRole::parse(&role)).unwrap_or(FileRole::Other),
    })
}
