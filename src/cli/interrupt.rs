//! Ctrl-C, SIGTERM and a closed terminal as a flag and a channel, so that commands can stop and clean up.

use std::{
    convert::Infallible,
    fmt, fs, io, process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, bounded};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    exit::{self, Failure},
    print,
};

/// Signals this close together count as one: some senders signal both the command and its group.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// A request to stop this command, from the user or the system.
#[derive(Clone)]
pub(super) struct Interrupt {
    requested: Arc<AtomicBool>,
    /// Carries nothing; disconnected once a stop is requested.
    channel: Receiver<Infallible>,
    before_exit: Arc<Mutex<Option<Action>>>,
}

/// The action before a forced exit.
type Action = Box<dyn FnOnce() + Send>;

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupt").field("requested", &self.requested).finish_non_exhaustive()
    }
}

impl Interrupt {
    /// Handles signals from now on: the first one requests a stop, the second exits at once. A closed terminal only
    /// requests a stop, because system and shell may both send SIGHUP.
    ///
    /// # Errors
    /// If the system does not allow signal handlers.
    pub(super) fn listen() -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::failed(format!("signals can't be handled: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
        let (mut interrupt, mut terminate, mut hangup) = {
            let _context = runtime.enter();
            survive_file_size_limit().map_err(failed)?;
            let listen = |kind| signal(kind).map_err(failed);
            let hangup = if outlives_terminal() { None } else { Some(listen(SignalKind::hangup())?) };
            (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, hangup)
        };
        let (connected, channel) = bounded(0);
        let requested = Arc::new(AtomicBool::new(false));
        let set = Arc::clone(&requested);
        let before_exit = Arc::new(Mutex::new(None::<Action>));
        let before = Arc::clone(&before_exit);
        let wait = move || {
            let mut next = |hangup: Option<&mut Signal>| {
                runtime.block_on(async {
                    let closed = async {
                        match hangup {
                            Some(hangup) => hangup.recv().await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                        _ = closed => {}
                    }
                });
            };
            next(hangup.as_mut());
            set.store(true, Ordering::SeqCst);
            drop(connected);
            print::line("stopping; press Ctrl-C again to stop at once");
            let requested_at = Instant::now();
            next(None);
            while requested_at.elapsed() < DEBOUNCE {
                next(None);
            }
            if let Some(action) = before.lock().ok().and_then(|mut action| action.take()) {
                action();
            }
            process::exit(i32::from(exit::INTERRUPTED));
        };
        thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(failed)?;
        Ok(Self { requested, channel, before_exit })
    }

    /// Sets the action before a forced exit, which skips all other clean-up.
    pub(super) fn before_forced_exit(&self, action: impl FnOnce() + Send + 'static) {
        if let Ok(mut before) = self.before_exit.lock() {
            *before = Some(Box::new(action));
        }
    }

    /// Returns true once a stop is requested.
    pub(super) fn requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// Returns a channel that disconnects once a stop is requested, for use in a select.
    pub(super) fn channel(&self) -> &Receiver<Infallible> {
        &self.channel
    }
}

/// Makes a write beyond the file size limit (`ulimit -f`) fail like one to a full disk: SIGXFSZ would end the process. The
/// handler outlives the stream that is dropped here. Must be called in a runtime.
pub(super) fn survive_file_size_limit() -> io::Result<()> {
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

/// Returns true if SIGHUP is ignored, as under `nohup`; a handler would undo that. Also true if that can't be read.
fn outlives_terminal() -> bool {
    fs::read_to_string("/proc/self/status").ok().and_then(|status| ignores_hangup(&status)).unwrap_or(true)
}

/// Reads the set of ignored signals, whose first bit is SIGHUP.
fn ignores_hangup(status: &str) -> Option<bool> {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    Some(u64::from_str_radix(ignored.trim(), 16).ok()? & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::ignores_hangup;

    #[test]
    fn an_ignored_hangup_is_read_from_the_status_file() {
        for (status, expected) in [
            ("Name:\tregistry\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\n", Some(false)),
            ("SigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n", Some(true)),
            ("SigIgn:\tnone\n", None),
            ("Name:\tregistry\n", None),
        ] {
            assert_eq!(ignores_hangup(status), expected, "{status}");
        }
    }
}
