//! The files of a run. They are checked before the run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use registry_loadtest::{
    Outcome,
    chart::{self, Chart},
    hgrm,
};

use super::messages::summary;
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

/// The content of the page.
fn picture(outcome: &Outcome) -> Chart {
    let report = &outcome.report;
    let ok = if report.ok { "ok" } else { "not ok" };
    let mut facts = vec![
        ("result".to_owned(), format!("{ok}: {}", summary(report))),
        ("connections".to_owned(), print::count(report.connections as u64)),
    ];
    if let Some(rate) = &report.rate {
        facts.push(("requests per second due".to_owned(), rate.asked.to_string()));
    }
    Chart {
        title: format!("registry loadtest: {}", report.scenario),
        facts,
        latencies: outcome.latencies.clone(),
        intervals: outcome.intervals.clone(),
    }
}
