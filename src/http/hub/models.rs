//! Models: what they are, their versions, and who asks.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use serde_json::{Value, json};

use crate::{
    domain::{
        ListQuery, ModelSummary, VersionRef,
        files::{Entry, FileQuery},
        hub::MAIN,
        query::ModelQuery,
    },
    registry::HubModels,
};

use super::{
    super::{
        answer::{self, Answer},
        file_list::FileList,
        json::hub,
        request::Call,
        stream::turn_to_start,
    },
    error::HubError,
    path::{self, Named},
};

/// Models on a page at most.
const MAX_MODELS: u32 = 1_000;
/// Models on a page at most, if their versions are read too.
const MAX_FULL_MODELS: u32 = 100;
const DEFAULT_COMMITS: u32 = 50;
const MAX_COMMITS: u32 = 1_000;
/// Files of a version that one read requests.
const READ_FILES: u32 = 1_000;
/// The newest versions that are listed as tags of Git; such a list has no pages.
const MAX_REFS: u32 = 1_000;
/// What models of the Hub have and these have not.
const NEVER: [&str; 3] = ["inference", "inference_provider", "apps"];

/// Describes the version that a client gets by default.
pub(super) async fn get(call: Call) -> Answer {
    let name = path::model(&call, "")?;
    describe(call, name, MAIN.to_owned()).await
}

/// Describes the version that a revision names.
pub(super) async fn at_revision(call: Call) -> Answer {
    let Named { name, revision, .. } = path::at(&call, "revision")?;
    describe(call, name, revision).await
}

async fn describe(call: Call, name: String, revision: String) -> Answer {
    let with_blobs = call.is_on("blobs");
    let (model, commit) = call.registry().hub_model(name, revision).await??;
    let mut start = hub::model(&model, Some(&commit)).to_string().into_bytes();
    start.pop();
    start.extend_from_slice(b",\"siblings\":[");
    let query = FileQuery {
        version: VersionRef::Id(commit.id),
        under: None,
        is_recursive: true,
        limit: READ_FILES,
        after: None,
    };
    let write = move |out: &mut Vec<u8>, entry: &Entry| hub::write_sibling(out, entry, with_blobs);
    let siblings = FileList::begin(&call.app, query, start, write).await?;
    Ok(answer::rows(&call, siblings))
}

/// Lists models by name.
pub(super) async fn list(mut call: Call) -> Answer {
    let with_commits = ["full", "expand", "cardData", "config"].iter().any(|name| call.has_query(name));
    let most = if with_commits { MAX_FULL_MODELS } else { MAX_MODELS };
    let limit = super::limit(&mut call, most, most)?;
    let after = call.cursor(ModelQuery::LIST_NAME, 0)?;
    let wanted = Wanted::read(&mut call)?;
    if wanted.is_nothing {
        return Ok(HttpResponse::Ok().json([(); 0]));
    }
    let query = ModelQuery {
        q: wanted.search.clone(),
        tag: wanted.tags.iter().next().map(|(key, value)| (key.clone(), value.clone())),
        deleted: false,
        prompts: false,
        limit,
        after,
    };
    let _turn = turn_to_start().await?;
    let models = HubModels { query, accept: move |model: &ModelSummary| wanted.accepts(model), with_commits };
    let page = call.registry().hub_models(models).await?;
    let models: Vec<_> =
        page.models.iter().map(|(model, commit)| hub::model(model, commit.as_ref())).collect();
    let mut response = answer::json(Value::from(models).to_string().into_bytes())?;
    call.link_next(&mut response, page.next.as_ref());
    Ok(response)
}

/// Which models a client asks for.
struct Wanted {
    /// A part of the name.
    search: Option<String>,
    /// The first part of the name.
    author: Option<String>,
    /// Tags with their values; `None` for any value.
    tags: BTreeMap<String, Option<String>>,
    /// True if no model has what it asks for.
    is_nothing: bool,
}

impl Wanted {
    fn read(call: &mut Call) -> Result<Self, HubError> {
        // Every model has as many downloads and likes as any other, so in these orders too they may come by name.
        if let Some(sort) =
            call.query_not_empty("sort").filter(|sort| matches!(&**sort, "createdAt" | "lastModified"))
        {
            let message = format!("models are listed by name only, not by {sort}; leave out sort");
            return Err(HubError::Unsupported(message));
        }
        if call.has_query("num_parameters") {
            return Err(HubError::Unsupported("num_parameters is not supported; leave it out".to_owned()));
        }
        let mut tags: BTreeMap<_, _> =
            call.queries("filter").iter().flat_map(|list| list.split(',')).map(tag).collect();
        tags.extend(call.query_not_empty("pipeline_tag").map(|task| ("pipeline_tag".to_owned(), Some(task))));
        let is_gated = call.is_on("gated");
        Ok(Self {
            search: call.query_not_empty("search"),
            author: call.query_not_empty("author"),
            tags,
            is_nothing: is_gated || NEVER.iter().any(|name| call.has_query(name)),
        })
    }

    fn accepts(&self, summary: &ModelSummary) -> bool {
        let model = &summary.model;
        let has = |(key, wanted): (&String, &Option<String>)| {
            model.tags.get(key).is_some_and(|value| wanted.as_ref().is_none_or(|wanted| wanted == value))
        };
        let is_of = |author: &String| model.name.split_once('/').is_some_and(|(first, _)| first == author);
        path::is_reachable(&model.name) && self.author.as_ref().is_none_or(is_of) && self.tags.iter().all(has)
    }
}

/// Reads a tag as clients write it: `key` or `key:value`.
fn tag(text: &str) -> (String, Option<String>) {
    match text.split_once(':') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    }
}

/// Lists the names of versions: `main` and the aliases as branches, labels as tags.
pub(super) async fn refs(call: Call) -> Answer {
    let name = path::model(&call, "/refs")?;
    let with_pull_requests = call.has_query("include_prs");
    let refs = call.registry().hub_refs(name, MAX_REFS).await??;
    let json = hub::refs(refs.main.as_ref(), &refs.aliases, &refs.versions, with_pull_requests);
    answer::json(json.to_string().into_bytes())
}

/// Lists the versions from one on, newest first.
pub(super) async fn commits(mut call: Call) -> Answer {
    let Named { name, revision, .. } = path::at(&call, "commits")?;
    let limit = super::limit(&mut call, DEFAULT_COMMITS, MAX_COMMITS)?;
    let after = call.cursor(&ListQuery::default().list_name(), 0)?;
    let _turn = turn_to_start().await?;
    let (commits, page) = call.registry().hub_commits(name, revision, after, limit).await??;
    let commits: Vec<_> = commits.iter().map(hub::commit).collect();
    let mut response = answer::json(Value::from(commits).to_string().into_bytes())?;
    call.link_next(&mut response, page.next.as_ref());
    Ok(response)
}

/// Answers that the caller may read a model.
pub(super) async fn auth_check(call: Call) -> Answer {
    let name = path::model(&call, "/auth-check")?;
    call.registry().hub_known(name).await??;
    Ok(HttpResponse::Ok().json(json!({})))
}

/// Refuses to write a model through this API.
pub(super) async fn write_check(call: Call) -> Answer {
    path::model(&call, "/auth-check/write")?;
    Err(HubError::ReadOnly.into())
}

/// Names the caller.
pub(super) async fn whoami(call: Call) -> Answer {
    let name = call.caller().actor;
    Ok(HttpResponse::Ok().json(json!({
        "type": "user",
        "id": name,
        "name": name,
        "fullname": name,
        "isPro": false,
        "orgs": [],
        "auth": { "type": "access_token", "accessToken": { "displayName": name, "role": "read" } },
    })))
}
