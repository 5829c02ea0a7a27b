//! Fetches blobs into the cache over several connections, each verified while it is written.

use std::{
    collections::VecDeque,
    fs::File,
    ops::Range,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    super::{exit::Failure, print},
    assembly::{Assembly, Delivered, PIECE_BYTES},
    cache::{digest, unusable},
    plan::WantedFile,
    shared::Shared,
    source::{ReadError, Sink},
};

/// The first wait after a failure; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How long a source may be away before the pull fails, enough for the restart of a server.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often waiting threads look if the pull has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Takes each file once its blob is there.
type Each<'e> = &'e (dyn Fn(&WantedFile, &File) -> Result<(), Failure> + Sync);

/// The files that are left to fetch, and those that arrive.
struct Queue {
    files: VecDeque<WantedFile>,
    arriving: Vec<Arc<Assembly>>,
    /// Files that a thread is about to begin.
    beginning: usize,
}

enum Work {
    Begin(WantedFile),
    Piece(Arc<Assembly>, Range<u64>),
    Wait,
    Done,
}

struct Fetch<'f> {
    shared: &'f Shared<'f>,
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// Fetches files into the cache; `each` gets every one as soon as its digest agrees.
///
/// # Errors
/// The first failure. What has arrived stays for the next pull.
pub(in crate::cli) fn fetch(
    shared: &Shared<'_>,
    files: Vec<WantedFile>,
    each: Each<'_>,
) -> Result<(), Failure> {
    let queue = Queue { files: files.into(), arriving: Vec::new(), beginning: 0 };
    let is_over = AtomicBool::new(false);
    thread::scope(|watching| {
        // A thread that waits for the network does not notice an interruption.
        watching.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                if shared.stopped() {
                    shared.source.shut_down();
                    return;
                }
                thread::sleep(LOOK_INTERVAL);
            }
        });
        let fetch = Fetch { shared, queue: Mutex::new(queue), changed: Condvar::new() };
        thread::scope(|scope| {
            let fetch = &fetch;
            let workers: Vec<_> =
                (0..shared.connections).map(|_| scope.spawn(move || fetch.work(each))).collect();
            for worker in workers {
                if worker.join().is_err() {
                    shared.fail(Failure::failed("a thread of the pull panicked; pull again"));
                }
            }
            // Ends the threads of digests.
            locked(&fetch.queue).arriving.clear();
        });
        is_over.store(true, Ordering::Relaxed);
    });
    shared.outcome()
}

impl Fetch<'_> {
    fn work(&self, each: Each<'_>) {
        while !self.shared.stopped() {
            let worked = match self.next() {
                Work::Begin(file) => self.begin(file, each),
                Work::Piece(assembly, range) => self.fetch_piece(&assembly, range, each),
                Work::Wait => Ok(()),
                Work::Done => return,
            };
            if let Err(failure) = worked {
                self.shared.fail(failure);
            }
        }
    }

    /// Returns what to do next: a piece of a file that arrives, else another file.
    fn next(&self) -> Work {
        let mut queue = locked(&self.queue);
        for assembly in &queue.arriving {
            if let Some(range) = assembly.claim() {
                return Work::Piece(Arc::clone(assembly), range);
            }
        }
        if let Some(file) = queue.files.pop_front() {
            queue.beginning += 1;
            return Work::Begin(file);
        }
        if queue.arriving.is_empty() && queue.beginning == 0 {
            return Work::Done;
        }
        drop(self.changed.wait_timeout(queue, LOOK_INTERVAL));
        Work::Wait
    }

    fn begin(&self, file: WantedFile, each: Each<'_>) -> Result<(), Failure> {
        let begun = self.begin_file(&file, each);
        locked(&self.queue).beginning -= 1;
        self.changed.notify_all();
        begun
    }

    fn begin_file(&self, file: &WantedFile, each: Each<'_>) -> Result<(), Failure> {
        let shared = self.shared;
        let Some(partial) = shared.cache.begin(file.sha256, || shared.stopped())? else {
            return self.take_fetched(file, each);
        };
        let assembly = Assembly::begin(
            file.clone(),
            partial,
            shared.connections,
            shared.source.may_lack_ranges(),
            || shared.stopped(),
        )?;
        shared.advance(assembly.resumed_at);
        let assembly = Arc::new(assembly);
        match assembly.complete_at_once()? {
            Some(delivered) => self.conclude(&assembly, delivered, each),
            None => {
                locked(&self.queue).arriving.push(assembly);
                Ok(())
            }
        }
    }

    /// Takes what another pull has fetched, or else begins again.
    fn take_fetched(&self, file: &WantedFile, each: Each<'_>) -> Result<(), Failure> {
        let (shared, cache) = (self.shared, self.shared.cache);
        let found = cache.find(file.sha256, file.size_bytes)?;
        let Some(blob) = found else { return self.again(file.clone()) };
        let digested = digest(&blob, || shared.stopped());
        let digested = digested.map_err(|error| unusable(&cache.path_of(file.sha256), &error))?;
        if shared.stopped() {
            return Ok(());
        }
        if digested != Some(file.sha256) {
            cache.remove(file.sha256)?;
            return self.again(file.clone());
        }
        shared.advance(file.size_bytes);
        each(file, &blob)
    }

    fn again(&self, file: WantedFile) -> Result<(), Failure> {
        locked(&self.queue).files.push_back(file);
        Ok(())
    }

    /// Fetches a range, and again what is left of it after a failure that may pass.
    fn fetch_piece(
        &self,
        assembly: &Arc<Assembly>,
        range: Range<u64>,
        each: Each<'_>,
    ) -> Result<(), Failure> {
        let shared = self.shared;
        let mut filling = Filling::new(self, assembly, range, each);
        let (mut waits, mut failing_since) = (0, None::<Instant>);
        let mut is_whole = false;
        while filling.left() > 0 && !shared.stopped() {
            let before = filling.position();
            let read = if is_whole {
                shared.source.read_whole(&assembly.file, before, &mut filling)
            } else {
                shared.source.read(&assembly.file, before..filling.end, &mut filling, &|| shared.stopped())
            };
            if filling.position() > before {
                (waits, failing_since) = (0, None);
            }
            let (failure, wait) = match read {
                Ok(()) if filling.left() == 0 => break,
                Ok(()) => (
                    Failure::unreachable("the connection was lost; try again, what has arrived is kept"),
                    None,
                ),
                // This connection takes all that is left.
                Err(ReadError::NoRanges) if !is_whole && assembly.claim_rest(filling.end) => {
                    is_whole = true;
                    filling.end = assembly.file.size_bytes;
                    continue;
                }
                Err(ReadError::NoRanges) => {
                    return Err(Failure::failed(format!(
                        "{} can't be read: its server sends other ranges than those that are asked for",
                        print::one_line(&assembly.file.path)
                    )));
                }
                Err(ReadError::Transient(failure, wait)) => (failure, wait),
                Err(ReadError::Missing(failure) | ReadError::Final(failure)) => return Err(failure),
            };
            let since = *failing_since.get_or_insert_with(Instant::now);
            if since.elapsed() > PATIENCE {
                return Err(failure);
            }
            let wait = wait.unwrap_or(FIRST_WAIT * 2_u32.pow(waits)).min(LONGEST_WAIT);
            waits = (waits + 1).min(8);
            self.pause(wait);
        }
        Ok(())
    }

    fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while Instant::now() < until && !self.shared.stopped() {
            thread::sleep(LOOK_INTERVAL.min(wait));
        }
    }

    /// Puts a complete file into the cache if its digest agrees.
    fn conclude(
        &self,
        assembly: &Arc<Assembly>,
        delivered: Delivered,
        each: Each<'_>,
    ) -> Result<(), Failure> {
        let Delivered::Complete(partial, digest) = delivered else { return Ok(()) };
        let (shared, file) = (self.shared, &assembly.file);
        let concluded = if digest == file.sha256 {
            let blob = shared.cache.commit(partial, digest)?;
            each(file, &blob)
        } else {
            let emptied = partial.file.set_len(0);
            emptied.map_err(|error| unusable(partial.path(), &error))?;
            shared.retreat(file.size_bytes);
            if assembly.resumed_at > 0 {
                // What an earlier pull has left may be damaged, as after a power loss.
                drop(partial);
                self.again(file.clone())
            } else {
                Err(Failure::failed(format!(
                    "{} was not pulled: the bytes that arrived have the sha256 {digest}, expected {}; nothing of it was kept",
                    print::one_line(&file.path),
                    file.sha256
                )))
            }
        };
        locked(&self.queue).arriving.retain(|other| !Arc::ptr_eq(other, assembly));
        self.changed.notify_all();
        concluded
    }
}

/// The piece that one connection fills.
struct Filling<'f> {
    fetch: &'f Fetch<'f>,
    assembly: &'f Arc<Assembly>,
    each: Each<'f>,
    /// Where the piece begins.
    start: u64,
    end: u64,
    piece: Vec<u8>,
    filled: usize,
}

impl<'f> Filling<'f> {
    fn new(fetch: &'f Fetch<'f>, assembly: &'f Arc<Assembly>, range: Range<u64>, each: Each<'f>) -> Self {
        Self { fetch, assembly, each, start: range.start, end: range.end, piece: Vec::new(), filled: 0 }
    }

    fn position(&self) -> u64 {
        self.start + self.filled as u64
    }

    fn left(&self) -> u64 {
        self.end - self.position()
    }
}

impl Sink for Filling<'_> {
    fn space(&mut self) -> &mut [u8] {
        if self.piece.is_empty() {
            let length = (self.end - self.start).min(PIECE_BYTES);
            self.piece = vec![0; usize::try_from(length).unwrap_or_default()];
        }
        &mut self.piece[self.filled..]
    }

    fn filled(&mut self, length: usize) -> Result<(), Failure> {
        let shared = self.fetch.shared;
        self.filled += length;
        shared.advance(length as u64);
        shared.fetched_bytes.fetch_add(length as u64, Ordering::Relaxed);
        if shared.stopped() {
            return Err(Failure::interrupted("stopped"));
        }
        if self.filled == self.piece.len() {
            let piece = std::mem::take(&mut self.piece);
            let at = self.start;
            self.start = self.position();
            self.filled = 0;
            let delivered = self.assembly.deliver(at, piece, || shared.stopped())?;
            self.fetch.conclude(self.assembly, delivered, self.each)?;
        }
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
