//! The files of a run. They are checked before the run.

use std::{fs, path::PathBuf};

use clap::Args;
use registry_loadtest::{
    Outcome,
    chart::{self, Chart},
    hgrm,
};

use super::messages::summary;
use crate::{
    artifact::{check_writable, folder_of, write_atomically},
    cli::{
        exit::{Failure, FileErrors},
        print,
    },
};

#[derive(Debug, Args)]
pub(super) struct Files {
    /// File for the report, as JSON; its folder is created
    #[arg(long, value_name = "FILE", default_value = "qa_artifacts/concurrency.json")]
    pub(super) out: PathBuf,
    /// File for the latency distribution, for HdrHistogram's tools
    #[arg(long, value_name = "FILE")]
    hdr_out: Option<PathBuf>,
    /// HTML file for charts of the distribution and of the run over time
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
}

impl Files {
    /// Creates the folder of the report, and checks that all files can be written.
    ///
    /// # Errors
    /// All files that can't be written, or two that are the same.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let named = [
            ("--out", Some(&self.out)),
            ("--hdr-out", self.hdr_out.as_ref()),
            ("--chart", self.chart.as_ref()),
        ];
        let named: Vec<_> = named.into_iter().filter_map(|(flag, path)| Some((flag, path?))).collect();
        for (at, (flag, path)) in named.iter().enumerate() {
            let absolute = std::path::absolute(path).ok();
            let same = named[..at].iter().find(|(_, other)| std::path::absolute(other).ok() == absolute);
            if let Some((other, _)) = same {
                let text = format!("{other} and {flag} name the same file, {}", path.display());
                return Err(Failure::usage(text));
            }
        }
        // If it can't be created, the check reports it.
        let _ = fs::create_dir_all(folder_of(&self.out));
        let mut file_errors = FileErrors::default();
        for (_, path) in &named {
            file_errors.record(check_writable(path));
        }
        file_errors.check()
    }

    /// Writes all files, each completely or not at all.
    ///
    /// # Errors
    /// All files that could not be written.
    pub(super) fn write(&self, outcome: &Outcome) -> Result<(), Failure> {
        let report = serde_json::to_value(&outcome.report)
            .map_err(|error| Failure::failed(format!("the report can't be created: {error}")))?;
        let mut file_errors = FileErrors::default();
        // If one can't be written, the others still are.
        file_errors.record(write_atomically(&self.out, print::pretty(&report).as_bytes()));
        if let Some(path) = &self.hdr_out {
            let mut distribution = Vec::new();
            hgrm::write(&outcome.latencies[0].1, &mut distribution)
                .map_err(|error| Failure::failed(format!("the distribution can't be created: {error}")))?;
            file_errors.record(write_atomically(path, &distribution));
        }
        if let Some(path) = &self.chart {
            file_errors.record(write_atomically(path, chart::page(&picture(outcome)).as_bytes()));
        }
        file_errors.check()
    }
}

/// Returns the content of the page.
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
