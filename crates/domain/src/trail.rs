//! Positions in the audit trail, and which of its events a follower wants.

use std::{fmt, str::FromStr};

use crate::{ModelKey, TrailEvent, query::TrailQuery, refusal::Refusal};

/// Bytes of a hash that a position has: enough to tell registries apart.
const HASH_BYTES: usize = 8;

/// The event after which someone goes on, as the text `41-5f3a9c01d2e4b7a8`: its id, and the beginning of its hash.
///
/// The hash tells if a registry has this very event. A position without it, like `41`, is less sure. `0` is the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrailPosition {
    /// The event; 0 for the beginning.
    pub id: i64,
    hash: Option<[u8; HASH_BYTES]>,
}

/// An event and its hash.
pub type HashedEvent = (i64, Vec<u8>);

impl TrailPosition {
    /// Returns the position after an event.
    #[must_use]
    pub fn after(id: i64, hash: &[u8]) -> Self {
        Self { id, hash: hash.get(..HASH_BYTES).and_then(|bytes| bytes.try_into().ok()) }
    }

    /// Checks that the position is one of this registry. `there` is the hash of the event with its id, if there is one, and
    /// `newest` the newest event.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if it is not.
    pub fn check(&self, there: Option<&[u8]>, newest: i64) -> Result<(), Refusal> {
        let advice =
            "the position is from another registry, or from before this one was restored; go on without it";
        if there.is_none() && self.id > newest {
            return Err(Refusal::Invalid(format!(
                "there is no event {} here, the newest is {newest}: {advice}",
                self.id
            )));
        }
        let Some(hash) = self.hash.filter(|_| self.id > 0) else { return Ok(()) };
        if there.and_then(|there| there.get(..HASH_BYTES)) == Some(hash.as_slice()) {
            return Ok(());
        }
        Err(Refusal::Invalid(format!("event {} is another one here: {advice}", self.id)))
    }
}

impl fmt::Display for TrailPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hash {
            Some(hash) => write!(f, "{}-{}", self.id, hex::encode(hash)),
            None => write!(f, "{}", self.id),
        }
    }
}

impl FromStr for TrailPosition {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = "expected the id of an event, like 41, or a position as this registry gave it";
        let (id, hash) = text.split_once('-').map_or((text, None), |(id, hash)| (id, Some(hash)));
        let is_number = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        let id = id.parse().ok().filter(|_| is_number).ok_or(invalid)?;
        let hash = match hash {
            None => None,
            Some(hash) => {
                let mut bytes = [0; HASH_BYTES];
                hex::decode_to_slice(hash, &mut bytes).map_err(|_| invalid)?;
                Some(bytes)
            }
        };
        Ok(Self { id, hash })
    }
}

/// Tells which new events pass a query, while models are created, renamed and deleted.
#[derive(Debug, Clone)]
pub struct TrailFilter {
    /// The name that the query has, and the model that it stands for, if there is one.
    model: Option<(String, Option<ModelKey>)>,
    number: Option<i64>,
    event_type: Option<String>,
    actor: Option<String>,
}

/// What a filter looks at in an event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in `TrailEvent`")]
pub struct Traits {
    pub model: ModelKey,
    pub model_name: Option<String>,
    pub number: Option<i64>,
    pub event_type: String,
    pub actor: Option<String>,
}

impl Traits {
    /// Copies what a filter looks at.
    #[must_use]
    pub fn of(event: &TrailEvent<'_>) -> Self {
        Self {
            model: event.model,
            model_name: event.model_name.as_deref().map(str::to_owned),
            number: event.number,
            event_type: event.event.event_type.clone().into_owned(),
            actor: event.event.actor.as_deref().map(str::to_owned),
        }
    }
}

impl TrailFilter {
    /// Creates the filter of a query. `model` is the model that its name stands for now.
    #[must_use]
    pub fn new(query: &TrailQuery, model: Option<ModelKey>) -> Self {
        Self {
            model: query.model.clone().map(|name| (name, model)),
            number: query.number,
            event_type: query.event_type.clone(),
            actor: query.actor.clone(),
        }
    }

    /// Returns the name of the model that is followed, and its key if there is one of this name.
    #[must_use]
    pub fn model(&self) -> Option<(&str, Option<ModelKey>)> {
        self.model.as_ref().map(|(name, key)| (name.as_str(), *key))
    }

    /// Returns true if every event passes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.model.is_none() && self.number.is_none() && self.event_type.is_none() && self.actor.is_none()
    }

    /// Returns true if an event passes. A model that gets the name is the one that is followed from then on.
    pub fn passes(&mut self, event: &Traits) -> bool {
        if let Some((name, key)) = &mut self.model {
            if event.model_name.as_deref() == Some(name) {
                *key = Some(event.model);
            } else if *key != Some(event.model) {
                return false;
            }
        }
        let is = |wanted: &Option<String>, value: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| value == Some(wanted))
        };
        self.number.is_none_or(|number| event.number == Some(number))
            && is(&self.event_type, Some(&event.event_type))
            && is(&self.actor, event.actor.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_reads_back_and_other_text_is_refused() {
        let position = TrailPosition::after(41, &[0x5f; 32]);
        assert_eq!(position.to_string(), "41-5f5f5f5f5f5f5f5f");
        for text in ["0", "41", "41-5f5f5f5f5f5f5f5f", "9223372036854775807"] {
            assert_eq!(text.parse::<TrailPosition>().unwrap().to_string(), text);
        }
        for text in
            ["", "-", "-1", "+1", "41-", "41-5f", "41-5f5f5f5f5f5f5f5g", "x", " 41", "9223372036854775808"]
        {
            assert!(text.parse::<TrailPosition>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_position_of_another_registry_is_refused() {
        let hash = [7_u8; 32];
        let position = TrailPosition::after(41, &hash);
        assert_eq!(position.check(Some(&hash), 41), Ok(()));
        assert!(position.check(Some(&[8; 32]), 50).is_err(), "another event");
        assert!(position.check(None, 50).is_err(), "no such event");
        assert_eq!(position.check(Some(&hash), 40), Ok(()), "another server has seen it already");
        assert!(position.check(None, 40).is_err(), "beyond the newest");
        let bare: TrailPosition = "41".parse().unwrap();
        assert_eq!(bare.check(None, 41), Ok(()), "ids have gaps");
        assert!(bare.check(None, 40).is_err());
        assert_eq!(TrailPosition::default().check(None, 0), Ok(()));
    }

    #[test]
    fn a_filter_follows_a_model_through_a_new_name_and_takes_a_new_model_of_the_name() {
        let event = |model, name: &str| Traits {
            model,
            model_name: Some(name.to_owned()),
            number: Some(2),
            event_type: "eval".to_owned(),
            actor: Some("ann".to_owned()),
        };
        let query = TrailQuery { model: Some("m".to_owned()), ..TrailQuery::default() };
        let mut filter = TrailFilter::new(&query, Some(1));
        assert!(filter.passes(&event(1, "m")) && !filter.passes(&event(2, "n")));
        assert!(filter.passes(&event(1, "renamed")), "it is the same model");
        assert!(filter.passes(&event(3, "m")) && !filter.passes(&event(1, "renamed")));
        let mut filter = TrailFilter::new(&query, None);
        assert!(!filter.passes(&event(1, "n")) && filter.passes(&event(4, "m")));
        for (query, passes) in [
            (TrailQuery::default(), true),
            (TrailQuery { event_type: Some("eval".to_owned()), ..TrailQuery::default() }, true),
            (TrailQuery { event_type: Some("create".to_owned()), ..TrailQuery::default() }, false),
            (TrailQuery { actor: Some("ann".to_owned()), ..TrailQuery::default() }, true),
            (TrailQuery { actor: Some("bob".to_owned()), ..TrailQuery::default() }, false),
            (TrailQuery { model: Some("m".to_owned()), number: Some(2), ..TrailQuery::default() }, true),
            (TrailQuery { model: Some("m".to_owned()), number: Some(3), ..TrailQuery::default() }, false),
        ] {
            assert_eq!(TrailFilter::new(&query, Some(1)).passes(&event(1, "m")), passes, "{query:?}");
        }
    }
}
