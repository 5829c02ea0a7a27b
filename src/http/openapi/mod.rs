//! The OpenAPI description, built from the endpoints: what is declared above each handler, and what all of them share.

mod answers;

use actix_web::{http::StatusCode, web::Bytes};
use serde_json::{Value, json};
use utoipa::{
    IntoResponses as _, ToSchema,
    openapi::{
        Components, ComponentsBuilder, HttpMethod, InfoBuilder, LicenseBuilder, ObjectBuilder, OpenApi,
        OpenApiBuilder, PathItem, PathsBuilder, Ref, RefOr, Required, Response, Schema, SecurityRequirement,
        Type,
        header::HeaderBuilder,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn},
        schema::AdditionalProperties,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
        tag::TagBuilder,
    },
};

use super::{
    docs,
    endpoint::Endpoint,
    fault::Fault,
    native::{self, schema},
};

pub(super) use answers::*;

const X_ACTOR: &str = "The actor in the audit trail. Ignored unless the server is configured to trust it; at most 200 characters are kept.";
const X_REQUEST_ID: &str = "An id for this request: 1 to 128 letters, digits and `-_.:/+=`. The answer and the server's log have it. \
                            Otherwise the server makes one.";
const ABOUT: &str = include_str!("about.md");
/// The two ways to send a key.
const SECURITY_SCHEMES: [&str; 2] = ["api_key", "bearer"];
/// The groups of calls.
const TAGS: [(&str, &str); 6] = [
    ("models", "Register, find, change and delete versions."),
    ("metrics", "Scores by suite."),
    ("promotion", "The version in production."),
    ("audit", "Who changed what, and when."),
    ("overview", "Comparison, counts, and the load of the server."),
    ("server", "Calls that need no key."),
];
/// Headers that are always present in an answer that lists them. The library's types can't say so.
const ALWAYS_SENT: [&str; 3] = ["ETag", "WWW-Authenticate", "X-Request-Id"];

/// Returns the description as it is served.
pub(super) fn json() -> Bytes {
    // Its keys are strings and its numbers finite, so it always serializes.
    let mut document = serde_json::to_value(document()).unwrap_or_default();
    finish(&mut document);
    document.to_string().into()
}

fn document() -> OpenApi {
    let mut paths = PathsBuilder::new();
    for endpoint in native::endpoints().into_iter().chain(docs::endpoints()) {
        let Endpoint { ref path, ref method, .. } = endpoint;
        let (path, method) = (path.clone(), method.clone());
        let operation = completed(endpoint);
        if method == HttpMethod::Get {
            paths = paths.path(&path, PathItem::new(HttpMethod::Head, head_of(&operation)));
        }
        paths = paths.path(path, PathItem::new(method, operation));
    }
    let license = LicenseBuilder::new().name("MIT").identifier(Some("MIT")).build();
    let info = InfoBuilder::new()
        .title("Model registry")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(license));
    OpenApiBuilder::new()
        .info(info.build())
        .paths(paths.build())
        .components(Some(components()))
        .security(Some(SECURITY_SCHEMES.map(|scheme| SecurityRequirement::new(scheme, [""; 0]))))
        .tags(Some(TAGS.map(|(name, about)| TagBuilder::new().name(name).description(Some(about)).build())))
        .build()
}

/// Adds what all calls share: the request's id, and the refusals before a handler runs.
fn completed(endpoint: Endpoint) -> Operation {
    let is_public = endpoint.is_public();
    let Endpoint { method, mut operation, .. } = endpoint;
    let parameters = operation.parameters.get_or_insert_default();
    if matches!(method, HttpMethod::Post | HttpMethod::Patch | HttpMethod::Delete) {
        parameters.push(RefOr::Ref(Ref::new("#/components/parameters/X-Actor")));
    }
    parameters.push(RefOr::Ref(Ref::new("#/components/parameters/X-Request-Id")));
    if is_public {
        operation.security = Some(Vec::new());
    }
    let mut shared = AnyRefused::responses();
    if operation.request_body.is_some() {
        shared.extend(BodyRefused::responses());
    }
    if !is_public {
        shared.extend(Refused::responses());
    }
    let answers = &mut operation.responses.responses;
    for status in shared.into_keys() {
        // A call's own description of a status is more specific.
        let answer = || Ref::from_response_name(shared_name(&status)).into();
        answers.entry(status.clone()).or_insert_with(answer);
    }
    operation.responses.responses.values_mut().for_each(with_request_id);
    operation
}

/// Returns the name of a shared answer.
fn shared_name(status: &str) -> String {
    let status = status.parse().unwrap_or_default();
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    reason.unwrap_or("Refused").replace(' ', "")
}

fn with_request_id(answer: &mut RefOr<Response>) {
    if let RefOr::T(answer) = answer {
        let id = Ref::new("#/components/headers/X-Request-Id");
        answer.headers.insert("X-Request-Id".to_owned(), RefOr::Ref(id));
    }
}

/// Returns the HEAD operation of a GET operation.
fn head_of(operation: &Operation) -> Operation {
    let mut head = operation.clone();
    head.operation_id = operation.operation_id.as_ref().map(|id| format!("{id}_head"));
    head.summary = operation.summary.as_ref().map(|summary| format!("{summary}: headers only"));
    head.description = Some("As GET, without the body.".to_owned());
    for answer in head.responses.responses.values_mut() {
        if let RefOr::T(Response { content, .. }) = answer {
            content.clear();
        }
    }
    head
}

/// A request header that may be sent.
fn optional(name: &str, about: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

/// Adds the components that all calls share.
fn shared(components: ComponentsBuilder) -> ComponentsBuilder {
    let text = ObjectBuilder::new().schema_type(Type::String);
    let id =
        HeaderBuilder::new().schema(Some(text)).description(Some("The caller's own id, if it was valid."));
    let components = components
        .header("X-Request-Id", id.build())
        // With this spelling, tools that guess links between calls don't take it for the id of a "request" resource.
        .parameter("X-Actor", optional("X-Actor", X_ACTOR))
        .parameter("X-Request-Id", optional("X-Request-ID", X_REQUEST_ID));
    let answers = [AnyRefused::responses(), BodyRefused::responses(), Refused::responses()];
    answers.into_iter().flatten().fold(components, |components, (status, mut answer)| {
        with_request_id(&mut answer);
        components.response(shared_name(&status), answer)
    })
}

fn components() -> Components {
    let components = ComponentsBuilder::new()
        .schema_from::<schema::StatusName>()
        .schema_from::<schema::SortName>()
        .schema_from::<schema::OrderName>()
        .schema_from::<schema::ScoresOfASuite>();
    let components = taken::<schema::NewModel>(components);
    let components = taken::<schema::ModelChanges>(components);
    let components = taken::<schema::NewScores>(components);
    let components = taken::<schema::Promotion>(components);
    let components = answered::<schema::Model>(components);
    let components = answered::<schema::Event>(components);
    let components = answered::<schema::Deleted>(components);
    let components = answered::<schema::Stats>(components);
    let components = answered::<schema::Comparison>(components);
    let components = answered::<schema::Orders>(components);
    let components = answered::<schema::Queue>(components);
    let components = answered::<schema::Service>(components);
    let components = answered::<schema::Health>(components);
    let components = answered::<Failure>(components);
    let components = answered::<Unfit>(components);
    let components = shared(answered::<Fault>(components));
    let key = "A key of this server.";
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The same key. A non-blank `X-API-Key` wins if both are given."));
    components
        .security_scheme(
            SECURITY_SCHEMES[0],
            SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description("X-API-Key", key))),
        )
        .security_scheme(SECURITY_SCHEMES[1], SecurityScheme::Http(bearer.build()))
        .build()
}

/// Adds a request body, in which unknown fields are refused.
fn taken<T: ToSchema>(components: ComponentsBuilder) -> ComponentsBuilder {
    let mut schema = T::schema();
    if let RefOr::T(Schema::Object(object)) = &mut schema {
        object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    }
    components.schema(T::name(), schema)
}

/// Adds the body of an answer, in which all fields are present.
fn answered<T: ToSchema>(components: ComponentsBuilder) -> ComponentsBuilder {
    let mut schema = T::schema();
    if let RefOr::T(Schema::Object(object)) = &mut schema {
        object.required = object.properties.keys().cloned().collect();
    }
    components.schema(T::name(), schema)
}

/// Adds what the library's types can't express.
fn finish(document: &mut Value) {
    // Regular expressions of JSON Schema do not count U+0085 as a blank, but Unicode and this server do.
    let uri = json!({ "type": "string", "pattern": r"[^\s\u0085]" });
    let digest = json!({ "type": "string", "pattern": "[0-9A-Fa-f]{64}" });
    document["components"]["schemas"]["NewModel"]["anyOf"] = json!([
        { "required": ["artifact_uri"], "properties": { "artifact_uri": uri } },
        { "required": ["checkpoint_sha256"], "properties": { "checkpoint_sha256": digest } },
    ]);
    // An `Option` would also allow `null`.
    document["paths"]["/models/{model_id}/promote"]["post"]["requestBody"]["required"] = false.into();
    require_headers(document);
}

/// Marks the headers that are always sent as required, in all answers below `part`.
fn require_headers(part: &mut Value) {
    let Some(fields) = part.as_object_mut() else { return };
    for (name, inner) in fields {
        if name == "headers" {
            let headers = inner.as_object_mut().into_iter().flatten();
            let own = headers.filter(|(name, header)| {
                ALWAYS_SENT.contains(&name.as_str()) && header.get("$ref").is_none()
            });
            own.for_each(|(_, header)| header["required"] = true.into());
        }
        require_headers(inner);
    }
}
