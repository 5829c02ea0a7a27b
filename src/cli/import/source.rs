//! Reads all models and versions of an MLflow server, and puts the versions into the order in which they are registered.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use crate::{
    cli::{exit::Failure, interrupt::Interrupt, progress},
    client::mlflow::{MlflowError, MlflowKind, MlflowModel, MlflowPage, MlflowServer, MlflowVersion},
    domain::{PRODUCTION_ALIAS, Status, Timestamp},
};

/// What an MLflow server holds.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    /// Models and prompts.
    pub(super) models: Vec<MlflowModel>,
    /// Their versions, in the order of their creation and, within a model, of their numbers.
    pub(super) versions: Vec<MlflowVersion>,
    /// The number of each model's version for production; see [`Catalog::production`].
    production: HashMap<String, i64>,
}

impl Catalog {
    /// Reads everything, so that versions can be registered in order and progress has an end.
    pub(super) fn read(server: &MlflowServer, interrupt: &Interrupt) -> Result<Self, Failure> {
        let (mut models, mut versions) = (Vec::new(), Vec::new());
        let progress = progress::counter("reading");
        for kind in [MlflowKind::Models, MlflowKind::Prompts] {
            read_pages(interrupt, &mut models, |token| server.models(kind, token), |_| {})?;
            read_pages(
                interrupt,
                &mut versions,
                |token| server.versions(kind, token),
                |read| {
                    progress.set(read as u64);
                },
            )?;
        }
        Ok(Self::of(models, versions))
    }

    fn of(models: Vec<MlflowModel>, mut versions: Vec<MlflowVersion>) -> Self {
        let mut production = HashMap::new();
        for version in versions.iter().filter(|version| version.status == Some(Status::Production)) {
            let newest = production.entry(version.model.clone()).or_insert(version.number);
            *newest = version.number.max(*newest);
        }
        for model in &models {
            if let Some(number) = model.aliases.get(PRODUCTION_ALIAS) {
                production.insert(model.name.clone(), *number);
            }
        }
        in_order_of_creation(&mut versions);
        Self { models, versions, production }
    }

    /// Splits the models into at most `count` parts with about as many versions each. The versions of a model stay together and in
    /// order.
    pub(super) fn parts(&self, count: usize) -> Vec<Part<'_>> {
        let mut sizes: HashMap<&str, usize> = HashMap::new();
        for version in &self.versions {
            *sizes.entry(&version.model).or_default() += 1;
        }
        let size = |model: &MlflowModel| sizes.get(model.name.as_str()).copied().unwrap_or_default();
        let mut models: Vec<_> = self.models.iter().collect();
        models.sort_by_key(|model| Reverse(size(model)));
        let mut parts: Vec<Part<'_>> = Vec::new();
        parts.resize_with(count.min(models.len()), Part::default);
        let mut part_of = HashMap::new();
        for model in models {
            // A model without versions takes time too.
            let least = parts.iter_mut().enumerate().min_by_key(|(_, part)| part.size);
            let Some((at, part)) = least else { break };
            part.size += size(model) + 1;
            part.models.push(model);
            part_of.insert(model.name.as_str(), at);
        }
        for version in &self.versions {
            let part = part_of.get(version.model.as_str()).and_then(|at| parts.get_mut(*at));
            if let Some(part) = part {
                part.versions.push(version);
            }
        }
        parts
    }

    /// Returns the number of the version that goes into production: the one with the alias `production`, else the newest in that
    /// stage.
    pub(super) fn production(&self, model: &str) -> Option<i64> {
        self.production.get(model).copied()
    }
}

/// Some models with all their versions.
#[derive(Debug, Default)]
pub(super) struct Part<'c> {
    pub(super) models: Vec<&'c MlflowModel>,
    /// In the order of [`Catalog::versions`].
    pub(super) versions: Vec<&'c MlflowVersion>,
    size: usize,
}

/// Appends all pages to `rows`, and calls `after` with the number of rows after each.
fn read_pages<T>(
    interrupt: &Interrupt,
    rows: &mut Vec<T>,
    fetch: impl Fn(Option<&str>) -> Result<MlflowPage<T>, MlflowError>,
    after: impl Fn(usize),
) -> Result<(), Failure> {
    let mut token: Option<String> = None;
    loop {
        if interrupt.requested() {
            return Err(Failure::interrupted("stopped while reading; nothing was written"));
        }
        let page = fetch(token.as_deref())?;
        // A server that ignores the token would send the first page for ever.
        if page.next.is_some() && (page.next == token || page.rows.is_empty()) {
            return Err(Failure::failed(
                "the MLflow server's pages do not end; report this to its maintainers",
            ));
        }
        rows.extend(page.rows);
        after(rows.len());
        token = page.next;
        if token.is_none() {
            return Ok(());
        }
    }
}

/// Sorts versions by creation, so that ids follow time within a model and about so beyond it. Within a model the numbers ascend, even
/// if MLflow's clock was set back.
fn in_order_of_creation(versions: &mut [MlflowVersion]) {
    versions.sort_by(|a, b| (&a.model, a.number).cmp(&(&b.model, b.number)));
    let mut latest: BTreeMap<&str, Timestamp> = BTreeMap::new();
    let order: Vec<Timestamp> = versions
        .iter()
        .map(|version| {
            let created_at = version.created_at.unwrap_or(Timestamp::from_unix_millis(0));
            let latest = latest.entry(&version.model).or_insert(created_at);
            *latest = created_at.max(*latest);
            *latest
        })
        .collect();
    let mut order = order.into_iter();
    // The keys are computed once for each version, in the order of the slice.
    versions.sort_by_cached_key(|_| order.next());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(model: &str, number: i64, created_at: i64, status: Status) -> MlflowVersion {
        MlflowVersion {
            model: model.to_owned(),
            number,
            status: Some(status),
            source: "s3://b/m".to_owned(),
            run_id: None,
            run_link: None,
            description: None,
            tags: BTreeMap::new(),
            created_at: Some(Timestamp::from_unix_millis(created_at)),
            updated_at: None,
        }
    }

    fn model(name: &str, aliases: &[(&str, i64)]) -> MlflowModel {
        MlflowModel {
            name: name.to_owned(),
            description: None,
            tags: BTreeMap::new(),
            aliases: aliases.iter().map(|(alias, number)| ((*alias).to_owned(), *number)).collect(),
            created_at: None,
            updated_at: None,
        }
    }

    #[test]
    fn versions_are_in_order_of_creation_and_numbers_never_go_back() {
        let version = |model, number, created_at| version(model, number, created_at, Status::Staging);
        let catalog = Catalog::of(
            Vec::new(),
            vec![
                version("b", 1, 20),
                version("a", 10, 50),
                version("a", 2, 40),
                // The clock was set back before this one.
                version("a", 9, 10),
                version("b", 2, 45),
            ],
        );
        let order: Vec<_> =
            catalog.versions.iter().map(|version| (version.model.as_str(), version.number)).collect();
        assert_eq!(order, [("b", 1), ("a", 2), ("a", 9), ("b", 2), ("a", 10)]);
    }

    #[test]
    fn parts_have_as_many_versions_and_those_of_a_model_stay_in_order() {
        let models = ["a", "b", "c", "d"].map(|name| model(name, &[]));
        let counts = [("a", 6), ("b", 3), ("c", 2), ("none", 1)];
        let versions = counts.into_iter().flat_map(|(model, count)| {
            (1..=count).map(move |number| version(model, number, number, Status::Staging))
        });
        let catalog = Catalog::of(models.into(), versions.collect());
        let parts = catalog.parts(2);
        let names = |part: &Part<'_>| part.models.iter().map(|model| model.name.clone()).collect::<Vec<_>>();
        assert_eq!(parts.iter().map(names).collect::<Vec<_>>(), [vec!["a", "d"], vec!["b", "c"]]);
        let order = |part: &Part<'_>| {
            part.versions.iter().map(|version| (version.model.clone(), version.number)).collect::<Vec<_>>()
        };
        assert_eq!(order(&parts[0]), (1..=6).map(|number| ("a".to_owned(), number)).collect::<Vec<_>>());
        let expected = [("b", 1), ("c", 1), ("b", 2), ("c", 2), ("b", 3)];
        assert_eq!(order(&parts[1]), expected.map(|(model, number)| (model.to_owned(), number)));
        assert_eq!(catalog.parts(9).len(), 4);
        assert!(Catalog::default().parts(2).is_empty());
    }

    #[test]
    fn the_alias_production_wins_over_the_newest_version_in_that_stage() {
        let versions = ["a", "b", "c"].into_iter().flat_map(|model| {
            [(1, Status::Production), (2, Status::Production), (3, Status::Staging)]
                .map(|(number, status)| version(model, number, number, status))
        });
        let models =
            vec![model("a", &[]), model("b", &[("production", 1)]), model("c", &[("production", 3)])];
        let catalog = Catalog::of(models, versions.collect());
        for (model, number) in [("a", Some(2)), ("b", Some(1)), ("c", Some(3)), ("d", None)] {
            assert_eq!(catalog.production(model), number, "{model}");
        }
    }
}
