//! `order_by` of MLflow's searches.

use crate::{
    filter::Scope,
    query::Order,
    refusal::Refusal,
    search::{OrderBy, OrderKey},
};

/// Parses the items of `order_by`, and adds the keys that decide ties. No two versions, and no two models, have the same place.
///
/// # Errors
/// [`Refusal::Invalid`] for an item that is no key, with `ASC` or `DESC` if given, and for a key that is given twice.
pub fn parse_order(items: &[String], scope: Scope) -> Result<Vec<OrderKey>, Refusal> {
    use Order::{Ascending, Descending};
    let mut order: Vec<OrderKey> = Vec::new();
    for item in items {
        let key = key(item, scope)?;
        if order.iter().any(|earlier| earlier.by == key.by) {
            return Err(Refusal::Invalid(format!("`order_by` contains duplicate fields: {items:?}")));
        }
        order.push(key);
    }
    let ties: &[_] = match (scope, items.is_empty()) {
        (Scope::Models, _) => &[(OrderBy::Name, Ascending)],
        (Scope::Versions, false) => &[(OrderBy::Name, Ascending), (OrderBy::Number, Descending)],
        (Scope::Versions, true) => {
            &[(OrderBy::ChangedAt, Descending), (OrderBy::Name, Ascending), (OrderBy::Number, Descending)]
        }
    };
    for (by, direction) in ties {
        if order.iter().all(|earlier| earlier.by != *by) {
            order.push(OrderKey { by: *by, order: *direction });
        }
    }
    // Behind what no two share, other keys decide nothing.
    let unique: &[_] = match scope {
        Scope::Models => &[OrderBy::Name],
        Scope::Versions => &[OrderBy::Name, OrderBy::Number],
    };
    let place = |by: &OrderBy| order.iter().position(|key| key.by == *by);
    let last = unique.iter().filter_map(place).max().unwrap_or_default();
    order.truncate(last + 1);
    Ok(order)
}

fn key(item: &str, scope: Scope) -> Result<OrderKey, Refusal> {
    let unparsed = || Refusal::Invalid(format!("Invalid order_by clause '{item}'. Could not be parsed."));
    let (name, order) = match item.split_whitespace().collect::<Vec<_>>()[..] {
        [name] => (name, Order::Ascending),
        [name, direction] if direction.eq_ignore_ascii_case("asc") => (name, Order::Ascending),
        [name, direction] if direction.eq_ignore_ascii_case("desc") => (name, Order::Descending),
        [_, _] => {
            return Err(Refusal::Invalid(format!("Invalid ordering key in order_by clause '{item}'.")));
        }
        _ => return Err(unparsed()),
    };
    // MLflow's parser takes this word for one of SQL.
    if name.eq_ignore_ascii_case("version") {
        return Err(unparsed());
    }
    let name = match scope {
        Scope::Versions => name.strip_prefix("attribute.").unwrap_or(name),
        Scope::Models => name,
    };
    let name = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')).unwrap_or(name);
    let by = match (name, scope) {
        ("name", _) => OrderBy::Name,
        ("last_updated_timestamp", _) | ("timestamp", Scope::Models) => OrderBy::ChangedAt,
        ("version_number", Scope::Versions) => OrderBy::Number,
        ("creation_timestamp", Scope::Versions) => OrderBy::CreatedAt,
        _ => {
            let keys = match scope {
                Scope::Models => "name, timestamp, last_updated_timestamp",
                Scope::Versions => "name, version_number, creation_timestamp, last_updated_timestamp",
            };
            return Err(Refusal::Invalid(format!(
                "Invalid order by key '{name}' specified. Valid keys are {keys}"
            )));
        }
    };
    Ok(OrderKey { by, order })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(items: &[&str], scope: Scope) -> Result<String, Refusal> {
        let items: Vec<_> = items.iter().map(|item| (*item).to_owned()).collect();
        let keys = parse_order(&items, scope)?;
        Ok(keys
            .iter()
            .map(|key| format!("{}:{}", key.by.as_str(), key.order.as_str()))
            .collect::<Vec<_>>()
            .join(" "))
    }

    #[test]
    fn ties_are_broken_by_what_no_two_share() {
        for (items, expected) in [
            (&[][..], "name:asc"),
            (&["name"], "name:asc"),
            (&["name  DESC"], "name:desc"),
            (&["`name` desc"], "name:desc"),
            (&["timestamp"], "changed_at:asc name:asc"),
            (&["last_updated_timestamp DESC", "name DESC"], "changed_at:desc name:desc"),
            (&["name", "timestamp"], "name:asc"),
        ] {
            assert_eq!(order(items, Scope::Models).as_deref(), Ok(expected), "{items:?}");
        }
        for (items, expected) in [
            (&[][..], "changed_at:desc name:asc number:desc"),
            (&["name ASC"], "name:asc number:desc"),
            (&["version_number"], "number:asc name:asc"),
            (&["creation_timestamp desc"], "created_at:desc name:asc number:desc"),
            (&["last_updated_timestamp"], "changed_at:asc name:asc number:desc"),
            (&["name DESC", "version_number ASC"], "name:desc number:asc"),
            (&["attribute.name"], "name:asc number:desc"),
            (&["`version_number` ASC", "creation_timestamp"], "number:asc created_at:asc name:asc"),
            (&["name", "version_number", "creation_timestamp"], "name:asc number:asc"),
        ] {
            assert_eq!(order(items, Scope::Versions).as_deref(), Ok(expected), "{items:?}");
        }
    }

    #[test]
    fn an_item_that_is_no_key_is_refused() {
        for (item, scope, said) in [
            ("creation_timestamp", Scope::Models, "Invalid order by key 'creation_timestamp' specified."),
            ("description", Scope::Models, "Invalid order by key"),
            ("name up", Scope::Models, "Invalid ordering key in order_by clause 'name up'."),
            ("", Scope::Models, "Invalid order_by clause ''. Could not be parsed."),
            ("attribute.name", Scope::Models, "Invalid order by key"),
            ("version", Scope::Versions, "Invalid order_by clause 'version'. Could not be parsed."),
            ("run_id", Scope::Versions, "Invalid order by key"),
            ("timestamp", Scope::Versions, "Invalid order by key"),
            ("foo bar baz", Scope::Versions, "Invalid order_by clause 'foo bar baz'. Could not be parsed."),
            ("name, version_number", Scope::Versions, "Invalid ordering key"),
        ] {
            let refused = order(&[item], scope).unwrap_err().to_string();
            assert!(refused.starts_with(said), "{item}: {refused}");
        }
        let refused = order(&["name", "name DESC"], Scope::Models).unwrap_err().to_string();
        assert!(refused.contains("duplicate fields"), "{refused}");
    }
}
