//! The tags of a version, as keys with values.
//!
//! A version keeps a list of keys, so its values are empty.

use std::collections::BTreeMap;

use crate::{limits, refusal::Refusal};

/// Tags to set, or, with `None`, to remove, by key.
pub type TagChanges = BTreeMap<String, Option<String>>;

/// Returns the keys of a version's tags after `changes`. `tags` is the JSON text of the list before.
///
/// # Errors
/// [`Refusal::Invalid`] for a key that is blank or too long, or a value that is not empty.
pub fn changed(tags: Option<&str>, changes: &TagChanges) -> Result<Vec<String>, Refusal> {
    let mut keys: Vec<String> = tags.and_then(|tags| serde_json::from_str(tags).ok()).unwrap_or_default();
    for (key, value) in changes {
        match value.as_deref() {
            None => keys.retain(|known| known != key),
            Some("") if keys.contains(key) => {}
            Some("") => {
                limits::check_text("the key of a tag", key)?;
                keys.push(key.clone());
            }
            Some(_) => {
                return Err(Refusal::Invalid(format!(
                    "tag {key:?} of a version can't have a value; send an empty text"
                )));
            }
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_added_once_and_removed_and_have_no_values() {
        for (before, key, value, after) in [
            (None, "a", Some(""), Some(vec!["a"])),
            (Some(r#"["a"]"#), "a", Some(""), Some(vec!["a"])),
            (Some(r#"["b","a"]"#), "c", Some(""), Some(vec!["b", "a", "c"])),
            (Some(r#"["b","a","b"]"#), "b", None, Some(vec!["a"])),
            (None, "a", None, Some(vec![])),
            (None, " ", Some(""), None),
            (None, "a", Some("x"), None),
        ] {
            let changes = BTreeMap::from([(key.to_owned(), value.map(str::to_owned))]);
            let found = changed(before, &changes).ok();
            assert_eq!(
                found,
                after.map(|keys| keys.into_iter().map(str::to_owned).collect()),
                "{before:?} {key}"
            );
        }
    }
}
