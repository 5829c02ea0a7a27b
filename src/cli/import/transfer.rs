//! Writes what MLflow has and the registry lacks.
//!
//! Models come first, then versions in order, then aliases and production. What the registry has is never changed: an alias is
//! set only if it was never set before, so a run can be repeated at any time.

use std::{
    collections::{BTreeMap, HashMap},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::{
    report::{Outcome, Report, What},
    source::Catalog,
    target::{Present, deleted_models, was_ever_set},
};
use crate::{
    cli::{exit::Failure, interrupt::Interrupt, progress},
    client::{
        ClientError, Expected, V1,
        mlflow::{MlflowModel, MlflowServer, MlflowVersion},
    },
    domain::{PRODUCTION_ALIAS, Status, Timestamp, json::Object, limits::check_name, model::check_alias},
};

/// An import that runs.
pub(super) struct Transfer<'a> {
    v1: V1<'a>,
    server: &'a MlflowServer,
    is_dry_run: bool,
    interrupt: &'a Interrupt,
    /// For the history of aliases.
    reason: String,
    report: Report,
    /// The models that are or were created; the others are left out.
    models: HashMap<String, Present>,
}

impl<'a> Transfer<'a> {
    pub(super) fn new(
        v1: V1<'a>,
        server: &'a MlflowServer,
        is_dry_run: bool,
        interrupt: &'a Interrupt,
    ) -> Self {
        let reason = format!("imported from {}", server.url());
        let report = Report::new(server.url(), is_dry_run);
        Self { v1, server, is_dry_run, interrupt, reason, report, models: HashMap::new() }
    }

    /// Runs the import.
    ///
    /// # Errors
    /// If MLflow or the registry can't go on; what was written stays, and another run goes on.
    pub(super) fn run(mut self, catalog: &Catalog) -> Result<Report, Failure> {
        let deleted = deleted_models(&self.v1)?;
        for model in &catalog.models {
            self.go_on()?;
            let is_deleted = deleted.contains(&model.name);
            self.model(model, is_deleted).map_err(resumable)?;
        }
        let progress = progress::bar("versions", catalog.versions.len() as u64);
        for (done, version) in catalog.versions.iter().enumerate() {
            self.go_on()?;
            self.version(version, catalog.production(&version.model))?;
            progress.set(done as u64 + 1);
        }
        for model in &catalog.models {
            self.go_on()?;
            self.aliases(model, catalog.production(&model.name)).map_err(resumable)?;
        }
        Ok(self.report)
    }

    fn go_on(&self) -> Result<(), Failure> {
        if self.interrupt.requested() {
            return Err(Failure::interrupted("stopped; run the same command again to go on"));
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
        if !self.is_dry_run
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
            Some((uri, run)) if uri.as_deref() == Some(version.source.trim()) && *run == version.run_id => {
                self.report.present(What::Version);
            }
            Some((uri, _)) => {
                let uri = uri.as_deref().unwrap_or_default();
                let reason = format!("version {number} is another one here, with the source {uri:?}");
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
        if !self.is_dry_run {
            let body = registration(version, self.location(version)?);
            let refusal = refused(self.v1.register(&version.model, &body)).map_err(resumable)?;
            if refusal.is_some() {
                return Ok(refusal);
            }
        }
        if let Some(present) = self.models.get_mut(&version.model) {
            present.versions.insert(version.number, (Some(version.source.clone()), version.run_id.clone()));
        }
        Ok(None)
    }

    /// Returns where the files of a copy are, which its source does not say.
    fn location(&self, version: &MlflowVersion) -> Result<Option<String>, Failure> {
        if !version.source.starts_with("models:/") {
            return Ok(None);
        }
        Ok(Some(self.server.download_uri(&version.model, version.number)?))
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
            None if self.is_dry_run => self.report.imported(what),
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

/// Returns the body that registers a version.
fn registration(version: &MlflowVersion, location: Option<String>) -> Value {
    let status = match version.status.unwrap_or_default() {
        Status::Production => Status::Staging,
        status => status,
    };
    let mut body = json!({
        "label": version.number.to_string(),
        "number": version.number,
        "status": status.as_str(),
        "artifact_uri": version.source,
        "tags": version.tags,
    });
    set(&mut body, "run_id", version.run_id.as_deref());
    set(&mut body, "description", version.description.as_deref());
    let mut origin = json!({});
    set(&mut origin, "run_link", version.run_link.as_deref());
    set(&mut origin, "location", location.as_deref());
    if origin.as_object().is_some_and(|origin| !origin.is_empty()) {
        body["origin"] = origin;
    }
    set_times(&mut body, version.created_at, version.updated_at);
    body
}

fn set(body: &mut Value, field: &str, value: Option<&str>) {
    if let (Some(fields), Some(value)) = (body.as_object_mut(), value) {
        let fields: &mut Object = fields;
        fields.insert(field.to_owned(), value.into());
    }
}

/// Sets the times. One in the future, by this machine's clock, becomes now: MLflow's clock may be ahead.
fn set_times(body: &mut Value, created_at: Option<Timestamp>, updated_at: Option<Timestamp>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = Timestamp::from_unix_millis(i64::try_from(now).unwrap_or(i64::MAX));
    let Some(created_at) = created_at.map(|time| time.min(now)) else { return };
    set(body, "created_at", Some(&created_at.to_rfc3339()));
    let updated_at = updated_at.unwrap_or(created_at).clamp(created_at, now);
    set(body, "updated_at", Some(&updated_at.to_rfc3339()));
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
    Failure::from(error).followed_by("; run the same command again to go on")
}
