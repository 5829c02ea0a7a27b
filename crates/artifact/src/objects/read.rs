//! Reads ranges of objects.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt as _;
use object_store::{GetOptions, GetRange};
use tokio::sync::mpsc::{Sender, channel};

use super::{
    bucket::{Objects, path},
    connect::StoreClient,
    error::{ObjectError, classify},
    uri::ObjectUri,
};

/// Chunks between the network and the caller, of up to 128 KiB each.
const CHUNKS: usize = 16;

impl Objects {
    /// Reads a range of the object, and hands each chunk to `take`, which returns false to stop. Several threads may read at a
    /// time. The caller compares the digest of what it gets: the object may be replaced between two calls.
    ///
    /// # Errors
    /// [`ObjectError::Missing`], [`ObjectError::Interrupted`], also if `take` stopped, or any failure of the store.
    pub fn read(
        &self,
        uri: &ObjectUri,
        range: Range<u64>,
        mut take: impl FnMut(&[u8]) -> bool,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), ObjectError> {
        self.check_bucket(uri)?;
        let (chunks, mut received) = channel(CHUNKS);
        let (client, of) = (Arc::clone(&self.client), uri.clone());
        let fetching = self.runtime.spawn(async move { client.read(&of, range, &chunks).await });
        loop {
            let next = self.run(interrupted, Duration::ZERO, received.recv());
            let Some(next) = next.filter(|_| !interrupted()) else {
                fetching.abort();
                return Err(ObjectError::Interrupted { uri: uri.clone() });
            };
            let Some(chunk): Option<Bytes> = next else { break };
            if !take(&chunk) {
                fetching.abort();
                return Err(ObjectError::Interrupted { uri: uri.clone() });
            }
        }
        let failed = |reason: String| ObjectError::Failed { uri: uri.clone(), reason };
        self.runtime.block_on(fetching).map_err(|error| failed(error.to_string()))?
    }
}

impl StoreClient {
    /// Sends the bytes of a range in order. A stream that breaks off ends it: the caller resumes.
    async fn read(
        &self,
        uri: &ObjectUri,
        range: Range<u64>,
        chunks: &Sender<Bytes>,
    ) -> Result<(), ObjectError> {
        let failed = |error: &object_store::Error| classify(&self.target, uri, error);
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::new() };
        let answer = self.store.get_opts(&path(uri)?, options).await.map_err(|error| failed(&error))?;
        let mut stream = answer.into_stream();
        while let Some(chunk) = stream.next().await {
            if chunks.send(chunk.map_err(|error| failed(&error))?).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}
