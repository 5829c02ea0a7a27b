//! The four statuses of a version.

use std::fmt;

/// The stage of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Status {
    /// Just registered; the default.
    #[default]
    Experimental,
    /// A candidate, or a version that was demoted from production.
    Staging,
    /// The version in use; at most one of each name.
    Production,
    /// Kept for the record.
    Archived,
}

impl Status {
    /// All statuses, in the order of a version's life.
    pub const ALL: [Self; 4] = [Self::Experimental, Self::Staging, Self::Production, Self::Archived];

    /// The texts of [`Status::ALL`].
    pub const NAMES: [&str; 4] = ["experimental", "staging", "production", "archived"];

    /// The text on the wire and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Experimental => "experimental",
            Self::Staging => "staging",
            Self::Production => "production",
            Self::Archived => "archived",
        }
    }

    /// The status with exactly this text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_reads_back_and_nothing_else_is_one() {
        for (status, name) in Status::ALL.into_iter().zip(Status::NAMES) {
            assert_eq!(status.as_str(), name);
            assert_eq!(Status::parse(name), Some(status));
        }
        for text in ["", "Production", " production", "live"] {
            assert_eq!(Status::parse(text), None, "{text}");
        }
    }
}
