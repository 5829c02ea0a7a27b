//! The findings of a check: all counted, the first listed.

use registry_domain::soundness::Severity;

/// Findings of each severity that are listed.
const MAX_LISTED: usize = 100;

/// A problem or an oddity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its table; `schema` or `file` if it is in none.
    pub table: &'static str,
    /// Its row, if it is in one.
    pub id: Option<i64>,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: &'static str,
}

/// The findings of one severity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// All of them.
    pub total: u64,
    /// The first hundred.
    pub listed: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, finding: Finding) {
        self.total += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push(finding);
        }
    }
}

/// The result of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The number of the database's schema.
    pub schema_version: i64,
    /// Versions that were checked.
    pub models: u64,
    /// Events that were checked.
    pub events: u64,
    /// Rules that are broken.
    pub errors: Findings,
    /// What is odd, or is corrected by an upgrade.
    pub warnings: Findings,
}

impl Report {
    /// Adds a finding. What an upgrade would correct is an error, unless the caller knows that an upgrade is due.
    pub(crate) fn add(&mut self, severity: Severity, finding: Finding) {
        match severity {
            Severity::Error | Severity::FixedByUpgrade => self.errors.add(finding),
            Severity::Warning => self.warnings.add(finding),
        }
    }
}
