//! The parts of an upload in progress.
//!
//! A fixed set of buffers circulates between the thread that reads the file and the network: a full one is sent, and
//! returns once the store has acknowledged it.

use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use object_store::{MultipartUpload, PutPayload};
use tokio::task::JoinSet;

use super::{
    bucket::{Objects, POLL_INTERVAL},
    error::{ObjectError, classify},
    uri::ObjectUri,
};
use crate::{measure::MeasureOptions, open_file::OpenFile};
use registry_domain::Measurement;

/// How long the abort of a failed upload may take.
const ABORT_WITHIN: Duration = Duration::from_secs(30);

/// An upload in progress.
pub(super) struct Parts<'a, P> {
    objects: &'a Objects,
    uri: &'a ObjectUri,
    pub(super) upload: Box<dyn MultipartUpload>,
    part_bytes: usize,
    /// The next part, as far as it was read.
    filling: Vec<u8>,
    /// Buffers that are not in flight, at most `parts_at_once`.
    free: Receiver<Vec<u8>>,
    release: Sender<Vec<u8>>,
    /// Results of parts. Twice as many as parts in flight, so that a sender seldom waits for the reader.
    results: Receiver<PartResult>,
    report: Sender<PartResult>,
    tasks: JoinSet<()>,
    /// Parts without a result yet.
    in_flight: usize,
    stored_bytes: u64,
    progress: P,
    interrupted: &'a dyn Fn() -> bool,
}

/// A part's size in bytes, or why the store does not have it.
type PartResult = Result<usize, object_store::Error>;

impl<'a, P: FnMut(u64)> Parts<'a, P> {
    pub(super) fn new(
        objects: &'a Objects,
        uri: &'a ObjectUri,
        upload: Box<dyn MultipartUpload>,
        part_bytes: usize,
        progress: P,
        interrupted: &'a dyn Fn() -> bool,
    ) -> Self {
        let (release, free) = bounded(objects.sizes.parts_at_once);
        for _ in 0..objects.sizes.parts_at_once {
            // A buffer gets its memory when it is first filled.
            let _ = release.send(Vec::new());
        }
        let (report, results) = bounded(2 * objects.sizes.parts_at_once);
        Self {
            objects,
            uri,
            upload,
            part_bytes,
            filling: Vec::with_capacity(part_bytes),
            free,
            release,
            results,
            report,
            tasks: JoinSet::new(),
            in_flight: 0,
            stored_bytes: 0,
            progress,
            interrupted,
        }
    }

    /// Sends the whole file and waits until the store has it. Returns what was read.
    pub(super) fn send(&mut self, file: &OpenFile) -> Result<Measurement, ObjectError> {
        let mut stopped = None;
        let measured = file.measure_each(&MeasureOptions::default(), |chunk, _| {
            self.add(chunk).map_err(|error| stopped = Some(error)).is_ok()
        });
        if let Some(error) = stopped {
            return Err(error);
        }
        let measurement = measured.map_err(|error| ObjectError::reading(self.uri, error))?.measurement;
        if !self.filling.is_empty() {
            self.send_part(Vec::new());
        }
        while self.in_flight > 0 {
            self.poll()?;
            if let Ok(result) = self.results.recv_timeout(POLL_INTERVAL) {
                self.part_done(result)?;
            }
        }
        // The last parts may have taken minutes.
        file.confirm_unchanged(measurement.size_bytes)?;
        self.poll()?;
        Ok(measurement)
    }

    fn add(&mut self, mut chunk: &[u8]) -> Result<(), ObjectError> {
        self.poll()?;
        while !chunk.is_empty() {
            let free = self.part_bytes - self.filling.len();
            let (now, later) = chunk.split_at(free.min(chunk.len()));
            self.filling.extend_from_slice(now);
            chunk = later;
            if self.filling.len() == self.part_bytes {
                let next = self.free_buffer()?;
                self.send_part(next);
            }
        }
        Ok(())
    }

    /// Starts to send the part that was filled, and fills `next` from here on.
    fn send_part(&mut self, next: Vec<u8>) {
        let full = std::mem::replace(&mut self.filling, next);
        let length = full.len();
        let bytes = Bytes::from_owner(PartBuffer { bytes: full, release: self.release.clone() });
        let sending = self.upload.put_part(PutPayload::from(bytes));
        let report = self.report.clone();
        self.in_flight += 1;
        let _context = self.objects.runtime.enter();
        self.tasks.spawn(async move {
            // The receiver is gone once the upload has failed.
            let _ = report.send(sending.await.map(|()| length));
        });
    }

    /// Waits for a free buffer.
    fn free_buffer(&mut self) -> Result<Vec<u8>, ObjectError> {
        loop {
            match self.free.recv_timeout(POLL_INTERVAL) {
                Ok(mut buffer) => {
                    buffer.clear();
                    buffer.reserve_exact(self.part_bytes);
                    return Ok(buffer);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => self.poll()?,
            }
        }
    }

    /// Takes the results that are there, and checks for an interruption.
    fn poll(&mut self) -> Result<(), ObjectError> {
        while let Ok(result) = self.results.try_recv() {
            self.part_done(result)?;
        }
        if (self.interrupted)() {
            return Err(ObjectError::Interrupted { uri: self.uri.clone() });
        }
        Ok(())
    }

    fn part_done(&mut self, result: PartResult) -> Result<(), ObjectError> {
        self.in_flight -= 1;
        let length = result.map_err(|error| classify(&self.objects.client.target, self.uri, &error))?;
        self.stored_bytes += length as u64;
        (self.progress)(self.stored_bytes);
        Ok(())
    }

    /// Aborts the upload because of `why`, and returns that; or [`ObjectError::PartsLeft`] if the abort fails.
    pub(super) fn abort(mut self, why: ObjectError) -> ObjectError {
        match self.try_abort() {
            Ok(()) => why,
            Err(reason) => ObjectError::PartsLeft { uri: self.uri.clone(), why: Box::new(why), reason },
        }
    }

    fn try_abort(&mut self) -> Result<(), String> {
        let aborted = self.objects.runtime.block_on(async {
            // A part that arrived after the abort would remain.
            self.tasks.shutdown().await;
            self.objects.client.http.drain().await;
            tokio::time::timeout(ABORT_WITHIN, self.upload.abort()).await
        });
        match aborted {
            Ok(Ok(()) | Err(object_store::Error::NotFound { .. })) => Ok(()),
            Ok(Err(error)) => Err(classify(&self.objects.client.target, self.uri, &error).to_string()),
            Err(_) => Err("the store did not answer".to_owned()),
        }
    }
}

/// A full buffer, which returns to the free ones when its last reader drops it.
struct PartBuffer {
    bytes: Vec<u8>,
    release: Sender<Vec<u8>>,
}

impl AsRef<[u8]> for PartBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PartBuffer {
    fn drop(&mut self) {
        // There is one buffer more than the channel holds: the one that is being filled.
        let _ = self.release.try_send(std::mem::take(&mut self.bytes));
    }
}
