//! `/models/{id}/metrics`: scores by suite.

use crate::domain::{Evaluation, Refusal};

use super::{
    super::{
        body::Fields,
        request::{BodyLimit, Call},
    },
    Answer, answer,
};

pub(super) async fn record(mut call: Call) -> Answer {
    let id = call.model_id();
    let mut fields = call.body(BodyLimit::Metrics).await?;
    let evaluation = read_evaluation(&mut fields);
    fields.finish();
    call.settle()?;
    let precondition = call.precondition_with_updated_at();
    let model = call.registry().record_metrics(id, evaluation?, precondition, call.caller()).await?;
    Ok(answer::changed(&call, model))
}

pub(super) async fn suites(mut call: Call) -> Answer {
    let id = call.model_id();
    call.settle()?;
    let suites = call.registry().suites(id, call.query_text("suite")).await?;
    Ok(answer::json(suites.into_bytes()))
}

pub(super) fn read_evaluation(fields: &mut Fields<'_>) -> Result<Evaluation, Refusal> {
    let suite = fields.required_text("suite");
    let metrics = fields.required_object("metrics");
    let dataset = fields.text("dataset");
    let eval_commit = fields.text("eval_commit");
    let eval_config = fields.object("eval_config");
    let notes = fields.text("notes");
    Ok(Evaluation { dataset, eval_commit, eval_config, notes, ..Evaluation::of(&suite, metrics)? })
}
