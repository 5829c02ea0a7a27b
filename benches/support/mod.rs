//! Shared by the benchmarks: registries of any size that are always the same, the real server, one connection over
//! HTTP, and tables.
#![allow(dead_code, reason = "each benchmark is a crate and uses a part of this")]
#![allow(missing_docs, unreachable_pub, reason = "only the benchmarks use it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that can't continue may panic")]

pub mod bare;
pub mod http;
pub mod process;
pub mod seed;
pub mod statements;
pub mod table;
pub mod words;
pub mod wrk;

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use model_registry::store::sqlite::{Options, Synchronous};

/// Why a benchmark can't continue.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Returns the folder of all files: under `target/`, so on the disk of the sources. A temporary folder is often in
/// memory, where a sync costs nothing.
pub fn folder() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"));
    let folder = target.join("bench");
    fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("can't make {}: {error}", folder.display()));
    folder
}

/// Returns a folder in [`folder`] that is removed with the value. Only Ctrl-C leaves it behind.
pub fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("run-").tempdir_in(folder()).expect("a folder under target/bench")
}

/// Returns how the server opens its database.
pub fn options(path: &Path) -> Options {
    Options { path: path.to_owned(), busy_timeout: Duration::from_secs(5), synchronous: Synchronous::Full }
}
