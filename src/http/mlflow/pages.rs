//! Where the pages of MLflow's searches ended.
//!
//! A page token of MLflow's is an offset, and clients that were written against its server know that form. An offset goes wrong
//! when rows come and go, so the server remembers which row was the last before it, for the caller and the search that got the
//! token. A server that does not remember it, since another one gave it out or it is too old, counts rows as MLflow's does.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    domain::{Place, filter::Scope},
    registry::Caller,
};

use super::{super::error::ApiError, error::invalid};

/// Places that are remembered, each of some hundred bytes.
const MAX_PLACES: usize = 4_096;

/// A list that a caller pages through.
pub(super) struct List([u8; 32]);

impl List {
    pub(super) fn of(caller: &Caller, scope: Scope, filter: &str, order: &[String], limit: i64) -> Self {
        let scope = scope == Scope::Models;
        let list = json!([caller.actor, caller.host, scope, filter, order, limit]);
        Self(Sha256::digest(list.to_string()).into())
    }
}

/// The places where pages ended, by list and offset.
#[derive(Default)]
pub(in crate::http) struct Pages {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    places: HashMap<([u8; 32], u64), Place>,
    /// Their keys, the oldest first.
    age: VecDeque<([u8; 32], u64)>,
}

impl Pages {
    /// Remembers the place where a page of `rows` ended that began at `offset`, and returns the offset of the next page.
    pub(super) fn remember(&self, list: &List, offset: u64, rows: usize, place: Place) -> u64 {
        let next = offset.saturating_add(rows as u64);
        let key = (list.0, next);
        let mut known = self.known();
        if known.places.insert(key, place).is_none() {
            known.age.push_back(key);
        }
        if known.age.len() > MAX_PLACES
            && let Some(oldest) = known.age.pop_front()
        {
            known.places.remove(&oldest);
        }
        next
    }

    /// Returns the place after which the page at this offset begins.
    pub(super) fn place(&self, list: &List, offset: u64) -> Option<Place> {
        self.known().places.get(&(list.0, offset)).cloned()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the token for a page at this offset.
pub(super) fn token(offset: u64) -> String {
    // With the blank that Python writes.
    BASE64_STANDARD.encode(format!("{{\"offset\": {offset}}}"))
}

/// Reads a token.
///
/// # Errors
/// [`ApiError::Mlflow`] for anything else.
pub(super) fn offset_of(token: &str) -> Result<u64, ApiError> {
    let refused = |what: String| invalid(format!("Invalid page token, {what}"));
    let bytes = BASE64_STANDARD.decode(token).map_err(|_| refused("could not base64-decode".to_owned()))?;
    let Ok(parsed) = serde_json::from_slice::<Value>(&bytes) else {
        return Err(refused(format!("decoded value=b'{}'", bytes.escape_ascii())));
    };
    let offset = match parsed.get("offset") {
        Some(Value::String(text)) if !text.is_empty() => {
            text.trim().parse::<i64>().map_err(|_| refused(format!("not stringable {text}")))?
        }
        Some(Value::Number(number)) => {
            number.as_i64().ok_or_else(|| refused(format!("not stringable {number}")))?
        }
        _ => return Err(refused(format!("parsed value={parsed}"))),
    };
    Ok(u64::try_from(offset).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Principal, query::CursorKey};

    fn list(actor: &str, filter: &str) -> List {
        let caller = Caller {
            actor: actor.to_owned(),
            principal: Principal::administrator(actor).into(),
            host: None,
            warnings: Default::default(),
        };
        List::of(&caller, Scope::Models, filter, &[], 2)
    }

    fn place(name: &str) -> Place {
        vec![CursorKey::Text(name.to_owned())]
    }

    #[test]
    fn a_token_is_an_offset_and_any_other_text_is_refused() {
        assert_eq!(token(2), "eyJvZmZzZXQiOiAyfQ==");
        for offset in [1, 7, 200_000] {
            assert_eq!(offset_of(&token(offset)).unwrap(), offset);
        }
        let made = |json: &str| BASE64_STANDARD.encode(json);
        assert_eq!(offset_of(&made(r#"{"offset": "5"}"#)).unwrap(), 5);
        assert_eq!(offset_of(&made(r#"{"offset": -5}"#)).unwrap(), 0);
        for (token, said) in [
            ("bad".to_owned(), "Invalid page token, could not base64-decode"),
            ("e30=".to_owned(), "Invalid page token, parsed value={}"),
            ("dGV4dA==".to_owned(), "Invalid page token, decoded value=b'text'"),
            ("eyJvZmZzZXQiOiAieCJ9".to_owned(), "Invalid page token, not stringable x"),
            (made("[]"), "Invalid page token, parsed value=[]"),
            (made(r#"{"offset": 1.5}"#), "Invalid page token, not stringable 1.5"),
            (made("\u{7f}"), r"Invalid page token, decoded value=b'\x7f'"),
        ] {
            assert_eq!(offset_of(&token).unwrap_err().to_string(), said, "{token}");
        }
    }

    #[test]
    fn a_page_begins_where_the_one_before_ended_for_the_same_caller_and_search() {
        let pages = Pages::default();
        assert_eq!(pages.remember(&list("ann", "x"), 0, 2, place("b")), 2);
        assert_eq!(pages.remember(&list("ann", "x"), 2, 2, place("d")), 4);
        assert_eq!(pages.place(&list("ann", "x"), 2), Some(place("b")));
        assert_eq!(pages.place(&list("ann", "x"), 4), Some(place("d")));
        for (other, offset) in [(list("bob", "x"), 2), (list("ann", "y"), 2), (list("ann", "x"), 3)] {
            assert_eq!(pages.place(&other, offset), None);
        }
        pages.remember(&list("ann", "x"), 0, 2, place("c"));
        assert_eq!(pages.place(&list("ann", "x"), 2), Some(place("c")));
    }

    #[test]
    fn the_oldest_places_are_forgotten() {
        let pages = Pages::default();
        for at in 0..=MAX_PLACES {
            pages.remember(&list("ann", &at.to_string()), 0, 2, place("b"));
        }
        assert_eq!(pages.place(&list("ann", "0"), 2), None);
        assert!(pages.place(&list("ann", "1"), 2).is_some());
        assert_eq!(pages.known().places.len(), MAX_PLACES);
    }
}
