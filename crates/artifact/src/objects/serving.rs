//! What a server needs of a bucket: streams of objects, addresses for clients, lists and removals.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use object_store::PutPayload;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use ureq::http::Method;

use super::{
    bucket::{Objects, path},
    connect::StoreClient,
    error::{ObjectError, classify},
    uri::ObjectUri,
};
use registry_domain::Digest;

/// Chunks between the network and the reader of a stream, of up to 128 KiB each.
const CHUNKS: usize = 2;

/// The bytes of an object, in order. It can be read inside any runtime.
#[derive(Debug)]
pub struct ObjectStream(Receiver<Result<Bytes, ObjectError>>);

impl ObjectStream {
    /// Returns the next bytes; `None` after the last.
    ///
    /// # Errors
    /// If the rest can't be read or, after all but the last bytes, if the digest differs.
    pub async fn next(&mut self) -> Option<Result<Bytes, ObjectError>> {
        self.0.recv().await
    }
}

impl Objects {
    /// Begins to read a range of an object. With the digest of the whole object, the last bytes come only if it agrees.
    #[must_use]
    pub fn stream(&self, uri: &ObjectUri, range: Range<u64>, digest: Option<Digest>) -> ObjectStream {
        let (out, received) = channel(CHUNKS);
        let (client, uri) = (Arc::clone(&self.client), uri.clone());
        self.runtime.spawn(async move {
            if let Err(error) = pass_on(client, &uri, range, digest, &out).await {
                let _ = out.send(Err(error)).await;
            }
        });
        ObjectStream(received)
    }

    /// Returns an address at which anyone can read the object for a while.
    ///
    /// # Errors
    /// If the credentials can't sign.
    pub fn signed_url(&self, uri: &ObjectUri, valid_for: Duration) -> Result<String, ObjectError> {
        let path = path(uri)?;
        let signed = self.runtime.block_on(self.client.signer.signed_url(Method::GET, &path, valid_for));
        signed.map(String::from).map_err(|error| classify(&self.client.target, uri, &error))
    }

    /// Visits the keys below `folder` with the time at which each object was stored and its size.
    ///
    /// # Errors
    /// Those of `visit` and of the store.
    pub fn list<E: From<ObjectError>>(
        &self,
        folder: &ObjectUri,
        visit: &mut dyn FnMut(&str, SystemTime, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut found = self.client.store.list(Some(&path(folder)?));
        while let Some(found) = self.runtime.block_on(found.next()) {
            let found = found.map_err(|error| classify(&self.client.target, folder, &error))?;
            visit(found.location.as_ref(), found.last_modified.into(), found.size)?;
        }
        Ok(())
    }

    /// Removes an object; one that does not exist is removed already.
    ///
    /// # Errors
    /// Any failure of the store.
    pub fn remove(&self, uri: &ObjectUri) -> Result<(), ObjectError> {
        let path = path(uri)?;
        match self.runtime.block_on(object_store::ObjectStoreExt::delete(&*self.client.store, &path)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(classify(&self.client.target, uri, &error)),
        }
    }

    /// Stores an object without bytes.
    ///
    /// # Errors
    /// Any failure of the store.
    pub fn mark(&self, uri: &ObjectUri) -> Result<(), ObjectError> {
        let path = path(uri)?;
        let put = self.client.store.put_opts(&path, PutPayload::new(), Default::default());
        let put = self.runtime.block_on(put);
        put.map(drop).map_err(|error| classify(&self.client.target, uri, &error))
    }
}

/// Passes on the bytes of an object, and holds one chunk back until the digest is known.
async fn pass_on(
    client: Arc<StoreClient>,
    uri: &ObjectUri,
    range: Range<u64>,
    digest: Option<Digest>,
    out: &Sender<Result<Bytes, ObjectError>>,
) -> Result<(), ObjectError> {
    let failed = |reason: String| ObjectError::Failed { uri: uri.clone(), reason };
    let length = range.end - range.start;
    let (chunks, mut received) = channel(1);
    let of = uri.clone();
    let fetching = tokio::spawn(async move { client.fetch(&of, Some(range), &chunks).await });
    let (mut hasher, mut bytes, mut held) = (Sha256::new(), 0, None);
    while let Some(chunk) = received.recv().await {
        if digest.is_some() {
            hasher.update(&chunk);
        }
        bytes += chunk.len() as u64;
        if let Some(ready) = held.replace(chunk)
            && out.send(Ok(ready)).await.is_err()
        {
            // Its client is gone.
            return Ok(());
        }
    }
    fetching.await.map_err(|error| failed(error.to_string()))??;
    if bytes != length {
        return Err(failed(format!("{bytes} bytes of {length} arrived")));
    }
    let found = Digest::from_bytes(hasher.finalize().into());
    if digest.is_some_and(|digest| digest != found) {
        return Err(failed(format!("its bytes have the digest sha256:{found}")));
    }
    if let Some(last) = held {
        let _ = out.send(Ok(last)).await;
    }
    Ok(())
}
