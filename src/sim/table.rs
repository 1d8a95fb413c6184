//! Lists as text of comma-separated values without quotes: cells by column, and which line makes no sense.

use thiserror::Error;

/// A list that cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("line {line}: {problem}")]
pub struct ListError {
    /// Counted from 1, the header included.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// A text of comma-separated values without quotes.
pub(in crate::sim) struct Table<'a> {
    columns: Vec<&'a str>,
    text: &'a str,
    lines_max: usize,
}

pub(in crate::sim) struct Row<'a> {
    line: usize,
    columns: &'a [&'a str],
    cells: Vec<&'a str>,
}

impl<'a> Table<'a> {
    pub(in crate::sim) fn open(text: &'a str, required: &[&str], lines_max: usize) -> Result<Self, ListError> {
        let columns: Vec<&str> = text.lines().next().unwrap_or_default().split(',').map(str::trim).collect();
        match required.iter().find(|name| !columns.contains(name)) {
            Some(missing) => Err(ListError { line: 1, problem: format!("no column `{missing}`; there must be {}", required.join(", ")) }),
            None => Ok(Self { columns, text, lines_max }),
        }
    }

    pub(in crate::sim) fn columns(&self) -> &[&'a str] {
        &self.columns
    }

    pub(in crate::sim) fn rows(&self) -> impl Iterator<Item = Result<Row<'_>, ListError>> {
        let lines = (1..).zip(self.text.lines()).skip(1).filter(|(_, line)| !line.trim().is_empty());
        lines.map(|(number, line)| {
            let row = Row { line: number, columns: &self.columns, cells: line.split(',').map(str::trim).collect() };
            if number > self.lines_max {
                return Err(row.error(format!("more than {} lines", self.lines_max)));
            }
            if row.cells.len() != self.columns.len() {
                return Err(row.error(format!("{} values for {} columns", row.cells.len(), self.columns.len())));
            }
            Ok(row)
        })
    }
}

impl<'a> Row<'a> {
    pub(in crate::sim) fn error(&self, problem: String) -> ListError {
        ListError { line: self.line, problem }
    }

    /// A cell that may be empty, or of a column that may be absent.
    pub(in crate::sim) fn optional(&self, column: &str) -> Option<&'a str> {
        let place = self.columns.iter().position(|name| *name == column)?;
        self.cells.get(place).copied().filter(|cell| !cell.is_empty())
    }

    pub(in crate::sim) fn text(&self, column: &str) -> Result<&'a str, ListError> {
        self.optional(column).ok_or_else(|| self.error(format!("{column} is empty")))
    }

    pub(in crate::sim) fn number<T: std::str::FromStr + PartialOrd + std::fmt::Display + Copy>(
        &self,
        column: &str,
        max: T,
    ) -> Result<T, ListError> {
        let cell = self.text(column)?;
        let number = cell.parse::<T>().ok().filter(|number| *number <= max);
        number.ok_or_else(|| self.error(format!("{column}: `{cell}` is not a whole number of at most {max}")))
    }

    pub(in crate::sim) fn fraction(&self, column: &str) -> Result<f64, ListError> {
        let cell = self.text(column)?;
        cell.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| self.error(format!("{column}: `{cell}` is not a number")))
    }

    /// Seconds; the published lists write some as `123.0`.
    pub(in crate::sim) fn time(&self, column: &str) -> Result<Option<u64>, ListError> {
        let Some(cell) = self.optional(column) else { return Ok(None) };
        let whole = cell.strip_suffix(".0").unwrap_or(cell);
        whole.parse().map(Some).map_err(|_| self.error(format!("{column}: `{cell}` is not a whole number of seconds")))
    }
}
