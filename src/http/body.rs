//! Request bodies: read within a limit, and split into fields with every fault noted.

use std::{rc::Rc, time::Duration};

use actix_web::{
    HttpRequest, dev,
    http::header::CONTENT_LENGTH,
    web::{Bytes, BytesMut},
};
use futures_util::StreamExt as _;
use serde_json::Value;

use crate::domain::json::{MAX_DEPTH, Object, depth, has_reserved_key};

use super::{
    connection::ConnectionState,
    error::ApiError,
    fault::{FaultKind, Faults},
    lenient,
};

/// Reads a body of at most `limit_bytes`, which `setting` sets, whether its length is announced or not, within `deadline`.
///
/// # Errors
/// [`ApiError::BodyTooLarge`], at the first byte over the limit or once such a length is announced; [`ApiError::TooSlow`];
/// [`ApiError::BodyBroken`] if the connection or the encoding of the body fails.
pub(super) async fn read(
    request: &HttpRequest,
    payload: &mut dev::Payload,
    limit_bytes: usize,
    setting: &'static str,
    deadline: Duration,
) -> Result<Bytes, ApiError> {
    let announced =
        request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|announced: u64| announced > limit_bytes as u64) {
        return Err(ApiError::BodyTooLarge { limit_bytes, setting });
    }
    let body = tokio::time::timeout(deadline, collect(payload, limit_bytes, setting, announced)).await;
    let body = body.unwrap_or(Err(ApiError::TooSlow { part: "body" }))?;
    if let Some(connection) = request.conn_data::<Rc<ConnectionState>>() {
        connection.body_read();
    }
    Ok(body)
}

async fn collect(
    payload: &mut dev::Payload,
    limit_bytes: usize,
    setting: &'static str,
    announced: Option<u64>,
) -> Result<Bytes, ApiError> {
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
}

/// The fields of a body that have not been read yet. Each method removes one, and notes a fault if it is invalid.
pub(super) struct Fields<'f> {
    /// `None` if the body as a whole is invalid, which is noted already.
    fields: Option<Object>,
    faults: &'f mut Faults,
}

impl<'f> Fields<'f> {
    /// Parses a body as a JSON object.
    pub(super) fn parse(body: &[u8], faults: &'f mut Faults) -> Self {
        let mut whole = |kind, input| {
            faults.note(kind, ["body".into()], input);
            None
        };
        let fields = if body.is_empty() {
            whole(FaultKind::Missing, Value::Null)
        } else {
            let reserved = std::str::from_utf8(body).is_ok_and(has_reserved_key);
            match serde_json::from_slice(body) {
                _ if reserved => {
                    let why = "it uses a key that this server reserves for itself".to_owned();
                    whole(FaultKind::JsonInvalid(why), Value::Null)
                }
                Ok(value) if depth(&value) > MAX_DEPTH => {
                    let why = format!("nested deeper than {MAX_DEPTH} levels");
                    whole(FaultKind::JsonInvalid(why), Value::Null)
                }
                Ok(Value::Object(fields)) => Some(fields),
                Ok(other) => whole(FaultKind::ModelAttributesType, other),
                Err(error) => whole(FaultKind::JsonInvalid(error.to_string()), Value::Null),
            }
        };
        Self { fields, faults }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.as_mut()?.shift_remove(name)
    }

    fn note<T>(&mut self, kind: FaultKind, name: &str, input: Value) -> Option<T> {
        self.faults.note(kind, ["body".into(), name.into()], input);
        None
    }

    /// An optional field that may not be null.
    fn not_null<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Result<T, FaultKind>) -> Option<T> {
        let value = self.take(name)?;
        match read(&value) {
            Ok(read) => Some(read),
            Err(kind) => self.note(kind, name, value),
        }
    }

    /// An optional field; null means not given.
    fn optional<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Result<T, FaultKind>) -> Option<T> {
        let value = self.take(name).filter(|value| !value.is_null())?;
        match read(&value) {
            Ok(read) => Some(read),
            Err(kind) => self.note(kind, name, value),
        }
    }

    /// A required text.
    pub(super) fn required_text(&mut self, name: &str) -> String {
        let text = match self.take(name) {
            Some(Value::String(text)) => Some(text),
            Some(other) => self.note(FaultKind::StringType, name, other),
            None => self.missing(name),
        };
        text.unwrap_or_default()
    }

    /// A required object.
    pub(super) fn required_object(&mut self, name: &str) -> Object {
        let object = match self.take(name) {
            Some(Value::Object(object)) => Some(object),
            Some(other) => self.note(FaultKind::DictType, name, other),
            None => self.missing(name),
        };
        object.unwrap_or_default()
    }

    fn missing<T>(&mut self, name: &str) -> Option<T> {
        let rest = Value::Object(self.fields.clone()?);
        self.note(FaultKind::Missing, name, rest)
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            Value::Null => None,
            other => self.note(FaultKind::StringType, name, other),
        }
    }

    pub(super) fn object(&mut self, name: &str) -> Option<Object> {
        match self.take(name)? {
            Value::Object(object) => Some(object),
            Value::Null => None,
            other => self.note(FaultKind::DictType, name, other),
        }
    }

    pub(super) fn integer(&mut self, name: &str) -> Option<i64> {
        self.optional(name, lenient::integer)
    }

    pub(super) fn float(&mut self, name: &str) -> Option<f64> {
        self.optional(name, lenient::float)
    }

    pub(super) fn boolean(&mut self, name: &str) -> Option<bool> {
        self.optional(name, lenient::boolean)
    }

    pub(super) fn boolean_not_null(&mut self, name: &str) -> Option<bool> {
        self.not_null(name, lenient::boolean)
    }

    /// One of `names`, which `parse` reads.
    pub(super) fn choice<T>(
        &mut self,
        name: &str,
        names: &'static [&'static str],
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.optional(name, |value| chosen(value, names, parse))
    }

    /// As [`Fields::choice`], for a choice that the query may have made: the two must not differ.
    pub(super) fn choice_as_in_query<T: Copy + PartialEq>(
        &mut self,
        name: &str,
        names: &'static [&'static str],
        parse: impl Fn(&str) -> Option<T>,
        in_query: Option<T>,
    ) -> Option<T> {
        let Some(wanted) = in_query else { return self.choice(name, names, parse) };
        let is_wanted = |name: &&str| parse(name) == in_query;
        let only = names.iter().position(is_wanted).map_or(names, |place| &names[place..=place]);
        self.choice(name, only, |text| parse(text).filter(|choice| *choice == wanted)).or(in_query)
    }

    /// As [`Fields::choice`], but null is a fault.
    pub(super) fn choice_not_null<T>(
        &mut self,
        name: &str,
        names: &'static [&'static str],
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.not_null(name, |value| chosen(value, names, parse))
    }

    pub(super) fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let items = match self.take(name)? {
            Value::Array(items) => items,
            Value::Null => return None,
            other => return self.note(FaultKind::ListType, name, other),
        };
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text),
                other => {
                    let location = ["body".into(), name.into(), index.into()];
                    self.faults.note(FaultKind::StringType, location, other);
                }
            }
        }
        Some(texts)
    }

    /// Notes a fault for every field that is left: no field of that name is known.
    pub(super) fn finish(self) {
        for (name, value) in self.fields.into_iter().flatten() {
            self.faults.note(FaultKind::ExtraForbidden, ["body".into(), name.into()], value);
        }
    }
}

fn chosen<T>(
    value: &Value,
    names: &'static [&'static str],
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, FaultKind> {
    value.as_str().and_then(parse).ok_or(FaultKind::Literal(names))
}
