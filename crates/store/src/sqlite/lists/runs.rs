//! Candidates by id, where the list goes by `created_at`.
//!
//! Ids rise with `created_at`, but where the clock was set back. Between two such steps lies a run, and inside a run
//! order by id is the order of the list. So the best of each run come first in it, and a run is left as soon as
//! no more of it can be among the best.

use std::ops::ControlFlow;

use rusqlite::OptionalExtension as _;

use registry_domain::Order;

use crate::sqlite::derived::tables::Step;

use super::{
    Found,
    candidates::Candidates,
    found::Search,
    wanted::{Key, Place},
};

/// Ids between two steps.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    lowest: i64,
    highest: i64,
    /// The best key that a version of this run, or of one that comes later in the walk, can have; `None` where
    /// nothing is known.
    best: Option<Key>,
}

/// The runs in the order in which a list of this order goes through them.
fn runs(steps: &[Step], order: Order) -> Vec<Run> {
    let text = |text: &str| Key::Text(text.as_bytes().to_owned());
    let starts = std::iter::once(i64::MIN).chain(steps.iter().map(|step| step.id));
    let ends = steps.iter().map(|step| step.id - 1).chain([i64::MAX]);
    let mut runs: Vec<_> =
        starts.zip(ends).map(|(lowest, highest)| Run { lowest, highest, best: None }).collect();
    match order {
        Order::Descending => {
            for (run, step) in runs.iter_mut().zip(steps) {
                run.best = Some(text(&step.earlier_latest));
            }
            runs.reverse();
        }
        Order::Ascending => {
            let mut earliest: Option<Key> = None;
            for (run, step) in runs.iter_mut().skip(1).zip(steps).rev() {
                let first = text(&step.first);
                earliest = Some(earliest.map_or(first.clone(), |known| known.min(first)));
                run.best.clone_from(&earliest);
            }
        }
    }
    runs
}

/// The first rows of the list, in order.
pub(super) fn walk(search: &Search<'_>, candidates: &Candidates, steps: &[Step]) -> Found<Vec<Place>> {
    let order = search.query.order;
    let most = search.rows.map_or(usize::MAX, |rows| usize::try_from(rows).unwrap_or(usize::MAX));
    let mut judge = search.judge()?;
    let mut best: Vec<Place> = Vec::new();
    for run in runs(steps, order) {
        if best.len() >= most
            && let (Some(worst), Some(key)) = (best.last(), &run.best)
            && match order {
                Order::Descending => *key <= worst.key,
                Order::Ascending => *key >= worst.key,
            }
        {
            // Of equal keys, those that were walked before have the better ids.
            break;
        }
        let ids = match &search.behind {
            None => Some((run.lowest, run.highest)),
            Some(cursor) => behind(search, &run, cursor)?,
        };
        let Some(ids) = ids else { continue };
        // Those of this run, and how many of the best so far come before the one that is looked at.
        let (mut of_run, mut ahead) = (Vec::new(), 0);
        candidates.each(search.asked, ids, order, |id| {
            let Some((place, holds)) = judge.place(id)? else { return Ok(ControlFlow::Continue(())) };
            while best.get(ahead).is_some_and(|known| place.is_behind(known, order)) {
                ahead += 1;
            }
            if holds && ahead + of_run.len() < most {
                of_run.push(place);
            }
            let enough = ahead + of_run.len() >= most;
            Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        // Two sorted stretches, which this sort merges: a page may lie behind hundreds of thousands.
        best.append(&mut of_run);
        best.sort_by(|one, other| one.compare(other, order));
        best.truncate(most);
    }
    Ok(best)
}

/// The ids of a run whose versions stand behind the cursor. They are at one end of it, so the first of them is found
/// by halving.
fn behind(search: &Search<'_>, run: &Run, cursor: &Place) -> Found<Option<(i64, i64)>> {
    let order = search.query.order;
    let (mut lowest, mut highest) = search
        .asked
        .prepare("SELECT ifnull((SELECT min(id) FROM models), 1), ifnull((SELECT max(id) FROM models), 0)")?
        .query_row([], |row| Ok((run.lowest.max(row.get(0)?), run.highest.min(row.get(1)?))))?;
    let nearest = match order {
        Order::Descending => "id <= ?1 AND id >= ?2 ORDER BY id DESC",
        Order::Ascending => "id >= ?1 AND id <= ?2 ORDER BY id",
    };
    let mut probe =
        search.asked.prepare(&format!("SELECT id, created_at FROM models WHERE {nearest} LIMIT 1"))?;
    let mut first = None;
    while lowest <= highest {
        let middle = i64::midpoint(lowest, highest);
        let end = if order == Order::Descending { lowest } else { highest };
        let place = probe
            .query_row((middle, end), |row| Ok(Place { id: row.get(0)?, key: Key::of(row.get_ref(1)?) }))
            .optional()?;
        // The version at the middle, or the nearest one farther down the list, shows in which half to go on: up the
        // list, where versions that stand behind the cursor may be nearer to it, or down.
        let (up, from) = match place {
            None => (true, middle),
            Some(place) if place.is_behind(cursor, order) => {
                first = Some(place.id);
                (true, middle)
            }
            Some(place) => (false, place.id),
        };
        let to_higher_ids = up == (order == Order::Descending);
        // Ids may be as high or as low as numbers go, and then nothing is left in that half.
        let next = if to_higher_ids { from.checked_add(1) } else { from.checked_sub(1) };
        match next {
            None => break,
            Some(next) if to_higher_ids => lowest = next,
            Some(next) => highest = next,
        }
    }
    Ok(first.map(|first| match order {
        Order::Descending => (run.lowest, first),
        Order::Ascending => (first, run.highest),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_lie_between_steps_and_each_knows_the_best_that_is_still_to_come() {
        let step = |id, latest: &str, first: &str| Step {
            id,
            earlier_latest: latest.to_owned(),
            first: first.to_owned(),
        };
        let told = |order| {
            let steps = [step(10, "m", "c"), step(20, "p", "k")];
            let told = |run: Run| {
                let best = match run.best {
                    Some(Key::Text(text)) => String::from_utf8(text).unwrap(),
                    _ => String::new(),
                };
                (run.lowest, run.highest, best)
            };
            runs(&steps, order).into_iter().map(told).collect::<Vec<_>>()
        };
        let text = str::to_owned;
        assert_eq!(
            told(Order::Descending),
            [(20, i64::MAX, text("")), (10, 19, text("p")), (i64::MIN, 9, text("m"))]
        );
        assert_eq!(
            told(Order::Ascending),
            [(i64::MIN, 9, text("")), (10, 19, text("c")), (20, i64::MAX, text("k"))]
        );
    }
}
