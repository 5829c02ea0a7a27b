//! Versions side by side, ranked in three ways.

use crate::version::VersionId;

/// The values by which a comparison ranks a version.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ComparedVersion {
    /// The version.
    pub id: VersionId,
    /// Most first.
    pub params: Option<i64>,
    /// Lowest first.
    pub training_loss: Option<f64>,
    /// Highest first.
    pub training_step: Option<i64>,
}

/// Three rankings, each a list of indexes into the compared models. Models without a value come last, and ties keep
/// their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The most parameters first.
    pub by_params: Vec<usize>,
    /// The lowest loss first.
    pub by_loss: Vec<usize>,
    /// The highest step first.
    pub by_step: Vec<usize>,
}

impl Comparison {
    /// Ranks the models.
    #[must_use]
    pub fn of(models: &[ComparedVersion]) -> Self {
        let high_first = |value: fn(&ComparedVersion) -> Option<i64>| {
            // `None` is below any value, so reversing puts it last.
            ordered(models, |a, b| value(b).cmp(&value(a)))
        };
        Self {
            by_params: high_first(|model| model.params),
            by_loss: ordered(models, |a, b| {
                let loss = |c: &ComparedVersion| c.training_loss.unwrap_or(f64::INFINITY);
                loss(a).total_cmp(&loss(b))
            }),
            by_step: high_first(|model| model.training_step),
        }
    }
}

fn ordered(
    models: &[ComparedVersion],
    compare: impl Fn(&ComparedVersion, &ComparedVersion) -> std::cmp::Ordering,
) -> Vec<usize> {
    let mut ranking: Vec<usize> = (0..models.len()).collect();
    ranking.sort_by(|a, b| compare(&models[*a], &models[*b]));
    ranking
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_ranked_and_those_without_a_value_come_last() {
        let model = |id, params, training_loss, training_step| ComparedVersion {
            id,
            params,
            training_loss,
            training_step,
        };
        let models = [
            model(1, Some(5), Some(0.5), Some(10)),
            model(2, Some(9), Some(0.1), Some(1)),
            model(3, None, None, None),
            model(4, Some(-1), Some(-2.0), Some(-7)),
            model(5, Some(9), Some(0.1), Some(1)),
        ];
        assert_eq!(
            Comparison::of(&models),
            Comparison {
                by_params: vec![1, 4, 0, 3, 2],
                by_loss: vec![3, 1, 4, 0, 2],
                by_step: vec![0, 1, 4, 3, 2],
            }
        );
        assert_eq!(Comparison::of(&[]).by_loss, Vec::<usize>::new());
    }
}
