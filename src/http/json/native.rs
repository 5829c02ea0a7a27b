//! Versions and events in the JSON of 0.2.0.

use serde::Serialize;

use crate::domain::{Event, Version};

use super::ObjectWriter;

/// Writes a version with its fields in the order of the contract.
pub(in crate::http) fn write_model<S: AsRef<str> + Serialize>(
    out: &mut Vec<u8>,
    model: &Version<S>,
    expose_paths: bool,
) {
    let mut object = ObjectWriter::begin(out);
    object.field("id", model.id);
    object.field("name", &model.name);
    object.field("version", &model.label);
    object.field("status", model.status.as_str());
    object.field("artifact_uri", &model.artifact_uri);
    object.field("checkpoint_sha256", &model.checkpoint_sha256);
    object.field("checkpoint_size_bytes", model.checkpoint_size_bytes);
    object.field("config_sha256", &model.config_sha256);
    object.field("config_size_bytes", model.config_size_bytes);
    object.field("run_id", &model.run_id);
    object.field("git_commit", &model.git_commit);
    object.field("created_by", &model.created_by);
    object.field("source_host", &model.source_host);
    object.field("frozen", model.frozen);
    object.field("local_checkpoint_path", model.checkpoint_path.as_ref().filter(|_| expose_paths));
    object.field("local_config_path", model.config_path.as_ref().filter(|_| expose_paths));
    object.field("d_model", model.d_model);
    object.field("n_layers", model.n_layers);
    object.field("n_heads", model.n_heads);
    object.field("vocab_size", model.vocab_size);
    object.field("params", model.params);
    object.field("training_step", model.training_step);
    object.field("training_loss", model.training_loss);
    object.field("dataset", &model.dataset);
    object.field("description", &model.description);
    object.raw("tags", model.tags.as_ref());
    object.raw("metrics", model.metrics.as_ref());
    object.field("created_at", &model.created_at);
    object.field("updated_at", &model.updated_at);
    object.end();
}

/// Writes an event.
pub(in crate::http) fn write_event(out: &mut Vec<u8>, event: &Event<'_>) {
    let mut object = ObjectWriter::begin(out);
    object.field("id", event.id);
    object.field("model_id", event.version_id);
    object.field("event_type", &event.event_type);
    object.raw("payload", Some(&event.payload));
    object.field("actor", &event.actor);
    object.field("created_at", &event.created_at);
    object.end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Draft, Timestamp};

    #[test]
    fn a_number_that_is_not_finite_is_null() {
        let model = Draft::named("m", "1").unwrap().into_version(Timestamp::from_unix_millis(0));
        let mut out = Vec::new();
        write_model(&mut out, &Version { training_loss: Some(f64::INFINITY), ..model }, false);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(r#""training_loss":null"#), "{text}");
    }
}
