//! Reads the arguments of a call: from the query of a GET, else from the JSON of the body, with the peculiarities of MLflow's server.

use std::collections::BTreeMap;

use actix_web::http::{Method, header::CONTENT_TYPE};
use serde_json::Value;

use crate::domain::{
    json::{Object, has_reserved_key},
    mlflow::parse_version,
};

use super::{
    super::{
        error::ApiError,
        request::{BodyLimit, Call},
    },
    error::invalid,
};

/// How much of a value an error shows, in characters.
const SHOWN_CHARS: usize = 200;

/// The arguments of a call.
pub(super) enum Arguments {
    /// Of a query, in their order. Of a parameter that is given twice the first one counts, unless it is a list.
    Query(Vec<(String, String)>),
    /// Of a body. Unknown ones are ignored.
    Body(Object),
}

impl Arguments {
    /// Reads the arguments of a call.
    ///
    /// # Errors
    /// [`ApiError::Mlflow`] for a body of another content type, or that is no object; see also [`Call::body_bytes`].
    pub(super) async fn read(call: &mut Call) -> Result<Self, ApiError> {
        let has_query = matches!(*call.method(), Method::GET | Method::HEAD);
        let query = call.take_query_pairs();
        if has_query && !query.is_empty() {
            return Ok(Self::Query(query));
        }
        if !has_query {
            let sent = call.header(CONTENT_TYPE);
            let needs_type = *call.method() != Method::DELETE;
            check_content_type(sent.as_deref(), needs_type)?;
        }
        Ok(Self::Body(parsed(&call.body_bytes(BodyLimit::Tags).await?)?))
    }

    /// Returns a required text.
    pub(super) fn required(&self, name: &str) -> Result<String, ApiError> {
        let text = match self {
            Self::Query(_) => self.text(name)?,
            Self::Body(fields) => text(name, fields.get(name))?,
        };
        text.filter(|text| !text.is_empty()).ok_or_else(|| {
            invalid(format!(
                "Missing value for required parameter '{name}'. See the API docs for more information about request parameters."
            ))
        })
    }

    /// Returns the number of a version, which is a text.
    pub(super) fn version(&self) -> Result<i64, ApiError> {
        Ok(parse_version(&self.required("version")?)?)
    }

    /// Returns a text, if it is given.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, ApiError> {
        match self {
            Self::Query(pairs) => {
                Ok(pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()))
            }
            Self::Body(fields) => text(name, optional(fields, name)?),
        }
    }

    /// Returns a list of texts, which is empty if none is given.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, ApiError> {
        match self {
            Self::Query(pairs) => {
                Ok(pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect())
            }
            Self::Body(fields) => match optional(fields, name)? {
                None => Ok(Vec::new()),
                Some(Value::Array(items)) => {
                    let texts = items.iter().map(|item| Ok(text(name, Some(item))?.unwrap_or_default()));
                    texts.collect()
                }
                Some(other) => Err(wrong_type(name, other)),
            },
        }
    }

    /// Returns a boolean, which is false if it is not given.
    pub(super) fn boolean(&self, name: &str) -> Result<bool, ApiError> {
        match self {
            Self::Query(_) => match self.text(name)?.map(|text| text.to_ascii_lowercase()).as_deref() {
                None | Some("false") => Ok(false),
                Some("true") => Ok(true),
                Some(other) => Err(wrong_type(name, &other.into())),
            },
            Self::Body(fields) => match optional(fields, name)? {
                None => Ok(false),
                Some(Value::Bool(given)) => Ok(*given),
                Some(other) => Err(wrong_type(name, other)),
            },
        }
    }

    /// Returns a whole number, which may be a text.
    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let given = match self {
            Self::Query(_) => self.text(name)?.map(Value::String),
            Self::Body(fields) => optional(fields, name)?.cloned(),
        };
        let integer = match &given {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        integer.map(Some).ok_or_else(|| wrong_value(self, name))
    }

    /// Returns tags. Of a key that is given twice the last value counts; a value that is no text is empty.
    pub(super) fn tags(&self) -> Result<BTreeMap<String, String>, ApiError> {
        let Self::Body(fields) = self else { return Ok(BTreeMap::new()) };
        let items = match optional(fields, "tags")? {
            None => return Ok(BTreeMap::new()),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(wrong_type("tags", other)),
        };
        let mut tags = BTreeMap::new();
        for item in items {
            let Value::Object(tag) = item else { return Err(wrong_type("tags", item)) };
            let text = |field: &str| tag.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            tags.insert(text("key"), text("value"));
        }
        Ok(tags)
    }
}

fn check_content_type(sent: Option<&str>, is_required: bool) -> Result<(), ApiError> {
    let Some(sent) = sent else {
        let missing = || invalid("Bad Request. Content-Type header is missing.");
        return if is_required { Err(missing()) } else { Ok(()) };
    };
    if sent.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    Err(invalid("Bad Request. Content-Type must be one of ['application/json']."))
}

/// Parses a body. One that is empty, null or no JSON has no arguments; a text in it is parsed again.
fn parsed(body: &[u8]) -> Result<Object, ApiError> {
    // Such a key would change what the parser reads.
    if std::str::from_utf8(body).is_ok_and(has_reserved_key) {
        return Err(invalid("Bad Request. The body uses a key that this server reserves for itself."));
    }
    let parse = |json: &[u8]| serde_json::from_slice(json).unwrap_or(Value::Null);
    let value = match parse(body) {
        Value::String(json) => parse(json.as_bytes()),
        value => value,
    };
    match value {
        Value::Object(fields) => Ok(fields),
        Value::Null | Value::String(_) => Ok(Object::new()),
        other => Err(invalid(format!("Bad Request. The body must be a JSON object, not {}.", shown(&other)))),
    }
}

/// Returns an optional field by its name or by the same in camelCase; null is not given.
fn optional<'f>(fields: &'f Object, name: &str) -> Result<Option<&'f Value>, ApiError> {
    let camel = camel_case(name);
    let other = fields.get(&camel).filter(|_| camel != name);
    if let (Some(_), Some(_)) = (fields.get(name), other) {
        return Err(invalid(format!("'{name}' and '{camel}' are the same parameter; send it once.")));
    }
    Ok(fields.get(name).or(other).filter(|value| !value.is_null()))
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |camel, word| {
        let (start, rest) = word.split_at(word.len().min(1));
        camel + &start.to_ascii_uppercase() + rest
    })
}

fn text(name: &str, value: Option<&Value>) -> Result<Option<String>, ApiError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(wrong_type(name, other)),
    }
}

/// Returns the error for an argument whose value is not allowed.
pub(super) fn wrong_value(given: &Arguments, name: &str) -> ApiError {
    match given {
        Arguments::Query(_) => wrong_type(name, &given.text(name).ok().flatten().unwrap_or_default().into()),
        Arguments::Body(fields) => {
            wrong_type(name, optional(fields, name).ok().flatten().unwrap_or(&Value::Null))
        }
    }
}

fn wrong_type(name: &str, value: &Value) -> ApiError {
    let kind = match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    };
    invalid(format!(
        "Invalid value {} for parameter '{name}' supplied:  Hint: Value was of type '{kind}'. See the API docs for more \
         information about request parameters.",
        shown(value)
    ))
}

/// Returns a value as JSON, without the end of a long one.
fn shown(value: &Value) -> String {
    let json = value.to_string();
    match json.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", json.get(..end).unwrap_or_default()),
        None => json,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(json: &str) -> Arguments {
        Arguments::Body(parsed(json.as_bytes()).unwrap())
    }

    #[test]
    fn a_body_is_an_object_or_has_no_arguments() {
        for json in ["", "null", "{bad", "{}", "\"x\"", "\"{}\"", "\"null\""] {
            assert_eq!(parsed(json.as_bytes()).unwrap(), Object::new(), "{json}");
        }
        assert_eq!(body(r#""{\"name\": \"twice\"}""#).required("name").unwrap(), "twice");
        for json in ["[]", "5", "true", "\"[1]\"", r#"{"$serde_json::private::Number": "1"}"#] {
            assert!(parsed(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn only_an_optional_field_may_be_in_camel_case_and_only_once() {
        let camel = body(r#"{"runId": "r", "newName": "n", "other": null}"#);
        assert_eq!(camel.text("run_id").unwrap().as_deref(), Some("r"));
        assert!(camel.required("new_name").is_err());
        assert!(body(r#"{"runId": "r", "run_id": "r"}"#).text("run_id").is_err());
        assert_eq!(camel_case("archive_existing_versions"), "archiveExistingVersions");
        assert_eq!(camel_case("name"), "name");
    }

    #[test]
    fn a_value_of_another_type_is_named_as_python_names_it() {
        for (json, shown) in [
            (
                r#"{"name": 5}"#,
                "Invalid value 5 for parameter 'name' supplied:  Hint: Value was of type 'int'.",
            ),
            (r#"{"name": 5.5}"#, "of type 'float'"),
            (r#"{"name": ["x"]}"#, "Invalid value [\"x\"] for"),
            (r#"{"name": {}}"#, "of type 'dict'"),
            (r#"{"name": true}"#, "of type 'bool'"),
            (r#"{"name": null}"#, "Missing value"),
            (r#"{"name": ""}"#, "Missing value"),
        ] {
            let error = body(json).required("name").unwrap_err().to_string();
            assert!(error.contains(shown), "{json}: {error}");
        }
        let long = format!(r#"{{"name": [{:?}]}}"#, "é".repeat(9_000));
        assert!(body(&long).required("name").unwrap_err().to_string().len() < 1_000);
    }

    #[test]
    fn the_first_of_a_repeated_parameter_counts_and_lists_take_all() {
        let pairs = [("name", "a"), ("stages", "x"), ("name", "b"), ("stages", "y"), ("flag", "TRUE")];
        let query = Arguments::Query(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec());
        assert_eq!(query.required("name").unwrap(), "a");
        assert_eq!(query.texts("stages").unwrap(), ["x", "y"]);
        assert!(query.boolean("flag").unwrap() && !query.boolean("other").unwrap());
        assert!(query.boolean("name").is_err());
    }

    #[test]
    fn tags_are_a_list_of_keys_and_values() {
        let tags = body(r#"{"tags": [{"key": "k", "value": "1"}, {"key": "k", "value": 7}, {"key": "n"}]}"#);
        let expected = [("k", ""), ("n", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(tags.tags().unwrap(), BTreeMap::from(expected));
        for json in [r#"{"tags": "x"}"#, r#"{"tags": {"k": "v"}}"#, r#"{"tags": ["x"]}"#] {
            assert!(body(json).tags().is_err(), "{json}");
        }
    }
}
