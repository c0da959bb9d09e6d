//! The figures: a table for people, JSON for programs.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::{
    machine::Head,
    round::{Rounds, median},
};

/// All figures of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) head: Head,
    rows: Vec<Row>,
}

/// One figure: what we measured, what the baseline did, and whether the ratio
/// of the two is as it should be.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    name: String,
    ours: f64,
    baseline: f64,
    unit: &'static str,
    ratio: f64,
    bar: Bar,
    holds: bool,
    /// The smallest and the largest ratio of a round.
    #[serde(skip)]
    spread: (f64, f64),
}

/// What a ratio should be. In JSON `">= 0.5"` or `"<= 1.5"`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

impl Row {
    /// The medians of the rounds.
    pub(crate) fn of(
        name: impl Into<String>,
        rounds: &Rounds,
        unit: &'static str,
        bar: Bar,
    ) -> Self {
        let ours = median(rounds.ours.iter().copied());
        let baseline = median(rounds.baseline.iter().copied());
        let ratio = ours / baseline;
        let each = rounds.ours.iter().zip(&rounds.baseline).map(|(a, b)| a / b);
        let spread = each.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), ratio| {
            (low.min(ratio), high.max(ratio))
        });
        let row = Self {
            name: name.into(),
            ours,
            baseline,
            unit,
            ratio,
            bar,
            holds: bar.holds(ratio),
            spread,
        };
        eprintln!("{row}");
        row
    }
}

impl Bar {
    fn holds(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(bar) => ratio >= bar,
            Self::AtMost(bar) => ratio <= bar,
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bar) => write!(f, ">= {bar}"),
            Self::AtMost(bar) => write!(f, "<= {bar}"),
        }
    }
}

impl Serialize for Bar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.baseline < 100.0 { 3 } else { 0 };
        let (low, high) = self.spread;
        write!(
            f,
            "{:<42} {:>11.digits$} {:>11.digits$} {:<9} {:>6.3} {:>8} {:<6} ({low:.2} to {high:.2})",
            self.name,
            self.ours,
            self.baseline,
            self.unit,
            self.ratio,
            self.bar.to_string(),
            if self.holds { "holds" } else { "MISSED" },
        )
    }
}

impl Report {
    pub(crate) fn new(head: Head) -> Self {
        Self {
            head,
            rows: Vec::new(),
        }
    }

    pub(crate) fn extend(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.rows.extend(rows);
    }

    /// Whether every ratio is as it should be.
    pub(crate) fn holds(&self) -> bool {
        self.rows.iter().all(|row| row.holds)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<42} {:>11} {:>11} {:<9} {:>6} {:>8} {:<6} (rounds)",
            "name", "ours", "baseline", "unit", "ratio", "bar", "",
        )?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        Ok(())
    }
}
