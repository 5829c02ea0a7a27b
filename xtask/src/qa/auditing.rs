//! The audit, as a step.

use super::{
    context::{Context, Ended},
    steps::Step,
};
use crate::{
    audit::{Audit, Level},
    error::Error,
};

pub(super) fn run(context: &Context<'_>) -> Result<Ended, Error> {
    let findings = Audit::default().findings(context.repository, &mut |_| {})?;
    let lines: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
    context.note(Step::Audit, &lines)?;
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (warnings, failures) = (count(Level::Warn), count(Level::Fail));
    let note = format!("{} passed, {warnings} to look at, {failures} failed", count(Level::Pass));
    let mut ended =
        Ended::by(failures == 0, note).with("audit_warnings", warnings).with("audit_failures", failures);
    for finding in findings.into_iter().filter(|finding| finding.level == Level::Fail) {
        ended = ended.because(finding.check, finding.text);
    }
    Ok(ended)
}
