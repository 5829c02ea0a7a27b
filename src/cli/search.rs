//! `registry list` with a filter: the query of a search over all models.

use super::{exit::Failure, filter_arg::SortArg, list::Filter};
use crate::domain::{
    self, Digest, Order, Sort, Status,
    filter::{Attribute, Comparator, Condition, Field, Pattern, Test, Value},
};

impl Filter {
    /// Returns true if the native list can't answer it, so that a search must.
    pub(super) fn needs_search(&self) -> bool {
        let is_native = |sort: &SortArg| Sort::parse(&sort.key.field.to_string()).is_some();
        self.filter.is_some()
            || self.sha256.is_some()
            || self.uri.is_some()
            || self.sort.as_ref().is_some_and(|sort| !is_native(sort))
    }

    /// Returns the direction of the list; like the native list, a search shows the highest value first.
    ///
    /// # Errors
    /// If it is given twice.
    pub(super) fn direction(&self) -> Result<Option<Order>, Failure> {
        let order = self.order.as_deref().and_then(Order::parse);
        match (self.sort.as_ref().and_then(|sort| sort.order), order) {
            (Some(_), Some(_)) => Err(Failure::usage("--sort gives a direction already; remove --order")),
            (given, order) => Ok(given.or(order)),
        }
    }

    /// Returns the parameters `filter` and `sort` of the search.
    ///
    /// # Errors
    /// If the direction is given twice, or the digest is none.
    pub(super) fn search(&self) -> Result<Vec<(&'static str, String)>, Failure> {
        let order = self.direction()?.unwrap_or_default().as_str();
        let sort = self.sort.as_ref().map(|sort| &sort.key.field);
        let sort = sort.unwrap_or(&Field::Attribute(Attribute::CreatedAt)).to_string();
        let mut query = vec![("sort", format!("{sort}:{order}"))];
        let mut all = self.conditions()?;
        let filter = match all.len() {
            0 | 1 => all.pop(),
            _ => Some(domain::Filter::And(all)),
        };
        query.extend(filter.map(|filter| ("filter", filter.to_string())));
        Ok(query)
    }

    fn conditions(&self) -> Result<Vec<domain::Filter>, Failure> {
        let mut all = Vec::new();
        all.extend(self.name.as_deref().map(|name| equal(attribute(Attribute::Name), name)));
        all.extend(self.status.map(Status::as_str).map(|status| equal(attribute(Attribute::Status), status)));
        all.extend(self.search.as_deref().map(contains));
        // A plain tag is one with an empty value.
        all.extend(self.tag.clone().map(|tag| equal(Field::Tag(tag), "")));
        if let Some(text) = &self.sha256 {
            let digest = Digest::parse("--sha256", text).map_err(Failure::usage)?;
            let digest = digest.ok_or_else(|| Failure::usage("--sha256 is blank; give 64 hex digits"))?;
            all.push(equal(attribute(Attribute::Sha256), &digest.to_string()));
        }
        all.extend(self.uri.as_deref().map(|uri| equal(attribute(Attribute::ArtifactUri), uri)));
        all.extend(self.filter.clone());
        Ok(all)
    }
}

fn attribute(attribute: Attribute) -> Field {
    Field::Attribute(attribute)
}

fn equal(field: Field, text: &str) -> domain::Filter {
    let test = Test::Compare(Comparator::Equal, Value::Text(text.to_owned()));
    domain::Filter::Condition(Condition { field, test })
}

/// Returns the filter for versions with this text in name, label or description, ignoring case.
fn contains(text: &str) -> domain::Filter {
    let literal = text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_");
    let pattern = Pattern::new(&format!("%{literal}%"), true);
    let like = |field| {
        let test = Test::Like { pattern: pattern.clone(), negated: false };
        domain::Filter::Condition(Condition { field: attribute(field), test })
    };
    domain::Filter::Or([Attribute::Name, Attribute::Label, Attribute::Description].map(like).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{SortKey, filter::Scope};

    fn sort(text: &str, order: Option<Order>) -> Option<SortArg> {
        Some(SortArg { key: SortKey::parse(text, Scope::Versions).unwrap(), order })
    }

    #[test]
    fn all_filters_become_one_that_parses_to_the_same() {
        let filter = Filter {
            name: Some("it's".to_owned()),
            status: Some(Status::Staging),
            search: Some(r"50%_\".to_owned()),
            tag: Some("a b".to_owned()),
            uri: Some("s3://b/k".to_owned()),
            sha256: Some(format!("sha256:{}", "AB".repeat(32))),
            filter: Some(domain::Filter::parse("params > 5 or frozen = true", Scope::Versions).unwrap()),
            sort: sort("scores.s.f1", None),
            order: None,
        };
        let query = filter.search().unwrap();
        assert_eq!(query[0], ("sort", "scores.s.f1:desc".to_owned()));
        let text = &query[1].1;
        assert_eq!(
            text,
            &format!(
                r"name = 'it''s' AND status = 'staging' AND (name ILIKE '%50\%\_\\%' OR label ILIKE '%50\%\_\\%' OR description ILIKE '%50\%\_\\%') AND tags.`a b` = '' AND sha256 = '{}' AND artifact_uri = 's3://b/k' AND (params > 5 OR frozen = true)",
                "ab".repeat(32)
            )
        );
        assert_eq!(domain::Filter::parse(text, Scope::Versions).unwrap().to_string(), *text);
    }

    #[test]
    fn only_what_the_native_list_lacks_needs_a_search() {
        let uri = Filter { uri: Some("u".to_owned()), ..Filter::default() };
        for (filter, needed) in [
            (Filter::default(), false),
            (Filter { sort: sort("training_step", None), ..Filter::default() }, false),
            (Filter { sort: sort("created_at:asc", Some(Order::Ascending)), ..Filter::default() }, false),
            (Filter { sort: sort("training_loss", None), ..Filter::default() }, true),
            (uri.clone(), true),
        ] {
            assert_eq!(filter.needs_search(), needed, "{filter:?}");
        }
        assert_eq!(uri.search().unwrap()[0].1, "created_at:desc");
        let twice = Filter {
            sort: sort("params:asc", Some(Order::Ascending)),
            order: Some("asc".to_owned()),
            ..Filter::default()
        };
        assert!(twice.search().is_err());
    }
}
