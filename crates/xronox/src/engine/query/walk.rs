//! Walking along one access path, or along several at once in the order of ids.

use std::{cmp::Ordering, collections::VecDeque};

use xronox_model::{Constraint, Direction, Path, RecordId, VersionRow};
use xronox_store::{Access, Bodies, Catalog, Find, Position, StoreError};

use super::{body::Stretch, search::Search};

/// A stretch of a walk.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) rows: Vec<(Position, VersionRow)>,
    /// How many records were looked at.
    pub(super) examined: u64,
    /// The newest `cv` when the walk began.
    pub(super) cv: Option<u64>,
    /// The field of the path, if it turned out to hold arrays.
    pub(super) multi: Option<Path>,
}

#[derive(Debug)]
pub(super) struct Walk {
    cut: Option<u64>,
    direction: Direction,
    also: Vec<Constraint>,
    bodies: Bodies,
    stretch: Stretch,
    runs: Vec<Run>,
    /// The record met last, where several paths may lead to it.
    last: Option<RecordId>,
    begun: bool,
    cv: Option<u64>,
}

/// One path; of several, each is in the order of ids.
#[derive(Debug)]
struct Run {
    access: Access,
    after: Option<Position>,
    ahead: VecDeque<(Position, VersionRow)>,
    done: bool,
}

impl Walk {
    /// A walk along paths, each from behind its position. Several must each
    /// be in the order of ids.
    pub(super) fn new(
        search: &Search<'_>,
        paths: Vec<(Access, Option<Position>)>,
        direction: Direction,
        also: Vec<Constraint>,
        bodies: Bodies,
        stretch: Stretch,
    ) -> Self {
        let run = |(access, after)| Run {
            access,
            after,
            ahead: VecDeque::new(),
            done: false,
        };
        Self {
            cut: search.cut,
            direction,
            also,
            bodies,
            stretch,
            runs: paths.into_iter().map(run).collect(),
            last: None,
            begun: false,
            cv: None,
        }
    }

    /// Whether there is nothing more along the path.
    pub(super) fn done(&self) -> bool {
        self.runs.iter().all(|run| run.done && run.ahead.is_empty())
    }

    /// Goes on, looking at about `most` records.
    pub(super) async fn go_on(
        &mut self,
        search: &Search<'_>,
        most: u64,
    ) -> Result<Chunk, StoreError> {
        let catalog = &*search.shared.database.catalog;
        let most = usize::try_from(most).unwrap_or(usize::MAX).max(1);
        let mut chunk = Chunk::default();
        for i in 0..self.runs.len() {
            if !self.runs[i].done && self.runs[i].ahead.is_empty() {
                self.fetch(catalog, search, i, most, &mut chunk).await?;
            }
        }
        chunk.cv = self.cv;
        match self.runs.as_mut_slice() {
            [run] => chunk.rows = run.ahead.drain(..).collect(),
            _ => self.merge(&mut chunk.rows),
        }
        Ok(chunk)
    }

    async fn fetch(
        &mut self,
        catalog: &dyn Catalog,
        search: &Search<'_>,
        run: usize,
        most: usize,
        chunk: &mut Chunk,
    ) -> Result<(), StoreError> {
        let run = &mut self.runs[run];
        let find = Find {
            cut: self.cut,
            access: run.access.clone(),
            direction: self.direction,
            also: self.also.clone(),
            after: run.after.take(),
            limit: self.stretch.rows().min(most),
            bodies: self.bodies,
        };
        let found = catalog.find(&search.shared.name, &find).await?;
        self.stretch.saw(found.rows.iter().map(|(_, row)| row));
        if !std::mem::replace(&mut self.begun, true) {
            self.cv = found.cv;
        }
        chunk.examined += found.examined as u64;
        if let (true, Access::Field { field, .. }) = (found.multi, &run.access) {
            chunk.multi = Some(field.clone());
        }
        run.ahead = found.rows.into();
        run.done = found.next.is_none();
        run.after = found.next;
        Ok(())
    }

    /// Takes what comes next of all runs, as long as each is known to have
    /// nothing before it.
    fn merge(&mut self, rows: &mut Vec<(Position, VersionRow)>) {
        while self
            .runs
            .iter()
            .all(|run| run.done || !run.ahead.is_empty())
        {
            let direction = self.direction;
            let next = self
                .runs
                .iter_mut()
                .filter(|run| !run.ahead.is_empty())
                .min_by(|a, b| {
                    let order = a.next_id().cmp(&b.next_id());
                    match direction {
                        Direction::Ascending => order,
                        Direction::Descending => order.reverse(),
                    }
                });
            let Some((position, row)) = next.and_then(|run| run.ahead.pop_front()) else {
                return;
            };
            // A record with several keys stands on several paths.
            let met = self.last.as_ref().map(|last| position.id.cmp(last));
            if met != Some(Ordering::Equal) {
                self.last = Some(position.id.clone());
                rows.push((position, row));
            }
        }
    }
}

impl Run {
    fn next_id(&self) -> Option<&RecordId> {
        self.ahead.front().map(|(position, _)| &position.id)
    }
}
