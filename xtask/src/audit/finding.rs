//! The result of a check.

use std::fmt;

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Pass,
    Warn,
    Fail,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    pub(crate) check: &'static str,
    /// The result, or what is wrong and how to fix it.
    pub(crate) text: String,
}

impl Finding {
    pub(crate) fn pass(check: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Pass, check, text: text.into() }
    }

    pub(crate) fn fail(check: &'static str, text: impl Into<String>) -> Self {
        Self { level: Level::Fail, check, text: text.into() }
    }

    /// Creates a warning that is a failure if `fail`.
    pub(super) fn warn_or_fail(check: &'static str, text: impl Into<String>, fail: bool) -> Self {
        Self { level: if fail { Level::Fail } else { Level::Warn }, check, text: text.into() }
    }

    /// Creates a failure for each fault; if there is none, the check passed.
    pub(crate) fn of_faults(check: &'static str, faults: Vec<String>, passed: String) -> Vec<Self> {
        if faults.is_empty() {
            return vec![Self::pass(check, passed)];
        }
        faults.into_iter().map(|fault| Self::fail(check, fault)).collect()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Pass => "PASS",
            Level::Warn => "WARN",
            Level::Fail => "FAIL",
        };
        write!(f, "[{level}] {}: {}", self.check, self.text)
    }
}
