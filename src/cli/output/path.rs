//! The path of a value in an answer, as users write it: `tags.0`, `smoke-v1/score`.

use std::{fmt, str::FromStr};

use serde_json::Value;

/// Help for columns on the command line.
pub(super) const PATH_HELP: &str = "\
Columns are fields, deeper ones with dots: --columns id,name,metrics.suites.smoke-v1.score,tags.0. \
A score has a short form, SUITE/METRIC: --columns name,version,smoke-v1/score. \
Put a backslash before a dot, comma or slash that is a part of a key, as in 'metrics.suites.mmlu-v1\\.1.score'";

/// The path to a value: keys of objects and indexes of lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Path {
    /// As it was written, without backslashes.
    text: String,
    /// The title of its column, if it was given one.
    title: Option<String>,
    steps: Vec<String>,
}

impl Path {
    /// Returns the value at this path; `None` also for `null`.
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

    /// Returns the path to a metric: `smoke-v1/score`, or `metrics.val_loss` for one outside of suites.
    pub(in crate::cli) fn of_metric(suite: Option<&str>, metric: &str) -> Self {
        let (text, steps) = match suite {
            Some(suite) => (format!("{suite}/{metric}"), vec!["metrics", "suites", suite, metric]),
            None => (format!("metrics.{metric}"), vec!["metrics", metric]),
        };
        Self { text, title: None, steps: steps.into_iter().map(str::to_owned).collect() }
    }

    /// Returns the text that users write for the path of a metric, with backslashes where they are needed.
    pub(in crate::cli) fn spelled(&self) -> String {
        let escaped = |step: &str, separator: char| {
            step.replace('\\', r"\\").replace(',', r"\,").replace(separator, &format!(r"\{separator}"))
        };
        match self.steps.as_slice() {
            [_, _, suite, metric] => format!("{}/{}", escaped(suite, '.'), escaped(metric, '/')),
            steps => steps.iter().map(|step| escaped(step, '.')).collect::<Vec<_>>().join("."),
        }
    }

    /// Returns the field of the answer at its start.
    pub(super) fn field(&self) -> &str {
        self.steps.first().map_or("", String::as_str)
    }

    /// Returns the title of its column.
    pub(super) fn title(&self) -> String {
        self.title.clone().unwrap_or_else(|| self.text.to_uppercase())
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
    /// Parses `TITLE:.path,…`; a column without a colon has no title of its own.
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

/// Returns the parts between separators without a backslash before them.
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
            let text = Path::of_metric(None, metric).spelled();
            assert_eq!(text.parse::<Path>().unwrap().find(&beside), Some(&json!(1)), "{text}");
            for suite in names {
                let value = json!({"metrics": {"suites": {suite: {metric: 2}}}});
                let text = Path::of_metric(Some(suite), metric).spelled();
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
}
