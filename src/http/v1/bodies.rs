//! Reads the bodies of registrations and changes of versions.

use std::collections::BTreeMap;

use crate::domain::{
    Architecture, Draft, FileRecord, FileRole, Manifest, ManifestFile, Patch, Provenance, Refusal, Tags,
    import::MAX_GIVEN_NUMBER, tags::TagChanges,
};

use super::super::fields::Fields;

/// Reads a registration of a version of the model `name`. The server reads no files for it, so it takes no paths.
pub(super) fn read_draft(fields: &mut Fields<'_>, name: String) -> Result<Draft, Refusal> {
    // Every field is read before any is checked: an unread field would count as unknown.
    let label: Option<String> = fields.optional("label");
    let files = fields.objects("files", read_file);
    let is_stored = fields.not_null("stored").unwrap_or_default();
    let checkpoint = fields.file("sha256", "size_bytes", true);
    let config = fields.file("config_sha256", "config_size_bytes", true);
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
        checkpoint,
        config,
        tags,
        properties,
        origin: fields.origin(),
        number: fields.integer_in("number", 1, MAX_GIVEN_NUMBER),
        times: fields.given_times(),
        ..Draft::default()
    };
    let named = match label {
        Some(label) => Draft::named(name, label)?,
        None => Draft::unlabelled(name)?,
    };
    checked?;
    let mut draft = Draft { name: named.name, label: named.label, ..draft }.check()?;
    match files {
        Some(_) if draft.checkpoint != FileRecord::default() || draft.config != FileRecord::default() => {
            return Err(Refusal::Invalid(
                "files exclude sha256, size_bytes, config_sha256 and config_size_bytes, which follow from them; leave these out"
                    .to_owned(),
            ));
        }
        Some(files) => draft.set_manifest(Manifest::new(files)?, is_stored),
        None if is_stored => {
            return Err(Refusal::Invalid("stored is about files; list them, or leave it out".to_owned()));
        }
        None => {}
    }
    Ok(draft)
}

fn read_file(fields: &mut Fields<'_>) -> Option<ManifestFile> {
    let (path, size_bytes, sha256) =
        (fields.given::<String>("path"), fields.size("size_bytes"), fields.given("sha256"));
    let role = fields.not_null("role");
    let path = path?;
    Some(ManifestFile {
        role: role.unwrap_or_else(|| FileRole::of_path(&path)),
        path,
        size_bytes: size_bytes?,
        sha256: sha256?,
    })
}

/// Reads a change of a version, and the changes of its tags. No field can be removed, so none is null.
pub(super) fn read_patch(fields: &mut Fields<'_>) -> (Result<Patch, Refusal>, TagChanges) {
    let checkpoint = fields.file("sha256", "size_bytes", false);
    let config = fields.file("config_sha256", "config_size_bytes", false);
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
        description: fields.not_null("description").map(Some),
        metrics: fields.not_null("metrics"),
        checkpoint,
        config,
        ..Patch::default()
    };
    (patch.check(), fields.tags("tags", true))
}
