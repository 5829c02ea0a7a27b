//! A version of a model as the registry keeps it.

use std::borrow::Cow;

use super::Status;

/// The number of a registered version; never given twice.
pub type ModelId = i64;

/// A version whose texts still lie in the database's page, to be answered without a copy.
pub type ModelRow<'a> = Model<Cow<'a, str>>;

/// A registered version. `S` is how its texts are held: owned, or borrowed from a row ([`ModelRow`]).
///
/// `tags` and `metrics` are JSON text, ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Model<S = String> {
    /// Unique for ever.
    pub id: ModelId,
    /// With `version` unique among the versions that exist.
    pub name: S,
    /// Any text; unique within `name`.
    pub version: S,
    /// Where it stands.
    pub status: Status,
    /// Where the artifact lies. Absent only in rows that an older server wrote.
    pub artifact_uri: Option<S>,
    /// 64 lower-case hex digits.
    pub checkpoint_sha256: Option<S>,
    /// Bytes of the checkpoint.
    pub checkpoint_size_bytes: Option<i64>,
    /// 64 lower-case hex digits.
    pub config_sha256: Option<S>,
    /// Bytes of the configuration.
    pub config_size_bytes: Option<i64>,
    /// The training run it came from.
    pub run_id: Option<S>,
    /// The commit it was trained at.
    pub git_commit: Option<S>,
    /// Who registered it.
    pub created_by: Option<S>,
    /// Where it was registered from.
    pub source_host: Option<S>,
    /// Its artifact, provenance and architecture are settled for good.
    pub frozen: bool,
    /// A path on the server's disk; the artifact's URI where there is none, since 0.2.0's column can't be null.
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
    /// JSON text of an object; scores by suite lie under `suites`.
    pub metrics: Option<S>,
    /// UTC, see [`super::Timestamp`].
    pub created_at: S,
    /// UTC; rises at every change of the row.
    pub updated_at: S,
}

impl<S: AsRef<str>> Model<S> {
    /// What distinguishes this state of this version from every other: the id and the time of the last
    /// change, in characters that an entity tag may hold.
    #[must_use]
    pub fn revision(&self) -> String {
        let mut text = self.id.to_string();
        text.push('-');
        text.extend(self.updated_at.as_ref().chars().map(|c| match c {
            ' ' => 'T',
            c if c.is_ascii_graphic() && !['"', ','].contains(&c) => c,
            _ => '_',
        }));
        text
    }

    /// A version whose artifact, provenance and architecture may no longer change.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.frozen || self.status == Status::Production
    }
}

impl ModelRow<'_> {
    /// The same with texts of its own, to outlive the row.
    #[must_use]
    pub fn into_owned(self) -> Model {
        let own = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
        Model {
            id: self.id,
            name: self.name.into_owned(),
            version: self.version.into_owned(),
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
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Draft, Timestamp};

    /// A version for the tables of this room: `m:1`, experimental, id 1.
    pub(crate) fn sample() -> Model {
        let mut draft = Draft::named("m", "1").unwrap();
        draft.artifact_uri = Some("s3://b/m".to_owned());
        draft.into_model(1, Timestamp::parse("2026-01-31 13:05:09.250").unwrap())
    }

    #[test]
    fn a_revision_can_stand_in_an_entity_tag() {
        let mut model = sample();
        assert_eq!(model.revision(), "1-2026-01-31T13:05:09.250");
        model.updated_at = "\"née,\n".to_owned();
        assert_eq!(model.revision(), "1-_n_e__");
    }

    #[test]
    fn production_and_frozen_versions_are_settled() {
        for status in Status::ALL {
            for frozen in [false, true] {
                let model = Model { status, frozen, ..sample() };
                assert_eq!(model.is_settled(), frozen || status == Status::Production);
            }
        }
    }
}
