//! Ctrl-C, SIGTERM and a closed terminal as something that work can look at, so that it ends with nothing
//! half-written.

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

/// A second signal so soon after the first is the same one.
const DOUBLED: Duration = Duration::from_secs(1);

/// Whether the user, or the system, wants this command to end.
#[derive(Debug, Clone)]
pub(super) struct Interrupt {
    requested: Arc<AtomicBool>,
    /// Nothing ever comes; it is disconnected once the end is wanted.
    channel: Receiver<Infallible>,
    last_act: LastAct,
}

type Act = Box<dyn FnOnce() + Send>;

/// What is done where the end comes at once.
#[derive(Clone, Default)]
struct LastAct(Arc<Mutex<Option<Act>>>);

impl fmt::Debug for LastAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LastAct")
    }
}

impl Interrupt {
    /// Takes the signals over from here on: the first one asks for the end, the second brings it at once. A
    /// terminal that is closed only asks: the system and the shell may both tell of it.
    ///
    /// # Errors
    /// Where the system won't let signals be handled.
    pub(super) fn listen() -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::failed(format!("signals can't be handled: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
        let (mut interrupt, mut terminate, mut hangup) = {
            let _context = runtime.enter();
            let listen = |kind| signal(kind).map_err(failed);
            let hangup = if outlives_terminal() { None } else { Some(listen(SignalKind::hangup())?) };
            (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, hangup)
        };
        let (connected, channel) = bounded(0);
        let requested = Arc::new(AtomicBool::new(false));
        let set = Arc::clone(&requested);
        let last_act = LastAct::default();
        let last = last_act.clone();
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
            print::line("ending in order; once more to stop at once");
            // Some send each signal twice, to the command and to its group.
            let asked = Instant::now();
            next(None);
            while asked.elapsed() < DOUBLED {
                next(None);
            }
            if let Some(act) = last.0.lock().ok().and_then(|mut act| act.take()) {
                act();
            }
            process::exit(i32::from(exit::INTERRUPTED));
        };
        thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(failed)?;
        Ok(Self { requested, channel, last_act })
    }

    /// Makes a write beyond the file size limit (`ulimit -f`) fail like one to a full disk, instead of ending the process.
    ///
    /// # Errors
    /// If the system does not let signals be handled.
    pub(super) fn survive_file_size_limit(&self) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::failed(format!("signals can't be handled: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
        let _context = runtime.enter();
        survive_file_size_limit().map_err(failed)
    }

    /// What is to be done where the end comes at once, and nothing is undone on the way.
    pub(super) fn before_forced_end(&self, act: impl FnOnce() + Send + 'static) {
        if let Ok(mut last) = self.last_act.0.lock() {
            *last = Some(Box::new(act));
        }
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

/// Handles SIGXFSZ, whose default action ends the process. The handler outlives the stream that is dropped here. Must be
/// called in a runtime.
pub(super) fn survive_file_size_limit() -> io::Result<()> {
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

/// Whether this process is to go on once its terminal is closed, as `nohup` has it. It is also so where nobody can
/// tell, since listening would undo that.
fn outlives_terminal() -> bool {
    fs::read_to_string("/proc/self/status").ok().and_then(|status| ignores_hangup(&status)).unwrap_or(true)
}

/// Reads the set of ignored signals; SIGHUP is the first of them.
fn ignores_hangup(status: &str) -> Option<bool> {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    Some(u64::from_str_radix(ignored.trim(), 16).ok()? & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::ignores_hangup;

    #[test]
    fn whether_a_hangup_is_ignored_is_read_as_the_system_writes_it() {
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
