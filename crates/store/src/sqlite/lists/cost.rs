//! Which way to a page is the shortest, by how many rows each is likely to read. Pure.
//!
//! A list with several filters can be had along several indexes, each of which knows some of them; the others are
//! looked up in the rows. How many rows pass each filter is counted, or guessed for a text from how far
//! the first ones lie from where the list begins; that the filters have nothing to do with each other is an assumption, which costs time where it is
//! wrong and nothing else.

/// A row of an index, as a share of what reading and judging a version costs.
const INDEX_ROW: f64 = 0.1;

/// How many versions there are, and which share of them passes each filter; 1 where it is not asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    pub(super) all: f64,
    pub(super) status: f64,
    pub(super) name: f64,
    /// The candidates.
    pub(super) found: f64,
    /// Of these filters the one that has to be looked for among the candidates.
    pub(super) also: f64,
}

/// What can be done at all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ways {
    /// The filters have candidates by id, and those are in the order of the list.
    pub(super) by_candidate: bool,
    /// They have candidates, in whatever order.
    pub(super) candidates: bool,
    /// An index has the rows of the status, or of the name, in the order of the list.
    pub(super) status_ordered: bool,
    pub(super) name_ordered: bool,
}

/// A way to a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Along the candidates by id, judging each.
    Candidates,
    /// Along an index in the order of the list, judging each row.
    AlongAll,
    AlongStatus,
    AlongName,
    /// Along the index of all, judging only what is a candidate.
    AlongCandidates,
    /// All of the name, or of the status, to be sorted.
    SortName,
    SortStatus,
}

/// The cheapest way to so many rows.
pub(super) fn cheapest(ways: Ways, shares: Shares, rows: f64) -> Way {
    let Shares { all, status, name, found, also } = shares;
    let passing = |share: f64| if share > 0.0 { rows / share } else { f64::INFINITY };
    let in_order = |of: f64, others: f64| passing(others).min(of * all);
    let mut ways_and_costs = Vec::new();
    let mut add = |possible: bool, way: Way, cost: f64| {
        if possible {
            ways_and_costs.push((way, cost));
        }
    };
    // Of equal costs the first wins: where the guess is wrong, candidates are the fewer rows.
    add(ways.by_candidate, Way::Candidates, in_order(found, status * name * also));
    add(true, Way::AlongAll, in_order(1.0, status * name * found * also));
    add(ways.status_ordered, Way::AlongStatus, in_order(status, name * found * also));
    add(ways.name_ordered, Way::AlongName, in_order(name, status * found * also));
    let walked = in_order(1.0, status * name * found * also);
    let judged = in_order(found, status * name * also);
    add(ways.candidates, Way::AlongCandidates, (found * all + walked) * INDEX_ROW + judged);
    add(name < 1.0, Way::SortName, name * all);
    add(status < 1.0, Way::SortStatus, status * all);
    let first = (Way::AlongAll, f64::INFINITY);
    ways_and_costs.into_iter().fold(first, |best, next| if next.1 < best.1 { next } else { best }).0
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLION: Shares = Shares { all: 1e6, status: 1.0, name: 1.0, found: 1.0, also: 1.0 };
    const NONE: Ways =
        Ways { by_candidate: false, candidates: false, status_ordered: false, name_ordered: false };

    #[test]
    fn the_way_is_the_one_that_reads_the_fewest_rows() {
        let found = Ways { candidates: true, ..NONE };
        let by_id = Ways { by_candidate: true, ..found };
        for (ways, shares, way) in [
            (by_id, Shares { found: 0.5, ..MILLION }, Way::Candidates),
            (by_id, Shares { found: 0.002, ..MILLION }, Way::Candidates),
            // Everywhere, as it seems.
            (by_id, MILLION, Way::Candidates),
            // A rare status among what is found everywhere.
            (
                Ways { status_ordered: true, ..by_id },
                Shares { found: 0.9, status: 0.002, ..MILLION },
                Way::AlongStatus,
            ),
            (
                Ways { status_ordered: true, ..by_id },
                Shares { found: 0.002, status: 0.9, ..MILLION },
                Way::Candidates,
            ),
            (
                Ways { name_ordered: true, ..by_id },
                Shares { found: 0.1, name: 0.002, ..MILLION },
                Way::AlongName,
            ),
            // By another sort.
            (found, Shares { found: 0.5, ..MILLION }, Way::AlongAll),
            (found, Shares { found: 0.004, ..MILLION }, Way::AlongCandidates),
            (NONE, Shares { name: 0.3, ..MILLION }, Way::AlongAll),
            (NONE, Shares { name: 0.002, ..MILLION }, Way::SortName),
            (NONE, Shares { status: 0.002, name: 0.5, ..MILLION }, Way::SortStatus),
            (NONE, Shares { all: 0.0, ..MILLION }, Way::AlongAll),
        ] {
            assert_eq!(cheapest(ways, shares, 51.0), way, "{shares:?}");
        }
    }
}
