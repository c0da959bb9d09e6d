//! The documents of one step of a fold.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::json;
use xronox_model::Timestamp;
use xronox_store::{
    DocFind, DocOp, DocOutcome, DocRefusal, InsertOutcome, UpdateOutcome, documents::MAX_BATCH,
};

use super::{
    calendar::TIMEFRAMES,
    distinct::{Different, Sketch},
    fold::Fold,
    rules::{Counted, told_apart},
    stored::{
        self, CELLS, Cell, Counts, GROUP, Met, Read, TOTALS, Total, VALUES, filter, replaced,
    },
};
use crate::Error;

/// Documents that are asked for at a time.
const PAGE: usize = 1000;

/// Where something is counted, by the number of the rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// In all.
    Rule(usize),
    /// In a period: which of [`TIMEFRAMES`], and when it began.
    Period(usize, usize, Timestamp),
    /// In a group, by what tells its values apart.
    Group(usize, String),
}

/// What a rule counts of a version.
pub(super) struct Contribution {
    pub(super) cv: u64,
    pub(super) rule: usize,
    pub(super) counted: Counted,
    /// When the hour, day, week and month began that it falls into.
    pub(super) starts: [Timestamp; 4],
}

impl Contribution {
    fn periods(&self) -> impl Iterator<Item = Place> + '_ {
        let starts = self.starts.iter().enumerate();
        starts.map(|(frame, start)| Place::Period(self.rule, frame, *start))
    }

    fn group(&self) -> Option<Place> {
        let group = self.counted.group.as_ref()?;
        let values: Vec<String> = group.iter().map(told_apart).collect();
        Some(Place::Group(self.rule, values.join(".")))
    }
}

/// One step's documents.
pub(super) struct Work<'a> {
    fold: &'a Fold,
    from: u64,
    total: Total,
    /// Each with where it was counted up to when it was read.
    cells: BTreeMap<Place, (Cell, Option<u64>)>,
    /// The values that were met, with where first.
    met: BTreeMap<(Place, usize), BTreeMap<String, u64>>,
    /// Where values were counted one by one up to now.
    emptied: Vec<String>,
}

impl<'a> Work<'a> {
    pub(super) fn new(fold: &'a Fold, from: u64, total: Total) -> Self {
        Self {
            fold,
            from,
            total,
            cells: BTreeMap::new(),
            met: BTreeMap::new(),
            emptied: Vec::new(),
        }
    }

    /// How many documents it touches beside the values.
    pub(super) fn documents(&self) -> usize {
        self.cells.len() + 1
    }

    /// In front of the ids of all that is counted in a place.
    fn id_of(&self, place: &Place) -> String {
        let of = |rule: usize| {
            let (generation, rule) = (&self.total.generation, &self.total.rules[rule]);
            format!("{generation}/{}", rule.key())
        };
        match place {
            Place::Rule(rule) => format!("{}/all", of(*rule)),
            Place::Period(rule, frame, start) => {
                let kind = stored::kind(TIMEFRAMES[*frame]);
                format!("{}/{kind}/{start}", of(*rule))
            }
            Place::Group(rule, values) => format!("{}/{GROUP}/{values}", of(*rule)),
        }
    }

    /// A cell that counts nothing yet.
    fn empty(&self, place: &Place, one: &Contribution) -> Cell {
        let rule = &self.total.rules[one.rule];
        let (kind, start, group) = match place {
            Place::Period(_, frame, start) => {
                (stored::kind(TIMEFRAMES[*frame]), Some(*start), None)
            }
            Place::Rule(_) | Place::Group(..) => (GROUP, None, one.counted.group.clone()),
        };
        Cell {
            id: self.id_of(place),
            generation: self.total.generation.clone(),
            rule: rule.key(),
            kind: kind.to_owned(),
            start,
            group,
            next: self.from,
            count: 0,
            counts: Counts::default(),
            unique: vec![Different::default(); rule.unique.len()],
        }
    }

    /// Reads the cells that the contributions fall into.
    pub(super) async fn load(&mut self, contributions: &[Contribution]) -> Result<(), Error> {
        let places: BTreeSet<Place> = contributions
            .iter()
            .flat_map(|one| one.periods().chain(one.group()))
            .collect();
        let mut places: HashMap<String, Place> = places
            .into_iter()
            .map(|place| (self.id_of(&place), place))
            .collect();
        let ids: Vec<String> = places.keys().cloned().collect();
        for page in ids.chunks(PAGE) {
            let find = DocFind::of(filter(&json!({ "_id": { "$in": page } }))?).limit(PAGE);
            for cell in self.fold.cells(&find).await? {
                if let Some(place) = places.remove(&cell.id) {
                    let next = cell.next;
                    self.cells.insert(place, (cell, Some(next)));
                }
            }
        }
        Ok(())
    }

    pub(super) fn count(&mut self, contributions: Vec<Contribution>) {
        for one in contributions {
            self.total.rules[one.rule].counts.add(one.counted.write);
            self.meet(&Place::Rule(one.rule), &one);
            let group = one.group().filter(|group| self.has_room(one.rule, group));
            for place in one.periods().chain(group) {
                if !self.cells.contains_key(&place) {
                    let empty = self.empty(&place, &one);
                    self.cells.insert(place.clone(), (empty, None));
                }
                let Some((cell, _)) = self.cells.get_mut(&place) else {
                    continue;
                };
                if cell.next <= one.cv {
                    cell.counts.add(one.counted.write);
                    self.meet(&place, &one);
                }
            }
        }
    }

    /// Whether a group is counted by itself.
    fn has_room(&mut self, rule: usize, group: &Place) -> bool {
        let (known, most) = (self.cells.contains_key(group), self.fold.rules.exact);
        let rule = &mut self.total.rules[rule];
        if !known && rule.groups >= most {
            rule.others += 1;
            return false;
        }
        rule.groups += u64::from(!known);
        true
    }

    fn meet(&mut self, place: &Place, one: &Contribution) {
        for (path, values) in one.counted.unique.iter().enumerate() {
            if values.is_empty() {
                continue;
            }
            let met = self.met.entry((place.clone(), path)).or_default();
            for value in values {
                if !met.contains_key(value) {
                    met.insert(value.clone(), one.cv);
                }
            }
        }
    }

    /// Where the values of a place are kept that are counted one by one.
    fn shelf(&self, place: &Place, path: usize) -> String {
        format!("{}/{path}", self.id_of(place))
    }

    fn different(&mut self, place: &Place, path: usize) -> Option<&mut Different> {
        match place {
            Place::Rule(rule) => self.total.rules.get_mut(*rule)?.unique.get_mut(path),
            place => self.cells.get_mut(place)?.0.unique.get_mut(path),
        }
    }

    /// Up to where the log is counted in a place.
    fn counted_to(&self, place: &Place) -> u64 {
        let cell = self.cells.get(place);
        cell.map_or(self.from, |(cell, _)| cell.next)
    }

    /// Counts the values that were met; gives the documents to add for them.
    pub(super) async fn settle(&mut self) -> Result<Vec<Met>, Error> {
        let mut wanted = Vec::new();
        let met = std::mem::take(&mut self.met);
        for ((place, path), values) in &met {
            let shelf = self.shelf(place, *path);
            if let Some(Different::Exact(_)) = self.different(place, *path) {
                wanted.extend(values.keys().map(|value| format!("{shelf}/{value}")));
            }
        }
        let mut known: HashMap<String, u64> = HashMap::new();
        let values = stored::collection(VALUES)?;
        for page in wanted.chunks(PAGE) {
            let find = DocFind::of(filter(&json!({ "_id": { "$in": page } }))?).limit(PAGE);
            for found in self.fold.documents.find(&values, &find).await? {
                let found: Met = stored::read(found)?;
                known.insert(found.id, found.cv);
            }
        }
        let mut inserts = Vec::new();
        for ((place, path), values) in met {
            let (shelf, counted_to) = (self.shelf(&place, path), self.counted_to(&place));
            let Some(different) = self.different(&place, path).map(std::mem::take) else {
                continue;
            };
            let settled = match different {
                Different::Sketch(text) => {
                    let mut sketch = Sketch::read(&text)?;
                    sketch.add(values.keys());
                    sketch.stored()
                }
                Different::Exact(count) => {
                    // One that a step which broke off has added is still new.
                    let is_new = |value: &&String| {
                        let cv = known.get(&format!("{shelf}/{value}"));
                        cv.is_none_or(|cv| *cv >= counted_to)
                    };
                    let count = count + values.keys().filter(is_new).count() as u64;
                    if count > self.fold.rules.exact {
                        let mut sketch = self.sketch_of(&shelf).await?;
                        sketch.add(values.keys());
                        self.emptied.push(shelf);
                        sketch.stored()
                    } else {
                        inserts.extend(values.into_iter().filter_map(|(value, cv)| {
                            let id = format!("{shelf}/{value}");
                            (!known.contains_key(&id)).then(|| Met {
                                id,
                                generation: self.total.generation.clone(),
                                of: shelf.clone(),
                                value,
                                cv,
                            })
                        }));
                        Different::Exact(count)
                    }
                }
            };
            if let Some(different) = self.different(&place, path) {
                *different = settled;
            }
        }
        Ok(inserts)
    }

    /// A sketch of the values on a shelf.
    async fn sketch_of(&self, shelf: &str) -> Result<Sketch, Error> {
        let values = stored::collection(VALUES)?;
        let theirs = filter(&json!({ "of": shelf }))?;
        let mut sketch = Sketch::new()?;
        let mut find = DocFind::of(theirs).limit(PAGE);
        loop {
            let page = self.fold.documents.find(&values, &find).await?;
            let Some(last) = page.last().cloned() else {
                return Ok(sketch);
            };
            for found in page {
                sketch.add([stored::read::<Met>(found)?.value]);
            }
            find = find.after(last);
        }
    }

    /// Writes the step, unless somebody else has; whether it did.
    pub(super) async fn write(
        &mut self,
        inserts: Vec<Met>,
        before: Option<&Read>,
    ) -> Result<bool, Error> {
        let documents = &self.fold.documents;
        self.fold.storage().folding.prepare(&**documents).await?;
        let (totals, cells, values) = (
            stored::collection(TOTALS)?,
            stored::collection(CELLS)?,
            stored::collection(VALUES)?,
        );
        let to = self.total.next;
        let total = replaced(&stored::written(&self.total)?, before)?;
        let mut met = Vec::new();
        for one in &inserts {
            met.push((values.clone(), DocOp::Insert(stored::written(one)?)));
        }
        let mut ops = Vec::new();
        for (cell, read_at) in self.cells.values_mut() {
            if cell.next < to {
                cell.next = to;
                cell.count = cell.counts.all();
                let read = read_at.map(|next| (cell.generation.clone(), next));
                let op = replaced(&stored::written(cell)?, read.as_ref())?;
                ops.push((cells.clone(), op));
            }
        }
        let at_once = met.len() + ops.len() < MAX_BATCH;
        let written = if documents.capabilities().transactions && at_once {
            ops.extend(met);
            ops.push((totals, total));
            through(&documents.apply(ops, true).await?)?
        } else {
            // The total comes last: until then the step is counted again, and
            // each document knows what of it is counted in it. Values that are
            // there already are no matter.
            for some in met.chunks(MAX_BATCH) {
                through(&documents.apply(some.to_vec(), false).await?)?;
            }
            let counted = ops.is_empty() || through(&documents.apply(ops, false).await?)?;
            counted && through(&documents.apply(vec![(totals, total)], false).await?)?
        };
        if written {
            // They are in a sketch now.
            for shelf in &self.emptied {
                let theirs = filter(&json!({ "of": shelf }))?;
                documents.delete_all(&values, &theirs).await?;
            }
        }
        Ok(written)
    }
}

/// Whether all of it was done. What was not is because somebody was faster.
///
/// # Errors
///
/// [`Invalid`](ErrorKind::Invalid) for what can never be done.
pub(super) fn through(outcomes: &[DocOutcome]) -> Result<bool, Error> {
    let mut all = true;
    for outcome in outcomes {
        match outcome {
            DocOutcome::Insert(InsertOutcome::Inserted)
            | DocOutcome::Update(UpdateOutcome::Matched { .. })
            | DocOutcome::Delete(_) => {}
            DocOutcome::Insert(InsertOutcome::Refused(DocRefusal::Invalid(invalid)))
            | DocOutcome::Update(UpdateOutcome::Refused(DocRefusal::Invalid(invalid))) => {
                return Err(invalid.clone().into());
            }
            _ => all = false,
        }
    }
    Ok(all)
}
