//! The values of a version that a webhook's filter is about.

use crate::{
    files::VersionFile,
    filter::{Attribute, Field, Value},
    scores::score,
    tags::Tags,
    timestamp::Timestamp,
    version::Version,
};

/// Returns the values of a field of a version, without aliases, which are not in its row.
pub(super) fn of(version: &Version, field: &Field) -> Vec<Value> {
    let text = |text: &Option<String>| text.clone().map(Value::Text);
    let integer = |number: Option<i64>| number.map(Value::Integer);
    let time = |text: &str| Timestamp::parse(text).map(Value::Time);
    let value = match field {
        Field::Tag(key) => Tags::of(version).get(key).map(|value| Value::Text(value.to_owned())),
        Field::Score { suite, metric } => score(version.metrics.as_deref(), suite, metric).map(Value::Number),
        Field::Attribute(attribute) => match attribute {
            Attribute::Name => Some(Value::Text(version.name.clone())),
            Attribute::Label => Some(Value::Text(version.label.clone())),
            Attribute::Number => integer(Some(version.number)),
            Attribute::Status => Some(Value::Text(version.status.as_str().to_owned())),
            Attribute::Alias => None,
            Attribute::ArtifactUri => text(&version.artifact_uri),
            Attribute::Sha256 => {
                let digests = VersionFile::of(version).into_iter().filter_map(|file| file.sha256);
                return digests.map(Value::Text).collect();
            }
            Attribute::SizeBytes => integer(version.checkpoint_size_bytes),
            Attribute::RunId => text(&version.run_id),
            Attribute::GitCommit => text(&version.git_commit),
            Attribute::CreatedBy => text(&version.created_by),
            Attribute::SourceHost => text(&version.source_host),
            Attribute::Frozen => Some(Value::Flag(version.frozen)),
            Attribute::DModel => integer(version.d_model),
            Attribute::NLayers => integer(version.n_layers),
            Attribute::NHeads => integer(version.n_heads),
            Attribute::VocabSize => integer(version.vocab_size),
            Attribute::Params => integer(version.params),
            Attribute::TrainingStep => integer(version.training_step),
            Attribute::TrainingLoss => version.training_loss.map(Value::Number),
            Attribute::Dataset => text(&version.dataset),
            Attribute::Description => text(&version.description),
            Attribute::CreatedAt => time(&version.created_at),
            Attribute::UpdatedAt => time(&version.updated_at),
        },
    };
    value.into_iter().collect()
}
