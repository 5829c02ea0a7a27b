//! Templates of artifact URIs, such as `s3://models/{name}/{version}/{basename}`.
//!
//! A template is parsed once, so that an unknown field is reported before any work.

use std::{fmt, str::FromStr};

use registry_domain::Digest;

/// The fields of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The model's name.
    Name,
    /// Its version.
    Version,
    /// The step of the checkpoint.
    Step,
    /// The checkpoint's file name.
    Basename,
    /// The checkpoint's digest: 64 lower-case hex digits.
    Sha256,
}

/// The values of the fields. A template can't use an absent one.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "named as in `Field`")]
pub struct Values<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub step: Option<i64>,
    /// Absent if the file's name is not UTF-8.
    pub basename: Option<&'a str>,
    /// Absent if it is not known yet.
    pub sha256: Option<Digest>,
}

/// A URI with fields in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UriTemplate {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

/// Why a template is invalid, or can't be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the fields")]
pub enum TemplateError {
    /// A field that does not exist.
    #[error("{{{field}}} is not a field; use {{name}}, {{version}}, {{step}}, {{basename}} or {{sha256}}")]
    UnknownField { field: String },
    /// A brace without its counterpart.
    #[error("unmatched {brace:?}; write a field like {{step}}, and a brace itself as {{{{ or }}}}")]
    LoneBrace { brace: char },
    /// A blank template.
    #[error("it is blank; give one like s3://models/{{name}}/{{version}}/{{basename}}")]
    Blank,
    /// The checkpoint has no step.
    #[error(
        "the artifact's URI {template} needs a step, and the checkpoint's name has none; give --training-step"
    )]
    NoStep { template: String },
    /// The file's name is not UTF-8, so it can't be part of a URI.
    #[error(
        "the artifact's URI {template} needs the file's name, which is not UTF-8; rename the file, or omit \
         {{basename}}"
    )]
    NoBasename { template: String },
}

impl FromStr for UriTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TemplateError::Blank);
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = if rest[at..].starts_with('{') { '{' } else { '}' };
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push(brace);
                rest = after;
                continue;
            }
            let (true, Some((field, after))) = (brace == '{', rest.split_once('}')) else {
                return Err(TemplateError::LoneBrace { brace });
            };
            let field = match field {
                "name" => Field::Name,
                "version" => Field::Version,
                "step" => Field::Step,
                "basename" => Field::Basename,
                "sha256" => Field::Sha256,
                _ => return Err(TemplateError::UnknownField { field: field.to_owned() }),
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Field(field));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { text: text.to_owned(), parts })
    }
}

/// The text of the template.
impl fmt::Display for UriTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl UriTemplate {
    /// Returns true if the template uses `field`.
    #[must_use]
    pub fn has(&self, field: Field) -> bool {
        self.parts.contains(&Part::Field(field))
    }

    /// Replaces the fields by `values`; `None` if the template uses a digest that is not known yet.
    ///
    /// # Errors
    /// If the template uses another value that is absent.
    pub fn expand(&self, values: &Values<'_>) -> Result<Option<String>, TemplateError> {
        let template = || self.text.clone();
        let mut uri = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => uri.push_str(text),
                Part::Field(Field::Name) => uri.push_str(values.name),
                Part::Field(Field::Version) => uri.push_str(values.version),
                Part::Field(Field::Basename) => {
                    let no_basename = || TemplateError::NoBasename { template: template() };
                    uri.push_str(values.basename.ok_or_else(no_basename)?);
                }
                Part::Field(Field::Step) => {
                    let step = values.step.ok_or_else(|| TemplateError::NoStep { template: template() })?;
                    uri.push_str(&step.to_string());
                }
                Part::Field(Field::Sha256) => match values.sha256 {
                    Some(digest) => uri.push_str(&digest.to_string()),
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(uri))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values<'_> =
        Values { name: "tiny", version: "step-5", step: Some(5), basename: Some("c.pt"), sha256: None };

    fn expanded(template: &str, values: &Values<'_>) -> Result<Option<String>, TemplateError> {
        template.parse::<UriTemplate>()?.expand(values)
    }

    #[test]
    fn fields_are_replaced_and_doubled_braces_are_braces() {
        for (template, expected) in [
            ("s3://b/{name}/{version}/{basename}", "s3://b/tiny/step-5/c.pt"),
            ("s3://b/{step}{step}.pt", "s3://b/55.pt"),
            (" s3://b/m.pt ", "s3://b/m.pt"),
            ("{{{name}}}", "{tiny}"),
            ("a{{}}b", "a{}b"),
            ("{{name}}", "{name}"),
            ("ü/{name}é", "ü/tinyé"),
        ] {
            assert_eq!(expanded(template, &VALUES).unwrap().as_deref(), Some(expected), "{template}");
        }
        let digest = Some(Digest::from_bytes([0xab; 32]));
        assert_eq!(expanded("{sha256}", &Values { sha256: digest, ..VALUES }), Ok(Some("ab".repeat(32))));
    }

    #[test]
    fn an_invalid_template_says_what_is_wrong() {
        for (template, expected) in [
            ("s3://b/{stpe}", "{stpe} is not a field; use {name}, {version}, {step}, {basename} or {sha256}"),
            ("{}", "{} is not a field"),
            ("{ name }", "{ name } is not a field"),
            ("{name:>5}", "{name:>5} is not a field"),
            ("a}b", "unmatched '}'; write a field like {step}, and a brace itself as {{ or }}"),
            ("a{b", "unmatched '{'"),
            ("{", "unmatched '{'"),
            ("{{{", "unmatched '{'"),
            (" ", "it is blank; give one like s3://models/{name}/{version}/{basename}"),
        ] {
            let text = template.parse::<UriTemplate>().unwrap_err().to_string();
            assert!(text.starts_with(expected), "{template}: {text}");
        }
    }

    #[test]
    fn a_template_cannot_use_an_absent_value() {
        let without = Values { step: None, ..VALUES };
        assert_eq!(
            expanded("s3://b/{step}", &without),
            Err(TemplateError::NoStep { template: "s3://b/{step}".to_owned() })
        );
        assert_eq!(expanded("{sha256}", &VALUES), Ok(None));
        assert_eq!(expanded("{name}", &without), Ok(Some("tiny".to_owned())));
    }

    #[test]
    fn a_template_lists_its_fields() {
        let template: UriTemplate = "{name}/{sha256}/{{step}}".parse().unwrap();
        assert!(template.has(Field::Sha256) && !template.has(Field::Step));
        assert_eq!(template.to_string(), "{name}/{sha256}/{{step}}");
    }
}
