//! `registry pull`: the files of a version, verified, in a folder.
//!
//! Every file goes through the cache, where it is verified while it is written, and is then linked or copied. The folder changes
//! only once all files are there.

mod assembly;
pub(super) mod cache;
mod cache_flags;
mod destination;
pub(super) mod fetch;
mod job;
pub(super) mod plan;
pub(super) mod resolve;
pub(super) mod shared;
pub(super) mod source;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use clap::Args;
use serde_json::json;

pub use cache_flags::CACHE_VARIABLES;
pub(super) use cache_flags::CacheFlags;

use self::{
    cache::Cache,
    destination::Destination,
    job::{Counts, Job},
    plan::{Plan, Selection},
    shared::Shared,
    source::Source,
};
use super::{
    exit::{self, Failure},
    interrupt::Interrupt,
    object_flags::ObjectFlags,
    print, progress,
    remote::Remote,
    version_arg::VersionArg,
};

const EXAMPLES: &str = "\
Examples:
  The version in production, into the folder tiny-gpt:
    registry pull tiny-gpt@production
  Only the weights and the configuration, into another folder:
    registry pull tiny-gpt:v1 --to /models/tiny --include '*.safetensors' --include config.json
  All but a folder:
    registry pull tiny-gpt#3 --exclude onnx/
  Without the registry, from what was pulled before:
    registry pull tiny-gpt@production --offline
  In a container, without a cache:
    registry pull tiny-gpt@production --to /mnt/models --no-cache";

/// Pull the files of a version into a folder.
///
/// Every file is compared with its registered size and SHA-256 while it is written, and the folder changes only once all files are
/// there. A pull that was interrupted continues where it ended. The bytes come from the registry's artifact store or, if it
/// does not have them, from where the artifact is registered: s3://, gs://, az://, https:// or file://.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(super) struct Pull {
    /// The version: name:label, name@alias, name#number, or its id
    version: VersionArg,
    /// The folder; by default one with the model's name in the working folder
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Pull only files like this; may be given several times
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Pull no files like this; may be given several times
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Replace files of the folder that differ from the version's
    #[arg(long)]
    force: bool,
    /// Use only the cache, also for what an alias points to
    #[arg(long, conflicts_with = "no_cache")]
    offline: bool,
    /// How many files or parts of files to fetch at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    connections: u64,
    /// Keep nothing in the cache
    #[arg(long, conflicts_with_all = ["cache", "cache_size"])]
    no_cache: bool,
    /// Copy large files out of the cache, so that they can be changed; by default they are linked and read-only
    #[arg(long)]
    copy: bool,
    /// Print the result as a JSON object on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache_flags: CacheFlags,
    #[command(flatten)]
    object_flags: ObjectFlags,
    #[command(flatten)]
    remote: Remote,
}

impl Pull {
    /// Pulls the files and reports.
    pub(super) fn run(self) -> Result<(), Failure> {
        let selection = Selection::new(&self.include, &self.exclude)?;
        let limit_bytes = self.cache_flags.limit_bytes()?;
        let cache = if self.no_cache { None } else { self.cache_flags.open()? };
        let (mut plan, source) =
            find(&self.version, &self.remote, &self.object_flags, self.offline, cache.as_ref())?;
        plan.select(&selection)?;
        report_unknown(&plan)?;
        let folder = match &self.to {
            Some(folder) => folder.clone(),
            None => PathBuf::from(default_name(plan.model())),
        };
        let interrupt = Interrupt::listen()?;
        let destination = Destination::open(&folder)?;
        let cache = match cache {
            Some(cache) => cache,
            None => Cache::open(&destination.own_cache(), true)?,
        };
        let bar = progress::only_bar(Path::new(plan.model()), plan.total_bytes());
        let shared = Shared::new(&cache, &source, &interrupt, bar, self.connections);
        let job = Job {
            shared: &shared,
            plan: &plan,
            is_forced: self.force,
            is_offline: self.offline,
            copies: self.copy,
            limit_bytes,
        };
        let outcome = job.run(destination);
        if !cache.is_temporary() {
            // The pull itself is done.
            if let Err(failure) = cache.evict(limit_bytes, 0, &HashSet::new()) {
                print::line(&format!("warning: {}", failure.text()));
            }
        }
        let counts = match outcome {
            Err(_) if interrupt.requested() => {
                return Err(Failure::interrupted(format!(
                    "stopped; {} is as it was before, and what has arrived is kept for the next pull",
                    print::one_line(&folder.to_string_lossy())
                )));
            }
            Err(failure) if !self.offline => return Err(resolve::hint_at_cache(failure)),
            outcome => outcome?,
        };
        let fetched_bytes = shared.fetched_bytes.load(Ordering::Relaxed);
        drop(shared);
        self.report(&plan, &folder, &counts, fetched_bytes)
    }

    fn report(&self, plan: &Plan, folder: &Path, counts: &Counts, fetched_bytes: u64) -> Result<(), Failure> {
        if self.json {
            return print::result(&json!({
                "id": plan.version["id"], "model": plan.version["model"], "number": plan.version["number"],
                "label": plan.version["label"], "digest": plan.version["digest"],
                "folder": folder.to_string_lossy(),
                "files": plan.files.len(), "size_bytes": plan.total_bytes(),
                "fetched": counts.fetched, "fetched_bytes": fetched_bytes,
                "cached": counts.cached, "kept": counts.kept,
            }));
        }
        let parts =
            [(counts.fetched, "fetched"), (counts.cached, "from the cache"), (counts.kept, "there already")];
        let parts = parts.into_iter().filter(|(count, _)| *count > 0);
        let parts: Vec<_> = parts.map(|(count, how)| format!("{} {how}", print::count(count))).collect();
        print::result_line(&format!(
            "{} is in {}: {}, {}{}",
            plan.label(),
            folder.to_string_lossy(),
            print::counted(plan.files.len() as u64, "file"),
            print::size(plan.total_bytes()),
            if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
        ))
    }
}

/// Finds a version and where its bytes are.
///
/// # Errors
/// If there is no such version, or no answer.
pub(super) fn find(
    reference: &VersionArg,
    remote: &Remote,
    object_flags: &ObjectFlags,
    is_offline: bool,
    cache: Option<&Cache>,
) -> Result<(Plan, Source), Failure> {
    let connection = remote.connection()?;
    let url = connection.url.value.clone();
    if is_offline {
        let cache = cache
            .ok_or_else(|| Failure::failed("there is no cache to use offline; name one with --cache"))?;
        let (plan, answered_at) = resolve::offline(reference, &url, cache)?;
        print::line(&format!("offline: {reference} was {} at {answered_at}", plan.label()));
        return Ok((plan, Source::nowhere("it is not in the cache")));
    }
    let flags = object_flags.clone().or(&connection.config.profile);
    let client = connection.client()?;
    let plan = resolve::online(reference, &client, &url, cache).map_err(resolve::hint_at_cache)?;
    let source = Source::of(&plan, &client, &flags)?;
    Ok((plan, source))
}

/// Refuses a version of which nothing can be verified, and names what is left out of another.
fn report_unknown(plan: &Plan) -> Result<(), Failure> {
    let has_none = plan.version["file_count"].as_i64() == Some(0) && plan.version["digest"].is_string();
    if plan.files.is_empty() && !has_none {
        return Err(Failure::failed(format!(
            "{} was registered without a digest or a size, so what is fetched can't be verified; fetch {} with its own tool",
            plan.label(),
            print::one_line(plan.version["artifact_uri"].as_str().unwrap_or("its artifact"))
        )));
    }
    for path in &plan.unknown {
        print::line(&format!(
            "warning: {} was registered without a digest or a size and is left out",
            print::one_line(path)
        ));
    }
    Ok(())
}

/// Returns the name of the folder of a model: the last part of its name.
fn default_name(model: &str) -> String {
    let name = model.rsplit('/').find(|part| !part.is_empty()).unwrap_or_default();
    let name: String = name.chars().map(|c| if c.is_control() || c == '\\' { '-' } else { c }).collect();
    // Neither hidden nor a folder above.
    match name.trim_start_matches('.') {
        "" => "model".to_owned(),
        bare => bare.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::default_name;

    #[test]
    fn the_folder_has_the_name_of_the_model() {
        for (model, folder) in [
            ("tiny", "tiny"),
            ("org/tiny", "tiny"),
            ("..", "model"),
            ("a/..", "model"),
            ("org/", "org"),
            ("/", "model"),
            ("a\nb", "a-b"),
        ] {
            assert_eq!(default_name(model), folder, "{model}");
        }
    }
}
