//! `--verify-audit`: the chains of the audit trail, and perhaps a comparison with an earlier export.

use std::{fmt, path::Path};

use super::{
    Maintenance,
    outcome::{self, Outcome},
};
use crate::{
    cli::{
        audit::{compare::Comparison, model_text, verify::Problems},
        exit::Failure,
        print,
    },
    domain::chain::ChainedEvent,
    store::maintenance::{Audit, AuditHead, VisitChain},
};

/// What a verification found.
pub(super) struct Audited {
    pub(super) events: u64,
    pub(super) digest: String,
    pub(super) heads: Vec<AuditHead>,
    /// Those of the registry, then what differs from the export.
    pub(super) problems: Problems,
    pub(super) against: Option<Against>,
}

/// The export that the registry was compared with.
pub(super) struct Against {
    pub(super) path: String,
    pub(super) events: u64,
    /// Over the ends of its chains.
    pub(super) digest: String,
    /// Events that the registry has appended since.
    pub(super) new_events: u64,
}

impl Maintenance {
    /// Verifies the audit trail, as `walk` follows it.
    ///
    /// # Errors
    /// If it can't be read, or does not fit.
    pub(super) fn verify_audit(
        &self,
        outcome: &mut Outcome,
        database: &dyn fmt::Display,
        walk: impl FnOnce(VisitChain<'_>) -> Result<Audit, Failure>,
    ) -> Result<(), Failure> {
        let run = || audit(self.against.as_deref(), walk);
        let audited = outcome.add("verify_audit", run, outcome::audited)?;
        match audited.problems.total {
            0 => Ok(()),
            total => {
                let problems = print::counted(total, "problem");
                Err(Failure::failed(format!("the audit trail of {database} has {problems}, see the report")))
            }
        }
    }
}

fn audit(
    against: Option<&Path>,
    walk: impl FnOnce(VisitChain<'_>) -> Result<Audit, Failure>,
) -> Result<Audited, Failure> {
    let mut comparison = against.map(Comparison::begin).transpose()?;
    let mut visit = |event: &ChainedEvent<'_>| {
        if let Some(comparison) = &mut comparison {
            comparison.follow(event);
        }
    };
    let audit = walk(&mut visit)?;
    let digest = audit.digest();
    let mut problems = Problems::default();
    for problem in &audit.problems {
        let model = problem.model.map(|model| model_text(audit.name_of(model), model));
        let subject = match (problem.event, model) {
            (Some(event), Some(model)) => format!("event {event} of {model}"),
            (Some(event), None) => format!("event {event}"),
            (None, model) => model.unwrap_or_default(),
        };
        problems.add(format!("{subject}: {}", problem.problem));
    }
    problems.total = audit.total_problems;
    let mut compared = None;
    if let (Some(mut comparison), Some(path)) = (comparison, against) {
        let differences = comparison.end()?;
        let export = &comparison.export;
        let path = path.display().to_string();
        for problem in &export.problems.listed {
            problems.add(format!("the export {path}: {problem}"));
        }
        differences.listed.into_iter().for_each(|problem| problems.add(problem));
        compared = Some(Against {
            path,
            events: export.events,
            digest: export.digest.clone(),
            new_events: comparison.new_events,
        });
    }
    Ok(Audited { events: audit.events, digest, heads: audit.heads, problems, against: compared })
}
