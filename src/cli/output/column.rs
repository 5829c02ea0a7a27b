//! Columns: the path of a value in an answer, and how people read it.

use std::{fmt, str::FromStr};

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use super::{
    table::Cell,
    terminal::{FAINT, GOOD},
};
use crate::{cli::print, domain::Status};

/// Letters of a digest in a table, as in `git` and container engines.
const DIGEST_CHARS: usize = 12;

/// Help for columns on the command line.
pub(super) const PATH_HELP: &str = "\
Columns are fields, deeper ones with dots: --columns id,name,metrics.suites.smoke-v1.score,tags.0. \
A score has a short form, SUITE/METRIC: --columns name,version,smoke-v1/score. \
Put a backslash before a dot, comma or slash that is a part of a key, as in 'metrics.suites.mmlu-v1\\.1.score'";

/// The path to a value: keys of objects and indexes of lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Path {
    /// As it was written.
    text: String,
    /// The title of its column, if the user gave one.
    title: Option<String>,
    steps: Vec<String>,
}

impl Path {
    /// The value at this path; `None` also for `null`.
    pub(in crate::cli) fn find<'v>(&self, mut value: &'v Value) -> Option<&'v Value> {
        for step in &self.steps {
            value = match value {
                Value::Object(fields) => fields.get(step)?,
                Value::Array(items) => items.get(step.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(value).filter(|value| !value.is_null())
    }

    /// The text that parses as the path to a metric: `smoke-v1/score`, or `metrics.val_loss` for one outside of suites.
    pub(in crate::cli) fn spelt(suite: Option<&str>, metric: &str) -> String {
        let Some(suite) = suite else { return format!("metrics.{}", escaped(metric, &['.', ','])) };
        // Only there a dot would be a step into a map.
        let begins_as_a_map = suite.starts_with("metrics.") || suite.starts_with("payload.");
        let special: &[char] = if begins_as_a_map { &['.', ','] } else { &[','] };
        format!("{}/{}", escaped(suite, special), escaped(metric, &['/', ',']))
    }

    /// The field of the answer at its begin.
    pub(in crate::cli) fn field(&self) -> &str {
        self.steps.first().map_or("", String::as_str)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let mut steps: Vec<_> = raw_parts(text, '.').iter().map(|part| unescaped(part)).collect();
        // Outside of these fields no key has a slash, so it separates suite and metric.
        let in_a_map = steps.first().is_some_and(|first| matches!(first.as_str(), "metrics" | "payload"));
        let mut around_slashes = raw_parts(text, '/');
        if let (false, Some(metric), false) = (in_a_map, around_slashes.pop(), around_slashes.is_empty()) {
            let suite = unescaped(&around_slashes.join("/"));
            steps = vec!["metrics".to_owned(), "suites".to_owned(), suite, unescaped(&metric)];
        }
        if steps.iter().any(String::is_empty) {
            return Err(format!(
                "{text:?} has an empty part; a column is a field like name or metrics.suites.smoke-v1.score"
            ));
        }
        Ok(Self { text: unescaped(text), title: None, steps })
    }
}

/// Several columns, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Paths(pub(super) Vec<Path>);

impl Paths {
    /// Parses `TITLE:.path,…`; a column without a colon has no title.
    pub(super) fn titled(text: &str) -> Result<Self, String> {
        let column = |part: &String| match part.split_once(':') {
            None => part.parse::<Path>(),
            Some((title, path)) => {
                let path: Path = path.trim().trim_start_matches('.').parse()?;
                Ok(Path { title: Some(title.trim().to_owned()), ..path })
            }
        };
        raw_parts(text, ',').iter().map(column).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Paths {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        raw_parts(text, ',').iter().map(|part| part.parse()).collect::<Result<_, _>>().map(Self)
    }
}

/// The parts between separators without a backslash before them.
fn raw_parts(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        if c == separator && !escaped {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
        escaped = c == '\\' && !escaped;
    }
    parts
}

fn escaped(text: &str, special: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\\' || special.contains(&c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut escaped = false;
    for c in text.chars() {
        escaped = c == '\\' && !escaped;
        if !escaped {
            plain.push(c);
        }
    }
    plain
}

/// How the value of a column is shown.
#[derive(Clone, Copy)]
pub(in crate::cli) enum Kind {
    /// As it is.
    Plain,
    Number,
    /// Bytes with a unit.
    Size,
    /// Its first letters.
    Digest,
    Status,
    /// To the minute.
    Minute,
    /// To the second.
    Second,
    /// A text made of the whole row.
    Computed(fn(&Value) -> String),
}

/// A column of a table.
#[derive(Clone)]
pub(in crate::cli) struct Column {
    pub(in crate::cli) title: String,
    pub(in crate::cli) path: Path,
    kind: Kind,
}

impl Column {
    /// A column of a field.
    pub(in crate::cli) fn of(title: &str, field: &str, kind: Kind) -> Self {
        let path = Path { text: field.to_owned(), title: None, steps: vec![field.to_owned()] };
        Self { title: title.to_owned(), path, kind }
    }

    /// A column that the user chose; its values are shown as they are.
    pub(super) fn wanted(path: Path) -> Self {
        let title = path.title.clone().unwrap_or_else(|| path.text.to_uppercase());
        Self { title: print::one_line(&title), path, kind: Kind::Plain }
    }

    /// The cell of `row`.
    pub(in crate::cli) fn cell(&self, row: &Value) -> Cell {
        let value = self.path.find(row);
        let text = match (self.kind, value) {
            (Kind::Computed(text_of), _) => text_of(row),
            (_, None) => "-".to_owned(),
            (kind, Some(value)) => text_as(kind, value),
        };
        let text = print::one_line(&text);
        let number = value.is_some_and(Value::is_number) && !matches!(self.kind, Kind::Computed(_));
        let right = number || matches!(self.kind, Kind::Number | Kind::Size);
        let style = match self.kind {
            Kind::Status => style_of_status(&text),
            _ => Style::new(),
        };
        let rigid = !matches!(self.kind, Kind::Plain | Kind::Computed(_));
        Cell { text, style, right, rigid }
    }
}

/// `value` as `kind` shows it, or as it is if it is not of that kind.
pub(in crate::cli) fn text_as(kind: Kind, value: &Value) -> String {
    match (kind, value) {
        (Kind::Size, Value::Number(_)) => value.as_u64().map(print::size),
        (Kind::Digest, Value::String(digest)) => {
            let end = digest.char_indices().nth(DIGEST_CHARS).map(|(end, _)| end);
            end.map(|end| digest[..end].to_owned())
        }
        (Kind::Minute, Value::String(time)) => Some(short_time(time, "YYYY-MM-DD HH:MM".len())),
        (Kind::Second, Value::String(time)) => Some(short_time(time, "YYYY-MM-DD HH:MM:SS".len())),
        _ => None,
    }
    .unwrap_or_else(|| plain(value))
}

/// `value` as text: a list of simple values with commas, an object as JSON.
pub(in crate::cli) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) if items.iter().all(|item| !item.is_array() && !item.is_object()) => {
            items.iter().map(plain).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

/// `2026-01-31 13:05Z` for a time in UTC; any other text as it is.
fn short_time(time: &str, chars: usize) -> String {
    let fits = |(place, c): (usize, char)| match "dddd-dd-dd dd:dd:dd".as_bytes().get(place) {
        Some(b'd') => c.is_ascii_digit(),
        Some(b' ') => c == ' ' || c == 'T',
        Some(expected) => c == char::from(*expected),
        None => true,
    };
    let rest = time.get("YYYY-MM-DD HH:MM:SS".len()..).unwrap_or("?");
    let fraction = rest.trim_end_matches("+00:00").trim_end_matches('Z');
    let in_utc = fraction.chars().all(|c| c == '.' || c.is_ascii_digit());
    if !time.is_ascii() || !in_utc || !time.char_indices().all(fits) {
        return time.to_owned();
    }
    format!("{}Z", time[..chars].replacen('T', " ", 1))
}

/// The colour of a status, in addition to its name.
pub(in crate::cli) fn style_of_status(text: &str) -> Style {
    match Status::parse(text) {
        Some(Status::Production) => GOOD,
        Some(Status::Staging) => AnsiColor::Yellow.on_default(),
        Some(Status::Archived) => FAINT,
        Some(Status::Experimental) | None => Style::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_leads_through_objects_and_lists() {
        let value = json!({
            "id": 1, "none": null, "tags": ["a", "b"],
            "metrics": {"val_loss": 1.5, "suites": {"s": {"score": 0.5, "r@10": 1}, "v1.1": {"a,b": 2}, "org/s": {"x": 3}}}
        });
        for (text, found) in [
            ("id", Some(json!(1))),
            (" id ", Some(json!(1))),
            ("none", None),
            ("tags.1", Some(json!("b"))),
            ("tags.9", None),
            ("tags.b", None),
            ("id.x", None),
            ("metrics.suites.s.score", Some(json!(0.5))),
            ("s/score", Some(json!(0.5))),
            ("s/r@10", Some(json!(1))),
            ("metrics.val_loss", Some(json!(1.5))),
            (r"metrics.suites.v1\.1.a\,b", Some(json!(2))),
            (r"v1.1/a\,b", Some(json!(2))),
            (r"v1\.1/a\,b", Some(json!(2))),
            ("org/s/x", Some(json!(3))),
            ("metrics.suites.org/s.x", Some(json!(3))),
        ] {
            assert_eq!(text.parse::<Path>().unwrap().find(&value), found.as_ref(), "{text}");
        }
        for text in ["", ".", "a.", "a..b", "/x", "s/"] {
            assert!(text.parse::<Path>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_text_of_a_metric_leads_to_it() {
        let names =
            ["s", "a/b", "x.y", "metrics.v1", "payload.x", "metrics", "a,b", r"a\b", r"a\", "r@10", "/"];
        for metric in names {
            let beside = json!({"metrics": {metric: 1}});
            let text = Path::spelt(None, metric);
            assert_eq!(text.parse::<Path>().unwrap().find(&beside), Some(&json!(1)), "{text}");
            for suite in names {
                let value = json!({"metrics": {"suites": {suite: {metric: 2}}}});
                let text = Path::spelt(Some(suite), metric);
                // As one column of several, too.
                for paths in [Ok(Paths(vec![text.parse().unwrap()])), text.parse::<Paths>()] {
                    let Paths(paths) = paths.unwrap();
                    assert_eq!((paths.len(), paths[0].find(&value)), (1, Some(&json!(2))), "{text}");
                }
            }
        }
    }

    #[test]
    fn columns_are_separated_by_commas_without_a_backslash() {
        let paths =
            |text: &str| text.parse::<Paths>().map(|paths| paths.0.into_iter().map(|p| p.steps).collect());
        assert_eq!(
            paths(r"id, name,s/a\,b"),
            Ok(vec![
                vec!["id".to_owned()],
                vec!["name".to_owned()],
                ["metrics", "suites", "s", "a,b"].map(str::to_owned).to_vec()
            ])
        );
        assert!(paths("id,,name").is_err());
    }

    #[test]
    fn values_are_shown_as_people_read_them() {
        let digest = "7056f18469adbeef";
        for (kind, value, text) in [
            (Kind::Plain, json!(null), "-"),
            (Kind::Plain, json!("a"), "a"),
            (Kind::Plain, json!(true), "true"),
            (Kind::Plain, json!([]), "-"),
            (Kind::Plain, json!(["a", 1]), "a,1"),
            (Kind::Plain, json!([["a"]]), r#"[["a"]]"#),
            (Kind::Plain, json!({"a": 1}), r#"{"a":1}"#),
            (Kind::Size, json!(90_868_376), "90.9 MB"),
            (Kind::Size, json!(-1), "-1"),
            (Kind::Size, json!("big"), "big"),
            (Kind::Digest, json!(digest), "7056f18469ad"),
            (Kind::Digest, json!("short"), "short"),
            (Kind::Minute, json!("2026-01-31 13:05:09.250"), "2026-01-31 13:05Z"),
            (Kind::Second, json!("2026-01-31 13:05:09"), "2026-01-31 13:05:09Z"),
            (Kind::Second, json!("2026-01-31T13:05:09.250+00:00"), "2026-01-31 13:05:09Z"),
            (Kind::Minute, json!("2026-01-31T13:05:09+02:00"), "2026-01-31T13:05:09+02:00"),
            (Kind::Minute, json!("yesterday"), "yesterday"),
            (Kind::Minute, json!("gestern, früh"), "gestern, früh"),
        ] {
            assert_eq!(text_as(kind, &value), text, "{value}");
        }
    }

    #[test]
    fn a_cell_has_no_control_characters() {
        let cell = Column::of("NAME", "name", Kind::Plain).cell(&json!({"name": "a\u{1b}[31m\n\u{9b}b"}));
        assert_eq!(cell.text, "a [31m  b");
    }
}
