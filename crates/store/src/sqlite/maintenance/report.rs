//! What a check found: every finding counted, the first of them listed.

/// Findings of each severity that are listed; all are counted.
const MAX_LISTED: usize = 100;

/// One thing that is wrong, or odd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The table it is in; `schema` or `file` where it is in none.
    pub table: &'static str,
    /// The row, where it is one.
    pub id: Option<i64>,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

/// What was found of one severity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// All of them.
    pub total: u64,
    /// The first hundred.
    pub listed: Vec<Finding>,
}

impl Findings {
    pub(super) fn add(&mut self, finding: Finding) {
        self.total += 1;
        if self.listed.len() < MAX_LISTED {
            self.listed.push(finding);
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The number of the file's schema.
    pub schema_version: i64,
    /// Versions that were judged.
    pub models: u64,
    /// Events that were judged.
    pub events: u64,
    /// Rules that are broken.
    pub errors: Findings,
    /// What is odd, or will be mended by itself.
    pub warnings: Findings,
}
