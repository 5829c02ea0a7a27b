//! The types of expressions, and what the variables look like.

/// The type of a value, as far as it is known before an evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Type {
    /// Anything; only an evaluation tells.
    Any,
    Null,
    Bool,
    Int,
    Double,
    Text,
    Time,
    Duration,
    List(&'static Type),
    /// Keys are texts.
    Map(&'static Type),
    Object(&'static Shape),
}

/// An object with fixed fields. A field without a value is null.
#[derive(Debug)]
pub(super) struct Shape {
    /// With an article.
    pub(super) name: &'static str,
    pub(super) fields: &'static [(&'static str, Type)],
}

impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Shape {
    pub(super) fn field(&self, name: &str) -> Option<Type> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, kind)| *kind)
    }
}

impl Type {
    /// Describes a value of this type, with an article.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Any => "any value",
            Self::Null => "null",
            Self::Bool => "true or false",
            Self::Int => "an integer",
            Self::Double => "a number",
            Self::Text => "a text",
            Self::Time => "a time",
            Self::Duration => "a duration",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Object(shape) => shape.name,
        }
    }

    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Double)
    }

    /// Returns true if a value of this type may be one of `other`.
    pub(super) fn may_be(self, other: Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::List(a), Self::List(b)) | (Self::Map(a), Self::Map(b)) => a.may_be(*b),
            (a, b) => a == b,
        }
    }

    /// Returns true if values of both types can be equal. Anything may be null.
    pub(super) fn may_equal(self, other: Self) -> bool {
        match (self, other) {
            (Self::Null, _) | (_, Self::Null) => true,
            (Self::List(a), Self::List(b)) | (Self::Map(a), Self::Map(b)) => a.may_equal(*b),
            (a, b) => a.may_be(b) || (a.is_number() && b.is_number()),
        }
    }

    /// Returns the type of a list of values of this type.
    pub(super) fn list(self) -> Self {
        Self::List(match self {
            Self::Bool => &Self::Bool,
            Self::Int => &Self::Int,
            Self::Double => &Self::Double,
            Self::Text => &Self::Text,
            Self::Time => &Self::Time,
            Self::Duration => &Self::Duration,
            Self::Object(shape) => VARIABLE_SHAPES
                .iter()
                .find(|kind| matches!(kind, Self::Object(known) if *known == shape))
                .unwrap_or(&Self::Any),
            _ => &Self::Any,
        })
    }

    /// Returns the type of a map with values of this type.
    pub(super) fn map(self) -> Self {
        match self.list() {
            Self::List(element) => Self::Map(element),
            other => other,
        }
    }
}

static FILE: Shape = Shape {
    name: "a file",
    fields: &[("path", Type::Text), ("size", Type::Int), ("sha256", Type::Text), ("role", Type::Text)],
};
static HELD_ALIAS: Shape = Shape { name: "an alias", fields: &[("name", Type::Text), ("since", Type::Time)] };
static APPROVAL: Shape = Shape {
    name: "an approval",
    fields: &[("actor", Type::Text), ("at", Type::Time), ("comment", Type::Text)],
};
static ACTOR: Shape = Shape {
    name: "an actor",
    fields: &[("name", Type::Text), ("kind", Type::Text), ("scopes", Type::List(&Type::Text))],
};
static SCAN: Shape = Shape { name: "a scan", fields: &[("status", Type::Text)] };
static VERSION: Shape = Shape {
    name: "a version",
    fields: &[
        ("id", Type::Int),
        ("name", Type::Text),
        ("number", Type::Int),
        ("label", Type::Text),
        ("status", Type::Text),
        ("description", Type::Text),
        ("tags", Type::Map(&Type::Text)),
        ("scores", Type::Map(&Type::Map(&Type::Any))),
        ("files", Type::List(&Type::Object(&FILE))),
        ("total_bytes", Type::Int),
        ("digest", Type::Text),
        ("artifact_uri", Type::Text),
        ("sha256", Type::Text),
        ("size_bytes", Type::Int),
        ("config_sha256", Type::Text),
        ("config_size_bytes", Type::Int),
        ("run_id", Type::Text),
        ("git_commit", Type::Text),
        ("created_by", Type::Text),
        ("source_host", Type::Text),
        ("registered_by", Type::Text),
        ("registered_at", Type::Time),
        ("frozen", Type::Bool),
        ("d_model", Type::Int),
        ("n_layers", Type::Int),
        ("n_heads", Type::Int),
        ("vocab_size", Type::Int),
        ("params", Type::Int),
        ("training_step", Type::Int),
        ("training_loss", Type::Double),
        ("dataset", Type::Text),
        ("aliases", Type::List(&Type::Object(&HELD_ALIAS))),
        ("created_at", Type::Time),
        ("updated_at", Type::Time),
        ("signatures", Type::List(&Type::Map(&Type::Any))),
        ("scan", Type::Object(&SCAN)),
    ],
};

static VARIABLE_SHAPES: [Type; 6] = [
    Type::Object(&FILE),
    Type::Object(&HELD_ALIAS),
    Type::Object(&APPROVAL),
    Type::Object(&ACTOR),
    Type::Object(&SCAN),
    Type::Object(&VERSION),
];

/// The variables of a condition.
pub(super) static VARIABLES: [(&str, Type); 7] = [
    ("candidate", Type::Object(&VERSION)),
    ("current", Type::Object(&VERSION)),
    ("approvals", Type::List(&Type::Object(&APPROVAL))),
    ("actor", Type::Object(&ACTOR)),
    ("now", Type::Time),
    ("target", Type::Text),
    ("reason", Type::Text),
];

/// Returns the type of a variable.
pub(super) fn variable(name: &str) -> Option<Type> {
    VARIABLES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

/// Returns a hint for a name that is none of `known`: the most similar one, or all of a few.
pub(super) fn suggestion<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    const LISTED: usize = 12;
    let known: Vec<_> = known.collect();
    let nearest = known.iter().map(|other| (distance(name, other), *other)).min();
    match nearest {
        Some((distance, nearest)) if distance <= 1 + nearest.len() / 4 => {
            format!("; did you mean {nearest:?}?")
        }
        _ if known.is_empty() => "; it is empty".to_owned(),
        _ => {
            let listed: Vec<_> = known.iter().take(LISTED).map(|name| format!("{name:?}")).collect();
            let more = if known.len() > LISTED { " …" } else { "" };
            format!("; there is {}{more}", listed.join(", "))
        }
    }
}

/// Returns how many letters differ between two names, as edits, of the first 64 letters.
fn distance(a: &str, b: &str) -> usize {
    const COMPARED: usize = 64;
    let [a, b]: [Vec<char>; 2] =
        [a, b].map(|name| name.chars().flat_map(char::to_lowercase).take(COMPARED).collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, right) in b.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or_default();
            let before = row.get(j).copied().unwrap_or_default();
            let least = (diagonal + usize::from(left != right)).min(above + 1).min(before + 1);
            diagonal = above;
            if let Some(cell) = row.get_mut(j + 1) {
                *cell = least;
            }
        }
    }
    row.last().copied().unwrap_or_default()
}
