//! The actors that digest files.

use std::{fs::File, path::Path, pin::pin, time::Duration};

use model_registry::{
    actors::{ActorError, Hasher, HasherOptions},
    telemetry::Telemetry,
};

use crate::begin;

/// Returns a file whose digest would take many minutes.
fn endless(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("endless.pt");
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    path
}

#[test]
fn a_full_digest_queue_refuses_at_once_and_a_digest_without_a_caller_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = endless(folder.path());
    actix::System::new().block_on(async {
        let options = HasherOptions {
            hashers: 1,
            hash_queue: 1,
            forbidden: Vec::new(),
            secrets: Vec::new(),
            root: None,
        };
        let hasher = Hasher::start(options, &Telemetry::new(&[]));
        {
            let mut running = pin!(hasher.measure(path.clone(), u64::MAX));
            begin(running.as_mut());
            while hasher.depth().depth > 0 {
                tokio::task::yield_now().await;
            }
            let mut waiting = pin!(hasher.measure(path.clone(), u64::MAX));
            begin(waiting.as_mut());
            let refused = hasher.measure(path.clone(), u64::MAX).await;
            assert!(matches!(refused, Err(ActorError::Overloaded { queue: "hash" })), "{refused:?}");
        }
        // With both callers gone it stops at once, not after a terabyte. Only the end of the process could stop a thread
        // that went on reading.
        let closing = tokio::task::spawn_blocking(move || hasher.close());
        if tokio::time::timeout(Duration::from_secs(20), closing).await.is_err() {
            eprintln!("the digest did not stop");
            std::process::abort();
        }
    });
}
