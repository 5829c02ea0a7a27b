//! Tables without borders, as `kubectl` and `gh` print them: a header in capitals, two spaces between columns.
//!
//! It is our own, since crates lay out a table as a whole and don't page, and none cuts names before numbers and times.

use anstyle::Style;

use super::terminal::{HEADER, Terminal, cut, in_style, width_of};

pub(super) const GAP: usize = 2;
pub(in crate::cli) const INDENT: &str = "  ";
/// Columns are not cut below this width.
const MIN_CUT_WIDTH: usize = 8;

/// A cell of a table.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct Cell {
    /// One line without control characters.
    pub(in crate::cli) text: String,
    pub(in crate::cli) style: Style,
    /// Aligned right, for numbers.
    pub(in crate::cli) right: bool,
    /// Cut last, since a part of a number or time is wrong.
    pub(in crate::cli) rigid: bool,
}

impl Cell {
    pub(in crate::cli) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    pub(in crate::cli) fn styled(self, style: Style) -> Self {
        Self { style, ..self }
    }
}

/// A table that is printed in pages. A column is as wide as its widest cell so far.
#[derive(Debug)]
pub(in crate::cli) struct Table {
    /// `None` after the first page.
    header: Option<Vec<String>>,
    widths: Vec<usize>,
    /// The width to which lines are cut; `None` for never.
    limit: Option<usize>,
    ellipsis: &'static str,
}

impl Table {
    /// Creates a table for `terminal`.
    pub(in crate::cli) fn new(header: Option<Vec<String>>, terminal: Terminal) -> Self {
        Self { header, widths: Vec::new(), limit: terminal.width, ellipsis: terminal.ellipsis() }
    }

    /// Returns the lines of the next rows, with the header before the first ones.
    pub(in crate::cli) fn lines(&mut self, rows: &[Vec<Cell>]) -> String {
        let right = |at: usize| rows.iter().any(|row| row.get(at).is_some_and(|cell| cell.right));
        let header = self.header.take().map(|titles| {
            let title = |(at, text)| Cell { text, style: HEADER, right: right(at), rigid: false };
            titles.into_iter().enumerate().map(title).collect::<Vec<_>>()
        });
        let all: Vec<&Vec<Cell>> = header.iter().chain(rows).collect();
        for row in &all {
            self.widths.resize(self.widths.len().max(row.len()), 0);
            for (width, cell) in self.widths.iter_mut().zip(row.iter()) {
                *width = (*width).max(width_of(&cell.text));
            }
        }
        let rigid = |at: usize| rows.iter().any(|row| row.get(at).is_some_and(|cell| cell.rigid));
        let widths = self.fitting(&(0..self.widths.len()).map(rigid).collect::<Vec<_>>());
        let rights: Vec<bool> = (0..widths.len()).map(right).collect();
        all.iter().map(|row| self.line(row, &widths, &rights)).collect()
    }

    /// Returns the widths, with the widest columns narrowed until a line fits.
    fn fitting(&self, rigid: &[bool]) -> Vec<usize> {
        let mut widths = self.widths.clone();
        let Some(limit) = self.limit else { return widths };
        let gaps = GAP * widths.len().saturating_sub(1);
        for cut_rigid in [false, true] {
            while widths.iter().sum::<usize>() + gaps > limit {
                let may_be_cut = widths.iter_mut().zip(rigid).filter(|(_, rigid)| cut_rigid || !**rigid);
                match may_be_cut.map(|(width, _)| width).max() {
                    Some(widest) if *widest > MIN_CUT_WIDTH => *widest -= 1,
                    _ => break,
                }
            }
        }
        widths
    }

    fn line(&self, row: &[Cell], widths: &[usize], rights: &[bool]) -> String {
        let mut line = String::new();
        // No line ends in spaces, so they are written before the next text.
        let (mut used, mut spaces) = (0, 0);
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            spaces += if at > 0 { GAP } else { 0 };
            let available =
                self.limit.map_or(*width, |limit| limit.saturating_sub(used + spaces).min(*width));
            let text = cut(&cell.text, available, self.ellipsis);
            let padding = width.saturating_sub(width_of(&text));
            // The dash for a missing number is aligned as a number.
            let right = cell.right || (cell.text == "-" && rights.get(at).is_some_and(|right| *right));
            let before = if right { padding.min(available.saturating_sub(width_of(&text))) } else { 0 };
            spaces += before;
            if !text.is_empty() {
                line.extend(std::iter::repeat_n(' ', spaces));
                line.push_str(&in_style(cell.style, &text));
                used += spaces + width_of(&text);
                spaces = 0;
            }
            spaces += padding - before;
        }
        line.push('\n');
        line
    }
}

/// Returns the lines of a table without header, indented.
pub(in crate::cli) fn indented(rows: &[Vec<Cell>], terminal: Terminal) -> String {
    let width = terminal.width.map(|width| width.saturating_sub(INDENT.len()));
    let lines = Table::new(None, Terminal { width, ..terminal }).lines(rows);
    lines.lines().map(|line| format!("{INDENT}{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(width: Option<usize>) -> Table {
        let header = ["ID", "NAME", "LOSS"].map(str::to_owned).to_vec();
        Table::new(Some(header), Terminal { width, unicode: true })
    }

    fn row(id: &str, name: &str, loss: &str) -> Vec<Cell> {
        let right = |text: &str| Cell { right: true, ..Cell::new(text) };
        vec![right(id), Cell::new(name), right(loss)]
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn columns_line_up_by_the_width_of_letters() {
        let lines =
            table(None).lines(&[row("1", "tiny", "2.5"), row("12", "模型", "-"), row("3", "", "10.25")]);
        assert_eq!(plain(&lines), "ID  NAME   LOSS\n 1  tiny    2.5\n12  模型      -\n 3        10.25\n");
    }

    #[test]
    fn no_line_ends_in_spaces_and_later_pages_have_no_header() {
        let mut table = table(None);
        assert_eq!(plain(&table.lines(&[row("1", "tiny", "")])), "ID  NAME  LOSS\n 1  tiny\n");
        assert_eq!(plain(&table.lines(&[row("100", "a", "1")])), "100  a        1\n");
    }

    #[test]
    fn rigid_cells_are_cut_last() {
        let rigid = |text: &str| Cell { rigid: true, ..Cell::new(text) };
        let rows = [vec![Cell::new("a-long-name-of-a-model"), rigid("2026-01-31 13:05Z")]];
        for (width, expected) in [(28, "a-long-n…  2026-01-31 13:05Z\n"), (20, "a-long-…  2026-01-3…\n")]
        {
            let mut table = Table::new(None, Terminal { width: Some(width), unicode: true });
            assert_eq!(plain(&table.lines(&rows)), expected);
        }
    }

    #[test]
    fn a_terminal_cuts_the_widest_column_first_and_no_line_goes_beyond_it() {
        let rows = [row("1", "a-name-that-is-far-too-long", "2.5"), row("2", "模型模型模型模型模型", "0.5")];
        for width in [5, 10, 20, 30] {
            let lines = plain(&table(Some(width)).lines(&rows));
            assert!(lines.lines().all(|line| width_of(line) <= width), "{width}\n{lines}");
        }
        let lines = plain(&table(Some(22)).lines(&rows));
        assert_eq!(lines, "ID  NAME          LOSS\n 1  a-name-that…   2.5\n 2  模型模型模…    0.5\n");
    }
}
