//! Request bodies: read within a limit, and split into fields with every fault recorded.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::{self, Display},
    rc::Rc,
    time::Duration,
};

use actix_web::{
    HttpRequest, dev,
    error::PayloadError,
    http::header::CONTENT_LENGTH,
    web::{Bytes, BytesMut},
};
use futures_util::{FutureExt as _, StreamExt as _};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::domain::{
    Evaluation, FileRecord, GivenTimes, Refusal, Status,
    json::{MAX_DEPTH, Object, depth, has_reserved_key},
};

use super::{
    connection::ConnectionState,
    error::ApiError,
    fault::{FaultType, Faults, Problem},
    lenient::FromField,
};

/// Reads a body of at most `limit_bytes`, a limit that `setting` sets, within `deadline`. Its length need not be announced.
///
/// # Errors
/// [`ApiError::BodyTooLarge`], at the first byte over the limit or once such a length is announced; [`ApiError::TooSlow`];
/// [`ApiError::BodyBroken`] if the connection or the encoding of the body fails.
pub(super) async fn read(
    request: &HttpRequest,
    payload: &mut dev::Payload,
    (limit_bytes, setting): (usize, &'static str),
    deadline: Duration,
) -> Result<Bytes, ApiError> {
    let announced = request.headers().get(CONTENT_LENGTH);
    let announced: Option<u64> = announced.and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|announced| announced > limit_bytes as u64) {
        return Err(ApiError::BodyTooLarge { limit_bytes, setting });
    }
    let collect = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|error| ApiError::BodyBroken(error.to_string()))?;
            if body.len() + chunk.len() > limit_bytes {
                return Err(ApiError::BodyTooLarge { limit_bytes, setting });
            }
            if body.is_empty() && announced == Some(chunk.len() as u64) {
                return Ok(chunk);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    let body = timeout(deadline, collect).await.unwrap_or(Err(ApiError::TooSlow { part: "body" }))?;
    if let Some(connection) = request.conn_data::<Rc<ConnectionState>>() {
        connection.body_read();
    }
    Ok(body)
}

/// What a client must send of a long body within a deadline, in bytes.
const MIN_PROGRESS_BYTES: usize = 32 << 10;
/// What is taken at once of a long body, in bytes.
const MAX_TAKEN_BYTES: usize = 256 << 10;

/// A body of any length, read in pieces: it has no deadline as a whole, but for each 32 KiB of it.
pub(super) struct Pieces<'r> {
    request: &'r HttpRequest,
    payload: &'r mut dev::Payload,
    deadline: Duration,
    /// How long the client may still take for its next 32 KiB. The time that the server takes does not count.
    left: Duration,
    progress_bytes: usize,
    /// What comes after the pieces that were returned, if it has come already.
    next: Option<Piece>,
}

/// A piece, or `None` at the end.
type Piece = Option<Result<Bytes, PayloadError>>;

impl<'r> Pieces<'r> {
    pub(super) fn new(request: &'r HttpRequest, payload: &'r mut dev::Payload, deadline: Duration) -> Self {
        Self { request, payload, deadline, left: deadline, progress_bytes: 0, next: None }
    }

    /// Returns what has arrived, at least one piece; `None` after the end.
    ///
    /// # Errors
    /// [`ApiError::TooSlow`], and [`ApiError::BodyBroken`] if the connection or the encoding of the body fails.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Bytes>>, ApiError> {
        let begun = Instant::now();
        let first = match self.next.take() {
            Some(next) => next,
            None => {
                let next = timeout(self.left, self.payload.next()).await;
                next.map_err(|_| ApiError::TooSlow { part: "body" })?
            }
        };
        let Some(first) = first else {
            if let Some(connection) = self.request.conn_data::<Rc<ConnectionState>>() {
                connection.body_read();
            }
            return Ok(None);
        };
        let first = first.map_err(|error| ApiError::BodyBroken(error.to_string()))?;
        let (mut bytes, mut pieces) = (first.len(), vec![first]);
        while bytes < MAX_TAKEN_BYTES
            && let Some(next) = self.payload.next().now_or_never()
        {
            let Some(Ok(piece)) = next else {
                self.next = Some(next);
                break;
            };
            bytes += piece.len();
            pieces.push(piece);
        }
        self.progress_bytes += bytes;
        self.left = self.left.saturating_sub(begun.elapsed());
        if self.progress_bytes >= MIN_PROGRESS_BYTES {
            (self.left, self.progress_bytes) = (self.deadline, 0);
        }
        Ok(Some(pieces))
    }
}

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
