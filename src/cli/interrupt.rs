//! Ctrl-C and SIGTERM as something that work can look at, so that it ends with nothing half-written.

use std::{
    convert::Infallible,
    io, process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, bounded};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    exit::{self, Failure},
    print,
};

/// A second signal so soon after the first is the same one.
const DOUBLED: Duration = Duration::from_secs(1);

/// Whether the user, or the system, wants this command to end.
#[derive(Debug, Clone)]
pub(super) struct Interrupt {
    requested: Arc<AtomicBool>,
    /// Nothing ever comes; it is disconnected once the end is wanted.
    channel: Receiver<Infallible>,
}

impl Interrupt {
    /// Takes the signals over from here on: the first one asks for the end, the second brings it at once.
    ///
    /// # Errors
    /// Where the system won't let signals be handled.
    pub(super) fn listen() -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::failed(format!("signals can't be handled: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
        let (mut interrupt, mut terminate) = {
            let _context = runtime.enter();
            let listen = |kind| signal(kind).map_err(failed);
            (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?)
        };
        let (connected, channel) = bounded(0);
        let requested = Arc::new(AtomicBool::new(false));
        let set = Arc::clone(&requested);
        let wait = move || {
            let mut next = || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                });
            };
            next();
            set.store(true, Ordering::SeqCst);
            drop(connected);
            print::line("ending in order; once more to stop at once");
            // Some send each signal twice, to the command and to its group.
            let asked = Instant::now();
            next();
            while asked.elapsed() < DOUBLED {
                next();
            }
            process::exit(i32::from(exit::INTERRUPTED));
        };
        thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(failed)?;
        Ok(Self { requested, channel })
    }

    /// Whether the end is wanted.
    pub(super) fn requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// A channel that ends when the end is wanted, to wait for it together with other things.
    pub(super) fn channel(&self) -> &Receiver<Infallible> {
        &self.channel
    }
}
