//! The four statuses of a version.

use std::fmt;

use crate::text_enum::text_enum;

text_enum! {
    /// The stage of a version.
    #[derive(Default)]
    Status {
        /// Just registered; the default.
        #[default]
        Experimental = "experimental",
        /// A candidate, or a version that was demoted from production.
        Staging = "staging",
        /// The version in use; at most one of each name.
        Production = "production",
        /// Kept for the record.
        Archived = "archived",
    }
}

impl Status {
    /// The status of a version that leaves production without a new one being named.
    pub const AFTER_PRODUCTION: Self = Self::Staging;

    /// Returns the status of a restored version that had this one: production returns only by a promotion.
    #[must_use]
    pub fn after_restore(self) -> Self {
        if self == Self::Production { Self::AFTER_PRODUCTION } else { self }
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
    fn each_status_parses_back_and_nothing_else_parses() {
        for (status, name) in Status::ALL.into_iter().zip(Status::NAMES) {
            assert_eq!(status.as_str(), name);
            assert_eq!(Status::parse(name), Some(status));
        }
        for text in ["", "Production", " production", "live"] {
            assert_eq!(Status::parse(text), None, "{text}");
        }
    }
}
