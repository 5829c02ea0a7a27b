//! Downloads of objects, to digest them or to serve them.
//!
//! The network and the digest run in parallel, with a few chunks between them. A stream that breaks off is resumed, as
//! long as the object is still the same.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt as _;
use object_store::{GetOptions, GetRange};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::{Sender, channel};

use super::{
    bucket::{Objects, path},
    connect::StoreClient,
    error::{ObjectError, classify},
    retry,
    uri::ObjectUri,
};
use registry_domain::{Digest, Measurement};

/// Chunks between the network and the digest, of up to 128 KiB each.
const CHUNKS: usize = 16;

impl Objects {
    /// Downloads the object and digests it, in constant memory. `progress` receives the bytes done so far.
    ///
    /// # Errors
    /// [`ObjectError::Missing`], [`ObjectError::Replaced`] if the object changed during the download,
    /// [`ObjectError::Interrupted`], or any failure of the store.
    pub fn measure(
        &self,
        uri: &ObjectUri,
        mut progress: impl FnMut(u64),
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Measurement, ObjectError> {
        self.check_bucket(uri)?;
        let (chunks, mut received) = channel(CHUNKS);
        let (client, of) = (Arc::clone(&self.client), uri.clone());
        let fetching = self.runtime.spawn(async move { client.fetch(&of, None, &chunks).await });
        let mut hasher = Sha256::new();
        let mut size_bytes = 0;
        loop {
            let next = self.run(interrupted, Duration::ZERO, received.recv());
            let Some(next) = next.filter(|_| !interrupted()) else {
                fetching.abort();
                return Err(ObjectError::Interrupted { uri: uri.clone() });
            };
            let Some(chunk): Option<Bytes> = next else { break };
            hasher.update(&chunk);
            size_bytes += chunk.len() as u64;
            progress(size_bytes);
        }
        let failed = |reason: String| ObjectError::Failed { uri: uri.clone(), reason };
        let promised = self.runtime.block_on(fetching).map_err(|error| failed(error.to_string()))??;
        if size_bytes != promised {
            return Err(failed(format!("{size_bytes} bytes of {promised} arrived; try again")));
        }
        Ok(Measurement { sha256: Some(Digest::from_bytes(hasher.finalize().into())), size_bytes })
    }
}

impl StoreClient {
    /// Sends the object's bytes, or a range of them, in order and returns its size.
    pub(super) async fn fetch(
        &self,
        uri: &ObjectUri,
        range: Option<Range<u64>>,
        chunks: &Sender<Bytes>,
    ) -> Result<u64, ObjectError> {
        let path = path(uri)?;
        let failed = |error: &object_store::Error| classify(&self.target, uri, error);
        let mut waits = retry::waits();
        let (mut size_bytes, mut e_tag) = (None, None);
        let (mut offset, mut end) = range.map_or((0, None), |range| (range.start, Some(range.end)));
        while end.is_none_or(|end| offset < end) {
            let mut options = GetOptions::new();
            options.range = end.map(|end| GetRange::Bounded(offset..end));
            options.if_match.clone_from(&e_tag);
            // The stores' client has retried already.
            let answer = self.store.get_opts(&path, options).await.map_err(|error| failed(&error))?;
            if size_bytes.is_some_and(|size| size != answer.meta.size)
                || (e_tag.is_some() && e_tag != answer.meta.e_tag)
            {
                return Err(ObjectError::Replaced { uri: uri.clone() });
            }
            size_bytes = Some(answer.meta.size);
            end.get_or_insert(answer.meta.size);
            e_tag.clone_from(&answer.meta.e_tag);
            let mut stream = answer.into_stream();
            let broke = loop {
                match stream.next().await {
                    None => break None,
                    Some(Err(error)) => break Some(error),
                    Some(Ok(chunk)) => {
                        offset += chunk.len() as u64;
                        waits = retry::waits();
                        if chunks.send(chunk).await.is_err() {
                            return Ok(offset);
                        }
                    }
                }
            };
            match broke {
                // A store that ends an answer early, without an error, would do so again.
                None => break,
                Some(error) => match waits.next() {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(failed(&error)),
                },
            }
        }
        Ok(size_bytes.unwrap_or(0))
    }
}
