//! Rules that span rows, as SQL that SQLite and PostgreSQL both understand.

use registry_domain::webhook::Webhook;

use super::Finding;

/// Each name with several production versions: the name, how many, and the first id.
pub(crate) const SEVERAL_IN_PRODUCTION: &str = "SELECT name, count(*), min(id) FROM models \
    WHERE status = 'production' GROUP BY name HAVING count(*) > 1";
/// Each label that a name has more than once: the version, how often, and the first id.
pub(crate) const REGISTERED_TWICE: &str = "SELECT name || ':' || version, count(*), min(id) FROM models \
    GROUP BY name, version HAVING count(*) > 1";
/// Each type of events: the type, how many, and the first id.
pub(crate) const EVENT_TYPES: &str =
    "SELECT event_type, count(*), min(id) FROM model_events GROUP BY event_type";
/// Counts the versions without an event: how many, and the first id.
pub(crate) const WITHOUT_EVENT: &str = "SELECT count(*), min(id) FROM (SELECT id FROM models EXCEPT SELECT model_id FROM model_events) AS silent";

/// Each kind of counter in `model_counts`, with the column and the table that it counts. Tags are those without a value.
pub(crate) const COUNTED: [(&str, &str, &str); 3] = [
    ("name", "name", "models"),
    ("status", "status", "models"),
    ("tag", "key", "model_tags WHERE value = ''"),
];

pub(crate) const PROMOTE: &str = "promote the right one again with `registry promote ID`";
pub(crate) const RESTORE: &str = "restore a backup; until then change nothing";

/// Returns the problem of a row of [`SEVERAL_IN_PRODUCTION`].
pub(crate) fn several_in_production(name: &str, count: u64) -> String {
    format!("{name:?} has {count} production versions, this one first")
}

/// Returns the problem of a row of [`REGISTERED_TWICE`].
pub(crate) fn registered_twice(version: &str, count: u64) -> String {
    format!("{version:?} is registered {count} times, this one first")
}

/// Returns the problem of a row of [`EVENT_TYPES`] whose type is wrong. One finding stands for all, since another server may
/// have written a million such events.
pub(crate) fn many_events(problem: &str, count: u64) -> String {
    format!("{problem}: {count} times, first here")
}

/// Returns the problem of an event of a version that was never there.
pub(crate) fn unknown_version(id: i64, highest: i64) -> String {
    format!("model_id is {id}, but the highest id ever used is {highest}")
}

/// Returns the problem of versions without an event.
pub(crate) fn without_event(count: u64) -> String {
    format!("this version, the first of {count}, has no event: another tool or an old server registered it")
}

/// A rule that spans tables.
pub(crate) struct Spanning {
    /// The table at fault.
    pub(crate) table: &'static str,
    problem: &'static str,
    /// The rows that break it: an id and a name.
    rows: &'static str,
}

pub(crate) const SPANNING: [Spanning; 13] = [
    Spanning {
        table: "models",
        problem: "does not belong to the model of its name",
        rows: "SELECT models.id, models.name FROM models LEFT JOIN registered_models \
            ON registered_models.id = model_key AND deleted_at IS NULL \
            WHERE registered_models.name IS DISTINCT FROM models.name",
    },
    Spanning {
        table: "models",
        problem: "has a number that another version of its model has too",
        rows: "SELECT max(id), max(name) FROM models GROUP BY model_key, number HAVING count(*) > 1",
    },
    Spanning {
        table: "models",
        problem: "has a number that a deleted version of its model has too",
        rows: "SELECT models.id, models.name FROM models JOIN deleted_models \
            ON deleted_models.model_key = models.model_key AND deleted_models.number = models.number",
    },
    Spanning {
        table: "registered_models",
        problem: "would give out a number that a version has or had",
        rows: "SELECT registered_models.id, registered_models.name FROM registered_models \
            JOIN (SELECT model_key, max(number) AS highest \
                FROM (SELECT model_key, number FROM models UNION ALL SELECT model_key, number FROM deleted_models) \
                AS numbered GROUP BY model_key) AS given \
            ON model_key = registered_models.id AND highest >= next_number",
    },
    Spanning {
        table: "manifest_files",
        problem: "has another number or size of files than its version says",
        rows: "SELECT id, name FROM (SELECT id, name, file_count, total_bytes FROM models \
                UNION ALL SELECT id, name, file_count, total_bytes FROM deleted_models) AS versions \
            LEFT JOIN (SELECT version_id, count(*) AS files, sum(size_bytes) AS bytes FROM manifest_files \
                GROUP BY version_id) AS listed ON version_id = id \
            WHERE coalesce(file_count, 0) <> coalesce(files, 0) OR coalesce(total_bytes, 0) <> coalesce(bytes, 0) \
                OR file_count IS NULL AND files > 0",
    },
    Spanning {
        table: "manifest_files",
        problem: "is a file of a version that does not exist",
        rows: "SELECT version_id, min(path) FROM manifest_files \
            WHERE NOT EXISTS (SELECT 1 FROM models WHERE id = version_id) \
            AND NOT EXISTS (SELECT 1 FROM deleted_models WHERE id = version_id) GROUP BY version_id",
    },
    Spanning {
        table: "approvals",
        problem: "is an approval of a version that does not exist",
        rows: "SELECT id, actor FROM approvals WHERE NOT EXISTS (SELECT 1 FROM models WHERE models.id = version_id) \
            AND NOT EXISTS (SELECT 1 FROM deleted_models WHERE deleted_models.id = version_id)",
    },
    Spanning {
        table: "aliases",
        problem: "points to no version of its model",
        rows: "SELECT version_id, alias FROM aliases WHERE NOT EXISTS \
            (SELECT 1 FROM models WHERE models.id = version_id AND models.model_key = aliases.model_key)",
    },
    Spanning {
        table: "holdings",
        problem: "is in production, and the history does not say so",
        rows: "SELECT id, name FROM models WHERE status = 'production' AND NOT EXISTS (SELECT 1 FROM holdings \
            WHERE holdings.model_key = models.model_key AND version_id = models.id \
            AND alias = 'production' AND until IS NULL)",
    },
    Spanning {
        table: "holdings",
        problem: "is in production by the history, and not by its status",
        rows: "SELECT version_id, label FROM holdings WHERE alias = 'production' AND until IS NULL \
            AND NOT EXISTS (SELECT 1 FROM models WHERE id = version_id AND status = 'production')",
    },
    Spanning {
        table: "holdings",
        problem: "is an alias, and the history does not say so",
        rows: "SELECT version_id, alias FROM aliases WHERE NOT EXISTS (SELECT 1 FROM holdings \
            WHERE holdings.model_key = aliases.model_key AND holdings.alias = aliases.alias \
            AND holdings.version_id = aliases.version_id AND until IS NULL)",
    },
    Spanning {
        table: "holdings",
        problem: "is an alias by the history, and there is none",
        rows: "SELECT version_id, alias FROM holdings WHERE alias <> 'production' AND until IS NULL \
            AND NOT EXISTS (SELECT 1 FROM aliases WHERE aliases.model_key = holdings.model_key \
            AND aliases.alias = holdings.alias AND aliases.version_id = holdings.version_id)",
    },
    Spanning {
        table: "webhook_deliveries",
        problem: "is a delivery of a webhook or an event that does not exist",
        rows: "SELECT id, model FROM webhook_deliveries WHERE NOT EXISTS \
            (SELECT 1 FROM webhooks WHERE webhooks.id = webhook_id) \
            OR NOT EXISTS (SELECT 1 FROM model_events WHERE model_events.id = event_id)",
    },
];

/// Each webhook: its id and its definition.
pub(crate) const WEBHOOKS: &str = "SELECT id, definition FROM webhooks ORDER BY id";

/// Returns the finding for a webhook whose definition servers can't read, so that it gets no events.
pub(crate) fn unreadable_webhook(id: i64, definition: &str, remedy: &'static str) -> Option<Finding> {
    let error = serde_json::from_str::<Webhook>(definition).err()?;
    let problem = format!("its definition can't be read ({error}), so it gets no events");
    Some(Finding { table: "webhooks", id: Some(id), problem, remedy })
}

impl Spanning {
    /// Returns a query for how many rows break the rule, and the first with its name. It has no row if none does.
    pub(crate) fn first(&self) -> String {
        format!(
            "WITH broken (id, name) AS ({}) SELECT count(*) OVER (), id, name FROM broken ORDER BY id LIMIT 1",
            self.rows
        )
    }

    /// Returns the finding for what [`Spanning::first`] returned.
    pub(crate) fn finding(&self, count: u64, id: i64, name: &str, remedy: &'static str) -> Finding {
        let problem = format!("{name:?}, the first of {count}, {}", self.problem);
        Finding { table: self.table, id: Some(id), problem, remedy }
    }
}

/// Returns a query for how many values and counts are in one of two queries only.
pub(crate) fn count_differences(stored: &str, counted: &str) -> String {
    format!(
        "WITH stored (value, count) AS ({stored}), counted (value, count) AS ({counted}) \
         SELECT count(*) FROM (SELECT * FROM (SELECT * FROM stored EXCEPT SELECT * FROM counted) AS wrong \
         UNION ALL SELECT * FROM (SELECT * FROM counted EXCEPT SELECT * FROM stored) AS missing) AS differing"
    )
}

/// Returns the problem of counters of a kind of which some are wrong.
pub(crate) fn wrong_counts(wrong: u64, kind: &str) -> String {
    format!("{wrong} of its counts of each {kind} are wrong")
}
