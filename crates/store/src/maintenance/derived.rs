//! What the tables with several rows per version must contain, to be compared with what they do.
//!
//! The rows of a version are compared by a sum of hashes, so that their order does not count and few bytes are kept.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use registry_domain::{Tags, VersionFile, VersionRow, scores::scores, soundness::StoredValue};

use StoredValue::{Integer, Null, Real, Text};

/// Each of these tables, and what its rows are.
///
/// The columns after the id of the version are, in this order: key and value; suite, metric and value; path, size, digest and
/// role.
pub(crate) const TABLES: [(&str, &str); 3] =
    [("model_tags", "tags"), ("scores", "scores"), ("version_files", "files")];

/// Returns the problem of a version whose rows differ from its own tags, scores or files.
pub(crate) fn not_its_own(what: &str) -> String {
    format!("its {what} in the index are not its own")
}

/// Returns the problem of rows without a version.
pub(crate) fn without_version(what: &str) -> String {
    format!("this version is deleted and still has {what}")
}

/// Returns what the rows of a version in each of the [`TABLES`] must sum up to. `key_of` returns the key under which a tag is
/// stored.
pub(crate) fn of_version(version: &VersionRow<'_>, key_of: impl Fn(&str) -> String) -> [u64; 3] {
    let sum = |rows: &mut dyn Iterator<Item = u64>| rows.fold(0, u64::wrapping_add);
    let tags = Tags::of(version);
    [
        sum(&mut tags.by_key().into_iter().map(|(key, value)| row(&[Text(&key_of(key)), Text(value)]))),
        sum(&mut scores(version.metrics.as_deref())
            .iter()
            .map(|score| row(&[Text(&score.suite), Text(&score.metric), Real(score.value)]))),
        sum(&mut VersionFile::of(version).iter().map(|file| {
            let size = file.size_bytes.map_or(Null, Integer);
            let sha256 = file.sha256.as_deref().map_or(Null, Text);
            row(&[Text(&file.path), size, sha256, Text(file.role.as_str())])
        })),
    ]
}

/// Returns the hash of a row.
pub(crate) fn row(values: &[StoredValue<'_>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for value in values {
        match value {
            Null => hasher.write_u8(0),
            Integer(number) => (1_u8, number).hash(&mut hasher),
            // Zero has two signs, and SQLite stores one.
            Real(number) => (2_u8, (number + 0.0).to_bits()).hash(&mut hasher),
            Text(text) => (3_u8, text).hash(&mut hasher),
            // No column contains bytes, so all of them are equally wrong.
            StoredValue::Bytes => hasher.write_u8(4),
        }
    }
    hasher.finish()
}
