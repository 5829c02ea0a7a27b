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
mod tests {
    use super::*;
    use crate::version::{ManifestSummary, tests::sample};

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn path(to: &str) -> FileRecord {
        FileRecord { path: text(to), ..FileRecord::default() }
    }

    /// Returns one patch for each field that may be given, by the name it has in the audit trail.
    fn one_of_each() -> Vec<(&'static str, Patch)> {
        let none = Patch::default;
        let sha256 = Some(Digest::from_bytes([1; 32]));
        let provenance = |provenance| Patch { provenance, ..none() };
        let architecture = |architecture| Patch { architecture, ..none() };
        vec![
            ("status", Patch { status: Some(Status::Staging), ..none() }),
            ("artifact_uri", Patch { artifact_uri: text("s3://x"), ..none() }),
            (
                "checkpoint_sha256",
                Patch { checkpoint: FileRecord { sha256, ..FileRecord::default() }, ..none() },
            ),
            (
                "checkpoint_size_bytes",
                Patch { checkpoint: FileRecord { size_bytes: Some(1), ..FileRecord::default() }, ..none() },
            ),
            ("config_sha256", Patch { config: FileRecord { sha256, ..FileRecord::default() }, ..none() }),
            (
                "config_size_bytes",
                Patch { config: FileRecord { size_bytes: Some(1), ..FileRecord::default() }, ..none() },
            ),
            ("run_id", provenance(Provenance { run_id: text("r"), ..Provenance::default() })),
            ("git_commit", provenance(Provenance { git_commit: text("g"), ..Provenance::default() })),
            ("created_by", provenance(Provenance { created_by: text("c"), ..Provenance::default() })),
            ("source_host", provenance(Provenance { source_host: text("h"), ..Provenance::default() })),
            ("frozen", Patch { frozen: Some(true), ..none() }),
            ("d_model", architecture(Architecture { d_model: Some(1), ..Architecture::default() })),
            ("n_layers", architecture(Architecture { n_layers: Some(1), ..Architecture::default() })),
            ("n_heads", architecture(Architecture { n_heads: Some(1), ..Architecture::default() })),
            ("vocab_size", architecture(Architecture { vocab_size: Some(1), ..Architecture::default() })),
            ("params", Patch { params: Some(1), ..none() }),
            ("training_step", Patch { training_step: Some(1), ..none() }),
            ("training_loss", Patch { training_loss: Some(1.0), ..none() }),
            ("dataset", Patch { dataset: text("d"), ..none() }),
            ("description", Patch { description: Some(text("d")), ..none() }),
            ("tags", Patch { tags: Some(vec![]), ..none() }),
            ("metrics", Patch { metrics: Some(Object::new()), ..none() }),
        ]
    }

    #[test]
    fn immutable_versions_accept_the_mutable_fields_and_nothing_else() {
        let open = sample();
        let frozen = Version { frozen: true, ..sample() };
        let production = Version { status: Status::Production, ..sample() };
        for (field, patch) in one_of_each() {
            assert_eq!(patch.updated_fields(), [field]);
            assert_eq!(patch.check_allowed(&open), Ok(()), "{field}");
            for model in [&frozen, &production] {
                assert_eq!(patch.check_allowed(model).is_ok(), MUTABLE_FIELDS.contains(&field), "{field}");
            }
            let mut changed = open.clone();
            patch.apply(&mut changed);
            assert_ne!(changed, open, "{field} was applied");
        }
    }

    #[test]
    fn the_files_of_a_manifest_are_immutable_and_everything_else_is_as_without_one() {
        let manifest = Some(ManifestSummary { files: 2, total_bytes: 3, is_stored: false });
        let mut version = Version { manifest, digest: text(&"d".repeat(64)), ..sample() };
        for (field, patch) in one_of_each() {
            match patch.check_allowed(&version) {
                Ok(()) => assert!(!FILE_FIELDS.contains(&field), "{field}"),
                Err(refusal) => {
                    assert!(FILE_FIELDS.contains(&field), "{field}");
                    let text = refusal.to_string();
                    assert!(
                        text.contains("files of this version are immutable") && text.contains(field),
                        "{text}"
                    );
                }
            }
        }
        Patch { description: Some(text("d")), ..Patch::default() }.apply(&mut version);
        assert_eq!(version.digest, text(&"d".repeat(64)));
    }

    #[test]
    fn a_version_that_was_in_production_keeps_its_files_and_nothing_else() {
        for (field, patch) in one_of_each() {
            match patch.check_files_kept() {
                Ok(()) => assert!(!FILE_FIELDS.contains(&field), "{field}"),
                Err(refusal) => {
                    let text = refusal.to_string();
                    assert!(FILE_FIELDS.contains(&field) && text.contains(field), "{text}");
                }
            }
        }
    }

    #[test]
    fn the_digest_of_a_version_without_a_manifest_follows_its_files() {
        let mut version = sample();
        assert_eq!(version.digest, None);
        let sha256 = Some(Digest::from_bytes([1; 32]));
        let digest = FileRecord { sha256, ..FileRecord::default() };
        Patch { checkpoint: digest.clone(), ..Patch::default() }.apply(&mut version);
        assert_eq!(version.digest, text(&"01".repeat(32)));
        Patch { config: FileRecord { size_bytes: Some(1), ..FileRecord::default() }, ..Patch::default() }
            .apply(&mut version);
        assert_eq!(version.digest, None, "the configuration has no digest");
        Patch { config: digest, ..Patch::default() }.apply(&mut version);
        assert!(version.digest.is_some_and(|digest| digest != "01".repeat(32)));
    }

    #[test]
    fn an_empty_patch_names_no_field_and_changes_nothing() {
        let mut model = sample();
        assert!(Patch::default().updated_fields().is_empty());
        Patch::default().apply(&mut model);
        assert_eq!(model, sample());
    }

    #[test]
    fn a_frozen_version_cannot_be_unfrozen() {
        let thaw = Patch { frozen: Some(false), ..Patch::default() };
        assert_eq!(thaw.check_allowed(&sample()), Ok(()));
        assert!(thaw.check_allowed(&Version { frozen: true, ..sample() }).is_err());
    }

    #[test]
    fn blank_uris_and_paths_and_too_many_tags_are_refused_and_uris_trimmed() {
        for patch in [
            Patch { tags: Some(vec![String::new(); crate::limits::MAX_TAGS + 1]), ..Patch::default() },
            Patch { artifact_uri: text(" "), ..Patch::default() },
            Patch { checkpoint: path(""), ..Patch::default() },
            Patch { config: path(" \t"), ..Patch::default() },
        ] {
            assert!(matches!(patch.check(), Err(Refusal::Invalid(_))));
        }
        let patch = Patch { artifact_uri: text(" s3://x "), ..Patch::default() }.check().unwrap();
        assert_eq!(patch.artifact_uri, text("s3://x"));
    }

    #[test]
    fn a_new_path_replaces_digest_and_size_even_if_the_file_is_too_large_to_digest() {
        let mut model =
            Version { checkpoint_sha256: text(&"a".repeat(64)), checkpoint_size_bytes: Some(16), ..sample() };
        let mut patch = Patch { checkpoint: path("/data/new"), ..Patch::default() };
        patch.measured(Some(&Measurement { sha256: None, size_bytes: 7 }), None).unwrap();
        let fields = ["local_checkpoint_path", "checkpoint_sha256", "checkpoint_size_bytes"];
        assert_eq!(patch.updated_fields(), fields);
        patch.apply(&mut model);
        assert_eq!(model.checkpoint_path, text("/data/new"));
        assert_eq!((model.checkpoint_sha256, model.checkpoint_size_bytes), (None, Some(7)));
    }

    #[test]
    fn a_tag_that_is_listed_loses_its_value_and_all_tags_together_are_within_the_limit() {
        let mut model = Version { properties: text(r#"{"a":"1","b":"2"}"#), ..sample() };
        let listed = |count: usize| Patch {
            tags: Some((0..count).map(|at| at.to_string()).chain(["b".to_owned()]).collect()),
            ..Patch::default()
        };
        assert_eq!(listed(crate::limits::MAX_TAGS - 2).check_allowed(&model), Ok(()));
        assert!(matches!(
            listed(crate::limits::MAX_TAGS - 1).check_allowed(&model),
            Err(Refusal::Conflict(_))
        ));
        listed(1).apply(&mut model);
        assert_eq!((model.tags, model.properties), (text(r#"["0","b"]"#), text(r#"{"a":"1"}"#)));
    }

    #[test]
    fn a_path_that_repeats_the_uri_changes_with_it() {
        let mut model = sample();
        Patch { artifact_uri: text("s3://x"), ..Patch::default() }.apply(&mut model);
        assert_eq!(model.checkpoint_path, text("s3://x"));
        model.checkpoint_path = text("/data/a");
        Patch { artifact_uri: text("s3://y"), ..Patch::default() }.apply(&mut model);
        assert_eq!(model.checkpoint_path, text("/data/a"));
    }
}
