//! Policies and approvals.

use rusqlite::{Connection, OptionalExtension as _, Row};

use registry_domain::{Approval, ApprovalKind, ApprovedState, Policy, StoredPolicy, VersionId};

use crate::{
    StoreError,
    policies::{ApprovalQuery, ReadPolicies, Registration, WritePolicies},
};

use super::connection::{SqliteReader, SqliteWriter};

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
    " FROM policies WHERE name = ?1 AND (?2 IS NULL OR version = ?2) ORDER BY version DESC LIMIT 1"
);
const INSERT: &str =
    concat!("INSERT INTO policies (", policy_columns!(), ") VALUES (?1, ?2, ?3, ?4, ?5, ?6)");

macro_rules! approval_columns {
    () => {
        "version_id, target, kind, actor, comment, created_at, artifact, scores, withdrawn_at"
    };
}
const APPROVALS: &str = concat!(
    "SELECT id, ",
    approval_columns!(),
    " FROM approvals WHERE (?1 IS NULL OR version_id = ?1) AND (?2 OR withdrawn_at IS NULL) \
      AND id < ?3 ORDER BY id DESC LIMIT ?4"
);
const APPROVALS_OF: &str = concat!(
    "SELECT id, ",
    approval_columns!(),
    " FROM approvals WHERE version_id = ?1 AND withdrawn_at IS NULL ORDER BY id"
);
const INSERT_APPROVAL: &str = concat!(
    "INSERT INTO approvals (",
    approval_columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, NULL)"
);
const WITHDRAW: &str = "UPDATE approvals SET withdrawn_at = ?2 WHERE id = ?1";
const REMOVE: &str = "DELETE FROM approvals WHERE version_id = ?1";

const LAST_EVENT: &str = "SELECT last_event_id FROM version_heads WHERE version_id = ?1";
const EVENT_BEFORE: &str = "SELECT previous_of_version FROM event_chain WHERE event_id = ?1";
const CREATED: &str = "SELECT actor, created_at FROM model_events WHERE id = ?1 AND event_type = 'create'";

/// Reads a policy. One that another tool wrote, and that can't be read, fails rather than being ignored.
fn policy(row: &Row<'_>) -> rusqlite::Result<StoredPolicy> {
    let document: String = row.get(2)?;
    let policy: Policy = serde_json::from_str(&document).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, Box::new(error))
    })?;
    Ok(StoredPolicy {
        policy,
        version: row.get(1)?,
        actor: row.get(3)?,
        created_at: row.get(4)?,
        is_deleted: row.get(5)?,
    })
}

fn approval(row: &Row<'_>) -> rusqlite::Result<Approval> {
    let kind: String = row.get(3)?;
    Ok(Approval {
        id: row.get(0)?,
        version: row.get(1)?,
        target: row.get(2)?,
        kind: ApprovalKind::parse(&kind).unwrap_or(ApprovalKind::Request),
        actor: row.get(4)?,
        comment: row.get(5)?,
        created_at: row.get(6)?,
        subject: ApprovedState { artifact: row.get(7)?, scores: row.get(8)? },
        withdrawn_at: row.get(9)?,
    })
}

fn active(connection: &Connection) -> rusqlite::Result<Vec<StoredPolicy>> {
    connection.prepare_cached(ACTIVE)?.query_map([], policy)?.collect()
}

fn one(connection: &Connection, name: &str, version: Option<i64>) -> rusqlite::Result<Option<StoredPolicy>> {
    connection.prepare_cached(ONE)?.query_row((name, version), policy).optional()
}

/// Removes the approvals of a version that is purged.
pub(super) fn remove(connection: &Connection, version: VersionId) -> rusqlite::Result<()> {
    connection.prepare_cached(REMOVE)?.execute([version])?;
    Ok(())
}

impl ReadPolicies for SqliteReader {
    fn policies(&mut self) -> Result<Vec<StoredPolicy>, StoreError> {
        Ok(active(&self.connection)?)
    }

    fn policy(&mut self, name: &str, version: Option<i64>) -> Result<Option<StoredPolicy>, StoreError> {
        Ok(one(&self.connection, name, version)?)
    }

    fn approvals(&mut self, query: &ApprovalQuery) -> Result<Vec<Approval>, StoreError> {
        let mut approvals = self.connection.prepare_cached(APPROVALS)?;
        let before = query.before.unwrap_or(i64::MAX);
        let found = approvals.query_map((query.version, query.withdrawn, before, query.limit), approval)?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }
}

impl WritePolicies for SqliteWriter {
    fn active_policies(&mut self) -> Result<Vec<StoredPolicy>, StoreError> {
        Ok(active(&self.connection)?)
    }

    fn find_policy(&mut self, name: &str) -> Result<Option<StoredPolicy>, StoreError> {
        Ok(one(&self.connection, name, None)?)
    }

    fn insert_policy(&mut self, stored: &StoredPolicy) -> Result<(), StoreError> {
        let document = serde_json::to_string(&stored.policy)
            .map_err(|error| StoreError::Failed(format!("a policy can't be written: {error}")))?;
        self.connection.prepare_cached(INSERT)?.execute((
            &stored.policy.name,
            stored.version,
            document,
            &stored.actor,
            &stored.created_at,
            stored.is_deleted,
        ))?;
        Ok(())
    }

    fn approvals_of(&mut self, version: VersionId) -> Result<Vec<Approval>, StoreError> {
        let mut approvals = self.connection.prepare_cached(APPROVALS_OF)?;
        Ok(approvals.query_map([version], approval)?.collect::<rusqlite::Result<_>>()?)
    }

    fn insert_approval(&mut self, approval: &Approval) -> Result<i64, StoreError> {
        self.connection.prepare_cached(INSERT_APPROVAL)?.execute((
            approval.version,
            &approval.target,
            approval.kind.as_str(),
            &approval.actor,
            &approval.comment,
            &approval.created_at,
            &approval.subject.artifact,
            &approval.subject.scores,
        ))?;
        Ok(self.connection.last_insert_rowid())
    }

    fn withdraw_approval(&mut self, id: i64, at: &str) -> Result<(), StoreError> {
        self.connection.prepare_cached(WITHDRAW)?.execute((id, at))?;
        Ok(())
    }

    /// Follows the chain of the version's events back to the first, since events have no index.
    fn registration(&mut self, version: VersionId) -> Result<Option<Registration>, StoreError> {
        let mut before = self.connection.prepare_cached(EVENT_BEFORE)?;
        let last = self.connection.prepare_cached(LAST_EVENT)?.query_row([version], |row| row.get(0));
        let (mut first, mut next): (Option<i64>, Option<i64>) = (None, last.optional()?);
        while let Some(id) = next {
            first = Some(id);
            next = before.query_row([id], |row| row.get(0)).optional()?.flatten();
        }
        let read = |row: &Row<'_>| Ok(Registration { actor: row.get(0)?, at: row.get(1)? });
        Ok(self.connection.prepare_cached(CREATED)?.query_row([first], read).optional()?)
    }
}
