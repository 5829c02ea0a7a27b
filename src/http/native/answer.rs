//! Answers as JSON, written from rows without a tree in between.

use actix_web::{
    HttpResponse,
    http::header::{self, HeaderName},
};

use crate::domain::{Event, Model, ModelId, ModelRow, Page};

use super::{
    super::{
        error::ApiError,
        request::{Call, EntityTags},
        stream::{self, Begun, SMALL_BYTES, Source},
    },
    rows::Versions,
};

const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");
/// The usual size of a version without metrics, so that its buffer need not grow, in bytes.
const MODEL_BYTES: usize = 1024;

/// A version as it is answered, and the revision it has.
pub(super) enum ModelAnswer {
    /// The caller has this revision already.
    NotModified {
        revision: String,
    },
    Body {
        revision: String,
        id: ModelId,
        json: Vec<u8>,
    },
}

impl ModelAnswer {
    pub(super) fn of<S: AsRef<str>>(model: &Model<S>, seen: &EntityTags, expose_paths: bool) -> Self {
        let revision = model.revision();
        if seen.include(&revision) {
            return Self::NotModified { revision };
        }
        let mut json = Vec::with_capacity(MODEL_BYTES);
        write_model(&mut json, model, expose_paths);
        Self::Body { revision, id: model.id, json }
    }

    pub(super) fn into_response(self, call: &Call) -> HttpResponse {
        let tag = |revision: &str| (header::ETAG, format!("\"{revision}\""));
        match self {
            Self::NotModified { revision } => {
                HttpResponse::NotModified().insert_header(tag(&revision)).finish()
            }
            Self::Body { revision, id, json } => {
                let mut response = HttpResponse::Ok();
                response.insert_header(tag(&revision)).insert_header(header::ContentType::json());
                if json.len() <= SMALL_BYTES {
                    return response.body(json);
                }
                let version = Versions::one(call.registry(), call.app.options.expose_local_paths, id, json);
                response.body(version.into_body(call.is_head()))
            }
        }
    }
}

/// Returns what turns the version that was asked for into the answer to `call`.
pub(super) fn view(call: &Call) -> impl FnOnce(&ModelRow<'_>) -> ModelAnswer + Send + use<> {
    let (seen, expose_paths) = (call.seen(), call.app.options.expose_local_paths);
    move |model: &ModelRow<'_>| ModelAnswer::of(model, &seen, expose_paths)
}

/// Answers with a version as it is after a change.
pub(super) fn changed(call: &Call, model: Model) -> HttpResponse {
    ModelAnswer::of(&model, &EntityTags::Absent, call.app.options.expose_local_paths).into_response(call)
}

/// Answers with a body that is JSON already.
///
/// # Errors
/// [`ApiError::TooManyLargeAnswers`] if it is large and no budget is left.
pub(super) fn json(body: Vec<u8>) -> Result<HttpResponse, ApiError> {
    let body = stream::whole(body).ok_or(ApiError::TooManyLargeAnswers)?;
    Ok(HttpResponse::Ok().insert_header(header::ContentType::json()).body(body))
}

/// Answers with rows.
pub(super) fn rows<S: Source>(call: &Call, rows: Begun<S>) -> HttpResponse {
    HttpResponse::Ok().insert_header(header::ContentType::json()).body(rows.into_body(call.is_head()))
}

/// Answers with a page of a list, its total if it is known, and a link to the next page if there is one.
pub(super) fn page<S: Source>(call: &Call, rows: Begun<S>, page: &Page) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header(header::ContentType::json());
    if let Some(total) = page.total {
        response.insert_header((TOTAL_COUNT, total));
    }
    if let Some(next) = &page.next {
        let link = format!("<{}>; rel=\"next\"", call.next_page(&next.encode()));
        response.insert_header((header::LINK, link));
    }
    response.body(rows.into_body(call.is_head()))
}

/// Writes a version with its fields in the order of the contract.
pub(super) fn write_model<S: AsRef<str>>(out: &mut Vec<u8>, model: &Model<S>, expose_paths: bool) {
    let path = |path: &Option<S>| -> Option<String> {
        path.as_ref().filter(|_| expose_paths).map(|path| path.as_ref().to_owned())
    };
    let mut object = ObjectWriter::begin(out);
    object.integer("id", Some(model.id));
    object.text("name", Some(&model.name));
    object.text("version", Some(&model.version));
    object.text("status", Some(model.status.as_str()));
    object.text("artifact_uri", model.artifact_uri.as_ref());
    object.text("checkpoint_sha256", model.checkpoint_sha256.as_ref());
    object.integer("checkpoint_size_bytes", model.checkpoint_size_bytes);
    object.text("config_sha256", model.config_sha256.as_ref());
    object.integer("config_size_bytes", model.config_size_bytes);
    object.text("run_id", model.run_id.as_ref());
    object.text("git_commit", model.git_commit.as_ref());
    object.text("created_by", model.created_by.as_ref());
    object.text("source_host", model.source_host.as_ref());
    object.raw("frozen", Some(if model.frozen { "true" } else { "false" }));
    object.text("local_checkpoint_path", path(&model.checkpoint_path));
    object.text("local_config_path", path(&model.config_path));
    object.integer("d_model", model.d_model);
    object.integer("n_layers", model.n_layers);
    object.integer("n_heads", model.n_heads);
    object.integer("vocab_size", model.vocab_size);
    object.integer("params", model.params);
    object.integer("training_step", model.training_step);
    object.float("training_loss", model.training_loss);
    object.text("dataset", model.dataset.as_ref());
    object.text("description", model.description.as_ref());
    object.raw("tags", model.tags.as_ref());
    object.raw("metrics", model.metrics.as_ref());
    object.text("created_at", Some(&model.created_at));
    object.text("updated_at", Some(&model.updated_at));
    object.end();
}

/// Writes an event.
pub(super) fn write_event(out: &mut Vec<u8>, event: &Event<'_>) {
    let mut object = ObjectWriter::begin(out);
    object.integer("id", Some(event.id));
    object.integer("model_id", Some(event.model_id));
    object.text("event_type", Some(&event.event_type));
    object.raw("payload", Some(&event.payload));
    object.text("actor", event.actor.as_ref());
    object.text("created_at", Some(&event.created_at));
    object.end();
}

/// Writes `{"key":count,…}`.
pub(super) fn write_counts(out: &mut Vec<u8>, counts: &[(String, u64)]) {
    let mut object = ObjectWriter::begin(out);
    for (key, count) in counts {
        object.key_text(key);
        object.out.extend_from_slice(itoa::Buffer::new().format(*count).as_bytes());
    }
    object.end();
}

/// Writes the fields of an object one after another.
pub(super) struct ObjectWriter<'o> {
    pub(super) out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> ObjectWriter<'o> {
    pub(super) fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    /// Writes a key that needs no escaping. The caller writes its value.
    pub(super) fn key(&mut self, key: &'static str) {
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn key_text(&mut self, key: &str) {
        self.separate();
        write_text(self.out, key);
        self.out.push(b':');
    }

    fn separate(&mut self) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
    }

    fn text(&mut self, key: &'static str, value: Option<impl AsRef<str>>) {
        self.key(key);
        match value {
            Some(text) => write_text(self.out, text.as_ref()),
            None => self.out.extend_from_slice(b"null"),
        }
    }

    fn integer(&mut self, key: &'static str, value: Option<i64>) {
        self.key(key);
        match value {
            Some(number) => self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
            None => self.out.extend_from_slice(b"null"),
        }
    }

    /// Writes a number; `null` if it is not finite, which JSON can't express.
    fn float(&mut self, key: &'static str, value: Option<f64>) {
        self.key(key);
        // Writing to a Vec does not fail.
        let _ = serde_json::to_writer(&mut *self.out, &value);
    }

    /// Writes JSON text as it is.
    fn raw(&mut self, key: &'static str, value: Option<impl AsRef<str>>) {
        self.key(key);
        self.out.extend_from_slice(value.as_ref().map_or("null", |json| json.as_ref()).as_bytes());
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    // Writing a string to a Vec does not fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Draft, Timestamp};

    fn sample() -> Model {
        let mut draft = Draft::named("m", "1").unwrap();
        draft.artifact_uri = Some("s3://b/m".to_owned());
        draft.into_model(1, Timestamp::parse("2026-01-31 13:05:09.250").unwrap())
    }

    #[test]
    fn a_version_is_written_as_json_with_the_values_of_its_row() {
        let model = Model {
            name: "na \"me\"\n/ü".to_owned(),
            training_loss: Some(0.5),
            tags: Some(r#"["тег"]"#.to_owned()),
            metrics: Some(r#"{"suites":{"s":{"score":1.0}}}"#.to_owned()),
            config_path: Some("/data/c.json".to_owned()),
            ..sample()
        };
        let written = |expose| {
            let mut out = Vec::new();
            write_model(&mut out, &model, expose);
            serde_json::from_slice::<serde_json::Value>(&out).unwrap()
        };
        let hidden = written(false);
        assert_eq!(hidden["name"], "na \"me\"\n/ü");
        assert_eq!(hidden["metrics"]["suites"]["s"]["score"].to_string(), "1.0");
        assert_eq!(hidden["training_loss"].to_string(), "0.5");
        assert_eq!(hidden["tags"][0], "тег");
        assert!(hidden["local_config_path"].is_null() && hidden["local_checkpoint_path"].is_null());
        assert_eq!(hidden.as_object().unwrap().len(), 29);
        let shown = written(true);
        assert_eq!(shown["local_config_path"], "/data/c.json");
        assert_eq!(shown["local_checkpoint_path"], "s3://b/m");
    }

    #[test]
    fn a_number_that_is_not_finite_is_null() {
        let mut out = Vec::new();
        write_model(&mut out, &Model { training_loss: Some(f64::INFINITY), ..sample() }, false);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(r#""training_loss":null"#), "{text}");
    }
}
