//! The command's output on stderr: errors, and the result in one line.

use registry_loadtest::{EndedBy, Error, Halt, Report};

use crate::{
    cli::{exit::Failure, print},
    client::ClientError,
};

/// Returns the error with the words that all commands share.
pub(super) fn failure(error: Error, url: &str) -> Failure {
    let url = url.to_owned();
    Failure::from(match error {
        Error::LeftBehind { name, why, cause } => {
            let left = format!("; versions named {name} may be left in the registry: {why}");
            return failure(*cause, &url).followed_by(&left);
        }
        Error::BadTarget(why) => return Failure::usage(format!("{url} can't be loaded: {why}")),
        Error::Halted(Halt::Interrupted) => {
            return Failure::interrupted("ended before the load began; there is no report");
        }
        Error::Halted(Halt::ServerGone) => {
            return Failure::failed(format!(
                "the server at {url} ended before the load began; look at its log"
            ));
        }
        Error::Client(error) => {
            return Failure::failed(format!(
                "the load can't be generated: {error}; fewer --connections may help"
            ));
        }
        Error::Unreachable { reason, refused } => ClientError::Unreachable { url, reason, refused },
        Error::AnswerLost { reason, timed_out } => ClientError::AnswerLost { url, reason, timed_out },
        Error::KeyRefused => ClientError::KeyRefused { url, key_source: None },
        Error::Unavailable { detail } => ClientError::Unavailable { url, detail, retry_after: None },
        Error::NotARegistry { reason } => ClientError::NotARegistry { url, reason },
        Error::Refused { status, detail } => ClientError::Refused { status, detail },
    })
}

/// Returns the result in one line.
pub(super) fn summary(report: &Report) -> String {
    let latency = &report.latency_ms;
    let mut parts = vec![
        format!(
            "{} of {} requests in {:.2} s, {}/s",
            print::count(report.requests_success),
            print::count(report.requests_total),
            report.runtime_seconds,
            print::count(report.requests_per_second.round() as u64),
        ),
        format!("p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms", latency.p50, latency.p95, latency.p99),
        format!("{} failed", print::count(report.requests_failed)),
    ];
    if report.requests_refused > 0 {
        parts.push(format!("{} promotions refused", print::count(report.requests_refused)));
    }
    if report.requests_abandoned > 0 {
        parts.push(format!("{} abandoned", print::count(report.requests_abandoned)));
    }
    if report.ended_by == EndedBy::ServerGone {
        parts.push("the server went away".to_owned());
    }
    let unsent = report.rate.as_ref().map_or(0, |rate| rate.unsent);
    if unsent > 0 {
        parts.push(format!("{} were due and could not be sent in time", print::count(unsent)));
    }
    let readback = &report.readback;
    let (acknowledged, missing) = (print::count(readback.writes_acknowledged), readback.missing.unwrap_or(0));
    if let Some(error) = &readback.error {
        parts.push(format!("the writes could not be read back: {error}"));
    } else if missing > 0 || readback.unexpected > 0 {
        parts.push(format!(
            "of {acknowledged} acknowledged writes {} are missing from the audit trail, and it has {} unexpected events",
            print::count(missing),
            print::count(readback.unexpected),
        ));
    } else if readback.writes_acknowledged > 0 {
        parts.push(format!("all {acknowledged} acknowledged writes are in the audit trail"));
    }
    if report.production.as_ref().is_some_and(|production| !production.ok) {
        parts.push("the wrong version is in production".to_owned());
    }
    if let Some(error) = &report.versions.error {
        parts.push(format!("versions named {} may be left in the registry: {error}", report.versions.name));
    }
    parts.join("; ")
}
