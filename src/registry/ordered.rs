//! Searches in an order of several keys.

use std::{collections::HashMap, ops::ControlFlow};

use crate::domain::{ModelKey, ModelSummary, OrderedQuery, Place, VersionRow};

use super::{Registry, Result};

#[allow(clippy::missing_errors_doc, reason = "see `RegistryError`")]
impl Registry {
    /// Returns a page of versions as `view` writes them, and the place of its last one, if others follow. The page ends early
    /// once it has `max_bytes`.
    pub async fn ordered_versions(
        &self,
        query: OrderedQuery,
        max_bytes: usize,
        view: impl Fn(&VersionRow<'_>) -> Vec<u8> + Send + 'static,
    ) -> Result<(Vec<Vec<u8>>, Option<Place>)> {
        self.read(move |store| {
            let (mut views, mut bytes) = (Vec::new(), 0);
            let next = store.ordered_versions(&query, &mut |row| {
                let viewed = view(&row);
                bytes += viewed.len();
                views.push(viewed);
                if bytes < max_bytes { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            Ok((views, next))
        })
        .await
    }

    /// Returns a page of models with their newest versions of each status, as `view` writes those, and the place of the last
    /// model, if others follow.
    pub async fn ordered_models<T: Send + 'static>(
        &self,
        query: OrderedQuery,
        view: impl Fn(&VersionRow<'_>) -> T + Send + 'static,
    ) -> Result<(Vec<(ModelSummary, Vec<T>)>, Option<Place>)> {
        self.read(move |store| {
            let (models, next) = store.ordered_models(&query)?;
            let keys: Vec<ModelKey> = models.iter().map(|model| model.model.key).collect();
            let mut latest: HashMap<ModelKey, Vec<T>> = HashMap::new();
            store.latest_versions(&keys, &mut |row| latest.entry(row.model).or_default().push(view(&row)))?;
            let with_latest = |model: ModelSummary| {
                let latest = latest.remove(&model.model.key).unwrap_or_default();
                (model, latest)
            };
            Ok((models.into_iter().map(with_latest).collect(), next))
        })
        .await
    }
}
