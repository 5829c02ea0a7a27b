//! The fields of a JSON body, read one by one with every fault recorded. This module must not know connections.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::{self, Display},
};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::domain::{
    Evaluation, FileRecord, GivenTimes, Refusal, Status,
    json::{MAX_DEPTH, Object, depth, has_reserved_key},
    mlflow::Origin,
};

use super::{
    fault::{FaultType, Faults, Problem},
    lenient::FromField,
};

/// The fields of a body that have not been read yet. Each method removes one, and records a fault if it is invalid.
pub(super) struct Fields<'f> {
    /// `None` if the body as a whole is invalid, which is recorded already.
    fields: Option<Object>,
    /// True for `/v1`: a value has exactly its type, and no field is given twice.
    is_strict: bool,
    /// Where in the request they are.
    place: Vec<Value>,
    faults: &'f mut Faults,
}

impl<'f> Fields<'f> {
    /// Parses a body as a JSON object.
    pub(super) fn parse(body: &[u8], is_strict: bool, faults: &'f mut Faults) -> Self {
        let unique = |fields| if is_strict { check_unique(body).map(|()| fields) } else { Ok(fields) };
        let fields = match object(body).and_then(unique) {
            Ok(fields) => Some(fields),
            Err((problem, input)) => {
                faults.record(problem, ["body".into()], input);
                None
            }
        };
        Self { fields, is_strict, place: vec!["body".into()], faults }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.as_mut()?.shift_remove(name)
    }

    fn record(&mut self, problem: impl Into<Problem>, name: &str, input: Value) {
        let location = self.place.iter().cloned().chain([name.into()]);
        self.faults.record(problem, location.collect::<Vec<_>>(), input);
    }

    fn read<T: FromField>(&mut self, name: &str, mut value: Value) -> Option<T> {
        let checked = if self.is_strict { T::check_strict(&value) } else { Ok(()) };
        let read = checked.and_then(|()| T::from_field(&mut value));
        read.map_err(|problem| self.record(problem, name, value)).ok()
    }

    /// Reads a field that must be given.
    pub(super) fn required<T: FromField + Default>(&mut self, name: &str) -> T {
        self.given(name).unwrap_or_default()
    }

    /// Reads a field that must be given; `None` if it is not, or invalid.
    pub(super) fn given<T: FromField>(&mut self, name: &str) -> Option<T> {
        let Some(value) = self.take(name) else {
            if let Some(rest) = self.fields.clone() {
                self.record(FaultType::Missing, name, rest.into());
            }
            return None;
        };
        self.read(name, value)
    }

    /// Records a fault unless exactly one of these fields is given. Called before they are read.
    pub(super) fn exactly_one_of(&mut self, names: [&str; 2]) {
        let Some(fields) = &self.fields else { return };
        if names.iter().filter(|name| fields.contains_key(**name)).count() != 1 {
            let [one, other] = names;
            self.record(
                Problem::described(format!("Input should have either {one} or {other}")),
                one,
                Value::Null,
            );
        }
    }

    /// Reads a list of objects, each with `read`. `None` if it is missing.
    pub(super) fn objects<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(&mut Fields<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = match self.take(name)? {
            Value::Array(items) => items,
            other => {
                self.record(FaultType::ListType, name, other);
                return None;
            }
        };
        let mut objects = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let place: Vec<Value> = self.place.iter().cloned().chain([name.into(), index.into()]).collect();
            let Value::Object(fields) = item else {
                self.faults.record(FaultType::DictType, place, item);
                continue;
            };
            let mut fields =
                Fields { fields: Some(fields), is_strict: self.is_strict, place, faults: &mut *self.faults };
            objects.extend(read(&mut fields));
            fields.finish();
        }
        Some(objects)
    }

    /// Reads a list of objects that must be given, each with `read`.
    pub(super) fn required_objects<T>(
        &mut self,
        name: &str,
        read: impl FnMut(&mut Fields<'_>) -> Option<T>,
    ) -> Vec<T> {
        if let Some(fields) = self.fields.as_ref().filter(|fields| !fields.contains_key(name)) {
            let rest = fields.clone();
            self.record(FaultType::Missing, name, rest.into());
        }
        self.objects(name, read).unwrap_or_default()
    }

    /// Reads an object with `read`. `None` if it is missing or no object.
    pub(super) fn object<T>(&mut self, name: &str, read: impl FnOnce(&mut Fields<'_>) -> T) -> Option<T> {
        let place: Vec<Value> = self.place.iter().cloned().chain([name.into()]).collect();
        let fields = match self.take(name)? {
            Value::Object(fields) => fields,
            other => {
                self.faults.record(FaultType::DictType, place, other);
                return None;
            }
        };
        let mut fields =
            Fields { fields: Some(fields), is_strict: self.is_strict, place, faults: &mut *self.faults };
        let value = read(&mut fields);
        fields.finish();
        Some(value)
    }

    /// Reads a size in bytes that must be given.
    pub(super) fn size(&mut self, name: &str) -> Option<i64> {
        let size: i64 = self.given(name)?;
        if size < 0 {
            self.record(Problem::less_than(0), name, size.into());
        }
        Some(size)
    }

    /// Reads a field that may be missing; null means the same.
    pub(super) fn optional<T: FromField>(&mut self, name: &str) -> Option<T> {
        let value = self.take(name).filter(|value| !value.is_null())?;
        self.read(name, value)
    }

    /// Reads a field that may be missing, but not null.
    pub(super) fn not_null<T: FromField>(&mut self, name: &str) -> Option<T> {
        let value = self.take(name)?;
        self.read(name, value)
    }

    /// Reads a field that may be missing (`None`) or null (`Some(None)`).
    pub(super) fn nullable<T: FromField>(&mut self, name: &str) -> Option<Option<T>> {
        match self.take(name)? {
            Value::Null => Some(None),
            value => self.read(name, value).map(Some),
        }
    }

    /// Reads the SHA-256 of a file and its size, for `/v1`.
    pub(super) fn file(&mut self, sha256: &str, size_bytes: &str, may_be_null: bool) -> FileRecord {
        let (digest, size): (_, Option<i64>) = if may_be_null {
            (self.optional(sha256), self.optional(size_bytes))
        } else {
            (self.not_null(sha256), self.not_null(size_bytes))
        };
        if size.is_some_and(|size| size < 0) {
            self.record(Problem::less_than(0), size_bytes, size.into());
        }
        FileRecord { path: None, sha256: digest, size_bytes: size }
    }

    /// Reads a number from `least` to `most`, which may be missing, but not null.
    pub(super) fn integer_in(&mut self, name: &str, least: i64, most: i64) -> Option<i64> {
        let number = self.not_null(name)?;
        let problem = match number {
            _ if number < least => Problem::less_than(least),
            _ if number > most => Problem::more_than(most),
            _ => return Some(number),
        };
        self.record(problem, name, number.into());
        None
    }

    /// Reads when something was created and changed elsewhere, for `/v1`.
    pub(super) fn given_times(&mut self) -> GivenTimes {
        GivenTimes { created_at: self.not_null("created_at"), updated_at: self.not_null("updated_at") }
    }

    /// Reads what MLflow knows of the origin of a version, for `/v1`.
    pub(super) fn origin(&mut self) -> Origin {
        let Some(given) = self.not_null::<Object>("origin") else { return Origin::default() };
        let mut origin = Origin::default();
        for (key, value) in given {
            let field = match key.as_str() {
                "location" => &mut origin.location,
                "run_link" => &mut origin.run_link,
                "model_id" => &mut origin.model_id,
                _ => {
                    let location = ["body".into(), "origin".into(), key.into()];
                    self.faults.record(FaultType::ExtraForbidden, location, value);
                    continue;
                }
            };
            match value {
                Value::String(text) => *field = Some(text),
                Value::Null => {}
                other => {
                    let location = ["body".into(), "origin".into(), key.into()];
                    self.faults.record(FaultType::StringType, location, other);
                }
            }
        }
        origin
    }

    /// Reads tags by key. The value `null` removes a tag, if `removes` is true.
    pub(super) fn tags(&mut self, name: &str, removes: bool) -> BTreeMap<String, Option<String>> {
        let Some(given) = self.not_null::<Object>(name) else { return BTreeMap::new() };
        let mut tags = BTreeMap::new();
        for (key, value) in given {
            match value {
                Value::String(value) => drop(tags.insert(key, Some(value))),
                Value::Null if removes => drop(tags.insert(key, None)),
                other => {
                    let location = ["body".into(), name.into(), key.into()];
                    self.faults.record(FaultType::StringType, location, other);
                }
            }
        }
        tags
    }

    /// Reads a status that the query may also contain: then both must be the same.
    pub(super) fn status_as_in_query(&mut self, name: &str, in_query: Option<Status>) -> Option<Status> {
        let in_body = self.optional(name);
        if let (Some(expected), Some(sent)) = (in_query, in_body)
            && expected != sent
        {
            self.record(Problem::not_one_of(&[expected.as_str()]), name, sent.as_str().into());
        }
        in_body.or(in_query)
    }

    /// Reads a list of strings that must be given.
    pub(super) fn required_texts(&mut self, name: &str) -> Vec<String> {
        match self.fields.as_ref().is_some_and(|fields| fields.contains_key(name)) {
            true => self.texts(name).unwrap_or_default(),
            false => {
                self.given::<String>(name);
                Vec::new()
            }
        }
    }

    /// Reads a list of strings, with a fault for each item that is not a string.
    pub(super) fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let items = match self.take(name)? {
            Value::Array(items) => items,
            Value::Null => return None,
            other => {
                self.record(FaultType::ListType, name, other);
                return None;
            }
        };
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text),
                other => {
                    let location = ["body".into(), name.into(), index.into()];
                    self.faults.record(FaultType::StringType, location, other);
                }
            }
        }
        Some(texts)
    }

    /// Records a fault for every field that is left, since its name is unknown.
    pub(super) fn finish(self) {
        for (name, value) in self.fields.into_iter().flatten() {
            let location = self.place.iter().cloned().chain([name.into()]);
            self.faults.record(FaultType::ExtraForbidden, location.collect::<Vec<_>>(), value);
        }
    }
}

/// Reads the scores of a suite.
pub(super) fn read_evaluation(fields: &mut Fields<'_>) -> Result<Evaluation, Refusal> {
    let (suite, metrics) = (fields.required::<String>("suite"), fields.required("metrics"));
    let dataset = fields.optional("dataset");
    let eval_commit = fields.optional("eval_commit");
    let eval_config = fields.optional("eval_config");
    let notes = fields.optional("notes");
    Ok(Evaluation { dataset, eval_commit, eval_config, notes, ..Evaluation::new(&suite, metrics)? })
}

/// Parses a body that must be an object, or returns what is wrong with it and the input to show.
fn object(body: &[u8]) -> Result<Object, (Problem, Value)> {
    if body.is_empty() {
        return Err((FaultType::Missing.into(), Value::Null));
    }
    let invalid = |why: &dyn Display| (Problem::invalid_json(why), Value::Null);
    if std::str::from_utf8(body).is_ok_and(has_reserved_key) {
        return Err(invalid(&"it uses a key that this server reserves for itself"));
    }
    match serde_json::from_slice(body).map_err(|error| invalid(&error))? {
        value if depth(&value) > MAX_DEPTH => {
            Err(invalid(&format_args!("nested deeper than {MAX_DEPTH} levels")))
        }
        Value::Object(fields) => Ok(fields),
        other => Err((FaultType::ModelAttributesType.into(), other)),
    }
}

/// Refuses an object, at any depth, that has a key twice: readers would not agree which value counts.
fn check_unique(body: &[u8]) -> Result<(), (Problem, Value)> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let unique = Unique.deserialize(&mut json);
    unique.map_err(|error| (Problem::described(error.to_string()), Value::Null))
}

/// Visits a value and all values in it.
struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = fields.next_key::<String>()? {
            if keys.contains(&key) {
                return Err(A::Error::custom(format_args!("{key:?} is given twice")));
            }
            keys.insert(key);
            fields.next_value_seed(Self)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
