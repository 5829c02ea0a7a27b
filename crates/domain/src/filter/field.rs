//! What can be searched and sorted: the fields of versions and of registered models, their types and operators.

use super::scanner::{FilterError, Scanner, quoted};
use crate::text_enum::text_enum;

/// What a filter selects, which decides the fields it may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Versions of all models, or of one.
    Versions,
    /// Registered models.
    Models,
}

text_enum! {
    /// A field with a fixed name.
    #[allow(missing_docs, reason = "the fields of a version")]
    Attribute {
        /// The model's name.
        Name = "name",
        Label = "label",
        Number = "number",
        Status = "status",
        /// Any alias that points to the version, including `production`, which is the status.
        Alias = "alias",
        ArtifactUri = "artifact_uri",
        /// The digest of the checkpoint or of any file.
        Sha256 = "sha256",
        SizeBytes = "size_bytes",
        RunId = "run_id",
        GitCommit = "git_commit",
        CreatedBy = "created_by",
        SourceHost = "source_host",
        Frozen = "frozen",
        DModel = "d_model",
        NLayers = "n_layers",
        NHeads = "n_heads",
        VocabSize = "vocab_size",
        Params = "params",
        TrainingStep = "training_step",
        TrainingLoss = "training_loss",
        Dataset = "dataset",
        Description = "description",
        CreatedAt = "created_at",
        UpdatedAt = "updated_at",
    }
}

/// The type of a field, which decides its operators and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// Any text.
    Text,
    /// A signed 64-bit integer.
    Integer,
    /// A finite double.
    Number,
    /// True or false.
    Flag,
    /// A time, in milliseconds.
    Time,
    /// The text of a [`Status`](crate::Status).
    Status,
    /// A SHA-256 digest as 64 lower-case hex digits.
    Digest,
}

/// A field of a version or of a registered model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Field {
    /// A field with a fixed name.
    Attribute(Attribute),
    /// The value of the tag with this key.
    Tag(String),
    /// A score of a version.
    Score {
        /// The suite.
        suite: String,
        /// The metric in the suite.
        metric: String,
    },
}

text_enum! {
    /// An operator as it is written.
    #[allow(missing_docs, reason = "the names are self-explanatory")]
    Operator {
        Equal = "=",
        NotEqual = "!=",
        Less = "<",
        LessOrEqual = "<=",
        Greater = ">",
        GreaterOrEqual = ">=",
        Like = "LIKE",
        NotLike = "NOT LIKE",
        ILike = "ILIKE",
        NotILike = "NOT ILIKE",
        In = "IN",
        NotIn = "NOT IN",
        IsNull = "IS NULL",
        IsNotNull = "IS NOT NULL",
    }
}

impl Attribute {
    /// Returns the type of the field.
    #[must_use]
    pub fn field_type(self) -> FieldType {
        match self {
            Self::Name
            | Self::Label
            | Self::Alias
            | Self::ArtifactUri
            | Self::RunId
            | Self::GitCommit
            | Self::CreatedBy
            | Self::SourceHost
            | Self::Dataset
            | Self::Description => FieldType::Text,
            Self::Number
            | Self::SizeBytes
            | Self::DModel
            | Self::NLayers
            | Self::NHeads
            | Self::VocabSize
            | Self::Params
            | Self::TrainingStep => FieldType::Integer,
            Self::TrainingLoss => FieldType::Number,
            Self::Frozen => FieldType::Flag,
            Self::CreatedAt | Self::UpdatedAt => FieldType::Time,
            Self::Status => FieldType::Status,
            Self::Sha256 => FieldType::Digest,
        }
    }

    fn is_in(self, scope: Scope) -> bool {
        scope == Scope::Versions
            || matches!(self, Self::Name | Self::Description | Self::CreatedAt | Self::UpdatedAt)
    }
}

impl Field {
    /// Returns the type of the field.
    #[must_use]
    pub fn field_type(&self) -> FieldType {
        match self {
            Self::Attribute(attribute) => attribute.field_type(),
            Self::Tag(_) => FieldType::Text,
            Self::Score { .. } => FieldType::Number,
        }
    }

    /// Returns true if a version may have several values of the field. A condition holds if it holds for one of them.
    #[must_use]
    pub fn is_multiple(&self) -> bool {
        matches!(self, Self::Attribute(Attribute::Alias | Attribute::Sha256))
    }

    /// Returns true if a list can be sorted by the field. A description would make cursors too long.
    pub(super) fn is_sortable(&self) -> bool {
        !self.is_multiple() && *self != Self::Attribute(Attribute::Description)
    }

    /// Returns true if the operator fits the field. If there may be several values, `a != 'x'` could mean that one or
    /// that all of them differ, so such fields have no negative operators; `NOT a = 'x'` is clear.
    #[must_use]
    pub fn allows(&self, operator: Operator) -> bool {
        let field_type = self.field_type();
        match operator {
            Operator::Equal | Operator::IsNull | Operator::IsNotNull => true,
            Operator::NotEqual => !self.is_multiple(),
            Operator::In => field_type != FieldType::Flag,
            Operator::NotIn => field_type != FieldType::Flag && !self.is_multiple(),
            Operator::Like | Operator::ILike => field_type == FieldType::Text,
            Operator::NotLike | Operator::NotILike => field_type == FieldType::Text && !self.is_multiple(),
            Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
                !self.is_multiple()
                    && !matches!(field_type, FieldType::Flag | FieldType::Status | FieldType::Digest)
            }
        }
    }

    /// Reads a field: names joined by points.
    pub(super) fn scan(scanner: &mut Scanner<'_>, scope: Scope) -> Result<Self, FilterError> {
        let mark = scanner.mark();
        let path = scan_path(scanner)?;
        let mut names = path.as_slice();
        if let [first, rest @ ..] = names
            && first == "attribute"
            && !rest.is_empty()
        {
            names = rest;
        }
        match names {
            [tags, key @ ..] if tags == "tags" || tags == "tag" => {
                if key.is_empty() {
                    return Err(scanner.error_at(mark, format!("expected tags.KEY, found only {tags}")));
                }
                Ok(Self::Tag(key.join(".")))
            }
            [scores, suite, metric] if scores == "scores" && scope == Scope::Versions => {
                Ok(Self::Score { suite: suite.clone(), metric: metric.clone() })
            }
            [scores, rest @ ..] if scores == "scores" && scope == Scope::Versions => {
                let message = format!(
                    "expected scores.SUITE.METRIC, found {} name{} after scores; put a name that contains a \
                     point between backticks",
                    rest.len(),
                    if rest.len() == 1 { "" } else { "s" },
                );
                Err(scanner.error_at(mark, message))
            }
            _ => {
                let name = names.join(".");
                let spelled = match name.as_str() {
                    "source_path" => "artifact_uri",
                    "version_number" => "number",
                    name => name,
                };
                let known = Attribute::parse(spelled).filter(|attribute| attribute.is_in(scope));
                known.map(Self::Attribute).ok_or_else(|| {
                    let fields = known_fields(scope);
                    let message = format!("unknown field {}; expected one of {fields}", quoted(&name));
                    scanner.error_at(mark, message)
                })
            }
        }
    }
}

/// Reads names joined by points; at least one.
fn scan_path(scanner: &mut Scanner<'_>) -> Result<Vec<String>, FilterError> {
    let mut names = Vec::new();
    loop {
        let Some(name) = scanner.name()? else {
            let what = if names.is_empty() { "a field" } else { "a name (or one between backticks)" };
            return Err(scanner.expected(what));
        };
        names.push(name);
        if !scanner.symbol(".") {
            return Ok(names);
        }
    }
}

fn known_fields(scope: Scope) -> String {
    let attributes = Attribute::ALL.into_iter().filter(|attribute| attribute.is_in(scope));
    let scores = (scope == Scope::Versions).then_some("scores.SUITE.METRIC");
    let names = attributes.map(Attribute::as_str).chain(["tags.KEY"]).chain(scores);
    names.collect::<Vec<_>>().join(", ")
}
