//! Stored API keys: they are checked in memory, and changed in the store.
//!
//! The server that changes a key knows it at once. Others on the same database learn of it within [`REFRESH_INTERVAL`], from the
//! last event of the registry itself, which each change appends.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use crate::{
    domain::{
        ApiKey, Grant, KeyFilter, KeyQuery, KeyRef, Principal, Timestamp,
        key::{self, SECRET_BYTES, SecretDigest},
    },
    store::{
        StoreError, WriteStore,
        operations::{self, Context},
    },
};

use super::{Caller, Registry, Result, random};

/// After this time each server knows a change of a key that another one made, while the database can be reached.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// How exactly the last use of a key is stored.
const USE_INTERVAL_MS: i64 = 60_000;
/// How exactly it is known in memory.
const USE_STEP_MS: i64 = 5_000;
/// Uses that one write stores at most.
const MAX_USES: usize = 1_000;
/// Keys that are read at a time.
const PAGE: u32 = 1_000;

/// What is known of a key that a request brings.
#[derive(Debug, Clone)]
pub enum KeyCheck {
    /// It is valid.
    Valid(Arc<Principal>),
    /// It ended at this time.
    Expired(Timestamp),
    /// There is no such key, or its secret is another one, or it is revoked.
    Unknown,
}

/// The keys that are not revoked.
#[derive(Default)]
pub(super) struct StoredKeys {
    live: ArcSwap<HashMap<i64, Arc<LiveKey>>>,
    /// The last event of the registry when they were read. Locked while they are read, so that older ones never replace newer ones.
    read_at: Mutex<Option<i64>>,
}

struct LiveKey {
    digest: SecretDigest,
    principal: Arc<Principal>,
    /// When it was used last, in milliseconds since 1970.
    used_ms: AtomicI64,
    /// The same, as it is stored.
    stored_ms: AtomicI64,
}

impl LiveKey {
    fn new(key: &ApiKey, before: Option<&Arc<Self>>) -> Self {
        let stored = key.last_used_at.as_deref().and_then(Timestamp::parse).map_or(0, Timestamp::unix_millis);
        let used = before.map_or(0, |before| before.used_ms.load(Ordering::Relaxed));
        Self {
            digest: key.digest,
            principal: Arc::new(key.principal()),
            used_ms: used.max(stored).into(),
            stored_ms: stored.into(),
        }
    }

    fn is_due(&self) -> bool {
        let [used, stored] = [&self.used_ms, &self.stored_ms].map(|at| at.load(Ordering::Relaxed));
        used - stored >= USE_INTERVAL_MS
    }
}

/// Checking.
impl Registry {
    /// Returns true if there is no key that is not revoked.
    #[must_use]
    pub fn has_no_keys(&self) -> bool {
        self.parts.keys.live.load().is_empty()
    }

    /// Checks a key by its id and the digest of its secret. Reads nothing from the store.
    #[must_use]
    pub fn check_key(&self, id: i64, digest: &SecretDigest) -> KeyCheck {
        let live = self.parts.keys.live.load();
        let Some(key) = live.get(&id).filter(|key| key.digest == *digest) else { return KeyCheck::Unknown };
        let now = (self.parts.clock)();
        if let Some(end) = key.principal.grant.expires_at.filter(|end| *end <= now) {
            return KeyCheck::Expired(end);
        }
        // Not at each request, as all threads share it.
        if now.unix_millis() - key.used_ms.load(Ordering::Relaxed) >= USE_STEP_MS {
            key.used_ms.store(now.unix_millis(), Ordering::Relaxed);
        }
        KeyCheck::Valid(Arc::clone(&key.principal))
    }

    /// Reads the keys from the store. Call it before requests are served.
    ///
    /// # Errors
    /// [`RegistryError`](super::RegistryError); the keys that were read before stay.
    pub async fn load_keys(&self) -> Result<()> {
        let mut read_at = self.parts.keys.read_at.lock().await;
        self.read_keys(&mut read_at).await
    }

    /// Reads the keys again if they have changed, and stores when they were used.
    ///
    /// # Errors
    /// As [`Registry::load_keys`].
    pub async fn refresh_keys(&self) -> Result<()> {
        let last = self.read(|store| store.last_registry_event()).await?;
        let mut read_at = self.parts.keys.read_at.lock().await;
        if *read_at != Some(last) {
            self.read_keys(&mut read_at).await?;
        }
        drop(read_at);
        self.store_uses().await
    }

    async fn read_keys(&self, read_at: &mut Option<i64>) -> Result<()> {
        let read = self.read(|store| {
            // First, so that a change in between is read again.
            let last = store.last_registry_event()?;
            let mut keys = Vec::new();
            loop {
                let after = keys.last().map_or(0, |key: &ApiKey| key.id);
                let page = store.keys(&KeyQuery { filter: KeyFilter::Live, after, limit: PAGE })?;
                let is_last = page.len() < PAGE as usize;
                keys.extend(page);
                if is_last {
                    return Ok((last, keys));
                }
            }
        });
        let (last, keys) = read.await?;
        let stored = &self.parts.keys.live;
        let before = stored.load();
        let live = keys.iter().map(|key| (key.id, Arc::new(LiveKey::new(key, before.get(&key.id)))));
        stored.store(Arc::new(live.collect()));
        *read_at = Some(last);
        Ok(())
    }

    async fn store_uses(&self) -> Result<()> {
        let live = self.parts.keys.live.load_full();
        let due = live.iter().filter(|(_, key)| key.is_due()).take(MAX_USES);
        let due: Vec<_> = due.map(|(id, key)| (*id, key.used_ms.load(Ordering::Relaxed))).collect();
        if due.is_empty() {
            return Ok(());
        }
        let at = |(id, millis): &(i64, i64)| (*id, Timestamp::from_unix_millis(*millis).to_string());
        let uses: Vec<_> = due.iter().map(at).collect();
        self.parts.database.write(move |store| store.record_key_uses(&uses)).await?;
        for (id, millis) in due {
            if let Some(key) = live.get(&id) {
                key.stored_ms.store(millis, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// Reading and changing. A change is known to this server when its method returns.
#[allow(clippy::missing_errors_doc, reason = "see `RegistryError` and the operations")]
impl Registry {
    /// Returns a page of keys.
    pub async fn keys(&self, query: KeyQuery) -> Result<Vec<ApiKey>> {
        self.read(move |store| store.keys(&query)).await
    }

    /// Returns the key that a reference names.
    pub async fn key(&self, reference: KeyRef) -> Result<ApiKey> {
        let query = KeyQuery { filter: KeyFilter::One(reference.clone()), after: 0, limit: 1 };
        Ok(self.keys(query).await?.pop().ok_or_else(|| reference.missing())?)
    }

    /// Creates a key, and returns it with its token, which is stored nowhere.
    pub async fn create_key(&self, name: String, grant: Grant, caller: Caller) -> Result<(ApiKey, String)> {
        let secret = random::<SECRET_BYTES>()?;
        let digest = key::digest_of(&secret);
        let create = self.change_key(caller, move |store, context| {
            operations::create_key(store, &name, grant.clone(), digest, context)
        });
        let key = create.await?;
        let token = key::token(key.id, &secret);
        Ok((key, token))
    }

    /// Gives a key another secret, and returns it with its new token.
    pub async fn rotate_key(
        &self,
        reference: KeyRef,
        expires_at: Option<Timestamp>,
        caller: Caller,
    ) -> Result<(ApiKey, String)> {
        let secret = random::<SECRET_BYTES>()?;
        let digest = key::digest_of(&secret);
        let rotate = self.change_key(caller, move |store, context| {
            operations::rotate_key(store, &reference, digest, expires_at, context)
        });
        let key = rotate.await?;
        let token = key::token(key.id, &secret);
        Ok((key, token))
    }

    /// Revokes a key.
    pub async fn revoke_key(&self, reference: KeyRef, caller: Caller) -> Result<ApiKey> {
        self.change_key(caller, move |store, context| operations::revoke_key(store, &reference, context))
            .await
    }

    /// Changes a key in the store, then in memory. The lock keeps both in the same order. All keys are read again soon, as other
    /// servers may have changed some before.
    async fn change_key(
        &self,
        caller: Caller,
        operation: impl Fn(&mut dyn WriteStore, &Context<'_>) -> std::result::Result<ApiKey, StoreError>
        + Send
        + 'static,
    ) -> Result<ApiKey> {
        let _in_order = self.parts.keys.read_at.lock().await;
        let key = self.change(caller, operation).await?;
        let stored = &self.parts.keys.live;
        let mut live = HashMap::clone(&stored.load());
        let before = live.remove(&key.id);
        if key.revoked_at.is_none() {
            live.insert(key.id, Arc::new(LiveKey::new(&key, before.as_ref())));
        }
        stored.store(Arc::new(live));
        Ok(key)
    }
}
