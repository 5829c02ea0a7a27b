//! The files of a run. They are checked before the run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use registry_loadtest::{
    EndedBy, Outcome,
    chart::{self, Chart},
    hgrm,
};

use crate::{
    artifact::{check_writable, folder_of, write_atomically},
    cli::{
        exit::{Failure, Faults},
        print,
    },
};

/// Files that are known to be writable.
pub(super) struct Files {
    out: PathBuf,
    hdr_out: Option<PathBuf>,
    chart: Option<PathBuf>,
}

impl Files {
    /// Makes the folder of the report, and checks that all files can be written.
    ///
    /// # Errors
    /// All files that can't be written, or two that are the same.
    pub(super) fn check(out: &Path, hdr_out: Option<&Path>, chart: Option<&Path>) -> Result<Self, Failure> {
        let named = [("--out", Some(out)), ("--hdr-out", hdr_out), ("--chart", chart)];
        let named: Vec<_> = named.into_iter().filter_map(|(flag, path)| Some((flag, path?))).collect();
        for (at, (flag, path)) in named.iter().enumerate() {
            let same = |other: &Path| std::path::absolute(path).ok() == std::path::absolute(other).ok();
            if let Some((other, _)) = named[..at].iter().find(|(_, other)| same(other)) {
                return Err(Failure::usage(format!(
                    "{other} and {flag} name the same file, {}",
                    path.display()
                )));
            }
        }
        // If it can't be made, the check reports it.
        let _ = fs::create_dir_all(folder_of(out));
        let mut faults = Faults::default();
        for (_, path) in &named {
            faults.note(check_writable(path));
        }
        faults.check()?;
        let owned = |path: Option<&Path>| path.map(Path::to_owned);
        Ok(Self { out: out.to_owned(), hdr_out: owned(hdr_out), chart: owned(chart) })
    }

    /// Writes all files, each completely or not at all.
    ///
    /// # Errors
    /// All files that could not be written.
    pub(super) fn write(&self, outcome: &Outcome) -> Result<(), Failure> {
        let report = serde_json::to_value(&outcome.report)
            .map_err(|error| Failure::failed(format!("the report can't be made: {error}")))?;
        let mut faults = Faults::default();
        // If one can't be written, the others still are.
        faults.note(write_atomically(&self.out, print::pretty(&report).as_bytes()));
        if let Some(path) = &self.hdr_out {
            let mut distribution = Vec::new();
            hgrm::write(&outcome.latencies[0].1, &mut distribution)
                .map_err(|error| Failure::failed(format!("the distribution can't be made: {error}")))?;
            faults.note(write_atomically(path, &distribution));
        }
        if let Some(path) = &self.chart {
            faults.note(write_atomically(path, chart::page(&picture(outcome)).as_bytes()));
        }
        faults.check()
    }
}

fn ended_by(ended_by: EndedBy) -> &'static str {
    match ended_by {
        EndedBy::Requests => "the number of requests",
        EndedBy::Duration => "the time",
        EndedBy::Interrupt => "an interrupt",
        EndedBy::ServerGone => "the server, which has ended",
    }
}

/// The content of the page.
fn picture(outcome: &Outcome) -> Chart {
    let report = &outcome.report;
    let latency = &report.latency_ms;
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let mut facts = vec![
        fact("ok", if report.ok { "yes".to_owned() } else { "no".to_owned() }),
        fact("connections", print::count(report.connections as u64)),
        fact("requests", print::count(report.requests_total)),
        fact("failed", print::count(report.requests_failed)),
        fact("requests per second", print::count(report.requests_per_second.round() as u64)),
        fact("time", format!("{:.2} s", report.runtime_seconds)),
        fact("p50", format!("{:.2} ms", latency.p50)),
        fact("p95", format!("{:.2} ms", latency.p95)),
        fact("p99", format!("{:.2} ms", latency.p99)),
        fact("p99.9", format!("{:.2} ms", latency.p999)),
        fact("acknowledged writes", print::count(report.readback.writes_acknowledged)),
        fact("missing of them", report.readback.missing.map_or_else(|| "unknown".to_owned(), print::count)),
        fact("ended by", ended_by(report.ended_by).to_owned()),
        fact("abandoned", print::count(report.requests_abandoned)),
        fact(
            "read back",
            match &report.readback.error {
                None => "yes".to_owned(),
                Some(error) => format!("no: {}", print::one_line(error)),
            },
        ),
    ];
    if let Some(rate) = &report.rate {
        facts.insert(2, fact("requests per second due", format!("{}", rate.asked)));
        facts.push(fact("not sent in time", print::count(rate.unsent)));
    }
    Chart {
        title: format!("registry loadtest: {}", report.scenario),
        facts,
        latencies: outcome.latencies.clone(),
        intervals: outcome.intervals.clone(),
    }
}
