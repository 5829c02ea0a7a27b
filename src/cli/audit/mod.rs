//! Exports of the audit trail: their records, as lines of JSON or as CSV.
//!
//! An export has each event as its hash covers it, then the end of each model's chain, then one record that ends it. Texts are
//! kept byte for byte, since their hash could not be verified otherwise.

#[cfg(feature = "server")]
pub(super) mod compare;
mod file;
pub(super) mod verify;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::domain::chain::{ChainedEvent, Link};

#[cfg(feature = "cli")]
pub(super) use file::ExportWriter;
pub(super) use file::{ExportError, ExportReader};

/// The version of the form of exports.
pub(super) const FORM: u32 = 1;

/// The format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ExportFormat {
    /// A line of JSON for each record
    Jsonl,
    /// Comma-separated, for spreadsheets
    Csv,
}

/// A record of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Event(EventRecord),
    Head(HeadRecord),
    End(EndRecord),
}

/// An event, as `GET /v1/events/records` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EventRecord {
    pub(super) id: i64,
    pub(super) model: Option<String>,
    pub(super) model_key: i64,
    pub(super) version: Option<i64>,
    pub(super) version_id: i64,
    pub(super) r#type: String,
    pub(super) payload: Option<String>,
    pub(super) details: Option<String>,
    pub(super) actor: Option<String>,
    pub(super) created_at: String,
    pub(super) previous: Option<i64>,
    #[serde(with = "hex_text")]
    pub(super) hash: Vec<u8>,
}

/// The end of a model's chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeadRecord {
    pub(super) model: Option<String>,
    pub(super) model_key: i64,
    /// The last event.
    pub(super) id: i64,
    #[serde(with = "hex_text")]
    pub(super) hash: Vec<u8>,
}

/// The end of an export. Without it, the export was cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EndRecord {
    pub(super) form: u32,
    pub(super) events: u64,
    pub(super) heads: u64,
    /// Over the ends of all chains.
    pub(super) digest: String,
}

impl EventRecord {
    /// Returns what its hash covers, and its place.
    pub(super) fn chained(&self) -> ChainedEvent<'_> {
        let link = Link {
            model: self.model_key,
            previous: self.previous,
            version_id: self.version_id,
            event_type: &self.r#type,
            payload: self.payload.as_deref(),
            details: self.details.as_deref(),
            actor: self.actor.as_deref(),
            created_at: &self.created_at,
        };
        ChainedEvent { id: self.id, link, hash: &self.hash }
    }
}

/// Returns a model as people read it: its name, if it is known, and its key.
pub(super) fn model_text(name: Option<&str>, key: i64) -> String {
    match name {
        Some(name) => format!("model {name} ({key})"),
        None => format!("model {key}"),
    }
}

/// Bytes as hex digits.
mod hex_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::decode(&text).map_err(|_| D::Error::custom(format!("{text:?} is no hash")))
    }
}
