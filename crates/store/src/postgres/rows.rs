//! Converts rows into versions and events, and values into parameters.

use std::borrow::Cow;

use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use registry_domain::{ManifestSummary, Status, Version, VersionRow};

use super::{
    connection::Parameter,
    error::Failure,
    text::{decoded, encoded},
};

/// The columns of a version, in the order in which [`version`] expects them. `$prefix` names the table.
macro_rules! columns {
    ($prefix:literal) => {
        concat!(
            $prefix,
            "id, ",
            $prefix,
            "name, ",
            $prefix,
            "version, ",
            $prefix,
            "status, ",
            $prefix,
            "artifact_uri, ",
            $prefix,
            "checkpoint_sha256, ",
            $prefix,
            "checkpoint_size_bytes, ",
            $prefix,
            "config_sha256, ",
            $prefix,
            "config_size_bytes, ",
            $prefix,
            "run_id, ",
            $prefix,
            "git_commit, ",
            $prefix,
            "created_by, ",
            $prefix,
            "source_host, ",
            $prefix,
            "frozen, ",
            $prefix,
            "checkpoint_path, ",
            $prefix,
            "config_path, ",
            $prefix,
            "d_model, ",
            $prefix,
            "n_layers, ",
            $prefix,
            "n_heads, ",
            $prefix,
            "vocab_size, ",
            $prefix,
            "params, ",
            $prefix,
            "training_step, ",
            $prefix,
            "training_loss, ",
            $prefix,
            "dataset, ",
            $prefix,
            "description, ",
            $prefix,
            "tags, ",
            $prefix,
            "metrics, ",
            $prefix,
            "created_at, ",
            $prefix,
            "updated_at, ",
            $prefix,
            "model_key, ",
            $prefix,
            "number, ",
            $prefix,
            "properties, ",
            $prefix,
            "digest, ",
            $prefix,
            "file_count, ",
            $prefix,
            "total_bytes, ",
            $prefix,
            "stored, ",
            $prefix,
            "changed_at, ",
            $prefix,
            "origin"
        )
    };
}
pub(super) use columns;

/// How many columns [`columns`] are; a statement may have more after them.
pub(super) const COLUMNS: usize = 38;

/// One version by its id.
pub(super) const BY_ID: &str = concat!("SELECT ", columns!("models."), " FROM models WHERE id = $1");

/// Reads a version from a row of [`columns`]; texts are borrowed from the answer.
pub(super) fn version(row: &Row) -> Result<VersionRow<'_>, Failure> {
    Ok(Version {
        id: row.try_get(0)?,
        name: text(row, 1)?.unwrap_or_default(),
        label: text(row, 2)?.unwrap_or_default(),
        status: text(row, 3)?.and_then(|status| Status::parse(&status)).unwrap_or_default(),
        artifact_uri: text(row, 4)?,
        checkpoint_sha256: text(row, 5)?,
        checkpoint_size_bytes: row.try_get(6)?,
        config_sha256: text(row, 7)?,
        config_size_bytes: row.try_get(8)?,
        run_id: text(row, 9)?,
        git_commit: text(row, 10)?,
        created_by: text(row, 11)?,
        source_host: text(row, 12)?,
        frozen: row.try_get(13)?,
        checkpoint_path: text(row, 14)?,
        config_path: text(row, 15)?,
        d_model: row.try_get(16)?,
        n_layers: row.try_get(17)?,
        n_heads: row.try_get(18)?,
        vocab_size: row.try_get(19)?,
        params: row.try_get(20)?,
        training_step: row.try_get(21)?,
        training_loss: row.try_get(22)?,
        dataset: text(row, 23)?,
        description: text(row, 24)?,
        tags: text(row, 25)?,
        metrics: text(row, 26)?,
        created_at: text(row, 27)?.unwrap_or_default(),
        updated_at: text(row, 28)?.unwrap_or_default(),
        model: row.try_get(29)?,
        number: row.try_get(30)?,
        properties: text(row, 31)?,
        digest: text(row, 32)?,
        manifest: manifest(row, 33)?,
        changed_at: text(row, 36)?,
        origin: text(row, 37)?,
    })
}

fn manifest(row: &Row, column: usize) -> Result<Option<ManifestSummary>, Failure> {
    let Some(files) = row.try_get(column)? else { return Ok(None) };
    let total_bytes: Option<i64> = row.try_get(column + 1)?;
    let total_bytes = total_bytes.unwrap_or_default();
    Ok(Some(ManifestSummary { files, total_bytes, is_stored: row.try_get(column + 2)? }))
}

/// Reads a column that contains text or null.
pub(super) fn text(row: &Row, column: usize) -> Result<Option<Cow<'_, str>>, Failure> {
    Ok(row.try_get::<_, Option<&str>>(column)?.map(decoded))
}

/// Reads a column that contains text or null into a text that outlives the row.
pub(super) fn optional_text(row: &Row, column: usize) -> Result<Option<String>, Failure> {
    Ok(text(row, column)?.map(Cow::into_owned))
}

/// Reads a column that contains text into one that outlives the row.
pub(super) fn owned_text(row: &Row, column: usize) -> Result<String, Failure> {
    Ok(optional_text(row, column)?.unwrap_or_default())
}

/// A value of a column or of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Text(Option<Cow<'a, str>>),
    Integer(Option<i64>),
    Real(Option<f64>),
    Boolean(bool),
    Bytes(Vec<u8>),
    Texts(Vec<Option<String>>),
    Integers(Vec<Option<i64>>),
    Reals(Vec<f64>),
}

impl<'a> Value<'a> {
    pub(super) fn text(text: &'a str) -> Self {
        Self::Text(Some(encoded(text)))
    }

    /// Returns a text that outlives what it was made of.
    pub(super) fn owned(text: &str) -> Value<'static> {
        Value::text(text).into_owned()
    }

    /// Returns a text or null that outlives what it was made of.
    pub(super) fn optional(text: Option<&str>) -> Value<'static> {
        Value::Text(text.map(encoded)).into_owned()
    }

    pub(super) fn integer(number: i64) -> Self {
        Self::Integer(Some(number))
    }

    /// Returns a list of texts that are encoded already.
    pub(super) fn texts(texts: impl IntoIterator<Item = String>) -> Self {
        Self::Texts(texts.into_iter().map(Some).collect())
    }

    pub(super) fn into_owned(self) -> Value<'static> {
        match self {
            Self::Text(text) => Value::Text(text.map(|text| Cow::Owned(text.into_owned()))),
            Self::Integer(number) => Value::Integer(number),
            Self::Real(number) => Value::Real(number),
            Self::Boolean(boolean) => Value::Boolean(boolean),
            Self::Bytes(bytes) => Value::Bytes(bytes),
            Self::Texts(texts) => Value::Texts(texts),
            Self::Integers(numbers) => Value::Integers(numbers),
            Self::Reals(numbers) => Value::Reals(numbers),
        }
    }

    pub(super) fn parameter(&self) -> Parameter<'_> {
        let (value, kind): (&(dyn ToSql + Sync), _) = match self {
            Self::Text(text) => (text, Type::TEXT),
            Self::Integer(number) => (number, Type::INT8),
            Self::Real(number) => (number, Type::FLOAT8),
            Self::Boolean(boolean) => (boolean, Type::BOOL),
            Self::Bytes(bytes) => (bytes, Type::BYTEA),
            Self::Texts(texts) => (texts, Type::TEXT_ARRAY),
            Self::Integers(numbers) => (numbers, Type::INT8_ARRAY),
            Self::Reals(numbers) => (numbers, Type::FLOAT8_ARRAY),
        };
        (value, kind)
    }
}

/// The values of a statement that grows.
#[derive(Debug, Clone, Default)]
pub(super) struct Values<'a>(Vec<Value<'a>>);

impl<'a> Values<'a> {
    /// Adds a value, and returns its placeholder.
    pub(super) fn bind(&mut self, value: Value<'a>) -> String {
        self.0.push(value);
        format!("${}", self.0.len())
    }

    pub(super) fn parameters(&self) -> Vec<Parameter<'_>> {
        self.0.iter().map(Value::parameter).collect()
    }

    pub(super) fn into_inner(self) -> Vec<Value<'a>> {
        self.0
    }
}

/// A field that becomes the value of a column.
trait Field {
    fn value(&self) -> Value<'_>;
}

impl Field for String {
    fn value(&self) -> Value<'_> {
        Value::text(self)
    }
}

impl Field for Option<String> {
    fn value(&self) -> Value<'_> {
        Value::Text(self.as_deref().map(encoded))
    }
}

impl Field for i64 {
    fn value(&self) -> Value<'_> {
        Value::integer(*self)
    }
}

impl Field for Option<i64> {
    fn value(&self) -> Value<'_> {
        Value::Integer(*self)
    }
}

impl Field for Option<f64> {
    fn value(&self) -> Value<'_> {
        Value::Real(*self)
    }
}

impl Field for bool {
    fn value(&self) -> Value<'_> {
        Value::Boolean(*self)
    }
}

/// Returns the columns of a version except its id, with their values.
pub(super) fn columns_of(version: &Version) -> [(&'static str, Value<'_>); 37] {
    let manifest = version.manifest;
    macro_rules! columns {
        ($($field:ident)*) => {
            [
                ("status", Value::text(version.status.as_str())),
                ("model_key", version.model.value()),
                ("version", version.label.value()),
                ("file_count", Value::Integer(manifest.map(|manifest| manifest.files))),
                ("total_bytes", Value::Integer(manifest.map(|manifest| manifest.total_bytes))),
                ("stored", Value::Boolean(manifest.is_some_and(|manifest| manifest.is_stored))),
                $((stringify!($field), version.$field.value())),*
            ]
        };
    }
    columns!(
        name artifact_uri checkpoint_sha256 checkpoint_size_bytes config_sha256 config_size_bytes run_id
        git_commit created_by source_host frozen checkpoint_path config_path d_model n_layers n_heads vocab_size
        params training_step training_loss dataset description tags metrics created_at updated_at number properties
        digest changed_at origin
    )
}
