//! Policies and approvals.

use std::cell::Cell;

use tokio_postgres::{Row, types::Type};

use registry_domain::{Approval, ApprovalKind, ApprovedState, Policy, StoredPolicy, VersionId};

use crate::{
    StoreError,
    policies::{ApprovalQuery, ReadPolicies, Registration, WritePolicies},
};

use super::{
    connection::{Parameter, Request},
    error::Failure,
    reader::PostgresReader,
    rows::{Value, optional_text, owned_text},
    text::encoded,
    writer::{PostgresWriter, SHARE_REGISTRY, Write},
};

macro_rules! policy_columns {
    () => {
        "name, version, document, actor, created_at, deleted"
    };
}
const ACTIVE: &str = concat!(
    "SELECT ",
    policy_columns!(),
    " FROM policies WHERE NOT deleted AND version = (SELECT max(version) FROM policies AS newer \
      WHERE newer.name = policies.name) ORDER BY name"
);
const ONE: &str = concat!(
    "SELECT ",
    policy_columns!(),
    " FROM policies WHERE name = $1 AND ($2::bigint IS NULL OR version = $2) ORDER BY version DESC LIMIT 1"
);
const INSERT: &str =
    concat!("INSERT INTO policies (", policy_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6)");

macro_rules! approval_columns {
    () => {
        "version_id, target, kind, actor, comment, created_at, artifact, scores, withdrawn_at"
    };
}
const APPROVALS: &str = concat!(
    "SELECT id, ",
    approval_columns!(),
    " FROM approvals WHERE ($1::bigint IS NULL OR version_id = $1) AND ($2 OR withdrawn_at IS NULL) \
      AND id < $3 ORDER BY id DESC LIMIT $4"
);
const APPROVALS_OF: &str = concat!(
    "SELECT id, ",
    approval_columns!(),
    " FROM approvals WHERE version_id = $1 AND withdrawn_at IS NULL ORDER BY id"
);
const INSERT_APPROVAL: &str = concat!(
    "INSERT INTO approvals (",
    approval_columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL) RETURNING id"
);
const WITHDRAW: &str = "UPDATE approvals SET withdrawn_at = $2 WHERE id = $1";
pub(super) const REMOVE: &str = "DELETE FROM approvals WHERE version_id = $1";

const CREATED: &str = "SELECT actor, created_at FROM model_events \
    WHERE model_id = $1 AND event_type = 'create' ORDER BY id LIMIT 1";

/// Reads a policy. One that another tool wrote, and that can't be read, fails rather than being ignored.
fn policy(row: &Row) -> Result<StoredPolicy, StoreError> {
    let (name, document) = (owned_text(row, 0)?, owned_text(row, 2)?);
    let policy: Policy = serde_json::from_str(&document)
        .map_err(|error| StoreError::Failed(format!("the policy {name:?} can't be read: {error}")))?;
    Ok(StoredPolicy {
        policy,
        version: row.try_get(1).map_err(Failure::from)?,
        actor: optional_text(row, 3)?,
        created_at: owned_text(row, 4)?,
        is_deleted: row.try_get(5).map_err(Failure::from)?,
    })
}

fn approval(row: &Row) -> Result<Approval, Failure> {
    Ok(Approval {
        id: row.try_get(0)?,
        version: row.try_get(1)?,
        target: owned_text(row, 2)?,
        kind: ApprovalKind::parse(&owned_text(row, 3)?).unwrap_or(ApprovalKind::Request),
        actor: owned_text(row, 4)?,
        comment: optional_text(row, 5)?,
        created_at: owned_text(row, 6)?,
        subject: ApprovedState { artifact: owned_text(row, 7)?, scores: owned_text(row, 8)? },
        withdrawn_at: optional_text(row, 9)?,
    })
}

impl PostgresReader {
    fn rows(&mut self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, StoreError> {
        self.read(&Cell::new(false), |connection| connection.one(sql, parameters))
    }
}

impl ReadPolicies for PostgresReader {
    fn policies(&mut self) -> Result<Vec<StoredPolicy>, StoreError> {
        self.rows(ACTIVE, &[])?.iter().map(policy).collect()
    }

    fn policy(&mut self, name: &str, version: Option<i64>) -> Result<Option<StoredPolicy>, StoreError> {
        let name = encoded(name);
        let found = self.rows(ONE, &[(&name, Type::TEXT), (&version, Type::INT8)])?;
        found.first().map(policy).transpose()
    }

    fn approvals(&mut self, query: &ApprovalQuery) -> Result<Vec<Approval>, StoreError> {
        let (before, limit) = (query.before.unwrap_or(i64::MAX), i64::from(query.limit));
        let parameters: [Parameter<'_>; 4] = [
            (&query.version, Type::INT8),
            (&query.withdrawn, Type::BOOL),
            (&before, Type::INT8),
            (&limit, Type::INT8),
        ];
        let found = self.rows(APPROVALS, &parameters)?;
        Ok(found.iter().map(approval).collect::<Result<_, _>>()?)
    }
}

impl WritePolicies for PostgresWriter {
    fn active_policies(&mut self) -> Result<Vec<StoredPolicy>, StoreError> {
        // Another transaction that changes a policy commits before this one reads them, or after this one has ended.
        let requests = [Request::prepared(SHARE_REGISTRY, &[]), Request::prepared(ACTIVE, &[])];
        let answers = self.run(&requests)?;
        answers.last().into_iter().flatten().map(policy).collect()
    }

    fn find_policy(&mut self, name: &str) -> Result<Option<StoredPolicy>, StoreError> {
        let name = encoded(name);
        let key: [Parameter<'_>; 2] = [(&name, Type::TEXT), (&None::<i64>, Type::INT8)];
        self.lock_registry()?;
        let answers = self.run(&[Request::prepared(ONE, &key)])?;
        answers.last().and_then(|rows| rows.first()).map(policy).transpose()
    }

    fn insert_policy(&mut self, stored: &StoredPolicy) -> Result<(), StoreError> {
        let document = serde_json::to_string(&stored.policy)
            .map_err(|error| StoreError::Failed(format!("a policy can't be written: {error}")))?;
        let values = [
            Value::owned(&stored.policy.name),
            Value::integer(stored.version),
            Value::owned(&document),
            Value::optional(stored.actor.as_deref()),
            Value::owned(&stored.created_at),
            Value::Boolean(stored.is_deleted),
        ];
        self.defer([Write::new(INSERT, values)]);
        Ok(())
    }

    fn approvals_of(&mut self, version: VersionId) -> Result<Vec<Approval>, StoreError> {
        let key: [Parameter<'_>; 1] = [(&version, Type::INT8)];
        let answers = self.run(&[Request::prepared(APPROVALS_OF, &key)])?;
        Ok(answers.iter().flatten().map(approval).collect::<Result<_, _>>()?)
    }

    fn insert_approval(&mut self, approval: &Approval) -> Result<i64, StoreError> {
        let values = [
            Value::integer(approval.version),
            Value::owned(&approval.target),
            Value::owned(approval.kind.as_str()),
            Value::owned(&approval.actor),
            Value::optional(approval.comment.as_deref()),
            Value::owned(&approval.created_at),
            Value::owned(&approval.subject.artifact),
            Value::owned(&approval.subject.scores),
        ];
        let added = self.write(Write::new(INSERT_APPROVAL, values))?;
        let row = added.first().ok_or_else(|| StoreError::Failed("an approval was not added".to_owned()))?;
        Ok(row.try_get(0).map_err(Failure::from)?)
    }

    fn withdraw_approval(&mut self, id: i64, at: &str) -> Result<(), StoreError> {
        self.defer([Write::new(WITHDRAW, [Value::integer(id), Value::owned(at)])]);
        Ok(())
    }

    fn registration(&mut self, version: VersionId) -> Result<Option<Registration>, StoreError> {
        let key: [Parameter<'_>; 1] = [(&version, Type::INT8)];
        let answers = self.run(&[Request::prepared(CREATED, &key)])?;
        let read = |row: &Row| Ok(Registration { actor: optional_text(row, 0)?, at: owned_text(row, 1)? });
        Ok(answers.iter().flatten().next().map(read).transpose().map_err(|error: Failure| error)?)
    }
}
