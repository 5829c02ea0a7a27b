//! Promotion, and the production version of a name.

use crate::domain::Status;

use super::{super::request::Call, Answer, answer};

pub(super) async fn promote(mut call: Call) -> Answer {
    let id = call.model_id();
    let to = call.query_choice("to_status", &Status::NAMES, Status::parse).unwrap_or(Status::Production);
    call.settle()?;
    let model = call.registry().promote(id, to, call.precondition(), call.caller()).await?;
    Ok(answer::changed(&call, model))
}

pub(super) async fn production(call: Call) -> Answer {
    let name = call.path_text(1)?;
    Ok(call.registry().production(name, answer::view(&call)).await?.into_response())
}
