//! Whether the parts of a collection agree.

use xronox_model::{Op, VersionRow};

use super::collection::Collection;

pub(super) fn check(collection: &Collection) -> Vec<String> {
    let mut damages = Vec::new();
    let listed: usize = collection
        .records
        .values()
        .map(std::collections::BTreeMap::len)
        .sum();
    if listed != collection.rows.len() {
        damages.push(format!(
            "{listed} versions listed, {} rows",
            collection.rows.len()
        ));
    }
    for (cv, row) in &collection.rows {
        let listed = collection.version(&row.id, row.ov).map(|row| row.cv);
        if row.cv != *cv || listed != Some(*cv) {
            damages.push(format!("row {cv} is not where it belongs"));
        }
    }
    let rows: Vec<&VersionRow> = collection.rows.values().collect();
    for pair in rows.windows(2) {
        if pair[0].at > pair[1].at {
            damages.push(format!("row {} is older than the one before", pair[1].cv));
        }
    }
    for id in collection.records.keys() {
        let versions: Vec<&VersionRow> = collection.versions(id).collect();
        for pair in versions.windows(2) {
            check_pair(pair[0], pair[1], &mut damages);
        }
        if versions.last().is_some_and(|newest| newest.to_cv.is_some()) {
            damages.push(format!("the newest version of {id} is closed"));
        }
    }
    check_unique(collection, &mut damages);
    damages
}

fn check_pair(earlier: &VersionRow, later: &VersionRow, damages: &mut Vec<String>) {
    // A PURGE row may stand in front of versions that a later purge removed.
    let gap = later.ov != earlier.ov + 1;
    let purged = gap && earlier.op == Op::Purge;
    let lawful = purged || earlier.stands_for_those_before(later);
    let closed = match earlier.to_cv {
        Some(to_cv) if purged => earlier.cv < to_cv && to_cv <= later.cv,
        to_cv => to_cv == Some(later.cv),
    };
    if (gap && !lawful) || !closed {
        damages.push(format!(
            "version {} of {} does not follow on version {}",
            later.ov, later.id, earlier.ov
        ));
    }
    if !gap && later.pruned.is_none() && later.prev_hash != Some(earlier.hash()) {
        damages.push(format!(
            "version {} of {} names another predecessor",
            later.ov, later.id
        ));
    }
}

fn check_unique(collection: &Collection, damages: &mut Vec<String>) {
    let held: usize = collection
        .held
        .values()
        .map(std::collections::BTreeSet::len)
        .sum();
    if held != collection.holders.len() {
        damages.push(format!(
            "{held} unique keys held, {} listed",
            collection.holders.len()
        ));
    }
    for (key, id) in &collection.holders {
        let holds = collection
            .held
            .get(id)
            .is_some_and(|keys| keys.contains(key));
        let live = collection.newest_of(id).is_some_and(VersionRow::live);
        if !holds || !live {
            damages.push(format!(
                "a key of index {} is held by {id} without right",
                key.index
            ));
        }
    }
}
