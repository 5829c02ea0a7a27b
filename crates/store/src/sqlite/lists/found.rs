//! Lists with filters that no single index has in order.

use std::ops::ControlFlow;

use rusqlite::{CachedStatement, Row};

use registry_domain::{ListQuery, Order, Sort, Status};

use super::{
    Asked, Found,
    candidates::Candidates,
    cost::{Shares, Way, Ways, cheapest},
    counts,
    ordered::{Along, Walk},
    runs,
    wanted::{Place, Wanted, judged_columns},
};
use crate::sqlite::derived::tables::{Step, steps};

/// Versions that are judged one and all, which tells how many pass. More would take longer than the page.
const FEW: u64 = 1_000;
/// Candidates that are kept in memory to walk along another order: half a megabyte.
const MOST_KEPT: usize = 65_536;

/// The page of a list.
pub(super) struct Listed {
    /// The versions on it, and the one behind it.
    pub(super) ids: Vec<i64>,
    /// How many versions there are on all pages, where that is known.
    pub(super) total: Option<u64>,
}

pub(super) fn find(asked: &Asked<'_>, query: &ListQuery, wanted: &Wanted<'_>) -> Found<Listed> {
    let search = Search {
        asked,
        query,
        wanted,
        behind: query.after.as_ref().map(Place::of_cursor),
        rows: query.limit.map(|limit| query.offset.saturating_add(u64::from(limit) + 1)),
    };
    search.find()
}

/// A list that is being found.
pub(super) struct Search<'s> {
    pub(super) asked: &'s Asked<'s>,
    pub(super) query: &'s ListQuery,
    pub(super) wanted: &'s Wanted<'s>,
    /// Where the page before this one ended.
    pub(super) behind: Option<Place>,
    /// Rows to come up with behind that: those to be passed over, those of the page, and one more, which tells
    /// whether there is a next page. `None` for all.
    pub(super) rows: Option<u64>,
}

impl Search<'_> {
    fn find(&self) -> Found<Listed> {
        let (asked, wanted) = (self.asked, self.wanted);
        let of_name = wanted.name.map(|name| counts::of_name(asked, name)).transpose()?;
        let of_status = wanted.status.map(|status| counts::of_status(asked, status)).transpose()?;
        let is_few = |count: Option<u64>| count.is_some_and(|count| count <= FEW);
        if is_few(of_name) && of_name <= of_status.or(of_name) {
            return self.sort_all("name = ?1", wanted.name);
        }
        if is_few(of_status) {
            return self.sort_all("status = ?1", wanted.status.map(Status::as_str));
        }

        let all = counts::all(asked)?.max(1) as f64;
        let share = |count: Option<u64>| count.map_or(1.0, |count| (count as f64 / all).min(1.0));
        // With their share of all.
        let mut candidates: Option<(Candidates, f64)> = None;
        if let Some(tag) = wanted.tag {
            let tagged = Candidates::of_tag(tag);
            let count = counts::of_indexed_tag(asked, tag)?;
            if count <= FEW {
                let first = self.first(&tagged, FEW as usize + 1)?;
                if first.len() <= FEW as usize {
                    return self.sort_these(&first);
                }
            }
            candidates = Some((tagged, share(Some(count.max(FEW)))));
        }
        let mut also = 1.0;
        if let Some(part) = &wanted.part {
            let with_part = Candidates::of_part(part);
            let first = self.first(&with_part, FEW as usize + 1)?;
            if first.len() <= FEW as usize {
                return self.sort_these(&first);
            }
            let found = self.density(&first, all)?;
            // Of two filters, the rarer one is walked along and the other one is looked for in the rows.
            candidates = match candidates {
                Some((tagged, of_tag)) if of_tag <= found => {
                    also = found;
                    Some((tagged, of_tag))
                }
                other => {
                    also = other.map_or(1.0, |(_, of_tag)| of_tag);
                    Some((with_part, found))
                }
            };
        }
        let found = candidates.as_ref().map_or(1.0, |(_, found)| *found);
        let candidates = candidates.map(|(candidates, _)| candidates);
        // What is counted already: where there is one filter, and it is not a text.
        let total = match (wanted.name, wanted.status, wanted.tag, &wanted.part) {
            (Some(_), None, None, None) => of_name,
            (None, Some(_), None, None) => of_status,
            (None, None, Some(tag), None) => counts::of_tag(asked, tag)?,
            _ => None,
        };

        let sort = self.query.sort;
        let steps = if sort == Sort::CreatedAt { steps(asked.connection)? } else { None };
        let ways = Ways {
            by_candidate: candidates.is_some() && steps.is_some(),
            candidates: candidates.is_some(),
            status_ordered: wanted.status.is_some() && sort != Sort::TrainingStep,
            name_ordered: wanted.name.is_some() && sort == Sort::CreatedAt,
        };
        let shares = Shares { all, status: share(of_status), name: share(of_name), found, also };
        let rows = self.rows.map_or(f64::INFINITY, |rows| rows as f64);
        let way = cheapest(ways, shares, rows);
        let ids = self.along(way, candidates.as_ref(), steps.as_deref())?;
        Ok(match ids {
            None if way == Way::SortName => return self.sort_all("name = ?1", wanted.name),
            None => return self.sort_all("status = ?1", wanted.status.map(Status::as_str)),
            Some(ids) => self.cut(ids, total),
        })
    }

    /// The ids that this way leads to, in order; `None` where it sorts in place of walking.
    fn along(
        &self,
        way: Way,
        candidates: Option<&Candidates>,
        steps: Option<&[Step]>,
    ) -> Found<Option<Vec<i64>>> {
        let all = Along::All;
        let judged = |along| self.judge_along(along).map(Some);
        match (way, candidates, steps, self.wanted.status, self.wanted.name) {
            (Way::Candidates, Some(candidates), Some(steps), ..) => {
                Ok(Some(runs::walk(self, candidates, steps)?.into_iter().map(|place| place.id).collect()))
            }
            (Way::AlongCandidates, Some(candidates), ..) => {
                let mut kept = self.first(candidates, MOST_KEPT + 1)?;
                // There are more than it seemed.
                if kept.len() > MOST_KEPT {
                    return judged(all);
                }
                kept.sort_unstable();
                self.meet_along(all, &kept).map(Some)
            }
            (Way::AlongStatus, .., Some(status), _) => judged(Along::Status(status)),
            (Way::AlongName, .., Some(name)) => judged(Along::Name(name)),
            (Way::SortName, .., Some(_)) | (Way::SortStatus, .., Some(_), _) => Ok(None),
            _ => judged(all),
        }
    }

    /// The candidates that a list by ids comes to first.
    fn first(&self, candidates: &Candidates, most: usize) -> Found<Vec<i64>> {
        let mut ids = Vec::new();
        candidates.each(self.asked, (i64::MIN, i64::MAX), self.query.order, |id| {
            ids.push(id);
            Ok(if ids.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(ids)
    }

    /// Which share of all versions the candidates are, going by how far the first ones lie from the end at which a
    /// list begins. That they lie close together says little: they may be the oldest, and all others come before.
    fn density(&self, first: &[i64], all: f64) -> Found<f64> {
        let Some(farthest) = first.last().map(|id| *id as f64) else { return Ok(0.0) };
        let (lowest, highest): (f64, f64) = self
            .asked
            .prepare("SELECT ifnull((SELECT min(id) FROM models), 0) + 0.0, ifnull((SELECT max(id) FROM models), 0) + 0.0")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let among = match self.query.order {
            Order::Descending => highest - farthest,
            Order::Ascending => farthest - lowest,
        };
        // An id that is pending may be one that no version has any more.
        let (among, ids) = (among.max(0.0) + 1.0, highest - lowest + 1.0);
        Ok((first.len() as f64 / among * ids / all).clamp(1.0 / all, 1.0))
    }

    /// Judges all rows that a condition on one column leaves.
    fn sort_all(&self, condition: &str, value: Option<&str>) -> Found<Listed> {
        let columns = judged_columns(self.query.sort);
        let mut rows = self.asked.prepare(&format!("SELECT {columns} FROM models WHERE {condition}"))?;
        let mut rows = rows.query([value])?;
        let mut places = Vec::new();
        while let Some(row) = rows.next()? {
            if self.wanted.holds(row)? {
                places.push(Place::of(row)?);
            }
        }
        Ok(self.sorted(places))
    }

    /// Judges all of these.
    fn sort_these(&self, ids: &[i64]) -> Found<Listed> {
        let mut judge = self.judge()?;
        let mut places = Vec::new();
        for id in ids {
            if let Some((place, true)) = judge.place(*id)? {
                places.push(place);
            }
        }
        Ok(self.sorted(places))
    }

    /// The page out of all places there are.
    fn sorted(&self, mut places: Vec<Place>) -> Listed {
        let total = places.len() as u64;
        let order = self.query.order;
        if let Some(cursor) = &self.behind {
            places.retain(|place| place.is_behind(cursor, order));
        }
        places.sort_unstable_by(|one, other| one.compare(other, order));
        let most = self.rows.map_or(usize::MAX, |rows| usize::try_from(rows).unwrap_or(usize::MAX));
        places.truncate(most);
        self.cut(places.into_iter().map(|place| place.id).collect(), Some(total))
    }

    /// The page out of the first rows behind the cursor. Where they are all there are, they are counted.
    fn cut(&self, mut ids: Vec<i64>, total: Option<u64>) -> Listed {
        let ended = self.rows.is_none_or(|rows| (ids.len() as u64) < rows);
        let counted = (ended && self.behind.is_none()).then_some(ids.len() as u64);
        let passed = usize::try_from(self.query.offset).unwrap_or(usize::MAX).min(ids.len());
        ids.drain(..passed);
        Listed { ids, total: total.or(counted) }
    }

    /// Judges each row along an index.
    fn judge_along(&self, along: Along<'_>) -> Found<Vec<i64>> {
        let mut ids = Vec::new();
        self.walk(along).each(
            self.asked,
            judged_columns(self.query.sort),
            self.query.after.as_ref(),
            None,
            0,
            |row| {
                if self.wanted.holds(row)? {
                    ids.push(row.get(0)?);
                }
                Ok(self.enough(&ids))
            },
        )?;
        Ok(ids)
    }

    /// Judges those along an index that are candidates, which are sorted.
    fn meet_along(&self, along: Along<'_>, candidates: &[i64]) -> Found<Vec<i64>> {
        let mut judge = self.judge()?;
        let (mut ids, mut left) = (Vec::new(), candidates.len());
        let walk = self.walk(along);
        walk.each(self.asked, walk.id_column(), self.query.after.as_ref(), None, 0, |row| {
            let id = row.get(0)?;
            if candidates.binary_search(&id).is_err() {
                return Ok(ControlFlow::Continue(()));
            }
            left -= 1;
            if let Some((_, true)) = judge.place(id)? {
                ids.push(id);
            }
            Ok(if left == 0 { ControlFlow::Break(()) } else { self.enough(&ids) })
        })?;
        Ok(ids)
    }

    fn walk<'w>(&self, along: Along<'w>) -> Walk<'w> {
        Walk { along, sort: self.query.sort, order: self.query.order }
    }

    fn enough<T>(&self, rows: &[T]) -> ControlFlow<()> {
        let wanted = self.rows.unwrap_or(u64::MAX);
        if rows.len() as u64 >= wanted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    pub(super) fn judge(&self) -> Found<Judge<'_>> {
        let columns = judged_columns(self.query.sort);
        let statement = self.asked.prepare(&format!("SELECT {columns} FROM models WHERE id = ?1"))?;
        Ok(Judge { statement, wanted: self.wanted })
    }
}

/// Looks at versions one by one.
pub(super) struct Judge<'s> {
    statement: CachedStatement<'s>,
    wanted: &'s Wanted<'s>,
}

impl Judge<'_> {
    /// Where the version stands, and whether it passes all filters; `None` where it is gone.
    pub(super) fn place(&mut self, id: i64) -> Found<Option<(Place, bool)>> {
        let judge = |row: &Row<'_>| Ok((Place::of(row)?, self.wanted.holds(row)?));
        let mut rows = self.statement.query([id])?;
        rows.next()?.map(judge).transpose()
    }
}
