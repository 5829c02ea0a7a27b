//! Digesting a checkpoint and its configuration side by side, with a bar for each on a terminal.

use std::{panic, thread};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};

use super::{
    exit::{Failure, Faults},
    progress,
};
use crate::{
    artifact::{ArtifactError, MeasureOptions, Opened, read_config},
    domain::{Measurement, json::Object},
};

/// What the two files are.
#[derive(Debug, Default)]
pub(super) struct Digested {
    pub(super) checkpoint: Option<Measurement>,
    pub(super) config: Option<(Measurement, Object)>,
}

/// Reads each file once. A checkpoint takes minutes and a configuration no time, so nobody waits for the
/// first to hear of faults in the second, or of those that `faults` holds already.
///
/// # Errors
/// All that is known to be wrong by then.
pub(super) fn digest(
    checkpoint: Option<Opened>,
    config: Option<Opened>,
    mut faults: Faults,
) -> Result<Digested, Failure> {
    let bars = progress::bars();
    // What can still be wrong with a checkpoint takes minutes to find: not worth it if all is in vain.
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
        // The other thread is left to itself; it ends with the process, and must not draw any more.
        bars.set_draw_target(ProgressDrawTarget::hidden());
    }
    faults.settle()?;

    let checkpoint = measuring.and_then(|thread| {
        let measured = thread.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked));
        faults.note(measured)
    });
    let _ = bars.clear();
    faults.settle()?;
    Ok(Digested { checkpoint, config })
}

type Measuring = thread::JoinHandle<Result<Measurement, ArtifactError>>;

fn measure_apart(opened: Opened, bars: &MultiProgress) -> Result<Measuring, ArtifactError> {
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

fn add_bar(bars: &MultiProgress, opened: &Opened) -> ProgressBar {
    let name = opened.path().file_name().unwrap_or(opened.path().as_os_str());
    progress::add_bar(bars, &name.to_string_lossy(), opened.size_bytes())
}
