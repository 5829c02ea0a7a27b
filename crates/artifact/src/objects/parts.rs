//! The parts of an upload that is under way.
//!
//! Buffers go round between the thread that reads the file and the network: a full one is put on its way,
//! and comes back when the store has what it held.

use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use object_store::{MultipartUpload, PutPayload};
use tokio::task::JoinSet;

use super::{ObjectError, ObjectUri, Objects, POLL_INTERVAL, error::classify, upload::given_up};
use registry_domain::Measurement;

use crate::{MeasureOptions, Opened};

/// How long taking back may last, when everything has failed already.
pub(super) const TAKE_BACK_WITHIN: Duration = Duration::from_secs(30);

/// An upload under way.
pub(super) struct Parts<'a, P> {
    objects: &'a Objects,
    uri: &'a ObjectUri,
    pub(super) upload: Box<dyn MultipartUpload>,
    part_bytes: usize,
    /// What is gathered for the next part.
    gathering: Vec<u8>,
    free: Receiver<Vec<u8>>,
    give_back: Sender<Vec<u8>>,
    ended: Receiver<Ended>,
    tell_end: Sender<Ended>,
    tasks: JoinSet<()>,
    /// Parts whose end has not been heard of.
    under_way: usize,
    taken_bytes: u64,
    progress: P,
    interrupted: &'a dyn Fn() -> bool,
}

/// A part's size, or why the store has not got it.
type Ended = Result<usize, object_store::Error>;

impl<'a, P: FnMut(u64)> Parts<'a, P> {
    pub(super) fn new(
        objects: &'a Objects,
        uri: &'a ObjectUri,
        upload: Box<dyn MultipartUpload>,
        part_bytes: usize,
        progress: P,
        interrupted: &'a dyn Fn() -> bool,
    ) -> Self {
        let (give_back, free) = bounded(objects.sizes.parts_at_once);
        for _ in 0..objects.sizes.parts_at_once {
            // They get their memory when they are first filled.
            let _ = give_back.send(Vec::new());
        }
        let (tell_end, ended) = unbounded();
        Self {
            objects,
            uri,
            upload,
            part_bytes,
            gathering: Vec::with_capacity(part_bytes),
            free,
            give_back,
            ended,
            tell_end,
            tasks: JoinSet::new(),
            under_way: 0,
            taken_bytes: 0,
            progress,
            interrupted,
        }
    }

    /// Reads the file to its end and sends all of it.
    pub(super) fn send(&mut self, file: &Opened) -> Result<Measurement, ObjectError> {
        let mut stopped = None;
        let measured = file.measure_each(&MeasureOptions::default(), |chunk, _| {
            self.take(chunk).map_err(|error| stopped = Some(error)).is_ok()
        });
        if let Some(error) = stopped {
            return Err(error);
        }
        let measurement = measured.map_err(|error| given_up(self.uri, error))?.measurement;
        if !self.gathering.is_empty() {
            self.send_part(Vec::new());
        }
        while self.under_way > 0 {
            self.look_around()?;
            if let Ok(ended) = self.ended.recv_timeout(POLL_INTERVAL) {
                self.part_ended(ended)?;
            }
        }
        // The last part may have taken minutes, and the file is only now of no use any more.
        file.confirm_unchanged(measurement.size_bytes)?;
        self.look_around()?;
        Ok(measurement)
    }

    fn take(&mut self, mut chunk: &[u8]) -> Result<(), ObjectError> {
        self.look_around()?;
        while !chunk.is_empty() {
            let room = self.part_bytes - self.gathering.len();
            let (now, later) = chunk.split_at(room.min(chunk.len()));
            self.gathering.extend_from_slice(now);
            chunk = later;
            if self.gathering.len() == self.part_bytes {
                let next = self.free_buffer()?;
                self.send_part(next);
            }
        }
        Ok(())
    }

    /// Puts what was gathered on its way and gathers in `next` from here on.
    fn send_part(&mut self, next: Vec<u8>) {
        let full = std::mem::replace(&mut self.gathering, next);
        let length = full.len();
        let bytes = Bytes::from_owner(Lent { bytes: full, give_back: self.give_back.clone() });
        let sending = self.upload.put_part(PutPayload::from(bytes));
        let tell_end = self.tell_end.clone();
        self.under_way += 1;
        let _context = self.objects.runtime.enter();
        self.tasks.spawn(async move {
            // Nobody hears it once the upload has been given up.
            let _ = tell_end.send(sending.await.map(|()| length));
        });
    }

    /// Waits for a buffer that the network is done with.
    fn free_buffer(&mut self) -> Result<Vec<u8>, ObjectError> {
        loop {
            match self.free.recv_timeout(POLL_INTERVAL) {
                Ok(mut buffer) => {
                    buffer.clear();
                    buffer.reserve_exact(self.part_bytes);
                    return Ok(buffer);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => self.look_around()?,
            }
        }
    }

    /// Hears of parts that have ended, and whether the user wants all of it to end.
    fn look_around(&mut self) -> Result<(), ObjectError> {
        while let Ok(ended) = self.ended.try_recv() {
            self.part_ended(ended)?;
        }
        if (self.interrupted)() {
            return Err(ObjectError::Interrupted { uri: self.uri.clone() });
        }
        Ok(())
    }

    fn part_ended(&mut self, ended: Ended) -> Result<(), ObjectError> {
        self.under_way -= 1;
        let length = ended.map_err(|error| classify(&self.objects.shared.target, self.uri, &error))?;
        self.taken_bytes += length as u64;
        (self.progress)(self.taken_bytes);
        Ok(())
    }

    /// Ends what is under way, and the upload with it. Returns why it came to this.
    pub(super) fn take_back(mut self, why: ObjectError) -> ObjectError {
        match self.abort() {
            Ok(()) => why,
            Err(reason) => ObjectError::PartsLeft { uri: self.uri.clone(), why: Box::new(why), reason },
        }
    }

    fn abort(&mut self) -> Result<(), String> {
        let taken_back = self.objects.runtime.block_on(async {
            // A part that arrived after the upload was aborted would stay.
            self.tasks.shutdown().await;
            tokio::time::timeout(TAKE_BACK_WITHIN, self.upload.abort()).await
        });
        match taken_back {
            Ok(Ok(()) | Err(object_store::Error::NotFound { .. })) => Ok(()),
            Ok(Err(error)) => Err(classify(&self.objects.shared.target, self.uri, &error).to_string()),
            Err(_) => Err("the store did not answer".to_owned()),
        }
    }
}

/// A buffer that the network reads from; it comes back when the last reader is done with it.
struct Lent {
    bytes: Vec<u8>,
    give_back: Sender<Vec<u8>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // There is room for all of them, unless it is the one that began as being filled and nobody waits.
        let _ = self.give_back.try_send(std::mem::take(&mut self.bytes));
    }
}
