//! The order of commits: times never go back, and no commit is missing
//! without a reason.
//!
//! Every commit of a version takes one `cv` and one `ov`. What is removed
//! lawfully, by a purge or because versioning is off, therefore leaves as many
//! gaps among the records' `ov` as among the collection's `cv`. Which gap
//! belongs to which record cannot be told, but the sums must agree; and gaps
//! behind the last version that lacks predecessors belong to nobody.

use std::ops::Range;

use xronox_model::{Timestamp, VersionRow};

use super::{
    report::{Found, Rule},
    row::Checked,
};

/// Gaps that are remembered, to say where they are.
const MAX_GAPS: usize = 1000;

/// What was met on the way through a collection in the order of `cv`.
#[derive(Debug, Default)]
pub(super) struct Order {
    last: Option<(u64, Timestamp)>,
    missing_cvs: u64,
    missing_ovs: u64,
    /// Missing versions that later commits may have removed meanwhile.
    tolerated: u64,
    /// Gaps behind the last version that lacks predecessors.
    gaps: Vec<Range<u64>>,
}

impl Order {
    /// Goes on to the next row.
    pub(super) fn meet(&mut self, row: &VersionRow, report: &mut impl FnMut(Found)) {
        let expected = self.last.map_or(0, |(cv, _)| cv + 1);
        self.gap(expected..row.cv);
        if let Some((cv, at)) = self.last
            && row.at < at
        {
            let message = format!("committed at {}, before version {cv} at {at}", row.at);
            report(Found::of(Rule::TimeOrder, message).on(row));
        }
        self.last = Some((row.cv, row.at));
    }

    /// Takes note of what was found out about a row.
    pub(super) fn explain(&mut self, checked: &Checked) {
        if checked.missing > 0 {
            self.missing_ovs += checked.missing;
            self.gaps.retain(|gap| gap.start > checked.cv);
        }
    }

    /// Takes note of rows that were not met, though they are there.
    pub(super) fn account(&mut self, rows: u64) {
        if rows > 0 {
            self.missing_ovs += rows;
            self.gaps.clear();
        }
    }

    /// Takes note of versions that may have been removed since the walk began.
    pub(super) fn tolerate(&mut self, versions: u64) {
        self.tolerated = self.tolerated.saturating_add(versions);
    }

    /// How many commits before `end` are missing without a reason.
    pub(super) fn excess(&self, end: u64) -> u64 {
        let expected = self.last.map_or(0, |(cv, _)| cv + 1);
        let tail = if end == u64::MAX {
            0
        } else {
            end.saturating_sub(expected)
        };
        (self.missing_cvs + tail)
            .saturating_sub(self.missing_ovs)
            .saturating_sub(self.tolerated)
    }

    /// Draws the sum.
    pub(super) fn finish(mut self, end: u64, report: &mut impl FnMut(Found)) {
        let mut excess = self.excess(end);
        if excess == 0 {
            return;
        }
        let expected = self.last.map_or(0, |(cv, _)| cv + 1);
        if end < u64::MAX {
            self.gap(expected..end);
        }
        if self.tolerated == 0 {
            for gap in &self.gaps {
                let message = match gap.end - gap.start {
                    1 => "this version is missing".to_owned(),
                    count => format!("{count} versions from here on are missing"),
                };
                report(Found::of(Rule::CvGap, message).at(gap.start));
                excess = excess.saturating_sub(gap.end - gap.start);
            }
        }
        if excess > 0 {
            let message = format!("{excess} more versions are missing than were removed lawfully");
            report(Found::of(Rule::CvGap, message));
        }
    }

    fn gap(&mut self, gap: Range<u64>) {
        if gap.is_empty() {
            return;
        }
        self.missing_cvs += gap.end - gap.start;
        if self.gaps.len() < MAX_GAPS {
            self.gaps.push(gap);
        }
    }
}
