//! A registration: a version that has no id yet.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    digest::{Digest, Measurement},
    import::GivenTimes,
    json::{Object, Value, compact},
    limits::{check_name, check_tags},
    manifest::{Manifest, refresh_digest},
    refusal::Refusal,
    status::Status,
    tags,
    timestamp::Timestamp,
    version::Version,
};

/// The record of one file: a checkpoint or a configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FileRecord {
    /// A path on the server's disk, if the server reads the file itself.
    pub path: Option<String>,
    /// Its digest.
    pub sha256: Option<Digest>,
    /// Its size in bytes; never negative.
    pub size_bytes: Option<i64>,
}

impl FileRecord {
    /// Creates the record that a client sends for the file `what` (`checkpoint`, `config`).
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for a malformed digest or a negative size.
    pub fn claimed(
        what: &str,
        path: Option<String>,
        sha256: Option<&str>,
        size_bytes: Option<i64>,
    ) -> Result<Self, Refusal> {
        let sha256 = Digest::parse(&format!("{what}_sha256"), sha256.unwrap_or_default())?;
        if size_bytes.is_some_and(|size| size < 0) {
            return Err(Refusal::Invalid(format!("{what}_size_bytes can't be negative")));
        }
        Ok(Self { path, sha256, size_bytes })
    }

    /// Adds the digest and size that reading the file yielded.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if they differ from what was claimed.
    pub fn measured(&mut self, what: &str, measurement: &Measurement) -> Result<(), Refusal> {
        measurement.confirm(what, self.sha256, self.size_bytes)?;
        self.sha256 = measurement.sha256.or(self.sha256);
        self.size_bytes = Some(measurement.size_for_row());
        Ok(())
    }
}

/// The origin of a version.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs, reason = "named as in `Version`")]
pub struct Provenance {
    pub run_id: Option<String>,
    pub git_commit: Option<String>,
    pub created_by: Option<String>,
    pub source_host: Option<String>,
}

/// The shape of a model, from its configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in `Version`")]
pub struct Architecture {
    pub d_model: Option<i64>,
    pub n_layers: Option<i64>,
    pub n_heads: Option<i64>,
    pub vocab_size: Option<i64>,
}

impl Architecture {
    /// Reads the `architecture` object of a configuration, or its top level if it has none. Values that are not whole
    /// numbers are ignored.
    #[must_use]
    pub fn from_config(config: &Object) -> Self {
        let source = match config.get("architecture") {
            Some(Value::Object(inner)) => inner,
            _ => config,
        };
        Self {
            d_model: whole(source, "d_model"),
            n_layers: whole(source, "n_layers"),
            n_heads: whole(source, "n_heads"),
            vocab_size: whole(source, "vocab_size"),
        }
    }

    /// Reads a Hugging Face transformers configuration by the field names of BERT and LLaMA, or else of GPT-2.
    #[must_use]
    pub fn from_transformers_config(config: &Object) -> Self {
        let either = |name: &str, other: &str| whole(config, name).or_else(|| whole(config, other));
        Self {
            d_model: either("hidden_size", "n_embd"),
            n_layers: either("num_hidden_layers", "n_layer"),
            n_heads: either("num_attention_heads", "n_head"),
            vocab_size: whole(config, "vocab_size"),
        }
    }

    /// Returns `self`, with missing fields taken from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            d_model: self.d_model.or(other.d_model),
            n_layers: self.n_layers.or(other.n_layers),
            n_heads: self.n_heads.or(other.n_heads),
            vocab_size: self.vocab_size.or(other.vocab_size),
        }
    }
}

/// Returns the field `key` of a configuration if it is a whole number.
fn whole(config: &Object, key: &str) -> Option<i64> {
    let number = config.get(key)?.as_number()?;
    number.as_i64().or_else(|| {
        let float = number.as_f64()?;
        // Floats are exact below 2^53, and no dimension of a model is larger.
        (float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0).then_some(float as i64)
    })
}

/// Whether a label that a deleted version had is given out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelReuse {
    /// Always, as 0.2.0 did.
    Allowed,
    /// Only to a version with the same digest.
    ForSameBytes,
}

/// A version to register.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs, reason = "named as in `Version`")]
pub struct Draft {
    pub name: String,
    /// Empty if it becomes the version's number.
    pub label: String,
    pub status: Status,
    pub artifact_uri: Option<String>,
    pub checkpoint: FileRecord,
    pub config: FileRecord,
    pub provenance: Provenance,
    pub frozen: bool,
    pub architecture: Architecture,
    pub params: Option<i64>,
    pub training_step: Option<i64>,
    pub training_loss: Option<f64>,
    pub dataset: Option<String>,
    pub description: Option<String>,
    pub tags: Vec<String>,
    pub metrics: Object,
    /// The tags with a value, which is not empty.
    pub properties: BTreeMap<String, String>,
    /// The number that an import asks for; `None` for the next one.
    pub number: Option<i64>,
    pub times: GivenTimes,
    /// The files; set by [`Draft::set_manifest`].
    pub manifest: Option<Arc<Manifest>>,
    /// True if the registry has the bytes of the manifest in its own store.
    pub is_stored: bool,
}

impl Draft {
    /// Creates a draft with only a name and a version.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if one of them is blank or too long.
    pub fn named(name: impl Into<String>, label: impl Into<String>) -> Result<Self, Refusal> {
        let (name, label) = (name.into(), label.into());
        for (field, text) in [("name", &name), ("version label", &label)] {
            check_name(field, text)?;
        }
        Ok(Self { name, label, ..Self::default() })
    }

    /// Creates a draft whose label becomes the number that it gets.
    ///
    /// # Errors
    /// As [`Draft::named`].
    pub fn unlabelled(name: impl Into<String>) -> Result<Self, Refusal> {
        let name = name.into();
        check_name("name", &name)?;
        Ok(Self { name, ..Self::default() })
    }

    /// Makes these the files of the version, and describes it by those of them that stand for it where only one can.
    pub fn set_manifest(&mut self, manifest: Manifest, is_stored: bool) {
        let checkpoint = manifest.checkpoint();
        self.checkpoint = FileRecord {
            path: None,
            sha256: checkpoint.map(|file| file.sha256),
            size_bytes: checkpoint.map(|file| file.size_bytes).or_else(|| manifest.weights_bytes()),
        };
        let config = manifest.config();
        self.config = FileRecord {
            path: None,
            sha256: config.map(|file| file.sha256),
            size_bytes: config.map(|file| file.size_bytes),
        };
        (self.manifest, self.is_stored) = (Some(Arc::new(manifest)), is_stored);
    }

    /// Refuses values that no version may have.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for too many tags, and for tags with values over their limits.
    pub fn check(self) -> Result<Self, Refusal> {
        check_tags(&self.tags)?;
        tags::check_all(&self.tags, &self.properties)?;
        Ok(self)
    }

    /// Checks that this version has the bytes of all deleted ones with its name and label, which have these digests.
    ///
    /// # Errors
    /// [`Refusal::LabelSpent`] if the digests differ or one is missing.
    pub fn check_same_bytes(&self, spent: &[Option<String>]) -> Result<(), Refusal> {
        let own = self.digest().map(|digest| digest.to_string());
        let differs = |spent: &String| own.as_ref().is_some_and(|own| own != spent);
        if spent.iter().flatten().any(differs) {
            return Err(Refusal::spent(&self.name, &self.label));
        }
        let deleted_lacks_digest = spent.iter().any(Option::is_none);
        if deleted_lacks_digest || own.is_none() && !spent.is_empty() {
            return Err(Refusal::incomparable(&self.name, &self.label, deleted_lacks_digest));
        }
        Ok(())
    }

    /// Returns the digest that tells the bytes of the version from others: the manifest's, or else the checkpoint's.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.manifest.as_ref().map_or(self.checkpoint.sha256, |manifest| Some(manifest.digest()))
    }

    /// Trims the artifact's URI. If there is none, it becomes `sha256:` and the version's digest.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if there is neither.
    pub fn resolve_artifact_uri(&mut self) -> Result<(), Refusal> {
        let given = self.artifact_uri.as_deref().map(str::trim).filter(|uri| !uri.is_empty());
        let uri = match (given, self.digest()) {
            (Some(uri), _) => uri.to_owned(),
            (None, Some(digest)) => format!("sha256:{digest}"),
            (None, None) => {
                return Err(Refusal::Invalid(
                    "artifact_uri is missing, and so is the artifact's SHA-256; give one of them".to_owned(),
                ));
            }
        };
        self.artifact_uri = Some(uri);
        Ok(())
    }

    /// Turns the draft into a version, which the store gives its id, model and number. Empty tags and metrics become `None`.
    #[must_use]
    pub fn into_version(self, now: Timestamp) -> Version {
        let manifest = self.manifest.as_ref();
        let digest = manifest.map(|manifest| manifest.digest().to_string());
        let manifest = manifest.map(|manifest| manifest.summary(self.is_stored));
        let (created_at, updated_at) = self.times.or_now(now);
        let Provenance { run_id, git_commit, created_by, source_host } = self.provenance;
        let mut version = Version {
            id: 0,
            model: 0,
            number: 0,
            name: self.name,
            label: self.label,
            status: self.status,
            checkpoint_sha256: self.checkpoint.sha256.map(|digest| digest.to_string()),
            checkpoint_size_bytes: self.checkpoint.size_bytes,
            config_sha256: self.config.sha256.map(|digest| digest.to_string()),
            config_size_bytes: self.config.size_bytes,
            run_id,
            git_commit,
            created_by,
            source_host,
            frozen: self.frozen,
            checkpoint_path: self.checkpoint.path.or_else(|| self.artifact_uri.clone()),
            artifact_uri: self.artifact_uri,
            config_path: self.config.path,
            d_model: self.architecture.d_model,
            n_layers: self.architecture.n_layers,
            n_heads: self.architecture.n_heads,
            vocab_size: self.architecture.vocab_size,
            params: self.params,
            training_step: self.training_step,
            training_loss: self.training_loss,
            dataset: self.dataset,
            description: self.description,
            tags: (!self.tags.is_empty()).then(|| Value::from(self.tags).to_string()),
            metrics: (!self.metrics.is_empty()).then(|| compact(&self.metrics)),
            created_at: created_at.to_string(),
            updated_at: updated_at.to_string(),
            properties: tags::properties(&self.properties),
            digest,
            manifest,
        };
        refresh_digest(&mut version);
        version
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::read_object;

    #[test]
    fn a_blank_name_or_version_is_refused() {
        for (name, version, field) in [("", "1", "name"), (" \t", "1", "name"), ("m", " ", "version")] {
            let refusal = Draft::named(name, version).unwrap_err();
            assert!(refusal.to_string().starts_with(field), "{refusal}");
        }
        assert!(Draft::named("na me/ü", "v 1").is_ok());
    }

    #[test]
    fn the_artifact_uri_is_given_or_derived_from_the_digest() {
        let hex = "a".repeat(64);
        for (uri, sha256, resolved) in [
            (Some(" s3://b/m "), None, Some("s3://b/m".to_owned())),
            (Some("s3://b/m"), Some(&hex), Some("s3://b/m".to_owned())),
            (Some("  "), Some(&hex), Some(format!("sha256:{hex}"))),
            (None, Some(&hex), Some(format!("sha256:{hex}"))),
            (Some(" "), None, None),
            (None, None, None),
        ] {
            let mut draft = Draft::named("m", "1").unwrap();
            draft.artifact_uri = uri.map(str::to_owned);
            draft.checkpoint =
                FileRecord::claimed("checkpoint", None, sha256.map(String::as_str), None).unwrap();
            assert_eq!(draft.resolve_artifact_uri().is_ok(), resolved.is_some(), "{uri:?}");
            if resolved.is_some() {
                assert_eq!(draft.artifact_uri, resolved);
            }
        }
    }

    #[test]
    fn a_label_is_given_out_again_for_the_same_bytes_only_and_the_error_says_how_to_go_on() {
        let (a, b) = (Digest::from_bytes([1; 32]), Digest::from_bytes([2; 32]));
        for (own, spent, problem) in [
            (None, &[][..], None),
            (Some(a), &[], None),
            (Some(a), &[Some(a)], None),
            (Some(b), &[Some(a)], Some("other bytes and deleted; choose another label")),
            (Some(b), &[None, Some(a)], Some("other bytes and deleted; choose another label")),
            (None, &[Some(a)], Some("so give the SHA-256 of the checkpoint")),
            // A digest would not help.
            (None, &[None], Some("has no SHA-256, so the bytes can't be compared; choose another label")),
            (Some(a), &[None], Some("has no SHA-256, so the bytes can't be compared; choose another label")),
            (None, &[Some(a), None], Some("has no SHA-256, so the bytes can't be compared")),
        ] {
            let mut draft = Draft::named("m", "1").unwrap();
            draft.checkpoint.sha256 = own;
            let deleted: Vec<_> =
                spent.iter().map(|digest| digest.map(|digest| digest.to_string())).collect();
            match (draft.check_same_bytes(&deleted), problem) {
                (Ok(()), None) => {}
                (Err(Refusal::LabelSpent(message)), Some(problem)) => {
                    assert!(message.contains(problem), "{own:?} {spent:?}: {message}");
                }
                (checked, _) => panic!("{own:?} {spent:?}: {checked:?}"),
            }
        }
    }

    #[test]
    fn the_architecture_comes_from_its_object_or_the_top_level() {
        for (config, expected) in [
            (
                r#"{"architecture":{"d_model":64,"n_layers":2,"n_heads":4,"vocab_size":100}}"#,
                [Some(64), Some(2), Some(4), Some(100)],
            ),
            (r#"{"d_model":64,"n_layers":3.0}"#, [Some(64), Some(3), None, None]),
            (r#"{"architecture":"none","d_model":8}"#, [Some(8), None, None, None]),
            (r#"{"architecture":{},"d_model":8}"#, [None; 4]),
            (r#"{"d_model":"64","n_layers":1.5,"n_heads":null,"vocab_size":1e300}"#, [None; 4]),
        ] {
            let read = Architecture::from_config(&read_object(config).unwrap());
            assert_eq!([read.d_model, read.n_layers, read.n_heads, read.vocab_size], expected, "{config}");
        }
        let bert = r#"{"hidden_size":384,"num_hidden_layers":6,"num_attention_heads":12,"vocab_size":30522}"#;
        let gpt2 = r#"{"n_embd":384,"n_layer":6,"n_head":12,"vocab_size":30522}"#;
        for config in [bert, gpt2] {
            let read = Architecture::from_transformers_config(&read_object(config).unwrap());
            let shape = [read.d_model, read.n_layers, read.n_heads, read.vocab_size];
            assert_eq!(shape, [Some(384), Some(6), Some(12), Some(30522)], "{config}");
        }
        let given = Architecture { d_model: Some(1), ..Architecture::default() };
        let config = Architecture { d_model: Some(64), n_layers: Some(3), ..Architecture::default() };
        assert_eq!(given.or(config), Architecture { n_layers: Some(3), ..given });
    }

    #[test]
    fn empty_tags_and_metrics_are_none_and_the_path_falls_back_to_the_uri() {
        let mut draft = Draft::named("m", "1").unwrap();
        draft.artifact_uri = Some("s3://b/m".to_owned());
        let model = draft.clone().into_version(Timestamp::from_unix_millis(0));
        assert_eq!((model.tags.as_deref(), model.metrics.as_deref()), (None, None));
        assert_eq!(model.checkpoint_path.as_deref(), Some("s3://b/m"));

        draft.tags = vec!["тег".to_owned(), "a\"b".to_owned()];
        draft.metrics = read_object(r#"{"x": {"y": [1, 2.50]}}"#).unwrap();
        let model = draft.into_version(Timestamp::from_unix_millis(0));
        assert_eq!(model.tags.as_deref(), Some(r#"["тег","a\"b"]"#));
        assert_eq!(model.metrics.as_deref(), Some(r#"{"x":{"y":[1,2.50]}}"#));
    }

    #[test]
    fn a_file_over_the_limit_keeps_the_digest_that_was_claimed() {
        let claimed = Digest::from_bytes([7; 32]);
        let mut record = FileRecord { sha256: Some(claimed), ..FileRecord::default() };
        record.measured("checkpoint", &Measurement { sha256: None, size_bytes: 6 }).unwrap();
        assert_eq!(record, FileRecord { path: None, sha256: Some(claimed), size_bytes: Some(6) });
    }
}
