//! Where a command's words go: data to stdout in the format that was asked for, talk to stderr.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
}

/// The terminal, as far as commands care.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    /// What `-o` says.
    pub format: Format,
    /// Whether tables may be coloured: stdout is a terminal and `NO_COLOR` is unset.
    pub color: bool,
}

impl Console {
    /// A console that prints in this format.
    pub fn new(format: Format) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self { format, color: !refused && !dumb && io::stdout().is_terminal() }
    }

    /// Prints `value` as JSON or YAML, or what `table` makes of it.
    ///
    /// # Errors
    /// stdout cannot be written to.
    pub fn data<T: Serialize>(&self, value: &T, table: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        let mut text = match self.format {
            Format::Table => table(value),
            Format::Json => serde_json::to_string_pretty(value)?,
            Format::Yaml => serde_saphyr::to_string(value)?,
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        self.raw(&text)
    }

    /// Prints `text` as it is, whatever the format.
    ///
    /// # Errors
    /// stdout cannot be written to.
    pub fn raw(&self, text: &str) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()?;
        Ok(())
    }

    /// Says something to the person at the terminal. A closed stderr is not an error.
    pub fn talk(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// Rows with their cells below each other.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let widths: Vec<usize> = (0..N).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// `gangplank ... | head` closes our stdout: that is the reader's choice, not a failure.
pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}
