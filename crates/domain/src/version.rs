//! A registered version of a model.

use std::borrow::Cow;

use crate::{
    json::{Object, Value},
    model::{ModelKey, PRODUCTION_ALIAS},
    refusal::Refusal,
    status::Status,
    tags::Tags,
};

/// The id of a registered version; never reused.
pub type VersionId = i64;

/// A version that borrows its texts from a row of the store, so that an answer needs no copy of them.
pub type VersionRow<'a> = Version<Cow<'a, str>>;

/// A version in the trash.
#[derive(Debug)]
pub struct DeletedVersion<'a> {
    /// The version as it was.
    pub version: VersionRow<'a>,
    /// When it was deleted.
    pub deleted_at: Cow<'a, str>,
    /// The actor that deleted it.
    pub deleted_by: Option<Cow<'a, str>>,
}

/// What a version keeps of its manifest in its own row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestSummary {
    /// The number of files.
    pub files: i64,
    /// Bytes of all files.
    pub total_bytes: i64,
    /// True if the registry has the bytes in its own store.
    pub is_stored: bool,
}

/// A registered version. `S` is the type of its texts: owned, or borrowed from a row ([`VersionRow`]).
///
/// `tags` and `metrics` are JSON text, ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Version<S = String> {
    /// Never reused, even after a deletion.
    pub id: VersionId,
    /// The model that it belongs to.
    pub model: ModelKey,
    /// 1, 2, 3 … within the model; never reused.
    pub number: i64,
    /// The model's name. Name and label together are unique.
    pub name: S,
    /// The label of the version, any text that is not blank.
    pub label: S,
    /// Its stage.
    pub status: Status,
    /// The location of the artifact. Absent only in rows that an older server wrote.
    pub artifact_uri: Option<S>,
    /// 64 lower-case hex digits.
    pub checkpoint_sha256: Option<S>,
    /// Bytes of the checkpoint.
    pub checkpoint_size_bytes: Option<i64>,
    /// 64 lower-case hex digits.
    pub config_sha256: Option<S>,
    /// Bytes of the configuration.
    pub config_size_bytes: Option<i64>,
    /// The training run that produced it.
    pub run_id: Option<S>,
    /// The commit of the training code.
    pub git_commit: Option<S>,
    /// Who registered it.
    pub created_by: Option<S>,
    /// The host that registered it.
    pub source_host: Option<S>,
    /// True if artifact, provenance and architecture are immutable for good.
    pub frozen: bool,
    /// A path on the server's disk; the artifact's URI if there is none, because the column of 0.2.0 can't be null.
    pub checkpoint_path: Option<S>,
    /// A path on the server's disk.
    pub config_path: Option<S>,
    /// Width of the model.
    pub d_model: Option<i64>,
    /// Layers.
    pub n_layers: Option<i64>,
    /// Attention heads.
    pub n_heads: Option<i64>,
    /// Size of the vocabulary.
    pub vocab_size: Option<i64>,
    /// Number of parameters.
    pub params: Option<i64>,
    /// Step of the checkpoint.
    pub training_step: Option<i64>,
    /// Loss at that step.
    pub training_loss: Option<f64>,
    /// What it was trained on.
    pub dataset: Option<S>,
    /// Free text.
    pub description: Option<S>,
    /// JSON text of a list of texts.
    pub tags: Option<S>,
    /// JSON text of an object, with scores by suite under `suites`.
    pub metrics: Option<S>,
    /// UTC, as [`Timestamp`](crate::Timestamp) writes it.
    pub created_at: S,
    /// UTC; increases with every change of the row.
    pub updated_at: S,
    /// JSON text of an object: the values of tags that have one; see [`Tags`].
    pub properties: Option<S>,
    /// The digest of all its files, 64 lower-case hex digits. Absent if it has no file, or one without a digest.
    pub digest: Option<S>,
    /// What it has of its manifest. Absent if it was registered without one, by its checkpoint and configuration.
    pub manifest: Option<ManifestSummary>,
}

impl<S: AsRef<str>> Version<S> {
    /// Identifies this state of this version: its id and the time of its last change, in printable ASCII without
    /// quotes and commas.
    #[must_use]
    pub fn revision(&self) -> String {
        revision(self.id, self.updated_at.as_ref())
    }

    /// Checks that the version may be deleted. An immutable one needs `force`.
    ///
    /// # Errors
    /// [`Refusal::ForceRequired`].
    pub fn check_deletable(&self, force: bool) -> Result<(), Refusal> {
        if force || !self.is_immutable() {
            return Ok(());
        }
        let state = if self.status == Status::Production { "in production" } else { "frozen" };
        Err(Refusal::ForceRequired { id: self.id, state })
    }

    /// Returns true if artifact, provenance and architecture can't change: in production, and once frozen.
    #[must_use]
    pub fn is_immutable(&self) -> bool {
        self.frozen || self.status == Status::Production
    }
}

/// Returns an id and the time of a change in printable ASCII without quotes and commas.
pub(crate) fn revision(id: i64, updated_at: &str) -> String {
    let mut text = id.to_string();
    text.push('-');
    text.extend(updated_at.chars().map(|c| match c {
        ' ' => 'T',
        c if c.is_ascii_graphic() && !['"', ','].contains(&c) => c,
        _ => '_',
    }));
    text
}

/// Names one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionRef {
    /// The version with this id.
    Id(VersionId),
    /// The version of this model with this label.
    Label(String, String),
    /// The version of this model with this number.
    Number(String, i64),
    /// The version of this model that holds this alias, which may be [`PRODUCTION_ALIAS`].
    Alias(String, String),
    /// The newest version of this model with this revision, in lower case.
    Revision(String, String),
}

impl VersionRef {
    /// Returns the reference to the production version of a model.
    #[must_use]
    pub fn production(name: String) -> Self {
        Self::Alias(name, PRODUCTION_ALIAS.to_owned())
    }

    /// Returns the refusal for a reference that names no version.
    #[must_use]
    pub fn missing(&self) -> Refusal {
        match self {
            Self::Id(id) => Refusal::no_version(*id),
            Self::Label(name, label) => {
                Refusal::NotFound(format!("there is no version {label:?} of {name:?}"))
            }
            Self::Number(name, number) => {
                Refusal::NotFound(format!("there is no version number {number} of {name:?}"))
            }
            Self::Alias(name, alias) if alias == PRODUCTION_ALIAS => {
                Refusal::NotFound(format!("{name:?} has no production version"))
            }
            Self::Alias(name, alias) => {
                Refusal::NotFound(format!("{name:?} has no version with the alias {alias:?}"))
            }
            Self::Revision(name, revision) => {
                Refusal::NotFound(format!("{name:?} has no version with the revision {revision}"))
            }
        }
    }
}

impl Version {
    /// Returns the values of these fields, which are named as in [`Patch::updated_fields`](crate::Patch::updated_fields).
    #[must_use]
    pub fn values(&self, fields: &[&str]) -> Object {
        let json = |text: &Option<String>| {
            text.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
        };
        let value = |field: &str| match field {
            "status" => self.status.as_str().into(),
            "artifact_uri" => self.artifact_uri.as_deref().into(),
            "local_checkpoint_path" => self.checkpoint_path.as_deref().into(),
            "checkpoint_sha256" => self.checkpoint_sha256.as_deref().into(),
            "checkpoint_size_bytes" => self.checkpoint_size_bytes.into(),
            "local_config_path" => self.config_path.as_deref().into(),
            "config_sha256" => self.config_sha256.as_deref().into(),
            "config_size_bytes" => self.config_size_bytes.into(),
            "run_id" => self.run_id.as_deref().into(),
            "git_commit" => self.git_commit.as_deref().into(),
            "created_by" => self.created_by.as_deref().into(),
            "source_host" => self.source_host.as_deref().into(),
            "frozen" => self.frozen.into(),
            "d_model" => self.d_model.into(),
            "n_layers" => self.n_layers.into(),
            "n_heads" => self.n_heads.into(),
            "vocab_size" => self.vocab_size.into(),
            "params" => self.params.into(),
            "training_step" => self.training_step.into(),
            "training_loss" => self.training_loss.into(),
            "dataset" => self.dataset.as_deref().into(),
            "description" => self.description.as_deref().into(),
            // A change of the list may take the value of a tag.
            "tags" => Tags::of(self)
                .by_key()
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.into()))
                .collect::<Object>()
                .into(),
            "metrics" => json(&self.metrics),
            _ => Value::Null,
        };
        fields.iter().map(|field| ((*field).to_owned(), value(field))).collect()
    }
}

impl VersionRow<'_> {
    /// Returns a copy that outlives the row.
    #[must_use]
    pub fn into_owned(self) -> Version {
        let own = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
        Version {
            id: self.id,
            model: self.model,
            number: self.number,
            name: self.name.into_owned(),
            label: self.label.into_owned(),
            status: self.status,
            artifact_uri: own(self.artifact_uri),
            checkpoint_sha256: own(self.checkpoint_sha256),
            checkpoint_size_bytes: self.checkpoint_size_bytes,
            config_sha256: own(self.config_sha256),
            config_size_bytes: self.config_size_bytes,
            run_id: own(self.run_id),
            git_commit: own(self.git_commit),
            created_by: own(self.created_by),
            source_host: own(self.source_host),
            frozen: self.frozen,
            checkpoint_path: own(self.checkpoint_path),
            config_path: own(self.config_path),
            d_model: self.d_model,
            n_layers: self.n_layers,
            n_heads: self.n_heads,
            vocab_size: self.vocab_size,
            params: self.params,
            training_step: self.training_step,
            training_loss: self.training_loss,
            dataset: own(self.dataset),
            description: own(self.description),
            tags: own(self.tags),
            metrics: own(self.metrics),
            created_at: self.created_at.into_owned(),
            updated_at: self.updated_at.into_owned(),
            properties: own(self.properties),
            digest: own(self.digest),
            manifest: self.manifest,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Draft, Timestamp};

    /// Returns a version for tables of cases: `m:1`, experimental, id 1.
    pub(crate) fn sample() -> Version {
        let mut draft = Draft::named("m", "1").unwrap();
        draft.artifact_uri = Some("s3://b/m".to_owned());
        let version = draft.into_version(Timestamp::parse("2026-01-31 13:05:09.250").unwrap());
        Version { id: 1, model: 1, number: 1, ..version }
    }

    #[test]
    fn a_revision_contains_no_quote_and_no_comma() {
        let mut model = sample();
        assert_eq!(model.revision(), "1-2026-01-31T13:05:09.250");
        model.updated_at = "\"née,\n".to_owned();
        assert_eq!(model.revision(), "1-_n_e__");
    }

    #[test]
    fn production_and_frozen_versions_are_immutable() {
        for status in Status::ALL {
            for frozen in [false, true] {
                let model = Version { status, frozen, ..sample() };
                assert_eq!(model.is_immutable(), frozen || status == Status::Production);
                assert_eq!(model.check_deletable(false).is_err(), model.is_immutable());
                assert_eq!(model.check_deletable(true), Ok(()));
            }
        }
    }
}
