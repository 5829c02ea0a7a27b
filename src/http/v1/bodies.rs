//! Reads the bodies of registrations and changes of versions.

use std::collections::BTreeMap;

use crate::domain::{
    Architecture, Digest, Draft, FileRecord, Patch, Provenance, Refusal, Tags, tags::TagChanges,
};

use super::super::body::Fields;

/// Reads a registration of a version of the model `name`. The server reads no files for it, so it takes no paths.
pub(super) fn read_draft(fields: &mut Fields<'_>, name: String) -> Result<Draft, Refusal> {
    // Every field is read before any is checked: an unread field would count as unknown.
    let label: String = fields.required("label");
    let sha256 = fields.optional::<String>("sha256");
    let checkpoint = file("sha256", sha256, "size_bytes", fields.optional("size_bytes"));
    let sha256 = fields.optional::<String>("config_sha256");
    let config = file("config_sha256", sha256, "config_size_bytes", fields.optional("config_size_bytes"));
    let given = fields.tags("tags", false);
    let checked = Tags::default().apply(&given);
    let (mut tags, mut properties) = (Vec::new(), BTreeMap::new());
    for (key, value) in given {
        match value.filter(|value| !value.is_empty()) {
            Some(value) => drop(properties.insert(key, value)),
            None => tags.push(key),
        }
    }
    let draft = Draft {
        status: fields.not_null("status").unwrap_or_default(),
        artifact_uri: fields.optional("artifact_uri"),
        provenance: Provenance {
            run_id: fields.optional("run_id"),
            git_commit: fields.optional("git_commit"),
            created_by: fields.optional("created_by"),
            source_host: fields.optional("source_host"),
        },
        frozen: fields.not_null("frozen").unwrap_or_default(),
        architecture: Architecture {
            d_model: fields.optional("d_model"),
            n_layers: fields.optional("n_layers"),
            n_heads: fields.optional("n_heads"),
            vocab_size: fields.optional("vocab_size"),
        },
        params: fields.optional("params"),
        training_step: fields.optional("training_step"),
        training_loss: fields.optional("training_loss"),
        dataset: fields.optional("dataset"),
        description: fields.optional("description"),
        metrics: fields.optional("metrics").unwrap_or_default(),
        tags,
        properties,
        ..Draft::default()
    };
    // A missing label has no name to check; it is a fault already.
    let named = Draft::named(name, label)?;
    let (name, label) = (named.name, named.label);
    checked?;
    Draft { name, label, checkpoint: checkpoint?, config: config?, ..draft }.check()
}

/// Reads a change of a version, and the changes of its tags. No field can be removed, so none is null.
pub(super) fn read_patch(fields: &mut Fields<'_>) -> (Result<Patch, Refusal>, TagChanges) {
    let sha256 = fields.not_null::<String>("sha256");
    let checkpoint = file("sha256", sha256, "size_bytes", fields.not_null("size_bytes"));
    let sha256 = fields.not_null::<String>("config_sha256");
    let config = file("config_sha256", sha256, "config_size_bytes", fields.not_null("config_size_bytes"));
    let patch = Patch {
        status: fields.not_null("status"),
        artifact_uri: fields.not_null("artifact_uri"),
        provenance: Provenance {
            run_id: fields.not_null("run_id"),
            git_commit: fields.not_null("git_commit"),
            created_by: fields.not_null("created_by"),
            source_host: fields.not_null("source_host"),
        },
        frozen: fields.not_null("frozen"),
        architecture: Architecture {
            d_model: fields.not_null("d_model"),
            n_layers: fields.not_null("n_layers"),
            n_heads: fields.not_null("n_heads"),
            vocab_size: fields.not_null("vocab_size"),
        },
        params: fields.not_null("params"),
        training_step: fields.not_null("training_step"),
        training_loss: fields.not_null("training_loss"),
        dataset: fields.not_null("dataset"),
        description: fields.not_null("description"),
        metrics: fields.not_null("metrics"),
        ..Patch::default()
    };
    let tags = fields.tags("tags", true);
    let read = || Patch { checkpoint: checkpoint?, config: config?, ..patch }.check();
    (read(), tags)
}

fn file(
    sha256_field: &str,
    sha256: Option<String>,
    size_field: &str,
    size_bytes: Option<i64>,
) -> Result<FileRecord, Refusal> {
    if sha256.as_ref().is_some_and(|text| text.trim().is_empty()) {
        return Err(Refusal::Invalid(format!("{sha256_field} is blank; leave it out")));
    }
    let sha256 = Digest::parse(sha256_field, sha256.as_deref().unwrap_or_default())?;
    if size_bytes.is_some_and(|size| size < 0) {
        return Err(Refusal::Invalid(format!("{size_field} can't be negative")));
    }
    Ok(FileRecord { path: None, sha256, size_bytes })
}
