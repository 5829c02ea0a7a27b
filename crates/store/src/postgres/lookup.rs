//! Keys of the lookup tables: `model_tags`, `model_texts` and `model_counts`. Each write updates them in the transaction
//! that changes the version.

use sha2::{Digest as _, Sha256};
use tokio_postgres::types::Type;

use registry_domain::Version;

use crate::sqlite::{lookup::tags_of, ngrams::fold};

use super::{connection::Parameter, text::encoded};

/// The maximum length of a tag in an index, which can't hold rows of more than 2,700 bytes.
const MAX_TAG_BYTES: usize = 500;
/// Stands between two texts of a version. No encoded text contains it.
const SEPARATOR: &str = "\u{1}\u{1}";

/// Adds to counters. `$1`: kinds, `$2`: values, `$3`: changes. In order, so that two writers don't wait for each other.
pub(super) const COUNT: &str = "INSERT INTO model_counts AS counted (kind, value, slot, count) \
    SELECT kind, value, CASE kind WHEN 'name' THEN 0 ELSE pg_backend_pid() % 128 END, change \
    FROM unnest($1::text[], $2::text[], $3::bigint[]) AS changes (kind, value, change) ORDER BY kind, value \
    ON CONFLICT (kind, value, slot) DO UPDATE SET count = counted.count + excluded.count";

/// Returns a tag as the tables hold it: a long one by its digest, which no text can imitate.
pub(super) fn tag_key(tag: &str) -> String {
    if tag.len() <= MAX_TAG_BYTES {
        return encoded(tag).into_owned();
    }
    format!("{SEPARATOR}sha256:{}", hex::encode(Sha256::digest(tag)))
}

/// Returns the tags of a version as the tables hold them.
pub(super) fn tag_keys(model: &Version) -> Vec<String> {
    tags_of(model.tags.as_deref()).iter().map(|tag| tag_key(tag)).collect()
}

/// Returns the searched texts of a version.
pub(super) fn folded(model: &Version) -> String {
    let texts = [model.name.as_str(), &model.label, model.description.as_deref().unwrap_or_default()];
    texts.map(|text| encoded(&fold(text)).into_owned()).join(SEPARATOR)
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

/// Changes of counters, as parameters of [`COUNT`].
#[derive(Debug, Default)]
pub(super) struct Counts {
    kinds: Vec<&'static str>,
    values: Vec<String>,
    changes: Vec<i64>,
}

impl Counts {
    pub(super) fn add(&mut self, kind: &'static str, value: impl Into<String>, change: i64) {
        self.kinds.push(kind);
        self.values.push(value.into());
        self.changes.push(change);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    pub(super) fn parameters(&self) -> [Parameter<'_>; 3] {
        [(&self.kinds, Type::TEXT_ARRAY), (&self.values, Type::TEXT_ARRAY), (&self.changes, Type::INT8_ARRAY)]
    }
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
    fn a_long_tag_has_a_key_of_its_own_that_fits_into_an_index() {
        let (one, other) = ("a".repeat(100_000), "a".repeat(100_001));
        assert!(tag_key(&one).len() < 100);
        assert_ne!(tag_key(&one), tag_key(&other));
        assert_ne!(tag_key(&tag_key(&one)), tag_key(&one));
        assert_eq!(tag_key("short"), "short");
    }
}
