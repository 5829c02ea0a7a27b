//! Names of checkpoints, as training jobs write them: their step, their version, and their order.
//!
//! This module reads names only; it opens no file.

use std::fmt;

/// The names of checkpoints, for help and error texts.
pub const CHECKPOINT_NAMES: &str = "checkpoint_step_N and checkpoint_final_step_N, with .pt, .pth, .ckpt, .bin or .safetensors, epoch=E-step=N.ckpt, and \
     the folders checkpoint-N, iter_N and step_N";

const PREFIX: &str = "checkpoint_";
pub(super) const EXTENSIONS: [&str; 5] = ["pt", "pth", "ckpt", "bin", "safetensors"];

/// The parsed name of a checkpoint. A later checkpoint is greater: a higher step, or the final one of the same step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckpointName {
    /// Never negative.
    pub step: i64,
    /// True if the training ended with it.
    pub is_final: bool,
}

impl CheckpointName {
    /// Parses a name like `checkpoint_step_N.pt`. Hidden and half-written files have other names:
    /// `.checkpoint_step_5.pt.x7`, `checkpoint_step_5.pt.tmp`.
    #[must_use]
    pub fn parse(file_name: &str) -> Option<Self> {
        let (stem, extension) = file_name.rsplit_once('.')?;
        if !EXTENSIONS.contains(&extension) {
            return None;
        }
        let rest = stem.strip_prefix(PREFIX)?;
        let (is_final, rest) = match rest.strip_prefix("final_") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let digits = rest.strip_prefix("step_")?;
        // `parse` below would accept a sign.
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Self { step: digits.parse().ok()?, is_final })
    }
}

/// The version that the checkpoint becomes: `step-N` or `final-step-N`.
impl fmt::Display for CheckpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}step-{}", if self.is_final { "final-" } else { "" }, self.step)
    }
}

/// Returns the step in the name of a checkpoint's file or folder, as trainers write them: `checkpoint-500`, `iter_0001000`,
/// `step_1000`, `epoch=3-step=1000.ckpt`, or a [`CheckpointName`].
#[must_use]
pub fn step_in_name(name: &str) -> Option<i64> {
    if let Some(name) = CheckpointName::parse(name) {
        return Some(name.step);
    }
    let whole = ["checkpoint-", "iter_", "step_", "step-"].iter().find_map(|start| name.strip_prefix(start));
    let digits = whole.or_else(|| {
        let (_, rest) = name.split_once("step=")?;
        Some(rest.split(['.', '-']).next().unwrap_or_default())
    })?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(step: i64, is_final: bool) -> CheckpointName {
        CheckpointName { step, is_final }
    }

    #[test]
    fn a_name_gives_step_and_version() {
        for (file_name, expected) in [
            ("checkpoint_step_500.pt", Some((name(500, false), "step-500"))),
            ("checkpoint_final_step_500.pt", Some((name(500, true), "final-step-500"))),
            ("checkpoint_step_0.safetensors", Some((name(0, false), "step-0"))),
            ("checkpoint_step_000700.pth", Some((name(700, false), "step-700"))),
            ("checkpoint_step_1.ckpt", Some((name(1, false), "step-1"))),
            ("checkpoint_step_1.bin", Some((name(1, false), "step-1"))),
            (
                "checkpoint_step_9223372036854775807.pt",
                Some((name(i64::MAX, false), "step-9223372036854775807")),
            ),
            ("checkpoint_step_9223372036854775808.pt", None),
            ("checkpoint_step_.pt", None),
            ("checkpoint_step_-1.pt", None),
            ("checkpoint_step_+1.pt", None),
            ("checkpoint_step_1e3.pt", None),
            ("checkpoint_step_٣.pt", None),
            ("checkpoint_step_1.pt.tmp", None),
            ("checkpoint_step_1.tmp", None),
            ("checkpoint_step_1.PT", None),
            ("checkpoint_step_1", None),
            (".checkpoint_step_1.pt", None),
            (".checkpoint_step_1.pt.Xy12", None),
            ("~checkpoint_step_1.pt", None),
            ("my_checkpoint_step_1.pt", None),
            ("checkpoint_final_final_step_1.pt", None),
            ("checkpoint_1.pt", None),
            ("checkpoint-500", None),
            ("", None),
        ] {
            let read = CheckpointName::parse(file_name);
            let expected = expected.map(|(name, version)| (name, version.to_owned()));
            assert_eq!(read.map(|name| (name, name.to_string())), expected, "{file_name:?}");
        }
    }

    #[test]
    fn trainers_write_the_step_into_the_name_of_a_folder() {
        for (name, step) in [
            ("checkpoint-500", Some(500)),
            ("iter_0001000", Some(1000)),
            ("step_1000", Some(1000)),
            ("epoch=3-step=1000.ckpt", Some(1000)),
            ("epoch=3-step=1000-v1.ckpt", Some(1000)),
            ("checkpoint_step_500.pt", Some(500)),
            ("checkpoint-best", None),
            ("step_", None),
            ("step=", None),
            ("model", None),
            ("checkpoint-99999999999999999999", None),
        ] {
            assert_eq!(step_in_name(name), step, "{name}");
        }
    }

    #[test]
    fn a_later_checkpoint_is_greater() {
        let ordered = [name(9, false), name(9, true), name(10, false), name(100, true), name(101, false)];
        assert!(ordered.is_sorted_by(|one, other| one < other));
    }

    #[test]
    fn the_text_for_help_names_every_extension() {
        for extension in EXTENSIONS {
            assert!(CHECKPOINT_NAMES.contains(&format!(".{extension}")), "{extension}");
        }
    }
}
