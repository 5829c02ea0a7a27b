//! Versions and events as JSON, written from rows without an intermediate tree.

pub(super) mod hub;
pub(super) mod mlflow;
pub(super) mod native;
pub(super) mod policies;
pub(super) mod v1;

use serde::Serialize;

use crate::domain::{Cursor, Page, Version};

/// The JSON of one of the APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The API of 0.2.0.
    Native {
        /// Show paths on the server's disk.
        expose_paths: bool,
    },
    /// `/v1`.
    V1,
}

impl Form {
    pub(super) fn write_version<S: AsRef<str> + Serialize>(self, out: &mut Vec<u8>, version: &Version<S>) {
        match self {
            Self::Native { expose_paths } => native::write_model(out, version, expose_paths),
            Self::V1 => v1::write_version(out, version),
        }
    }

    /// Returns the text before the first version of a list.
    pub(super) fn list_start(self) -> &'static str {
        match self {
            Self::Native { .. } => "[",
            Self::V1 => r#"{"versions":["#,
        }
    }

    /// Returns the text after the last version of a list.
    pub(super) fn list_end(self, page: &Page) -> String {
        match self {
            Self::Native { .. } => "]".to_owned(),
            Self::V1 => page_end(page),
        }
    }
}

/// Returns `{"name":[…]` without its end, with each item as `write` writes it.
pub(super) fn list_of<T>(
    name: &str,
    items: impl IntoIterator<Item = T>,
    write: impl Fn(&mut Vec<u8>, T),
) -> Vec<u8> {
    let mut json = format!("{{\"{name}\":[").into_bytes();
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        write(&mut json, item);
    }
    json
}

/// Returns the end of a page of `/v1`, after its last row.
pub(super) fn page_end(page: &Page) -> String {
    // A cursor is base64, which needs no escaping.
    let next = page.next.as_ref().map(Cursor::encode);
    next.map_or_else(|| r#"],"next":null}"#.to_owned(), |next| format!(r#"],"next":"{next}"}}"#))
}

/// Writes the fields of an object one after another.
struct ObjectWriter<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl<'o> ObjectWriter<'o> {
    fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    fn end(self) {
        self.out.push(b'}');
    }

    /// Writes a key, which needs no escaping.
    fn key(&mut self, key: &'static str) {
        self.out.extend_from_slice(if self.is_empty { b"\"" } else { b",\"" });
        self.is_empty = false;
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// Writes a value. A number that is not finite becomes `null`, since JSON can't express it.
    fn field(&mut self, key: &'static str, value: impl Serialize) {
        self.key(key);
        // Writing a text or a number to a Vec does not fail.
        let _ = serde_json::to_writer(&mut *self.out, &value);
    }

    /// Writes JSON text as it is.
    fn raw(&mut self, key: &'static str, value: Option<impl AsRef<str>>) {
        self.key(key);
        self.out.extend_from_slice(value.as_ref().map_or("null", |json| json.as_ref()).as_bytes());
    }
}
