//! Digests a checkpoint and its configuration in parallel, with a progress bar for each.

use std::{panic, thread};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};

use super::{
    exit::{Failure, Faults},
    progress,
};
use crate::{
    artifact::{ArtifactError, MeasureOptions, OpenFile, read_config},
    domain::{Measurement, json::Object},
};

/// Digests and sizes of the two files.
#[derive(Debug, Default)]
pub(super) struct Digested {
    pub(super) checkpoint: Option<Measurement>,
    pub(super) config: Option<(Measurement, Object)>,
}

/// Reads each file once. A checkpoint takes minutes, so faults of the configuration, or those in `faults`, are reported
/// without waiting for it.
///
/// # Errors
/// All faults that are known by then.
pub(super) fn digest(
    checkpoint: Option<OpenFile>,
    config: Option<OpenFile>,
    mut faults: Faults,
) -> Result<Digested, Failure> {
    let bars = progress::bars();
    // Digesting would be in vain if there are faults already.
    let checkpoint = checkpoint.filter(|_| faults.is_empty());
    let measuring = match checkpoint.map(|opened| measure_apart(opened, &bars)) {
        Some(started) => faults.note(started),
        None => None,
    };
    let config = config.and_then(|opened| {
        let bar = add_bar(&bars, &opened);
        let read = read_config(&opened, |done| bar.set_position(done));
        bar.abandon();
        faults.note(read)
    });
    if !faults.is_empty() {
        // The other thread runs on until the process exits, and must not draw any more.
        bars.set_draw_target(ProgressDrawTarget::hidden());
    }
    faults.check()?;

    let checkpoint = measuring.and_then(|thread| {
        let measured = thread.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked));
        faults.note(measured)
    });
    let _ = bars.clear();
    faults.check()?;
    Ok(Digested { checkpoint, config })
}

type Measuring = thread::JoinHandle<Result<Measurement, ArtifactError>>;

fn measure_apart(opened: OpenFile, bars: &MultiProgress) -> Result<Measuring, ArtifactError> {
    let bar = add_bar(bars, &opened);
    let path = opened.path().to_owned();
    thread::Builder::new()
        .name("checkpoint".to_owned())
        .spawn(move || {
            let measured = opened.measure(&MeasureOptions::default(), |done| bar.set_position(done));
            bar.abandon();
            Ok(measured?.measurement)
        })
        .map_err(|source| ArtifactError::Unreadable { path, source })
}

fn add_bar(bars: &MultiProgress, opened: &OpenFile) -> ProgressBar {
    let name = opened.path().file_name().unwrap_or(opened.path().as_os_str());
    progress::add_bar(bars, &name.to_string_lossy(), opened.size_bytes())
}
