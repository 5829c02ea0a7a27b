//! Writes what MLflow has and the registry lacks.
//!
//! Several threads have some models each. Of those, models come first, then versions in order, then aliases and production. What
//! the registry has is never changed: an alias is set only if it was never set before, so a run can be repeated at any time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use serde_json::json;

use super::{
    body::{registration, set, set_times},
    files::{Copied, Files},
    places::CopyError,
    report::{Outcome, Report, What},
    source::{Catalog, Part},
    target::{Present, PresentVersion, deleted_models, was_ever_set},
};
use crate::{
    cli::{
        exit::Failure,
        interrupt::Interrupt,
        progress::{self, OnlyBar},
    },
    client::{
        Client, ClientError, Expected, V1,
        mlflow::{MlflowModel, MlflowServer, MlflowVersion},
    },
    domain::{PRODUCTION_ALIAS, Status, limits::check_name, model::check_alias},
};

/// Threads, each with a connection to the registry. Most of a request is waiting for the disk of the server, where several wait
/// together.
const THREADS: usize = 8;

/// What a failure in the middle says at its end.
const GO_ON: &str = "; run the same command again to go on";

/// What all threads of an import share.
pub(super) struct Import<'a> {
    pub(super) client: &'a Client,
    pub(super) server: &'a MlflowServer,
    /// Absent if files stay where they are.
    pub(super) files: Option<Files<'a>>,
    pub(super) is_dry_run: bool,
    pub(super) interrupt: &'a Interrupt,
}

impl Import<'_> {
    /// Runs the import.
    ///
    /// # Errors
    /// If MLflow or the registry can't go on; what was written stays, and another run goes on.
    pub(super) fn run(&self, catalog: &Catalog) -> Result<Report, Failure> {
        let deleted = deleted_models(&self.client.v1(""))?;
        let progress = Progress {
            bar: progress::bar("versions", catalog.versions.len() as u64),
            done: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        };
        let parts = catalog.parts(THREADS);
        let results: Vec<Result<Report, Failure>> = thread::scope(|scope| {
            let (progress, deleted) = (&progress, &deleted);
            let run = |part| scope.spawn(move || Transfer::new(self, progress).run(part, catalog, deleted));
            let threads: Vec<_> = parts.iter().map(run).collect();
            let failed = || Err(Failure::failed("a thread of the import has failed"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| failed())).collect()
        });
        let mut report = Report::default();
        let mut failure: Option<Failure> = None;
        for result in results {
            match result {
                Ok(part) => report.add_all(part),
                // The others only stop because of the first.
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        failure.map_or(Ok(report), Err)
    }
}

/// How far all threads are.
struct Progress {
    bar: OnlyBar,
    done: AtomicU64,
    /// True once a thread has failed.
    is_over: AtomicBool,
}

/// The work of a thread.
struct Transfer<'a> {
    import: &'a Import<'a>,
    v1: V1<'a>,
    progress: &'a Progress,
    /// For the history of aliases.
    reason: String,
    report: Report,
    /// The models that are or were created; the others are left out.
    models: HashMap<String, Present>,
}

impl<'a> Transfer<'a> {
    fn new(import: &'a Import<'a>, progress: &'a Progress) -> Self {
        let reason = format!("imported from {}", import.server.url());
        let (v1, report, models) = (import.client.v1(""), Report::default(), HashMap::new());
        Self { import, v1, progress, reason, report, models }
    }

    fn run(
        mut self,
        part: &Part<'_>,
        catalog: &Catalog,
        deleted: &BTreeSet<String>,
    ) -> Result<Report, Failure> {
        let ran = self.run_all(part, catalog, deleted);
        if ran.is_err() {
            self.progress.is_over.store(true, Ordering::Relaxed);
        }
        ran.map(|()| self.report)
    }

    fn run_all(
        &mut self,
        part: &Part<'_>,
        catalog: &Catalog,
        deleted: &BTreeSet<String>,
    ) -> Result<(), Failure> {
        for model in &part.models {
            self.go_on()?;
            let is_deleted = deleted.contains(&model.name);
            self.model(model, is_deleted).map_err(resumable)?;
        }
        for version in &part.versions {
            self.go_on()?;
            self.version(version, catalog.production(&version.model))?;
            self.progress.bar.set(self.progress.done.fetch_add(1, Ordering::Relaxed) + 1);
        }
        for model in &part.models {
            self.go_on()?;
            self.aliases(model, catalog.production(&model.name)).map_err(resumable)?;
        }
        Ok(())
    }

    fn go_on(&self) -> Result<(), Failure> {
        if self.import.interrupt.requested() || self.progress.is_over.load(Ordering::Relaxed) {
            return Err(super::interrupted());
        }
        Ok(())
    }

    /// Creates a model, if there is none of its name.
    fn model(&mut self, model: &MlflowModel, is_deleted: bool) -> Result<(), ClientError> {
        let subject = (model.name.as_str(), None);
        if let Err(refusal) = check_name("name", &model.name) {
            self.report.add(subject, What::Model, Outcome::LeftOut, refusal.to_string());
            return Ok(());
        }
        if let Some(present) = Present::find(&self.v1, &model.name)? {
            if present.is_prompt != model.is_prompt() {
                let (here, there) =
                    if present.is_prompt { ("a prompt", "a model") } else { ("a model", "a prompt") };
                let reason = format!("it is {here} here and {there} in MLflow; rename one of them");
                self.report.add(subject, What::Model, Outcome::LeftOut, reason);
                return Ok(());
            }
            self.report.present(What::Model);
            self.models.insert(model.name.clone(), present);
            return Ok(());
        }
        if is_deleted {
            let reason = "it was deleted here; `registry model restore` brings it back";
            self.report.add(subject, What::Model, Outcome::Kept, reason);
            return Ok(());
        }
        let mut body = json!({ "name": model.name, "tags": model.tags });
        set(&mut body, "description", model.description.as_deref());
        set_times(&mut body, model.created_at, model.updated_at);
        if !self.import.is_dry_run
            && let Some(refusal) = refused(self.v1.create_model(&body))?
        {
            self.report.add(subject, What::Model, Outcome::LeftOut, refusal);
            return Ok(());
        }
        self.report.imported(What::Model);
        self.models.insert(model.name.clone(), Present { is_new: true, ..Present::default() });
        Ok(())
    }

    /// Registers a version, if there is none with its number. One for production goes to staging until all are there.
    fn version(&mut self, version: &MlflowVersion, production: Option<i64>) -> Result<(), Failure> {
        let MlflowVersion { model, number, .. } = version;
        let subject = (model.as_str(), Some(*number));
        let Some(present) = self.models.get(model) else { return Ok(()) };
        if present.deleted.contains(number) {
            let reason = "it was deleted here; `registry restore` brings it back";
            self.report.add(subject, What::Version, Outcome::Kept, reason);
            return Ok(());
        }
        match present.versions.get(number) {
            Some(present)
                if present.source.as_deref() == Some(version.source.trim())
                    && present.run_id == version.run_id =>
            {
                let is_stored = present.is_stored;
                self.report.present(What::Version);
                self.present_files(version, is_stored);
            }
            Some(PresentVersion { source, .. }) => {
                let source = source.as_deref().unwrap_or_default();
                let reason = format!("version {number} is another one here, with the source {source:?}");
                self.report.add(subject, What::Version, Outcome::Kept, reason);
                return Ok(());
            }
            None => {
                if let Some(refusal) = self.register(version)? {
                    self.report.add(subject, What::Version, Outcome::LeftOut, refusal);
                    return Ok(());
                }
                self.report.imported(What::Version);
            }
        }
        if version.status == Some(Status::Production)
            && let Some(winner) = production.filter(|winner| winner != number)
        {
            let reason = format!("it goes to staging, since version {winner} is in production too");
            self.report.add(subject, What::Production, Outcome::Changed, reason);
        }
        if version.status.is_none() {
            let reason = "it becomes experimental, since its stage is none of MLflow's";
            self.report.add(subject, What::Version, Outcome::Changed, reason);
        }
        Ok(())
    }

    /// Registers a version, and returns why it is refused, if it is.
    fn register(&mut self, version: &MlflowVersion) -> Result<Option<String>, Failure> {
        let (location, copied) = self.location_and_files(version)?;
        if !self.import.is_dry_run {
            let body = registration(version, location, copied.as_ref());
            let refusal = refused(self.v1.register(&version.model, &body)).map_err(resumable)?;
            if refusal.is_some() {
                return Ok(refusal);
            }
        }
        if let Some(copied) = &copied {
            self.report.copied(copied.size_bytes);
        }
        if let Some(present) = self.models.get_mut(&version.model) {
            let found = PresentVersion {
                source: Some(version.source.clone()),
                run_id: version.run_id.clone(),
                is_stored: copied.is_some(),
            };
            present.versions.insert(version.number, found);
        }
        Ok(None)
    }

    /// Returns where the files of a copy are, which its source does not say, and the files, if they are copied.
    fn location_and_files(
        &mut self,
        version: &MlflowVersion,
    ) -> Result<(Option<String>, Option<Copied>), Failure> {
        let is_needed = !self.import.is_dry_run || self.import.files.is_some();
        let location = match version.source.starts_with("models:/") && is_needed {
            true => Some(self.import.server.download_uri(&version.model, version.number)?),
            false => None,
        };
        let Some(files) = self.import.files.as_ref().filter(|_| !version.is_prompt()) else {
            return Ok((location, None));
        };
        match files.copy(version, location.as_deref().unwrap_or(&version.source)) {
            Ok(copied) => Ok((location, Some(copied))),
            Err(CopyError::Impossible(why)) => {
                let subject = (version.model.as_str(), Some(version.number));
                self.report.add(subject, What::Files, Outcome::LeftOut, why);
                Ok((location, None))
            }
            Err(CopyError::Ended(failure)) if self.import.interrupt.requested() => Err(failure),
            Err(CopyError::Ended(failure)) => Err(failure.followed_by(GO_ON)),
        }
    }

    /// Reports the files of a version that is here already.
    fn present_files(&mut self, version: &MlflowVersion, is_stored: bool) {
        if self.import.files.is_none() || version.is_prompt() {
            return;
        }
        if is_stored {
            return self.report.present(What::Files);
        }
        let reason = "they stay where they are, since the version is here already without files";
        self.report.add((&version.model, Some(version.number)), What::Files, Outcome::Kept, reason);
    }

    /// Sets the aliases that were never set here, and puts a version into production if none ever was.
    fn aliases(&mut self, model: &MlflowModel, production: Option<i64>) -> Result<(), ClientError> {
        let mut aliases: BTreeMap<&str, i64> =
            model.aliases.iter().map(|(alias, number)| (alias.as_str(), *number)).collect();
        aliases.extend(production.map(|number| (PRODUCTION_ALIAS, number)));
        for (alias, number) in aliases {
            self.alias(&model.name, alias, number)?;
        }
        Ok(())
    }

    fn alias(&mut self, name: &str, alias: &str, number: i64) -> Result<(), ClientError> {
        let Some(present) = self.models.get(name) else { return Ok(()) };
        let what = if alias == PRODUCTION_ALIAS { What::Production } else { What::Alias };
        let subject = (name, Some(number));
        if let Err(refusal) = check_alias(alias) {
            self.report.add(subject, what, Outcome::LeftOut, refusal.to_string());
            return Ok(());
        }
        match present.aliases.get(alias) {
            Some(held) if *held == number => self.report.present(what),
            Some(held) => {
                let reason = format!("{alias} is version {held} here; `registry alias set` moves it");
                self.report.add(subject, what, Outcome::Kept, reason);
            }
            None if !present.versions.contains_key(&number) => {
                let reason = format!("{alias} is version {number} in MLflow, which is not here");
                self.report.add(subject, what, Outcome::LeftOut, reason);
            }
            None if !present.is_new && was_ever_set(&self.v1, name, alias)? => {
                let reason = format!("{alias} was removed here; `registry alias set` sets it");
                self.report.add(subject, what, Outcome::Kept, reason);
            }
            None if self.import.is_dry_run => self.report.imported(what),
            None => {
                let set = self.v1.set_alias(name, alias, number, Expected::None, Some(&self.reason));
                match refused(set)? {
                    None => self.report.imported(what),
                    Some(refusal) => {
                        let reason = format!("{alias} could not be set: {refusal}");
                        self.report.add(subject, what, Outcome::LeftOut, reason);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Returns why the registry refuses something, which other parts of the import survive.
///
/// # Errors
/// Anything that ends the import.
fn refused<T>(outcome: Result<T, ClientError>) -> Result<Option<String>, ClientError> {
    match outcome {
        Ok(_) => Ok(None),
        Err(
            ClientError::Conflict { detail }
            | ClientError::Refused { detail, .. }
            | ClientError::NotFound { detail },
        ) => Ok(Some(detail)),
        Err(error) => Err(error),
    }
}

/// Returns the failure that ends an import in the middle.
fn resumable(error: ClientError) -> Failure {
    Failure::from(error).followed_by(GO_ON)
}
