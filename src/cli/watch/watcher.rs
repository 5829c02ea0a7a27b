//! The loop of a watch: list the checkpoints, choose, publish, wait.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{retry::Retry, state::WatchState};
use crate::{
    artifact::{
        ArtifactError, Checkpoint, CheckpointNames, Checkpoints, OpenFile, StabilityTracker, list_checkpoints,
    },
    cli::{
        exit::Failure,
        model_files::{ModelFiles, some_of},
        print,
        publish_error::{ErrorClass, PublishError},
        publishing::{Candidate, FilesCandidate, InterruptibleClient, Publisher},
    },
};

/// The shortest time between two polls.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// The flags of a watch.
#[derive(Debug)]
pub(super) struct WatchOptions {
    pub(super) all: bool,
    pub(super) once: bool,
    pub(super) poll_interval: Duration,
    pub(super) quiet_period: Duration,
    pub(super) state_file: PathBuf,
    pub(super) registry_url: String,
    pub(super) names: CheckpointNames,
    /// True if files that only resume a training are published with their folder.
    pub(super) with_training_state: bool,
    /// True if a checkpoint that is a file is registered as a version with files, too.
    pub(super) files_have_manifests: bool,
}

/// A running watch.
pub(super) struct Watcher {
    publisher: Publisher,
    folder: PathBuf,
    options: WatchOptions,
    started: Instant,
    stability: StabilityTracker,
    /// Absent until the folder exists.
    state: Option<WatchState>,
    /// Set while the registry or the store is unavailable.
    outage: Option<Retry>,
    /// Files that can't be published now.
    not_ready: HashMap<PathBuf, Retry>,
    printed: print::OncePrinter,
    /// With `--once`: what was not published, how many were, and the files that are not retried.
    failure: Option<Failure>,
    published: usize,
    given_up: HashSet<PathBuf>,
}

impl Watcher {
    pub(super) fn new(publisher: Publisher, folder: PathBuf, options: WatchOptions) -> Self {
        Self {
            publisher,
            folder,
            started: Instant::now(),
            stability: StabilityTracker::after(options.quiet_period),
            options,
            state: None,
            outage: None,
            not_ready: HashMap::new(),
            printed: print::OncePrinter::default(),
            failure: None,
            published: 0,
            given_up: HashSet::new(),
        }
    }

    /// Watches until an interruption, or with `--once` until nothing is pending.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        loop {
            if self.publisher.interrupt.requested() {
                return self.interrupted();
            }
            let polled_at = self.now();
            let found = self.poll()?;
            self.not_ready.retain(|path, _| found.iter().any(|checkpoint| checkpoint.path == *path));
            let pending = self.pending(&found);
            if self.options.once && pending.is_empty() {
                return self.finish(found.is_empty());
            }
            for checkpoint in &pending {
                if self.due_at(checkpoint) > self.now() {
                    continue;
                }
                if let Err(error) = self.publish(checkpoint)
                    && !self.handle_error(checkpoint, error)?
                {
                    break;
                }
            }
            if let (false, Some(state)) = (found.is_empty(), &mut self.state) {
                state.retain(&found);
            }
            self.wait(polled_at, &pending);
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Lists the checkpoints in the folder. A folder that does not exist has none yet.
    fn poll(&mut self) -> Result<Vec<Checkpoint>, Failure> {
        let found = match list_checkpoints(&self.folder, &self.options.names) {
            Ok(Checkpoints { found, passed_over }) => {
                passed_over.iter().for_each(|it| self.printed.once(&it.to_string()));
                found
            }
            Err(error) => {
                // A mounted folder may return; --once does not wait for it.
                if self.options.once || matches!(error, ArtifactError::NotAFolder { .. }) {
                    return Err(Failure::failed(error.to_string()));
                }
                self.printed.once(&match error {
                    ArtifactError::Missing { path } => {
                        format!("{} does not exist; waiting for it", path.display())
                    }
                    other => format!("{other}; retrying until it works"),
                });
                Vec::new()
            }
        };
        if !found.is_empty() || self.folder.is_dir() {
            self.prepare()?;
        }
        self.stability.observe(self.now(), &found);
        Ok(found)
    }

    /// Opens the state file, once the folder exists.
    fn prepare(&mut self) -> Result<(), Failure> {
        if self.state.is_none() {
            let WatchOptions { state_file, registry_url, .. } = &self.options;
            let writes = self.publisher.registry.is_some();
            let state = WatchState::open(state_file, &self.publisher.name, registry_url, writes)?;
            let folder = self.folder.display();
            if !self.options.once {
                print::line(&format!("watching {folder} for checkpoints of {}", self.publisher.name));
            }
            self.state = Some(state);
        }
        Ok(())
    }

    /// Returns the checkpoints that are not published yet, in the order of steps.
    fn pending(&mut self, found: &[Checkpoint]) -> Vec<Checkpoint> {
        let Some(state) = &self.state else { return Vec::new() };
        let chosen = choose(found, self.options.all, state);
        if let Some(outdated) = chosen.outdated {
            let path = outdated.path.display();
            self.printed.once(&format!(
                "{path} is older than what was published last, so it is skipped; --all publishes every checkpoint"
            ));
        }
        for other in &chosen.others {
            let path = other.path.display();
            self.printed.once(&format!(
                "{path} is another checkpoint of {}, and a version has one, so it is skipped",
                other.name
            ));
        }
        let pending =
            chosen.pending.into_iter().filter(|checkpoint| !self.given_up.contains(&checkpoint.path));
        pending.cloned().collect()
    }

    /// Returns when a checkpoint can be tried: once it is complete, and after the waits of its retries.
    fn due_at(&self, checkpoint: &Checkpoint) -> Duration {
        let retries = self.outage.iter().chain(self.not_ready.get(&checkpoint.path)).map(|retry| retry.at);
        retries.chain(self.stability.stable_at(&checkpoint.path)).max().unwrap_or_default()
    }

    /// Publishes a checkpoint, unless it has changed or gone since the poll.
    fn publish(&mut self, checkpoint: &Checkpoint) -> Result<(), PublishError> {
        if !checkpoint.is_unchanged() {
            return Ok(());
        }
        let model = self.publish_files(checkpoint)?;
        if let Some(state) = &mut self.state {
            state.record_published(checkpoint);
        }
        self.published += 1;
        self.outage = None;
        self.not_ready.remove(&checkpoint.path);
        print::result_line(&model.to_string())
            .map_err(|failure| PublishError { class: ErrorClass::Setup, failure })
    }

    fn publish_files(&self, checkpoint: &Checkpoint) -> Result<Value, PublishError> {
        let not_ready = |failure| PublishError { class: ErrorClass::NotReady, failure };
        let files =
            ModelFiles::find(&checkpoint.path, self.options.with_training_state).map_err(not_ready)?;
        files.check_complete().map_err(not_ready)?;
        let (version, step) = (checkpoint.name.to_string(), Some(checkpoint.name.step));
        if checkpoint.is_folder || self.options.files_have_manifests {
            if !files.ignored.is_empty() {
                let kept_out = some_of(&files.ignored);
                self.printed.once(&format!("{}: kept out: {kept_out}", checkpoint.path.display()));
            }
            let candidate = FilesCandidate { files, label: Some(version), step };
            return Ok(self.publisher.publish_files(&candidate)?.model);
        }
        let file = OpenFile::open(&checkpoint.path)?;
        Ok(self.publisher.publish(&Candidate { file, version, step })?.model)
    }

    /// Reports a failure and schedules a retry. Returns true if other files can be tried now.
    ///
    /// # Errors
    /// A failure that ends the watch.
    fn handle_error(&mut self, checkpoint: &Checkpoint, error: PublishError) -> Result<bool, Failure> {
        let PublishError { class, failure } = error;
        let file = checkpoint.path.display().to_string();
        let why = failure.text();
        let has_answered = || self.publisher.registry.as_ref().is_some_and(InterruptibleClient::has_answered);
        match class {
            ErrorClass::Setup => return Err(failure),
            ErrorClass::NotARegistry if !has_answered() => return Err(failure),
            ErrorClass::Interrupted => {
                print::line(&format!("{file}: {why}"));
                return Ok(false);
            }
            ErrorClass::Refused => {
                // A refusal is an answer, so the outage is over.
                self.outage = None;
                if let Some(state) = &mut self.state {
                    state.record_refused(checkpoint);
                }
                if self.options.once {
                    self.give_up(checkpoint, failure);
                } else {
                    print::line(&format!(
                        "{file}: {why}; skipped until the file changes or the watch restarts"
                    ));
                }
            }
            ErrorClass::Outage | ErrorClass::NotARegistry if self.options.once => return Err(failure),
            ErrorClass::NotReady if self.options.once => self.give_up(checkpoint, failure),
            ErrorClass::Outage | ErrorClass::NotARegistry => {
                let now = self.now();
                let message = format!("{file}: {why}; retrying until it works");
                self.outage.get_or_insert_default().schedule(now, message);
                return Ok(false);
            }
            ErrorClass::NotReady => {
                let now = self.now();
                let retry = self.not_ready.entry(checkpoint.path.clone()).or_default();
                retry.schedule(now, format!("{file}: {why}; retrying later"));
            }
        }
        Ok(true)
    }

    fn give_up(&mut self, checkpoint: &Checkpoint, failure: Failure) {
        self.given_up.insert(checkpoint.path.clone());
        self.failure = Some(match self.failure.take() {
            Some(before) => before.and(failure),
            None => failure,
        });
    }

    /// Waits for the next poll, for a checkpoint that can be tried, or for an interruption.
    fn wait(&self, polled_at: Duration, pending: &[Checkpoint]) {
        let next_poll = polled_at + self.options.poll_interval;
        let next = pending.iter().map(|checkpoint| self.due_at(checkpoint)).fold(next_poll, Duration::min);
        let pause = next.max(polled_at + SHORTEST_PAUSE).saturating_sub(self.now());
        let _ = self.publisher.interrupt.channel().recv_timeout(pause);
    }

    /// Ends a run with `--once` that has nothing left to publish.
    fn finish(self, is_empty: bool) -> Result<(), Failure> {
        if self.published == 0 && self.failure.is_none() {
            let what = if is_empty { "no checkpoint" } else { "no checkpoint to publish" };
            print::line(&format!("{} holds {what}: nothing to do", self.folder.display()));
        }
        self.failure.map_or(Ok(()), Err)
    }

    fn interrupted(self) -> Result<(), Failure> {
        if self.options.once {
            return Err(Failure::interrupted("interrupted; run the same command again to continue"));
        }
        Ok(())
    }
}

/// What to publish.
#[derive(Debug, Default, PartialEq)]
struct Chosen<'a> {
    pending: Vec<&'a Checkpoint>,
    /// The latest checkpoint, if a later one was published already.
    outdated: Option<&'a Checkpoint>,
    /// The other files of versions that have more than one.
    others: Vec<&'a Checkpoint>,
}

fn choose<'a>(found: &'a [Checkpoint], all: bool, state: &WatchState) -> Chosen<'a> {
    let mut chosen = Chosen::default();
    let mut versions: Vec<_> = found.chunk_by(|one, other| one.name == other.name).collect();
    if !all {
        versions.drain(..versions.len().saturating_sub(1));
    }
    for files in versions {
        // The published file, else the newest, as `publish` chooses.
        let Some(file) = files.iter().find(|file| state.is_done(file)).or(files.last()) else { continue };
        chosen.others.extend(files.iter().filter(|other| *other != file));
        if state.is_done(file) {
            continue;
        }
        if !all && state.is_outdated(file) {
            chosen.outdated = Some(file);
        } else {
            chosen.pending.push(file);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::artifact::{CheckpointName, FileState};

    #[test]
    fn the_latest_is_chosen_or_all_in_order_and_nothing_twice() {
        let folder = tempfile::tempdir().unwrap();
        let file = |step: i64| Checkpoint {
            path: Path::new("d").join(format!("checkpoint_step_{step}.pt")),
            name: CheckpointName { step, is_final: false },
            is_folder: false,
            state: FileState { size_bytes: 5, modified_ns: 1, changed_ns: 1, inode: 1 },
        };
        let found = [file(1), file(2), file(3)];
        for (published, latest, outdated, all) in [
            (&[][..], &[3][..], None, &[1, 2, 3][..]),
            (&[2], &[3], None, &[1, 3]),
            (&[3], &[], None, &[1, 2]),
            (&[9], &[], Some(3), &[1, 2, 3]),
        ] {
            let path = folder.path().join(format!("{published:?}"));
            let mut state = WatchState::open(&path, "m", "http://r", true).unwrap();
            published.iter().for_each(|step| state.record_published(&file(*step)));
            let steps =
                |chosen: &Chosen<'_>| chosen.pending.iter().map(|it| it.name.step).collect::<Vec<_>>();
            let chosen = choose(&found, false, &state);
            assert_eq!(
                (steps(&chosen).as_slice(), chosen.outdated.map(|it| it.name.step)),
                (latest, outdated)
            );
            assert_eq!(steps(&choose(&found, true, &state)), all, "after {published:?}");
        }
    }

    #[test]
    fn a_version_has_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, modified_ns| Checkpoint {
            path: Path::new("d").join(name),
            name: CheckpointName::parse(name).unwrap(),
            is_folder: false,
            state: FileState { size_bytes: 5, modified_ns, changed_ns: 1, inode: 1 },
        };
        let found = [file("checkpoint_step_1.pt", 1), file("checkpoint_step_1.safetensors", 2)];
        let mut state = WatchState::open(&folder.path().join("state"), "m", "http://r", true).unwrap();
        for all in [true, false] {
            let chosen = choose(&found, all, &state);
            assert_eq!((chosen.pending, chosen.others), (vec![&found[1]], vec![&found[0]]), "the newest");
        }
        state.record_published(&found[0]);
        for all in [true, false] {
            let chosen = choose(&found, all, &state);
            assert_eq!((chosen.pending, chosen.others), (vec![], vec![&found[1]]), "the published one");
        }
    }
}
