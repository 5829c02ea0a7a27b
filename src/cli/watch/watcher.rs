//! The watch itself: looks, chooses, publishes, waits, and looks again.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use crossbeam_channel::{RecvTimeoutError, select};
use serde_json::Value;

use super::{ledger::Ledger, notices::Notices, retry::Retry};
use crate::{
    artifact::{ArtifactError, Checkpoint, Opened, Settling, list_checkpoints},
    cli::{
        exit::Failure,
        print,
        publish_error::{ErrorClass, PublishError},
        publishing::{Candidate, Contact, Publisher},
    },
};

/// Between two looks, however much news there is.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// How to watch.
#[derive(Debug)]
pub(super) struct Manner {
    pub(super) all: bool,
    pub(super) once: bool,
    pub(super) poll: Duration,
    pub(super) stable: Duration,
    pub(super) state_file: PathBuf,
    pub(super) registry_url: String,
}

#[derive(Debug)]
pub(super) struct Watcher {
    publisher: Publisher,
    /// Absent in a dry run.
    registry: Option<Contact>,
    folder: PathBuf,
    manner: Manner,
    begun: Instant,
    settling: Settling,
    notices: Notices,
    /// Absent as long as there is no folder.
    ledger: Option<Ledger>,
    /// Set while the registry or the store is away.
    outage: Option<Retry>,
    /// What is wrong with single files for the time being.
    unready: HashMap<PathBuf, Retry>,
    /// What has been said and need not be repeated.
    printed: print::OncePrinter,
    /// With `--once`: what was not published, how many were, and which files were given up.
    failure: Option<Failure>,
    published: usize,
    given_up: HashSet<PathBuf>,
}

/// What became of a file.
enum Became {
    Published,
    /// It is another one by now, or gone; the next look shows.
    Moved,
}

impl Watcher {
    pub(super) fn new(
        publisher: Publisher,
        registry: Option<Contact>,
        folder: PathBuf,
        manner: Manner,
    ) -> Self {
        Self {
            publisher,
            registry,
            folder,
            begun: Instant::now(),
            settling: Settling::after(manner.stable),
            manner,
            notices: Notices::none(),
            ledger: None,
            outage: None,
            unready: HashMap::new(),
            printed: print::OncePrinter::default(),
            failure: None,
            published: 0,
            given_up: HashSet::new(),
        }
    }

    /// Watches until there is no more to do, or the end is wanted.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        loop {
            if self.publisher.interrupt.requested() {
                return self.ended();
            }
            let looked = self.now();
            let found = self.look()?;
            self.unready.retain(|path, _| found.iter().any(|checkpoint| checkpoint.path == *path));
            let open = self.open(&found);
            if self.manner.once && open.is_empty() {
                if self.published == 0 && self.failure.is_none() {
                    let what = if found.is_empty() {
                        "no checkpoint"
                    } else {
                        "no checkpoint that is to be published"
                    };
                    print::line(&format!("{} holds {what}: nothing to do", self.folder.display()));
                }
                return self.failure.map_or(Ok(()), Err);
            }
            for checkpoint in &open {
                if !self.is_due(checkpoint) {
                    continue;
                }
                let outcome = self.publish(checkpoint);
                if let Err(error) = outcome
                    && !self.bear(checkpoint, error)?
                {
                    break;
                }
            }
            if let (false, Some(ledger)) = (found.is_empty(), &mut self.ledger) {
                ledger.forget_all_but(&found);
            }
            self.wait(looked, !open.is_empty());
        }
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// What lies in the folder. A folder that is not there holds nothing yet.
    fn look(&mut self) -> Result<Vec<Checkpoint>, Failure> {
        let found = match list_checkpoints(&self.folder) {
            Ok(found) => found,
            Err(error) => {
                // A mounted folder may come back; with --once nobody waits for that.
                if self.manner.once || matches!(error, ArtifactError::NotAFolder { .. }) {
                    return Err(Failure::failed(error.to_string()));
                }
                self.notices.stop();
                self.printed.once(&match error {
                    ArtifactError::Missing { path } => {
                        format!("{} does not exist; waiting for it", path.display())
                    }
                    other => format!("{other}; looking again until it works"),
                });
                Vec::new()
            }
        };
        if !found.is_empty() || self.folder.is_dir() {
            self.begin()?;
        }
        self.settling.observe(self.now(), &found);
        Ok(found)
    }

    /// Opens the state file and awaits news, once there is a folder.
    fn begin(&mut self) -> Result<(), Failure> {
        if self.ledger.is_none() {
            let Manner { state_file, registry_url, .. } = &self.manner;
            let ledger =
                Ledger::open(state_file, &self.publisher.name, registry_url, self.registry.is_some())?;
            let folder = self.folder.display();
            if !self.manner.once {
                print::line(&format!("watching {folder} for checkpoints of {}", self.publisher.name));
            }
            self.ledger = Some(ledger);
        }
        if !self.manner.once
            && !self.notices.are_awaited_from(&self.folder)
            && let Err(reason) = self.notices.await_from(&self.folder)
        {
            let seconds = self.manner.poll.as_secs_f64();
            self.printed.once(&format!("no news of the folder ({reason}); looking every {seconds} s"));
        }
        Ok(())
    }

    /// The checkpoints that are still to be published, in the order of steps.
    fn open(&mut self, found: &[Checkpoint]) -> Vec<Checkpoint> {
        let Some(ledger) = &self.ledger else { return Vec::new() };
        let chosen = choose(found, self.manner.all, ledger);
        if let Some(past) = chosen.past {
            let path = past.path.display();
            self.printed.once(&format!(
                "{path} is older than what was published last, so it is not; --all publishes every checkpoint"
            ));
        }
        for other in &chosen.others {
            let path = other.path.display();
            self.printed.once(&format!(
                "{path} is another file of {}, and a version has one file, so it is passed over",
                other.name
            ));
        }
        let open = chosen.open.into_iter().filter(|checkpoint| !self.given_up.contains(&checkpoint.path));
        open.cloned().collect()
    }

    /// Whether it is complete, and nothing is to be waited for.
    fn is_due(&self, checkpoint: &Checkpoint) -> bool {
        let waits = |retry: Option<&Retry>| retry.is_some_and(|retry| self.now() < retry.at);
        self.settling.is_settled(&checkpoint.path)
            && !waits(self.outage.as_ref())
            && !waits(self.unready.get(&checkpoint.path))
    }

    fn publish(&mut self, checkpoint: &Checkpoint) -> Result<Became, PublishError> {
        let opened = match Opened::open(&checkpoint.path) {
            Ok(opened) if opened.state() == checkpoint.state => opened,
            Ok(_) | Err(ArtifactError::Missing { .. }) => return Ok(Became::Moved),
            Err(error) => return Err(error.into()),
        };
        let version = checkpoint.name.to_string();
        let candidate = Candidate { opened, version, step: Some(checkpoint.name.step) };
        let (shown, sha256): (Value, _) = match &self.registry {
            Some(registry) => {
                let publication = self.publisher.publish(registry, &candidate)?;
                (publication.model, publication.checkpoint.sha256)
            }
            None => {
                let plan = self.publisher.plan(&candidate)?;
                print::line(&self.publisher.intent(&candidate, &plan));
                (plan.body, plan.checkpoint.sha256)
            }
        };
        if let Some(ledger) = &mut self.ledger {
            ledger.note_published(checkpoint, sha256);
        }
        self.published += 1;
        self.outage = None;
        self.unready.remove(&checkpoint.path);
        print::result_line(&shown.to_string())
            .map_err(|failure| PublishError { class: ErrorClass::Setup, failure })?;
        Ok(Became::Published)
    }

    /// Takes a failure in: tells of it, notes it, and says whether others are worth a try now.
    ///
    /// # Errors
    /// Those that end the watch.
    fn bear(&mut self, checkpoint: &Checkpoint, error: PublishError) -> Result<bool, Failure> {
        let PublishError { class, failure } = error;
        let file = checkpoint.path.display().to_string();
        let why = failure.text();
        let has_answered = || self.registry.as_ref().is_some_and(Contact::has_answered);
        match class {
            ErrorClass::Setup => return Err(failure),
            ErrorClass::NotARegistry if !has_answered() => return Err(failure),
            ErrorClass::Interrupted => {
                print::line(&format!("{file}: {why}"));
                return Ok(false);
            }
            ErrorClass::Refused => {
                // Whoever refuses is there.
                self.outage = None;
                if let Some(ledger) = &mut self.ledger {
                    ledger.note_refused(checkpoint);
                }
                if self.manner.once {
                    self.fail(checkpoint, failure);
                } else {
                    print::line(&format!(
                        "{file}: {why}; passed over until the file changes or the watch starts anew"
                    ));
                }
            }
            ErrorClass::Outage | ErrorClass::NotARegistry if self.manner.once => return Err(failure),
            ErrorClass::NotReady if self.manner.once => self.fail(checkpoint, failure),
            ErrorClass::Outage | ErrorClass::NotARegistry => {
                let now = self.now();
                self.outage
                    .get_or_insert_default()
                    .again(now, format!("{file}: {why}; trying again until it works"));
                return Ok(false);
            }
            ErrorClass::NotReady => {
                let now = self.now();
                let retry = self.unready.entry(checkpoint.path.clone()).or_default();
                retry.again(now, format!("{file}: {why}; trying again later"));
            }
        }
        Ok(true)
    }

    fn fail(&mut self, checkpoint: &Checkpoint, failure: Failure) {
        self.given_up.insert(checkpoint.path.clone());
        self.failure = Some(match self.failure.take() {
            Some(before) => before.and(failure),
            None => failure,
        });
    }

    /// Waits until there is something to look for: news, a file that may be complete, a further try, the next
    /// look of those that are due anyway, or the end.
    fn wait(&self, looked: Duration, any_open: bool) {
        let retries = self.outage.iter().chain(self.unready.values()).map(|retry| retry.at);
        // One whose time had come was made in this round, if it is still wanted.
        let retries = retries.filter(|at| any_open && *at > looked);
        let next = retries.chain(self.settling.next_look()).fold(looked + self.manner.poll, Duration::min);
        let interrupt = self.publisher.interrupt.channel();
        let earliest = (looked + SHORTEST_PAUSE).saturating_sub(self.now());
        if interrupt.recv_timeout(earliest) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let pause = next.saturating_sub(self.now());
        select! {
            recv(self.notices.bell()) -> _ => {}
            recv(interrupt) -> _ => {}
            default(pause) => {}
        }
    }

    fn ended(self) -> Result<(), Failure> {
        if self.manner.once {
            return Err(Failure::interrupted("interrupted; the same command again goes on from there"));
        }
        Ok(())
    }
}

/// What there is to publish.
#[derive(Debug, Default, PartialEq)]
struct Chosen<'a> {
    open: Vec<&'a Checkpoint>,
    /// The latest, where a later one than that was published.
    past: Option<&'a Checkpoint>,
    /// Of a version that has more than one file all but the one that counts.
    others: Vec<&'a Checkpoint>,
}

fn choose<'a>(found: &'a [Checkpoint], all: bool, ledger: &Ledger) -> Chosen<'a> {
    let mut chosen = Chosen::default();
    let mut versions: Vec<_> = found.chunk_by(|one, other| one.name == other.name).collect();
    if !all {
        versions.drain(..versions.len().saturating_sub(1));
    }
    for files in versions {
        // The newest, as `publish` takes it, unless another one has become the version already.
        let Some(file) = files.iter().find(|file| ledger.knows(file)).or(files.last()) else { continue };
        chosen.others.extend(files.iter().filter(|other| *other != file));
        if ledger.knows(file) {
            continue;
        }
        if !all && ledger.is_past(file) {
            chosen.past = Some(file);
        } else {
            chosen.open.push(file);
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
            state: FileState { size_bytes: 5, modified_ns: 1, inode: 1 },
        };
        let found = [file(1), file(2), file(3)];
        for (published, latest, past, all) in [
            (&[][..], &[3][..], None, &[1, 2, 3][..]),
            (&[2], &[3], None, &[1, 3]),
            (&[3], &[], None, &[1, 2]),
            (&[9], &[], Some(3), &[1, 2, 3]),
        ] {
            let state_file = folder.path().join(format!("{published:?}"));
            let mut ledger = Ledger::open(&state_file, "m", "http://r", true).unwrap();
            published.iter().for_each(|step| ledger.note_published(&file(*step), None));
            let steps = |chosen: &Chosen<'_>| chosen.open.iter().map(|it| it.name.step).collect::<Vec<_>>();
            let chosen = choose(&found, false, &ledger);
            assert_eq!((steps(&chosen).as_slice(), chosen.past.map(|it| it.name.step)), (latest, past));
            assert_eq!(steps(&choose(&found, true, &ledger)), all, "after {published:?}");
        }
    }

    #[test]
    fn of_a_version_one_file_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, modified_ns| Checkpoint {
            path: Path::new("d").join(name),
            name: CheckpointName::parse(name).unwrap(),
            state: FileState { size_bytes: 5, modified_ns, inode: 1 },
        };
        let found = [file("checkpoint_step_1.pt", 1), file("checkpoint_step_1.safetensors", 2)];
        let mut ledger = Ledger::open(&folder.path().join("state"), "m", "http://r", true).unwrap();
        for all in [true, false] {
            let chosen = choose(&found, all, &ledger);
            assert_eq!((chosen.open, chosen.others), (vec![&found[1]], vec![&found[0]]), "the newest");
        }
        ledger.note_published(&found[0], None);
        for all in [true, false] {
            let chosen = choose(&found, all, &ledger);
            assert_eq!((chosen.open, chosen.others), (vec![], vec![&found[1]]), "the published one");
        }
    }
}
