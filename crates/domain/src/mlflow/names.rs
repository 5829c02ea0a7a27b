//! What MLflow accepts as the name of a model, an alias, or a tag.

use crate::{refusal::Refusal, tags::MAX_TAG_VALUE_CHARS};

const MAX_ALIAS_CHARS: usize = 255;
const MAX_KEY_CHARS: usize = 250;

fn invalid(message: String) -> Result<(), Refusal> {
    Err(Refusal::Invalid(message))
}

/// Checks the name of a model, given as the parameter `parameter`.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn check_name(parameter: &str, name: &str) -> Result<(), Refusal> {
    if name.trim().is_empty() {
        return invalid(format!("Missing value for required parameter '{parameter}'."));
    }
    if name.contains(['/', ':']) {
        return invalid(format!("Invalid model name '{name}'. Names cannot contain '/' or ':'."));
    }
    check_path(parameter, name)
}

/// Checks an alias that is asked for or deleted.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn check_alias(alias: &str) -> Result<(), Refusal> {
    if alias.is_empty() {
        return invalid("Registered model alias name cannot be empty.".to_owned());
    }
    if !alias.chars().all(|letter| is_word(letter) || letter == '-') {
        return invalid(format!(
            "Invalid alias name: '{alias}'. Names may only contain alphanumerics, underscores (_), and dashes (-)."
        ));
    }
    check_length("Registered model alias name", alias, MAX_ALIAS_CHARS)
}

/// Checks an alias that is set: some names are reserved. Unlike other APIs, MLflow's allows a number.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn check_new_alias(alias: &str) -> Result<(), Refusal> {
    check_alias(alias)?;
    if alias.eq_ignore_ascii_case("latest") {
        return invalid("'latest' alias name (case insensitive) is reserved.".to_owned());
    }
    let is_number = |digits: &str| !digits.is_empty() && digits.chars().all(char::is_numeric);
    if alias.strip_prefix(['v', 'V']).is_some_and(is_number) {
        return invalid(format!("Version alias name '{alias}' is reserved."));
    }
    Ok(())
}

/// Checks the key of a tag.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn check_tag_key(key: &str) -> Result<(), Refusal> {
    if !key.chars().all(|letter| is_word(letter) || "/-. :".contains(letter)) {
        return invalid(format!(
            "Invalid value {key:?} for parameter 'key' supplied: Names may only contain alphanumerics, \
             underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/)."
        ));
    }
    check_path("key", key)?;
    check_length("key", key, MAX_KEY_CHARS)
}

/// Checks a tag.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn check_tag(key: &str, value: &str) -> Result<(), Refusal> {
    check_tag_key(key)?;
    check_length("value", value, MAX_TAG_VALUE_CHARS)
}

/// Returns true for what `\w` matches in Python.
fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn check_length(what: &str, text: &str, most: usize) -> Result<(), Refusal> {
    if text.chars().count() <= most {
        return Ok(());
    }
    invalid(format!("'{what}' exceeds the maximum length of {most} characters"))
}

/// Refuses a text that names another file, if it is taken for a path, or one outside the folder.
fn check_path(parameter: &str, text: &str) -> Result<(), Refusal> {
    let path = normal_path(text);
    if path == text && path != "." && !path.starts_with("..") && !path.starts_with('/') {
        return Ok(());
    }
    invalid(format!(
        "Invalid value {text:?} for parameter '{parameter}' supplied: Names may be treated as files in certain \
         cases, and must not resolve to other names when treated as such. This name would resolve to '{path}'"
    ))
}

/// Returns a path as Python's `posixpath.normpath` does.
fn normal_path(text: &str) -> String {
    let slashes = text.len() - text.trim_start_matches('/').len();
    let root = match slashes {
        0 => "",
        2 => "//",
        _ => "/",
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if !root.is_empty() => {}
            part => parts.push(part),
        }
    }
    let path = format!("{root}{}", parts.join("/"));
    if path.is_empty() { ".".to_owned() } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path_and_not_blank() {
        for (name, good) in [
            ("m", true),
            (" spaced out ", true),
            ("модель-模型-😀", true),
            ("back\\slash", true),
            ("q?a&b=c#d%20e+f", true),
            ("...", false),
            ("a..", true),
            ("", false),
            ("  ", false),
            ("a/b", false),
            ("a:b", false),
            (".", false),
            ("..", false),
        ] {
            assert_eq!(check_name("name", name).is_ok(), good, "{name:?}");
        }
    }

    #[test]
    fn an_alias_has_letters_digits_and_two_marks_and_some_are_reserved() {
        for (alias, named, set) in [
            ("a", true, true),
            ("A-b_c", true, true),
            ("1", true, true),
            ("v1a", true, true),
            ("vv1", true, true),
            ("v", true, true),
            ("é", true, true),
            ("latest", true, false),
            ("LATEST", true, false),
            ("v1", true, false),
            ("V007", true, false),
            ("", false, false),
            ("a b", false, false),
            ("a.b", false, false),
            ("a\n", false, false),
        ] {
            assert_eq!(check_alias(alias).is_ok(), named, "{alias:?}");
            assert_eq!(check_new_alias(alias).is_ok(), set, "{alias:?}");
        }
        assert!(check_alias(&"é".repeat(255)).is_ok());
        assert!(check_alias(&"é".repeat(256)).is_err());
    }

    #[test]
    fn a_tag_has_a_key_that_is_a_normal_path_and_a_value_within_the_limit() {
        for (key, good) in [
            ("k", true),
            ("a/b", true),
            ("a b", true),
            ("x:y", true),
            ("a.b-c_d", true),
            ("ключ", true),
            (".a", true),
            ("", false),
            ("a//b", false),
            ("/a", false),
            ("//a", false),
            ("a/", false),
            (".", false),
            ("../a", false),
            ("a/../b", false),
            ("a@b", false),
            ("a'b", false),
            ("bad!", false),
        ] {
            assert_eq!(check_tag(key, "").is_ok(), good, "{key:?}");
        }
        assert!(check_tag(&"ж".repeat(250), &"模".repeat(100_000)).is_ok());
        assert!(check_tag(&"k".repeat(251), "").is_err());
        assert!(check_tag("k", &"x".repeat(100_001)).is_err());
    }

    #[test]
    fn paths_become_normal_as_in_python() {
        for (text, path) in [
            ("", "."),
            (".", "."),
            ("a//b", "a/b"),
            ("a/", "a"),
            ("a/../b", "b"),
            ("../a", "../a"),
            ("/..", "/"),
            ("//a", "//a"),
            ("///a", "/a"),
            ("a/./b", "a/b"),
        ] {
            assert_eq!(normal_path(text), path, "{text:?}");
        }
    }
}
