//! The parts of an upload in progress, a few of which are in flight at once.

use std::time::Duration;

use object_store::{MultipartUpload, PutPayload};
use tokio::task::{JoinError, JoinSet};

use super::{
    bucket::{Objects, POLL_INTERVAL},
    error::{ObjectError, classify},
    uri::ObjectUri,
};
use crate::open_file::OpenFile;
use registry_domain::Measurement;

/// How long the abort of a failed upload may take.
const ABORT_TIMEOUT: Duration = Duration::from_secs(15);

/// An upload in progress.
pub(super) struct Parts<'a, P> {
    objects: &'a Objects,
    uri: &'a ObjectUri,
    pub(super) upload: Box<dyn MultipartUpload>,
    part_bytes: usize,
    /// The next part, as far as it was read.
    filling: Vec<u8>,
    /// Parts in flight, at most `parts_at_once`.
    in_flight: JoinSet<PartResult>,
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
        let (filling, in_flight) = (Vec::with_capacity(part_bytes), JoinSet::new());
        Self { objects, uri, upload, part_bytes, filling, in_flight, stored_bytes: 0, progress, interrupted }
    }

    /// Sends the whole file and waits until the store has it. Returns what was read.
    pub(super) fn send(&mut self, file: &OpenFile) -> Result<Measurement, ObjectError> {
        let mut stopped = None;
        let measured =
            file.measure(|chunk, _| self.add(chunk).map_err(|error| stopped = Some(error)).is_ok());
        if let Some(error) = stopped {
            return Err(error);
        }
        let measurement = measured?;
        if !self.filling.is_empty() {
            self.send_part()?;
        }
        while !self.in_flight.is_empty() {
            self.wait_for_a_part()?;
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
                self.send_part()?;
            }
        }
        Ok(())
    }

    /// Starts to send the part that was filled, once fewer than `parts_at_once` are in flight.
    fn send_part(&mut self) -> Result<(), ObjectError> {
        while self.in_flight.len() >= self.objects.sizes.parts_at_once {
            self.wait_for_a_part()?;
        }
        let full = std::mem::replace(&mut self.filling, Vec::with_capacity(self.part_bytes));
        let length = full.len();
        let sending = self.upload.put_part(PutPayload::from(full));
        let task = async move { sending.await.map(|()| length) };
        self.in_flight.spawn_on(task, self.objects.runtime.handle());
        Ok(())
    }

    /// Waits for the result of a part, at most for [`POLL_INTERVAL`].
    fn wait_for_a_part(&mut self) -> Result<(), ObjectError> {
        let next = self.in_flight.join_next();
        let next = self.objects.runtime.block_on(async { tokio::time::timeout(POLL_INTERVAL, next).await });
        if let Ok(Some(result)) = next {
            self.part_done(result)?;
        }
        self.poll()
    }

    /// Takes the results that are there, and checks for an interruption.
    fn poll(&mut self) -> Result<(), ObjectError> {
        while let Some(result) = self.in_flight.try_join_next() {
            self.part_done(result)?;
        }
        if (self.interrupted)() {
            return Err(ObjectError::Interrupted { uri: self.uri.clone() });
        }
        Ok(())
    }

    fn part_done(&mut self, result: Result<PartResult, JoinError>) -> Result<(), ObjectError> {
        let failed =
            |error: JoinError| ObjectError::Failed { uri: self.uri.clone(), reason: error.to_string() };
        let length = result
            .map_err(failed)?
            .map_err(|error| classify(&self.objects.client.target, self.uri, &error))?;
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
            self.in_flight.shutdown().await;
            self.objects.client.http.drain().await;
            tokio::time::timeout(ABORT_TIMEOUT, self.upload.abort()).await
        });
        match aborted {
            Ok(Ok(()) | Err(object_store::Error::NotFound { .. })) => Ok(()),
            Ok(Err(error)) => Err(classify(&self.objects.client.target, self.uri, &error).to_string()),
            Err(_) => Err("the store did not answer".to_owned()),
        }
    }
}
