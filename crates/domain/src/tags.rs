//! The tags of a version: keys with values.
//!
//! A tag without a value is what the native API lists in `tags`; those with a value are in `properties`. A key is in one of
//! them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    json::is_reserved_key,
    limits::{MAX_NAME_BYTES, MAX_TAGS},
    refusal::Refusal,
    version::Version,
};

/// The maximum length of a tag's value, in characters, as MLflow has it.
pub const MAX_TAG_VALUE_CHARS: usize = 100_000;
/// The maximum length of all keys and values of the tags of a version or a model together: each change of a tag writes them all.
pub const MAX_TAGS_BYTES: usize = 2 << 20;

/// Tags to set, or, with `None`, to remove, by key.
pub type TagChanges = BTreeMap<String, Option<String>>;

/// The tags of a version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags {
    /// Keys of tags without a value, in the order and as often as they were given.
    native: Vec<String>,
    /// The values of the others, which are not empty.
    valued: BTreeMap<String, String>,
}

impl Tags {
    /// Returns the tags of a version.
    #[must_use]
    pub fn of<S: AsRef<str>>(version: &Version<S>) -> Self {
        let text = |column: &'_ Option<S>| column.as_ref().map(|text| text.as_ref().to_owned());
        Self::stored(text(&version.tags).as_deref(), text(&version.properties).as_deref())
    }

    /// Reads the columns of a version.
    #[must_use]
    pub fn stored(tags: Option<&str>, properties: Option<&str>) -> Self {
        let valued = properties.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        Self { native: tags.map(native_tags).unwrap_or_default(), valued }
    }

    /// Returns the value of a tag, which may be empty; `None` if there is no such tag.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let is_native = || self.native.iter().any(|known| known == key);
        self.valued.get(key).map(String::as_str).or_else(|| is_native().then_some(""))
    }

    /// Returns each key with its value, by key.
    #[must_use]
    pub fn by_key(&self) -> BTreeMap<&str, &str> {
        let native = self.native.iter().map(|key| (key.as_str(), ""));
        native.chain(self.valued.iter().map(|(key, value)| (key.as_str(), value.as_str()))).collect()
    }

    /// Sets the value of a tag, which may be empty, and returns the value it had.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for a key or a value over its limit; [`Refusal::Conflict`] if the version has as many tags
    /// as it may.
    pub fn set(&mut self, key: &str, value: &str) -> Result<Option<String>, Refusal> {
        check_tag(key, value)?;
        let before = self.get(key).map(str::to_owned);
        if before.is_none() && self.by_key().len() >= MAX_TAGS {
            return Err(Refusal::Conflict(format!(
                "this version has {MAX_TAGS} tags, and no more are allowed; delete one first"
            )));
        }
        if before.as_deref() != Some(value) {
            let others = self.by_key().into_iter().filter(|(other, _)| *other != key);
            check_size(others.chain([(key, value)]))?;
            self.remove(key);
            if value.is_empty() {
                self.native.push(key.to_owned());
            } else {
                self.valued.insert(key.to_owned(), value.to_owned());
            }
        }
        Ok(before)
    }

    /// Removes a tag and returns its value; `None` if there is no such tag.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        let before = self.get(key).map(str::to_owned);
        self.native.retain(|known| known != key);
        self.valued.remove(key);
        before
    }

    /// Removes tags, then sets the others: a removed tag makes room for one.
    ///
    /// # Errors
    /// As [`Tags::set`].
    pub fn apply(&mut self, changes: &TagChanges) -> Result<(), Refusal> {
        for (key, _) in changes.iter().filter(|(_, value)| value.is_none()) {
            self.remove(key);
        }
        for (key, value) in changes {
            if let Some(value) = value {
                self.set(key, value)?;
            }
        }
        Ok(())
    }

    /// Writes the tags into a version.
    pub fn store(self, version: &mut Version) {
        if version.tags.as_deref().map(native_tags).unwrap_or_default() != self.native {
            version.tags = Some(Value::from(self.native).to_string());
        }
        version.properties = properties(&self.valued);
    }
}

/// Returns the text of the column `properties`; `None` if there are none.
pub(crate) fn properties(valued: &BTreeMap<String, String>) -> Option<String> {
    // serde_json fails only on keys that are not strings or if its writer fails.
    (!valued.is_empty()).then(|| serde_json::to_string(valued).unwrap_or_default())
}

/// Returns `properties` without the keys in `native`, which have no value any more.
pub(crate) fn without(properties: Option<&str>, native: &[String]) -> Option<String> {
    self::properties(&rest(properties, native))
}

/// Checks that a version with these `properties` can have the tags `native` too.
///
/// # Errors
/// [`Refusal::Conflict`] if that were more than [`MAX_TAGS`].
pub(crate) fn check_room(properties: &str, native: &[String]) -> Result<(), Refusal> {
    let valued = rest(Some(properties), native).len();
    if valued == 0 || native.len() + valued <= MAX_TAGS {
        return Ok(());
    }
    Err(Refusal::Conflict(format!(
        "this version has {valued} more tags with values, and at most {MAX_TAGS} are allowed together; send fewer"
    )))
}

fn rest(properties: Option<&str>, native: &[String]) -> BTreeMap<String, String> {
    let mut valued = Tags::stored(None, properties).valued;
    valued.retain(|key, _| !native.contains(key));
    valued
}

/// Checks the tags of a version that are given together.
///
/// # Errors
/// [`Refusal::Invalid`] if they are too many, one is over its limit, or a key has a value and none.
pub(crate) fn check_all(native: &[String], valued: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let count = native.len() + valued.len();
    if count > MAX_TAGS {
        return Err(Refusal::Invalid(format!(
            "there are {count} tags, and at most {MAX_TAGS} are allowed; send fewer"
        )));
    }
    for (key, value) in valued {
        check_tag(key, value)?;
        if value.is_empty() || native.contains(key) {
            return Err(Refusal::Invalid(format!(
                "tag {key:?} is given both with a value and without one; give it once"
            )));
        }
    }
    check_size(valued.iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

pub(crate) fn check_tag(key: &str, value: &str) -> Result<(), Refusal> {
    let too_long = |what: &str, bytes, most| {
        Refusal::Invalid(format!(
            "{what} has {bytes} bytes, and at most {most} are allowed; send a shorter one"
        ))
    };
    if key.trim().is_empty() {
        return Err(Refusal::Invalid("the key of a tag is blank; name the tag".to_owned()));
    }
    if key.len() > MAX_NAME_BYTES {
        return Err(too_long("the key of a tag", key.len(), MAX_NAME_BYTES));
    }
    if is_reserved_key(key) {
        return Err(Refusal::Invalid(format!("no tag can be named {key:?}; choose another name")));
    }
    let chars = value.chars().count();
    if chars > MAX_TAG_VALUE_CHARS {
        return Err(Refusal::Invalid(format!(
            "the value of tag {key:?} has {chars} characters, and at most {MAX_TAG_VALUE_CHARS} are allowed; send a shorter one"
        )));
    }
    Ok(())
}

/// Checks the size of all tags of a version or of a model together.
///
/// # Errors
/// [`Refusal::Conflict`] over [`MAX_TAGS_BYTES`].
pub(crate) fn check_size<'t>(tags: impl IntoIterator<Item = (&'t str, &'t str)>) -> Result<(), Refusal> {
    let bytes: usize = tags.into_iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes <= MAX_TAGS_BYTES {
        return Ok(());
    }
    Err(Refusal::Conflict(format!(
        "all tags together would have {bytes} bytes, and at most {MAX_TAGS_BYTES} are allowed; delete some, or send shorter values"
    )))
}

/// Returns the texts in a `tags` column, in their order. An old file may contain an object or a bare text instead of a list;
/// the texts in it count too.
fn native_tags(column: &str) -> Vec<String> {
    serde_json::from_str::<Vec<String>>(column).unwrap_or_else(|_| {
        let values = match serde_json::from_str(column) {
            Ok(Value::Array(values)) => values,
            Ok(Value::Object(fields)) => fields.into_iter().map(|(_, value)| value).collect(),
            Ok(value) => vec![value],
            Err(_) => Vec::new(),
        };
        values.into_iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::tests::sample;

    fn tags(native: &str, properties: Option<&str>) -> Tags {
        Tags::stored(Some(native), properties)
    }

    #[test]
    fn a_tag_moves_between_the_list_and_the_properties_with_its_value() {
        let list = r#"["b","t","a","t"]"#;
        for (properties, key, value, before, list_after, properties_after) in [
            (None, "t", "x", Some(""), r#"["b","a"]"#, Some(r#"{"t":"x"}"#)),
            (None, "t", "", Some(""), list, None),
            (None, "n", "", None, r#"["b","t","a","t","n"]"#, None),
            (None, "n", "x", None, list, Some(r#"{"n":"x"}"#)),
            (
                Some(r#"{"p":"1","q":"2"}"#),
                "p",
                "",
                Some("1"),
                r#"["b","t","a","t","p"]"#,
                Some(r#"{"q":"2"}"#),
            ),
            (Some(r#"{"p":"1"}"#), "p", "2", Some("1"), list, Some(r#"{"p":"2"}"#)),
            (Some(r#"{"p":"1"}"#), "p", "", Some("1"), r#"["b","t","a","t","p"]"#, None),
        ] {
            let mut version = Version {
                tags: Some(list.to_owned()),
                properties: properties.map(str::to_owned),
                ..sample()
            };
            let mut tags = Tags::of(&version);
            assert_eq!(tags.set(key, value), Ok(before.map(str::to_owned)), "{key}={value}");
            assert_eq!(tags.get(key), Some(value));
            tags.store(&mut version);
            assert_eq!(version.tags.as_deref(), Some(list_after), "{key}={value}");
            assert_eq!(version.properties.as_deref(), properties_after, "{key}={value}");
        }
    }

    #[test]
    fn a_removed_tag_is_gone_and_an_absent_one_is_not_found() {
        let mut tags = tags(r#"["a","b","a"]"#, Some(r#"{"p":"1"}"#));
        assert_eq!(tags.by_key(), BTreeMap::from([("a", ""), ("b", ""), ("p", "1")]));
        assert_eq!(
            (tags.remove("a"), tags.remove("p"), tags.remove("a")),
            (Some(String::new()), Some("1".to_owned()), None)
        );
        assert_eq!(tags.by_key(), BTreeMap::from([("b", "")]));
    }

    #[test]
    fn a_tag_over_a_limit_is_refused_and_the_error_says_which() {
        let long = "k".repeat(MAX_NAME_BYTES);
        let large = "é".repeat(MAX_TAG_VALUE_CHARS);
        let mut tags = Tags::default();
        assert_eq!(tags.set(&long, &large), Ok(None));
        for (key, value, problem) in [
            (" \t", "x", "blank"),
            (&format!("{long}k"), "", "the key of a tag has 1025 bytes, and at most 1024"),
            ("k", &format!("{large}v"), "the value of tag \"k\" has 100001 characters"),
            ("$serde_json::private::Number", "1", "no tag can be named"),
        ] {
            let refusal = tags.set(key, value).unwrap_err();
            assert!(matches!(&refusal, Refusal::Invalid(text) if text.contains(problem)), "{refusal}");
        }
        for at in 1..MAX_TAGS {
            assert_eq!(tags.set(&format!("t{at}"), if at % 2 == 0 { "x" } else { "" }), Ok(None));
        }
        assert!(matches!(tags.set("one more", "x"), Err(Refusal::Conflict(_))));
        assert_eq!(tags.set("t7", "changed"), Ok(Some(String::new())));
        let mut all = (1..=12).map(|at| tags.set(&format!("t{at}"), &large));
        assert!(all.any(|set| matches!(set, Err(Refusal::Conflict(text)) if text.contains("together"))));
    }

    #[test]
    fn a_removed_tag_makes_room_whichever_key_comes_first() {
        let list: Vec<_> = (0..MAX_TAGS).map(|at| format!("t{at}")).collect();
        let set = |key: &str| (key.to_owned(), Some("x".to_owned()));
        for (changes, is_allowed) in [
            (TagChanges::from([set("a"), ("t7".to_owned(), None)]), true),
            (TagChanges::from([("t7".to_owned(), None), set("z")]), true),
            (TagChanges::from([set("a"), ("t7".to_owned(), None), set("z")]), false),
            (TagChanges::from([set("a"), ("z".to_owned(), None)]), false),
        ] {
            let mut tags = Tags { native: list.clone(), valued: BTreeMap::new() };
            let applied = tags.apply(&changes);
            assert_eq!(applied.is_ok(), is_allowed, "{changes:?}");
            assert!(is_allowed || matches!(applied, Err(Refusal::Conflict(_))), "{applied:?}");
            if is_allowed {
                assert!(tags.get("t7").is_none() && tags.by_key().len() == MAX_TAGS, "{changes:?}");
            }
        }
    }

    #[test]
    fn tags_given_together_are_checked_together() {
        let valued = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let native = |count| (0..count).map(|at| format!("t{at}")).collect::<Vec<_>>();
        assert_eq!(check_all(&native(MAX_TAGS - 1), &valued("k", "x")), Ok(()));
        for (native, valued) in [
            (native(MAX_TAGS), valued("k", "x")),
            (native(8), valued("t7", "x")),
            (native(8), valued("k", "")),
            (native(8), valued(" ", "x")),
        ] {
            assert!(matches!(check_all(&native, &valued), Err(Refusal::Invalid(_))), "{valued:?}");
        }
    }

    #[test]
    fn native_tags_are_the_texts_of_a_list_an_object_or_a_bare_text() {
        for (text, tags) in [
            (r#"["b","a","b"]"#, &["b", "a", "b"][..]),
            (r#"["\u0442", 1, null, ["x"], {"y": "z"}, "nul\u0000"]"#, &["т", "nul\0"]),
            (r#"{"k": "v", "n": 1}"#, &["v"]),
            (r#""bare""#, &["bare"]),
            ("1", &[]),
            ("no json", &[]),
            ("", &[]),
            ("[\"a\"", &[]),
        ] {
            assert_eq!(native_tags(text), tags, "{text}");
        }
    }
}
