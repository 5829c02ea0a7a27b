//! Patterns for the names of checkpoints that no known trainer writes.

use std::{fmt, str::FromStr};

use crate::checkpoint::{CheckpointName, EXTENSIONS, step_in_name};

const STEP: &str = "{step}";

/// A pattern of names: `{step}` stands for the digits of the step, `*` for any characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointPattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Any,
    Step,
}

impl CheckpointPattern {
    /// Returns the step if `name` matches the pattern. A hidden name matches only a pattern that begins with a dot.
    #[must_use]
    pub fn step(&self, name: &str) -> Option<i64> {
        if name.starts_with('.') && !self.text.starts_with('.') {
            return None;
        }
        step_of(&self.parts, name)
    }
}

/// Matches the parts to all of `name`: `None` without a match, and the step once there is one.
fn step_of(parts: &[Part], name: &str) -> Option<i64> {
    matches(parts, name).flatten()
}

/// Returns `Some(None)` if the parts match but have no step.
fn matches(parts: &[Part], name: &str) -> Option<Option<i64>> {
    let Some((part, rest)) = parts.split_first() else { return name.is_empty().then_some(None) };
    match part {
        Part::Text(text) => matches(rest, name.strip_prefix(text.as_str())?),
        // All digits belong to the step, so that it is not cut in two.
        Part::Step => {
            let end = name.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(name.len());
            let step = name[..end].parse().ok()?;
            matches(rest, &name[end..]).map(|_| Some(step))
        }
        Part::Any => name
            .char_indices()
            .map(|(at, _)| at)
            .chain([name.len()])
            .filter(|at| {
                rest.first() != Some(&Part::Step) || !name[..*at].ends_with(|c: char| c.is_ascii_digit())
            })
            .find_map(|at| matches(rest, &name[at..])),
    }
}

impl FromStr for CheckpointPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.matches(STEP).count() != 1 {
            return Err("write {step} once, for the digits of the step, like 'model-{step}.pt'".to_owned());
        }
        if text.contains('/') {
            return Err("it is the name of a file or folder, without a slash".to_owned());
        }
        let literal = |text: &str| {
            let mut parts = Vec::new();
            for (at, piece) in text.split('*').enumerate() {
                if at > 0 && parts.last() != Some(&Part::Any) {
                    parts.push(Part::Any);
                }
                if !piece.is_empty() {
                    parts.push(Part::Text(piece.to_owned()));
                }
            }
            parts
        };
        let (before, after) = text.split_once(STEP).unwrap_or_default();
        let mut parts = literal(before);
        parts.push(Part::Step);
        parts.extend(literal(after));
        Ok(Self { text: text.to_owned(), parts })
    }
}

impl fmt::Display for CheckpointPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The names that checkpoints in a folder have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointNames {
    /// The names that trainers write.
    Trainers,
    /// Names of this pattern only.
    Pattern(CheckpointPattern),
}

impl CheckpointNames {
    /// Parses the name of a file or folder; `None` if no checkpoint has such a name.
    #[must_use]
    pub fn parse(&self, name: &str, is_folder: bool) -> Option<CheckpointName> {
        let plain = |step| CheckpointName { step, is_final: false };
        match self {
            Self::Pattern(pattern) => pattern.step(name).map(plain),
            Self::Trainers => CheckpointName::parse(name).or_else(|| {
                let is_one = is_folder || name.ends_with(".ckpt");
                step_in_name(name).filter(|_| is_one && !name.starts_with('.')).map(plain)
            }),
        }
    }

    /// Returns true if a file or folder could be a checkpoint under another name.
    pub(super) fn may_be(name: &str, is_folder: bool) -> bool {
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        is_folder || EXTENSIONS.contains(&extension) || extension == "gguf"
    }
}

impl From<Option<CheckpointPattern>> for CheckpointNames {
    fn from(pattern: Option<CheckpointPattern>) -> Self {
        pattern.map_or(Self::Trainers, Self::Pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_finds_the_step() {
        for (pattern, name, step) in [
            ("model-{step}.pt", "model-12.pt", Some(12)),
            ("model-{step}.pt", "model-12.pth", None),
            ("model-{step}.pt", "model-.pt", None),
            ("model-{step}.pt", "model--1.pt", None),
            ("{step}", "1000", Some(1000)),
            ("{step}", "1000x", None),
            ("{step}", "99999999999999999999", None),
            ("*{step}", "run-7-0012", Some(12)),
            ("*-{step}*", "run-7-0012", Some(7)),
            ("run-*-{step}", "run-é-5", Some(5)),
            ("run-*-{step}", "run-5", None),
            ("*{step}", ".hidden-5", None),
            (".hidden-{step}", ".hidden-5", Some(5)),
            ("ep*_{step}.*", "ep3_500.bin", Some(500)),
        ] {
            let parsed: CheckpointPattern = pattern.parse().unwrap();
            assert_eq!(
                (parsed.step(name), parsed.to_string()),
                (step, pattern.to_owned()),
                "{pattern} {name}"
            );
        }
        for pattern in ["", "model-*", "{step}-{step}", "a/{step}"] {
            assert!(pattern.parse::<CheckpointPattern>().is_err(), "{pattern}");
        }
    }

    #[test]
    fn trainers_write_folders_and_files() {
        for (name, is_folder, step) in [
            ("checkpoint-500", true, Some(500)),
            ("checkpoint-500", false, None),
            ("iter_0001000", true, Some(1000)),
            ("step_1000", true, Some(1000)),
            ("epoch=3-step=1000.ckpt", false, Some(1000)),
            ("epoch=3-step=1000.ckpt", true, Some(1000)),
            ("epoch=3-step=1000.txt", false, None),
            ("checkpoint_step_5.pt", false, Some(5)),
            ("tmp-checkpoint-500", true, None),
            ("step_1000.orbax-checkpoint-tmp-17", true, None),
            (".epoch=3-step=1000.ckpt", false, None),
            ("last.ckpt", false, None),
        ] {
            let parsed = CheckpointNames::Trainers.parse(name, is_folder);
            assert_eq!(parsed.map(|name| name.step), step, "{name}");
        }
    }
}
