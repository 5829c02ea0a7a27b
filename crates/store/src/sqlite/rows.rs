//! Converts rows of `models` into versions.
//!
//! Values have the types of their columns, and JSON has the form of answers: the upgrade normalizes what older servers
//! wrote, and the operations write nothing else.

use std::borrow::Cow;

use rusqlite::Row;

use registry_domain::{ManifestSummary, Status, Version, VersionRow};

/// The columns of a version, in the order in which [`read`] expects them.
macro_rules! columns {
    () => {
        "id, name, version, status, artifact_uri, checkpoint_sha256, checkpoint_size_bytes, \
         config_sha256, config_size_bytes, run_id, git_commit, created_by, source_host, frozen, \
         checkpoint_path, config_path, d_model, n_layers, n_heads, vocab_size, params, \
         training_step, training_loss, dataset, description, tags, metrics, created_at, updated_at, model_key, \
         number, properties, digest, file_count, total_bytes, stored, changed_at, origin"
    };
}
pub(super) use columns;

/// How many columns [`read`] reads; a statement may have more after them.
pub(super) const COLUMNS: usize = 38;

/// One version by its id.
pub(super) const BY_ID: &str = concat!("SELECT ", columns!(), " FROM models WHERE id = ?1");

/// Reads a version from a row of [`columns`]; texts are borrowed from SQLite's page.
pub(super) fn read<'r>(row: &'r Row<'_>) -> rusqlite::Result<VersionRow<'r>> {
    Ok(Version {
        id: row.get(0)?,
        name: text(row, 1)?.unwrap_or_default(),
        label: text(row, 2)?.unwrap_or_default(),
        status: text(row, 3)?.and_then(|status| Status::parse(&status)).unwrap_or_default(),
        artifact_uri: text(row, 4)?,
        checkpoint_sha256: text(row, 5)?,
        checkpoint_size_bytes: row.get(6)?,
        config_sha256: text(row, 7)?,
        config_size_bytes: row.get(8)?,
        run_id: text(row, 9)?,
        git_commit: text(row, 10)?,
        created_by: text(row, 11)?,
        source_host: text(row, 12)?,
        frozen: row.get(13)?,
        checkpoint_path: text(row, 14)?,
        config_path: text(row, 15)?,
        d_model: row.get(16)?,
        n_layers: row.get(17)?,
        n_heads: row.get(18)?,
        vocab_size: row.get(19)?,
        params: row.get(20)?,
        training_step: row.get(21)?,
        training_loss: row.get(22)?,
        dataset: text(row, 23)?,
        description: text(row, 24)?,
        tags: text(row, 25)?,
        metrics: text(row, 26)?,
        created_at: text(row, 27)?.unwrap_or_default(),
        updated_at: text(row, 28)?.unwrap_or_default(),
        model: row.get(29)?,
        number: row.get(30)?,
        properties: text(row, 31)?,
        digest: text(row, 32)?,
        manifest: manifest(row, 33)?,
        changed_at: text(row, 36)?,
        origin: text(row, 37)?,
    })
}

fn manifest(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<ManifestSummary>> {
    let Some(files) = row.get(column)? else { return Ok(None) };
    let total_bytes: Option<i64> = row.get(column + 1)?;
    let total_bytes = total_bytes.unwrap_or_default();
    Ok(Some(ManifestSummary { files, total_bytes, is_stored: row.get(column + 2)? }))
}

/// Reads a column that contains text or null.
pub(super) fn text<'r>(row: &'r Row<'_>, column: usize) -> rusqlite::Result<Option<Cow<'r, str>>> {
    Ok(row.get_ref(column)?.as_str_or_null()?.map(Cow::Borrowed))
}
