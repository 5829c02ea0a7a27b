//! A change of a version, and which of its fields an immutable version accepts.

use crate::{
    digest::{Digest, Measurement},
    draft::{Architecture, FileRecord, Provenance},
    json::{Object, Value},
    limits::check_tags,
    manifest::refresh_digest,
    refusal::Refusal,
    status::Status,
    suites, tags,
    version::Version,
};

/// Fields that may change on a production or frozen version.
const MUTABLE_FIELDS: [&str; 8] =
    ["status", "frozen", "training_step", "training_loss", "dataset", "description", "tags", "metrics"];

/// Fields that identify the files of a version. They never change on one with a manifest, or one that was in production.
const FILE_FIELDS: [&str; 7] = [
    "artifact_uri",
    "local_checkpoint_path",
    "checkpoint_sha256",
    "checkpoint_size_bytes",
    "local_config_path",
    "config_sha256",
    "config_size_bytes",
];

/// The fields to change; a field that is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs, reason = "named as in `Version`")]
pub struct Patch {
    pub status: Option<Status>,
    pub artifact_uri: Option<String>,
    pub checkpoint: FileRecord,
    pub config: FileRecord,
    pub provenance: Provenance,
    pub frozen: Option<bool>,
    pub architecture: Architecture,
    pub params: Option<i64>,
    pub training_step: Option<i64>,
    pub training_loss: Option<f64>,
    pub dataset: Option<String>,
    /// `Some(None)` removes it.
    pub description: Option<Option<String>>,
    pub tags: Option<Vec<String>>,
    pub metrics: Option<Object>,
}

impl Patch {
    /// Refuses values that no version may have.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for a blank URI or path, or too many tags.
    pub fn check(mut self) -> Result<Self, Refusal> {
        for (field, text) in [
            ("artifact_uri", &mut self.artifact_uri),
            ("checkpoint_path", &mut self.checkpoint.path),
            ("config_path", &mut self.config.path),
        ] {
            let Some(text) = text else { continue };
            if text.trim().is_empty() {
                return Err(Refusal::Invalid(format!(
                    "{field} is blank; leave it out to keep what is registered"
                )));
            }
            if field == "artifact_uri" {
                *text = text.trim().to_owned();
            }
        }
        check_tags(self.tags.as_deref().unwrap_or_default())?;
        Ok(self)
    }

    /// Adds the digests and sizes that reading the files at the given paths yielded.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if a file differs from what the patch claims.
    pub fn measured(
        &mut self,
        checkpoint: Option<&Measurement>,
        config: Option<&Measurement>,
    ) -> Result<(), Refusal> {
        if let Some(measurement) = checkpoint {
            self.checkpoint.measured("checkpoint", measurement)?;
        }
        if let Some(measurement) = config {
            self.config.measured("config", measurement)?;
        }
        Ok(())
    }

    /// Returns the names of the given fields, in the order of the audit trail.
    #[must_use]
    pub fn updated_fields(&self) -> Vec<&'static str> {
        let file = |record: &FileRecord| {
            // A new path replaces digest and size, even if the file is too large to have a digest.
            let moved = record.path.is_some();
            [moved, moved || record.sha256.is_some(), moved || record.size_bytes.is_some()]
        };
        let [checkpoint_path, checkpoint_sha256, checkpoint_size] = file(&self.checkpoint);
        let [config_path, config_sha256, config_size] = file(&self.config);
        [
            ("status", self.status.is_some()),
            ("artifact_uri", self.artifact_uri.is_some()),
            ("local_checkpoint_path", checkpoint_path),
            ("checkpoint_sha256", checkpoint_sha256),
            ("checkpoint_size_bytes", checkpoint_size),
            ("local_config_path", config_path),
            ("config_sha256", config_sha256),
            ("config_size_bytes", config_size),
            ("run_id", self.provenance.run_id.is_some()),
            ("git_commit", self.provenance.git_commit.is_some()),
            ("created_by", self.provenance.created_by.is_some()),
            ("source_host", self.provenance.source_host.is_some()),
            ("frozen", self.frozen.is_some()),
            ("d_model", self.architecture.d_model.is_some()),
            ("n_layers", self.architecture.n_layers.is_some()),
            ("n_heads", self.architecture.n_heads.is_some()),
            ("vocab_size", self.architecture.vocab_size.is_some()),
            ("params", self.params.is_some()),
            ("training_step", self.training_step.is_some()),
            ("training_loss", self.training_loss.is_some()),
            ("dataset", self.dataset.is_some()),
            ("description", self.description.is_some()),
            ("tags", self.tags.is_some()),
            ("metrics", self.metrics.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect()
    }

    /// Checks that this patch may be applied to `version`.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] if the patch would unfreeze a frozen version, change an immutable field or the files of a
    /// manifest, or leave too many tags.
    pub fn check_allowed<S: AsRef<str>>(&self, version: &Version<S>) -> Result<(), Refusal> {
        if version.frozen && self.frozen == Some(false) {
            return Err(Refusal::Conflict(
                "a frozen version stays frozen; register a new version instead".to_owned(),
            ));
        }
        if let (Some(tags), Some(properties)) = (&self.tags, &version.properties) {
            tags::check_room(properties.as_ref(), tags)?;
        }
        if version.manifest.is_some() && self.changes_files() {
            return Err(self.files_conflict("the files of this version are immutable"));
        }
        if !version.is_immutable() {
            return Ok(());
        }
        let immutable: Vec<_> =
            self.updated_fields().into_iter().filter(|field| !MUTABLE_FIELDS.contains(field)).collect();
        if immutable.is_empty() {
            return Ok(());
        }
        let why = if version.frozen { "frozen" } else { "in production" };
        Err(Refusal::Conflict(format!(
            "this version is {why}, so {} can't change; register a new version instead",
            immutable.join(", ")
        )))
    }

    /// Returns true if this patch gives a field that identifies the files of a version.
    #[must_use]
    pub fn changes_files(&self) -> bool {
        self.updated_fields().iter().any(|field| FILE_FIELDS.contains(field))
    }

    /// Checks that this patch may be applied to a version that was in production: a rollback may put the same files there again.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] if the patch changes its files.
    pub fn check_files_kept(&self) -> Result<(), Refusal> {
        if self.changes_files() {
            return Err(
                self.files_conflict("this version was in production, and a rollback may return to it")
            );
        }
        Ok(())
    }

    fn files_conflict(&self, why: &str) -> Refusal {
        let fields = self.updated_fields().into_iter();
        let files: Vec<_> = fields.filter(|field| FILE_FIELDS.contains(field)).collect();
        Refusal::Conflict(format!(
            "{why}, so {} can't change; register a new version instead",
            files.join(", ")
        ))
    }

    /// Applies the patch. The caller has checked [`Patch::check_allowed`] and sets `updated_at`.
    pub fn apply(&self, version: &mut Version) {
        fn set<T: Clone>(field: &mut Option<T>, given: &Option<T>) {
            if given.is_some() {
                field.clone_from(given);
            }
        }
        let had_no_path = version.checkpoint_path == version.artifact_uri;
        set(&mut version.artifact_uri, &self.artifact_uri);
        if had_no_path {
            version.checkpoint_path.clone_from(&version.artifact_uri);
        }
        if let Some(status) = self.status {
            version.status = status;
        }
        if let Some(frozen) = self.frozen {
            version.frozen = frozen;
        }
        apply_file(
            &self.checkpoint,
            &mut version.checkpoint_path,
            &mut version.checkpoint_sha256,
            &mut version.checkpoint_size_bytes,
        );
        apply_file(
            &self.config,
            &mut version.config_path,
            &mut version.config_sha256,
            &mut version.config_size_bytes,
        );
        set(&mut version.run_id, &self.provenance.run_id);
        set(&mut version.git_commit, &self.provenance.git_commit);
        set(&mut version.created_by, &self.provenance.created_by);
        set(&mut version.source_host, &self.provenance.source_host);
        set(&mut version.d_model, &self.architecture.d_model);
        set(&mut version.n_layers, &self.architecture.n_layers);
        set(&mut version.n_heads, &self.architecture.n_heads);
        set(&mut version.vocab_size, &self.architecture.vocab_size);
        set(&mut version.params, &self.params);
        set(&mut version.training_step, &self.training_step);
        set(&mut version.training_loss, &self.training_loss);
        set(&mut version.dataset, &self.dataset);
        if let Some(description) = &self.description {
            version.description.clone_from(description);
        }
        if let Some(tags) = &self.tags {
            version.tags = Some(Value::from(tags.clone()).to_string());
            version.properties = tags::without(version.properties.as_deref(), tags);
        }
        if let Some(metrics) = &self.metrics {
            version.metrics = Some(suites::replaced(version.metrics.as_deref(), metrics));
        }
        refresh_digest(version);
    }
}

/// A new path replaces the whole record, because the old digest belongs to another file.
fn apply_file(
    given: &FileRecord,
    path: &mut Option<String>,
    sha256: &mut Option<String>,
    size_bytes: &mut Option<i64>,
) {
    let digest = given.sha256.as_ref().map(Digest::to_string);
    if given.path.is_some() {
        path.clone_from(&given.path);
        *sha256 = digest;
        *size_bytes = given.size_bytes;
        return;
    }
    if digest.is_some() {
        *sha256 = digest;
    }
    if given.size_bytes.is_some() {
        *size_bytes = given.size_bytes;
    }
}

#[cfg(test)]
mod tests;
