//! Verifies an export on its own: its chains, their ends, and that nothing was cut off.

use std::path::Path;

use super::{ExportError, ExportReader, Record, model_text};
use crate::domain::chain::{Walk, digest_of_heads};

/// Problems that are listed.
const MAX_LISTED: usize = 1_000;

/// What does not fit, each in one line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Problems {
    /// The first thousand.
    pub(in crate::cli) listed: Vec<String>,
    pub(in crate::cli) total: u64,
}

impl Problems {
    pub(in crate::cli) fn add(&mut self, problem: String) {
        self.total += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push(problem);
        }
    }
}

/// The result of a verification.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Verified {
    pub(in crate::cli) events: u64,
    pub(in crate::cli) models: usize,
    /// The last event, 0 if there is none.
    pub(in crate::cli) last: i64,
    /// Over the ends of all chains.
    pub(in crate::cli) digest: String,
    pub(in crate::cli) problems: Problems,
}

/// Verifies an export.
///
/// # Errors
/// If it can't be read.
pub(in crate::cli) fn verify(path: &Path) -> Result<Verified, ExportError> {
    let mut reader = ExportReader::open(path)?;
    let (mut walk, mut done, mut heads, mut end) = (Walk::default(), Verified::default(), 0, None);
    while let Some(record) = reader.next()? {
        if end.is_some() {
            done.problems.add("something was added after the end of the export".to_owned());
            break;
        }
        match record {
            Record::Event(event) => {
                done.events += 1;
                done.last = event.id;
                if let Err(problem) = walk.follow(&event.chained()) {
                    let model = model_text(event.model.as_deref(), event.model_key);
                    done.problems.add(format!("event {} of {model}: {problem}", event.id));
                }
            }
            Record::Head(head) => {
                heads += 1;
                if let Some(problem) = walk.judge_head(head.model_key, head.id, &head.hash) {
                    let model = model_text(head.model.as_deref(), head.model_key);
                    done.problems.add(format!("{model}: {problem}"));
                }
            }
            Record::End(record) => end = Some(record),
        }
    }
    let ends = walk.heads().iter().map(|(model, head)| (*model, head.id, head.hash.as_slice()));
    done.digest = hex::encode(digest_of_heads(ends));
    done.models = walk.heads().len();
    match end {
        None => done.problems.add("the export is cut off: its last record is missing".to_owned()),
        Some(end) if end.events != done.events || end.heads != heads || heads != done.models as u64 => {
            done.problems.add(format!(
                "the export has {} events and the ends of {heads} models, and should have {} and {}",
                done.events, end.events, end.heads
            ));
        }
        Some(end) if end.digest != done.digest => {
            done.problems.add("the ends of the chains have another digest than the export says".to_owned());
        }
        Some(_) => {}
    }
    Ok(done)
}
