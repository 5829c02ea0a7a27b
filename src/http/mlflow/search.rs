//! `registered-models/search` and `model-versions/search`

use crate::domain::{
    OrderedQuery, PageStart,
    filter::{
        Scope,
        mlflow::{parse_filter, parse_order},
    },
};

use super::{
    super::{
        answer::Answer,
        error::ApiError,
        json::{list_of, mlflow::write_model},
        request::Call,
        stream::turn_to_start,
    },
    answer,
    arguments::{Arguments, wrong_value},
    error::invalid,
    pages::{List, offset_of, token},
};

/// Models on a page by default, and at most.
const MODELS: (i64, i64) = (100, 1_000);
/// Versions on a page by default, and at most.
const VERSIONS: (i64, i64) = (200_000, 200_000);
/// A page of versions ends once it has this many bytes, since a server would hold it in memory.
const MAX_PAGE_BYTES: usize = 8 << 20;

pub(super) async fn models(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let limit = limit(&given, MODELS)?;
    let (query, list, offset) = query(&call, &given, Scope::Models, limit)?;
    if limit < 1 {
        return answer::done();
    }
    let _turn = turn_to_start().await?;
    let (models, next) = call.registry().ordered_models(query, answer::writer(&call)).await?;
    let count = models.len();
    let json = list_of("registered_models", models, |out, (model, latest)| write_model(out, &model, &latest));
    let next = next.map(|place| call.app.mlflow_pages.remember(&list, offset, count, place));
    page(json, count, next)
}

pub(super) async fn versions(mut call: Call) -> Answer {
    let given = Arguments::read(&mut call).await?;
    let limit = limit(&given, VERSIONS)?;
    if limit < 1 {
        return Err(invalid(format!(
            "Invalid value for max_results. It must be a positive integer, but got {limit}"
        )));
    }
    let (query, list, offset) = query(&call, &given, Scope::Versions, limit)?;
    let _turn = turn_to_start().await?;
    let (versions, next) =
        call.registry().ordered_versions(query, MAX_PAGE_BYTES, answer::writer(&call)).await?;
    let count = versions.len();
    let json = list_of("model_versions", versions, |out, version| out.extend_from_slice(&version));
    let next = next.map(|place| call.app.mlflow_pages.remember(&list, offset, count, place));
    page(json, count, next)
}

/// Returns the maximum number of rows on the page.
fn limit(given: &Arguments, (default, most): (i64, i64)) -> Result<i64, ApiError> {
    let limit = given.integer("max_results")?.unwrap_or(default);
    if limit > most { Err(wrong_value(given, "max_results")) } else { Ok(limit) }
}

/// Returns the query of a search, the list that its page belongs to, and how many rows come before the page.
fn query(
    call: &Call,
    given: &Arguments,
    scope: Scope,
    limit: i64,
) -> Result<(OrderedQuery, List, u64), ApiError> {
    let (filter, order) = (given.text("filter")?.unwrap_or_default(), given.texts("order_by")?);
    let found = parse_filter(&filter, scope)?;
    let offset = match given.text("page_token")?.as_deref() {
        None | Some("") => 0,
        Some(token) => offset_of(token)?,
    };
    let list = List::of(&call.caller(), scope, &filter, &order, limit);
    let known = if offset == 0 { None } else { call.app.mlflow_pages.place(&list, offset) };
    let query = OrderedQuery {
        filter: found.filter,
        with_prompts: found.with_prompts,
        order: parse_order(&order, scope)?,
        limit: u32::try_from(limit).unwrap_or(0),
        start: known.map_or(PageStart::Offset(offset), PageStart::After),
    };
    Ok((query, list, offset))
}

/// Ends a page. Without rows it has no list.
fn page(mut json: Vec<u8>, count: usize, next: Option<u64>) -> Answer {
    if count == 0 {
        return answer::done();
    }
    json.push(b']');
    if let Some(next) = next {
        json.extend_from_slice(format!(",\"next_page_token\":\"{}\"", token(next)).as_bytes());
    }
    json.push(b'}');
    answer::json(json)
}
