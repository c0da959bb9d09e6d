//! Counting a collection anew.

use serde_json::json;
use xronox_store::{DocUpdate, Update};

use super::{
    fold::Fold,
    stored::{self, CELLS, TOTALS, Total, VALUES, filter, replaced},
    work::through,
};
use crate::Error;

impl Fold {
    /// Counts everything anew, and puts that in the place of what was counted.
    /// Gives how many versions are counted then. Broken off, the next one goes
    /// on.
    pub(super) async fn rebuild(&self) -> Result<u64, Error> {
        let shadow = format!("{}|rebuild", self.id);
        if let Some(live) = self.total().await? {
            self.sweep_stale(&live).await?;
        }
        if let Some(begun) = self.read(&shadow).await? {
            self.discard(&begun).await?;
        }
        loop {
            self.into(&shadow).await?;
            let (live, Some(made)) = (self.total().await?, self.read(&shadow).await?) else {
                // There is nothing to count, or somebody else is through.
                return Ok(self.total().await?.map_or(0, |total| total.next));
            };
            if live
                .as_ref()
                .is_some_and(|live| live.generation == made.generation)
            {
                // Somebody else has put it there.
                self.remove(&made).await?;
                return Ok(made.next);
            }
            if live
                .as_ref()
                .is_some_and(|live| live.log == made.log && live.next > made.next)
            {
                continue;
            }
            let mut swapped = Total {
                id: self.id.clone(),
                ..made.clone()
            };
            if let Some(live) = &live {
                swapped.stale.extend(live.stale.iter().cloned());
                swapped.stale.push(live.generation.clone());
            }
            let read = live.as_ref().map(Total::read);
            let op = replaced(&stored::written(&swapped)?, read.as_ref())?;
            let totals = stored::collection(TOTALS)?;
            let done = self.documents.apply(vec![(totals, op)], false).await?;
            if !through(&done)? {
                continue;
            }
            self.remove(&made).await?;
            self.sweep_stale(&swapped).await?;
            return Ok(made.next);
        }
    }

    /// Removes the shadow of a rebuild that broke off, unless that can go on
    /// with it: it counts by the rules as they are now.
    async fn discard(&self, begun: &Total) -> Result<(), Error> {
        let rules = begun
            .rules
            .iter()
            .map(|rule| (&rule.definition, rule.since));
        let wanted = self.rules.all.iter().map(|rule| (&rule.definition, 0));
        if begun.log == self.log() && rules.eq(wanted) {
            return Ok(());
        }
        self.remove(begun).await?;
        let live = self.total().await?;
        if live.is_none_or(|live| live.generation != begun.generation) {
            self.sweep(&begun.generation).await?;
        }
        Ok(())
    }

    async fn remove(&self, total: &Total) -> Result<(), Error> {
        let this = json!({ "_id": total.id, "generation": total.generation });
        let totals = stored::collection(TOTALS)?;
        self.documents.delete(&totals, &filter(&this)?, 1).await?;
        Ok(())
    }

    /// Removes what belongs to generations that were replaced.
    async fn sweep_stale(&self, total: &Total) -> Result<(), Error> {
        if total.stale.is_empty() {
            return Ok(());
        }
        for generation in &total.stale {
            self.sweep(generation).await?;
        }
        let this = json!({ "_id": total.id, "generation": total.generation });
        let none = Update::parse(&json!({ "$unset": { "stale": "" } }))?;
        let update = DocUpdate::of(filter(&this)?, none);
        let totals = stored::collection(TOTALS)?;
        self.documents.update_one(&totals, &update).await?;
        Ok(())
    }

    async fn sweep(&self, generation: &str) -> Result<(), Error> {
        let theirs = filter(&json!({ "generation": generation }))?;
        for name in [CELLS, VALUES] {
            let name = stored::collection(name)?;
            self.documents.delete_all(&name, &theirs).await?;
        }
        Ok(())
    }
}
