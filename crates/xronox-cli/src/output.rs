//! Standard output: one JSON value a line, or text and tables for people.

use std::{
    fmt::Display,
    io::{self, BufWriter, Write},
};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::Value;

/// The widest cell of a table.
const MAX_CELL: usize = 48;

/// What commands print their results to.
pub(crate) struct Output {
    /// Whether to print JSON lines.
    pub(crate) json: bool,
    to: Box<dyn Write + Send>,
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column<'a> {
    /// Of text, flush left.
    Text(&'a str),
    /// Of numbers, flush right.
    Number(&'a str),
    /// Of text that is never cut.
    Prose(&'a str),
}

impl Output {
    pub(crate) fn stdout(json: bool) -> Self {
        Self {
            json,
            to: Box::new(BufWriter::new(io::stdout())),
        }
    }

    /// Prints one JSON value on a line of its own.
    pub(crate) fn value(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.to, value).map_err(io::Error::from)?;
        self.to.write_all(b"\n")
    }

    /// Prints one JSON value for people.
    pub(crate) fn pretty(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.to, value).map_err(io::Error::from)?;
        self.to.write_all(b"\n")
    }

    /// Prints a line of text.
    pub(crate) fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.to, "{}", printable(&text.to_string()))
    }

    /// Prints bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)
    }

    /// Prints a table, unless it has no rows.
    pub(crate) fn table(
        &mut self,
        columns: &[Column<'_>],
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> io::Result<()> {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(columns.iter().map(|column| match column {
                Column::Text(name) | Column::Number(name) | Column::Prose(name) => *name,
            }));
        for row in rows {
            table.add_row(row.iter().zip(columns).map(|(cell, column)| match column {
                Column::Prose(_) => printable(cell),
                Column::Text(_) | Column::Number(_) => shortened(&printable(cell), MAX_CELL),
            }));
        }
        for (column, kind) in table.column_iter_mut().zip(columns) {
            column.set_padding((0, 2));
            if matches!(kind, Column::Number(_)) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        if table.row_iter().next().is_none() {
            return Ok(());
        }
        for line in table.lines() {
            writeln!(self.to, "{}", line.trim_end())?;
        }
        Ok(())
    }

    /// Hands everything printed so far to the reader.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The text with control characters made visible, so that stored text cannot
/// steer a terminal.
pub(crate) fn printable(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// The text, cut to so many characters.
pub(crate) fn shortened(text: &str, to: usize) -> String {
    match text.char_indices().nth(to) {
        None => text.to_owned(),
        Some(_) => text.chars().take(to - 1).chain(['…']).collect(),
    }
}

/// A value in a cell: text without quotes, anything else as JSON.
pub(crate) fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

/// What may be there, as text.
pub(crate) fn maybe<T: Display>(value: Option<&T>) -> String {
    value.map_or_else(String::new, T::to_string)
}

/// So many of something.
pub(crate) fn counted(count: u64, what: &str) -> String {
    match what.strip_suffix('y') {
        _ if count == 1 => format!("1 {what}"),
        Some(stem) => format!("{count} {stem}ies"),
        None => format!("{count} {what}s"),
    }
}

/// A number of bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_text_cannot_steer_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{9b}"), "a\\u{1b}[2Jb\\nc\\u{9b}");
        assert_eq!(printable("größe"), "größe");
    }

    #[test]
    fn long_cells_are_cut_at_characters() {
        assert_eq!(shortened("größe", 5), "größe");
        assert_eq!(shortened("größen", 5), "größ…");
    }
}
