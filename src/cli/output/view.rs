//! Views: the columns in which rows of one kind are shown.

use anstyle::Style;
use serde_json::Value;

use super::{
    event::summary,
    path::{Path, Paths},
    table::Cell,
    value::{ValueFormat, style_of_status, text_as},
};
use crate::cli::{print, version_arg};

/// How rows of one kind are shown.
pub(in crate::cli) struct View {
    /// The fields of a row, in the order of csv.
    pub(in crate::cli) fields: &'static str,
    /// The columns of a table, as in `-o custom-columns=`.
    pub(in crate::cli) table: &'static str,
    /// The columns of a wide table.
    pub(in crate::cli) wide: &'static str,
    /// True if times have seconds in a table, and all digits in a wide one.
    pub(in crate::cli) precise_times: bool,
    /// The line of `-o name` for a row, for kinds that have names.
    pub(in crate::cli) name: Option<fn(&Value) -> String>,
}

/// Rows of versions.
pub(in crate::cli) const VERSIONS: View = View {
    fields: "id,name,version,status,artifact_uri,checkpoint_sha256,checkpoint_size_bytes,config_sha256,\
             config_size_bytes,run_id,git_commit,created_by,source_host,frozen,local_checkpoint_path,\
             local_config_path,d_model,n_layers,n_heads,vocab_size,params,training_step,training_loss,dataset,\
             description,tags,metrics,created_at,updated_at",
    table: "id,name,version,status,STEP:training_step,LOSS:training_loss,CREATED:created_at",
    wide: "id,name,version,status,frozen,STEP:training_step,LOSS:training_loss,params,SIZE:checkpoint_size_bytes,\
           SHA256:checkpoint_sha256,ARTIFACT:artifact_uri,dataset,CREATED BY:created_by,CREATED:created_at,\
           UPDATED:updated_at,tags,description",
    precise_times: false,
    name: Some(version_arg::label),
};

/// Rows of versions, as `/v1` shows them.
pub(in crate::cli) const V1_VERSIONS: View = View {
    fields: "id,model,number,label,status,artifact_uri,origin,sha256,size_bytes,digest,revision,file_count,total_bytes,\
             manifest,stored,run_id,git_commit,created_by,source_host,frozen,d_model,n_layers,n_heads,vocab_size,params,training_step,training_loss,dataset,\
             description,tags,scores,metrics,created_at,updated_at",
    table: "id,model,number,label,status,STEP:training_step,LOSS:training_loss,CREATED:created_at",
    wide: "id,model,number,label,status,frozen,STEP:training_step,LOSS:training_loss,params,SIZE:size_bytes,sha256,\
           ARTIFACT:artifact_uri,dataset,CREATED BY:created_by,CREATED:created_at,UPDATED:updated_at,tags,description",
    precise_times: false,
    name: Some(version_arg::label),
};

/// Rows of versions in the trash.
pub(in crate::cli) const DELETED_VERSIONS: View = View {
    fields: "id,model,number,label,status,artifact_uri,sha256,size_bytes,created_by,description,tags,created_at,\
             updated_at,deleted_at,deleted_by",
    table: "id,model,number,label,status,DELETED:deleted_at,BY:deleted_by",
    wide: "id,model,number,label,status,SIZE:size_bytes,sha256,ARTIFACT:artifact_uri,CREATED:created_at,\
           DELETED:deleted_at,BY:deleted_by",
    ..V1_VERSIONS
};

/// Rows of files of a version.
pub(in crate::cli) const FILES: View = View {
    fields: "path,size_bytes,sha256,role",
    table: "path,SIZE:size_bytes,sha256,role",
    wide: "path,SIZE:size_bytes,sha256,role",
    precise_times: false,
    name: Some(file_path),
};

fn file_path(file: &Value) -> String {
    print::one_line(file.get("path").and_then(Value::as_str).unwrap_or("?"))
}

/// Rows of models.
pub(in crate::cli) const MODELS: View = View {
    fields: "name,description,tags,versions,latest,aliases,created_at,updated_at,deleted_at",
    table: "name,versions,latest,aliases,tags,UPDATED:updated_at,description",
    wide: "name,versions,latest,aliases,tags,CREATED:created_at,UPDATED:updated_at,DELETED:deleted_at,description",
    precise_times: false,
    name: Some(model_name),
};

/// Rows of a history: who held which alias from when to when.
pub(in crate::cli) const HOLDINGS: View = View {
    fields: "alias,version,label,id,since,until,actor,reason",
    table: "alias,version,label,since,until,BY:actor,reason",
    wide: "alias,version,label,id,since,until,BY:actor,reason",
    precise_times: true,
    name: None,
};

fn model_name(model: &Value) -> String {
    print::one_line(model.get("name").and_then(Value::as_str).unwrap_or("?"))
}

/// Rows of API keys.
pub(in crate::cli) const KEYS: View = View {
    fields: "id,name,scopes,models,expires_at,created_by,created_at,rotated_at,last_used_at,revoked_at,revoked_by",
    table: "id,name,scopes,models,EXPIRES:expires_at,USED:last_used_at,BY:created_by",
    wide: "id,name,scopes,models,EXPIRES:expires_at,USED:last_used_at,CREATED:created_at,BY:created_by,ROTATED:rotated_at,\
           REVOKED:revoked_at,REVOKED BY:revoked_by",
    precise_times: false,
    name: Some(model_name),
};

/// Rows of policies.
pub(in crate::cli) const POLICIES: View = View {
    fields: "name,version,models,target,action,description,conditions,builtin,deleted,created_by,created_at",
    table: "name,version,FOR:models,target,action,CHANGED:created_at,BY:created_by,description",
    wide: "name,version,FOR:models,target,action,CHANGED:created_at,BY:created_by,description,conditions",
    precise_times: false,
    name: Some(model_name),
};

/// Rows of conditions of policies that were tried.
pub(in crate::cli) const VERDICTS: View = View {
    fields: "policy,version,action,holds,expression,message,error",
    table: "policy,action,holds,message,WHY:error",
    wide: "policy,version,action,holds,expression,message,WHY:error",
    precise_times: false,
    name: None,
};

/// Rows of approvals, and of requests for them.
pub(in crate::cli) const APPROVALS: View = View {
    fields: "id,model,version,label,target,kind,actor,comment,created_at,state,lapsed,withdrawn_at",
    table: "model,label,target,kind,BY:actor,TIME:created_at,state,comment",
    wide: "id,model,version,label,target,kind,BY:actor,TIME:created_at,state,lapsed,WITHDRAWN:withdrawn_at,comment",
    precise_times: false,
    name: None,
};

/// Rows of an audit trail.
pub(in crate::cli) const EVENTS: View = View {
    fields: "id,model_id,event_type,payload,actor,created_at",
    table: "TIME:created_at,EVENT:event_type,actor,WHAT:payload",
    wide: "id,MODEL:model_id,TIME:created_at,EVENT:event_type,actor,payload",
    precise_times: true,
    name: None,
};

/// Rows of the audit trail of a model, as `/v1` shows them.
pub(in crate::cli) const TRAIL: View = View {
    fields: "id,model,version,version_id,type,payload,before,after,reason,policies,policy_inputs_sha256,actor,created_at,hash",
    table: "TIME:created_at,VERSION:version,EVENT:type,actor,WHAT:payload,reason",
    wide: "id,TIME:created_at,VERSION:version,EVENT:type,actor,payload,before,after,reason",
    precise_times: true,
    name: None,
};

/// Rows of the audit trail of all models.
pub(in crate::cli) const WHOLE_TRAIL: View = View {
    table: "TIME:created_at,model,VERSION:version,EVENT:type,actor,WHAT:payload,reason",
    wide: "id,TIME:created_at,model,VERSION:version,EVENT:type,actor,payload,before,after,reason",
    ..TRAIL
};

impl View {
    /// Returns the columns of a table.
    pub(in crate::cli) fn columns(&self, wide: bool) -> Result<Vec<Column>, String> {
        let paths = Paths::titled(if wide { self.wide } else { self.table })?;
        let column = |path: Path| {
            let kind = match ValueFormat::of(path.field(), wide) {
                ValueFormat::Minute if self.precise_times => ValueFormat::Second,
                ValueFormat::Second if self.precise_times => ValueFormat::Plain,
                kind => kind,
            };
            Column { path, kind }
        };
        Ok(paths.0.into_iter().map(column).collect())
    }
}

/// A column of a table.
#[derive(Debug)]
pub(in crate::cli) struct Column {
    pub(super) path: Path,
    kind: ValueFormat,
}

impl Column {
    /// Creates a column that shows values as they are.
    pub(super) fn plain(path: Path) -> Self {
        Self { path, kind: ValueFormat::Plain }
    }

    /// Returns the cell of `row`.
    pub(in crate::cli) fn cell(&self, row: &Value) -> Cell {
        let value = self.path.find(row);
        let text = match (self.kind, value) {
            (ValueFormat::Event, _) => summary(row),
            (_, None) => "-".to_owned(),
            (kind, Some(value)) => text_as(kind, value),
        };
        let text = print::one_line(&text);
        let right = value.is_some_and(Value::is_number)
            || matches!(self.kind, ValueFormat::Number | ValueFormat::Size);
        let style = if self.kind == ValueFormat::Status { style_of_status(&text) } else { Style::new() };
        Cell {
            text,
            style,
            right,
            rigid: !matches!(self.kind, ValueFormat::Plain | ValueFormat::Pairs | ValueFormat::Event),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_column_of_a_view_is_one_of_its_fields() {
        for view in [
            VERSIONS,
            V1_VERSIONS,
            DELETED_VERSIONS,
            FILES,
            MODELS,
            HOLDINGS,
            KEYS,
            EVENTS,
            TRAIL,
            WHOLE_TRAIL,
            POLICIES,
            VERDICTS,
            APPROVALS,
        ] {
            for column in [false, true].iter().flat_map(|wide| view.columns(*wide).unwrap()) {
                assert!(view.fields.split(',').any(|field| field == column.path.field()), "{column:?}");
            }
        }
    }

    #[test]
    fn a_cell_has_no_control_characters() {
        let cell = Column::plain("name".parse().unwrap()).cell(&json!({"name": "a\u{1b}[31m\n\u{9b}b"}));
        assert_eq!(cell.text, "a [31m  b");
    }
}
