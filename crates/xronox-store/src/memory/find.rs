//! Reading along an access path.

use xronox_model::{Direction, KeyRange, Op, OrderedKey, Path, VersionRow};

use super::{collection, collection::Collection, shown};
use crate::{Access, Bodies, Find, Found, PAGE_BYTES, Position, StoreError, ruling};

pub(super) fn find(from: &Collection, find: &Find) -> Result<Found, StoreError> {
    if let Access::Field { field, .. } = &find.access
        && !ruling::always_indexed(field)
        && !from
            .indexes
            .of_field(field)
            .is_some_and(|index| index.ready)
    {
        return Err(StoreError::Refused(format!(
            "there is no index of `{field}` that is ready"
        )));
    }
    let valid = |row: &&VersionRow| {
        let now = match find.cut {
            Some(cut) => collection::valid_at(row, cut),
            None => row.to_cv.is_none(),
        };
        now && row.op != Op::Purge
    };
    let mut found: Vec<(Position, &VersionRow)> = from
        .rows
        .values()
        .filter(valid)
        .filter_map(|row| Some((position(row, &find.access, find.direction)?, row)))
        .collect();
    found.sort_by(|(a, _), (b, _)| order(a).cmp(&order(b)));
    if find.direction == Direction::Descending {
        found.reverse();
    }
    if let Some(after) = &find.after {
        found.retain(|(position, _)| match find.direction {
            Direction::Ascending => order(position) > order(after),
            Direction::Descending => order(position) < order(after),
        });
    }
    let most = fitting(&found, find);
    let more = found.len() > most;
    found.truncate(most);
    let next = found
        .last()
        .filter(|_| more)
        .map(|(position, _)| position.clone());
    Ok(Found {
        examined: found.len(),
        rows: found
            .into_iter()
            .map(|(at, row)| (at, shown(row, find.bodies)))
            .collect(),
        next,
        cv: from.newest().map(|newest| newest.cv),
        multi: matches!(&find.access, Access::Field { field, .. } if from.multi.contains(field)),
    })
}

/// How many of these rows a stretch brings.
fn fitting(found: &[(Position, &VersionRow)], find: &Find) -> usize {
    let mut bytes = 0;
    let fit = found.iter().take(find.limit).take_while(|(_, row)| {
        let room = bytes < PAGE_BYTES;
        if find.bodies == Bodies::Inline {
            bytes += row.inline_bytes();
        }
        room
    });
    fit.count()
}

fn order(position: &Position) -> (Option<&OrderedKey>, &xronox_model::RecordId) {
    (position.key.as_ref(), &position.id)
}

/// Where a row stands on the path, if it does.
fn position(row: &VersionRow, access: &Access, direction: Direction) -> Option<Position> {
    let key = match access {
        Access::All => None,
        Access::Ids(ids) => {
            ids.contains(&row.id).then_some(())?;
            None
        }
        Access::Field { field, ranges } => Some(first_key(row, field, ranges, direction)?),
    };
    Some(Position {
        key,
        id: row.id.clone(),
    })
}

/// The key that comes first of those in the ranges.
fn first_key(
    row: &VersionRow,
    field: &Path,
    ranges: &[KeyRange],
    direction: Direction,
) -> Option<OrderedKey> {
    if row.pruned.is_some() {
        return None;
    }
    let system = ruling::always_indexed(field).then(|| row.system_keys([field]));
    let keys = system.as_ref().unwrap_or(&row.keys).get(field)?.keys();
    let within = keys
        .iter()
        .filter(|key| ranges.iter().any(|range| range.contains(key)));
    match direction {
        Direction::Ascending => within.min(),
        Direction::Descending => within.max(),
    }
    .cloned()
}
