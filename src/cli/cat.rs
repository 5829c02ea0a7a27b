//! `registry cat`: one file of a version, on stdout.
//!
//! It goes through the cache, so no byte is written before all of them are verified.

use std::io::{self, ErrorKind, Write as _};

use clap::Args;

use super::{
    exit::{self, Failure},
    interrupt::Interrupt,
    object_flags::ObjectFlags,
    print, progress,
    pull::{
        CacheFlags,
        cache::{Cache, digest, unusable},
        fetch::fetch,
        find,
        plan::WantedFile,
        resolve,
        shared::Shared,
    },
    remote::Remote,
    version_arg::VersionArg,
};

/// Connections for a large file.
const CONNECTIONS: u64 = 4;

const EXAMPLES: &str = "\
Examples:
  The configuration of the version in production:
    registry cat tiny-gpt@production config.json
  A value of it, for a script:
    registry cat tiny-gpt:v1 config.json | jq .vocab_size
  A file in a folder of the version:
    registry cat tiny-gpt:v1 tokenizer/vocab.txt";

/// Write a file of a version to stdout, once it is verified.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Cat {
    /// The version: name:label, name@alias, name#number, or its id
    version: VersionArg,
    /// The file, as `registry files` lists it
    path: String,
    /// Use only the cache, also for what an alias points to
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    cache_flags: CacheFlags,
    #[command(flatten)]
    object_flags: ObjectFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Cat {
    /// Writes the file.
    pub(super) fn run(self) -> Result<(), Failure> {
        let limit_bytes = self.cache_flags.limit_bytes()?;
        let temporary =
            tempfile::tempdir().map_err(|error| Failure::failed(format!("no temporary folder: {error}")))?;
        let cache = match self.cache_flags.open()? {
            Some(cache) => cache,
            None => Cache::open(temporary.path(), true)?,
        };
        let (plan, source) =
            find(&self.version, &self.remote, &self.object_flags, self.offline, Some(&cache))?;
        let file = plan.files.iter().find(|file| file.path == self.path).ok_or_else(|| {
            Failure::failed(print::one_line(&format!(
                "{} has no file {:?} with a known digest; `registry files {}` lists its files",
                plan.label(),
                self.path,
                self.version
            )))
        })?;
        if !is_cached(&cache, file)? {
            let interrupt = Interrupt::listen()?;
            let bar = progress::only_bar(self.path.as_ref(), file.size_bytes);
            let shared = Shared::new(&cache, &source, &interrupt, bar, CONNECTIONS);
            let fetched = fetch(&shared, vec![file.clone()], &|_, _| Ok(()));
            if interrupt.requested() {
                return Err(Failure::interrupted("stopped; what has arrived is kept"));
            }
            fetched.map_err(resolve::hint_at_cache)?;
        }
        write(&cache, file)?;
        cache.evict(limit_bytes, 0, &[file.sha256].into()).map(drop)
    }
}

/// Returns true if the cache has the file; one that is damaged is removed.
fn is_cached(cache: &Cache, file: &WantedFile) -> Result<bool, Failure> {
    let Some(blob) = cache.find(file.sha256, file.size_bytes)? else { return Ok(false) };
    let found = digest(&blob, || false).map_err(|error| unusable(&cache.path_of(file.sha256), &error))?;
    if found != Some(file.sha256) {
        print::line(&format!(
            "warning: {} was damaged in the cache and is removed from it",
            print::one_line(&file.path)
        ));
        cache.remove(file.sha256)?;
    }
    Ok(found == Some(file.sha256))
}

fn write(cache: &Cache, file: &WantedFile) -> Result<(), Failure> {
    let blob = cache.find(file.sha256, file.size_bytes)?;
    let mut blob =
        blob.ok_or_else(|| Failure::failed("another program removed the file from the cache; try again"))?;
    let mut stdout = io::stdout().lock();
    match io::copy(&mut blob, &mut stdout).and_then(|_| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("stdout can't be written: {error}")))
        }
        _ => Ok(()),
    }
}
