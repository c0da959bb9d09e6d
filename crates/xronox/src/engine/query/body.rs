//! Reading the bodies of many rows, which others may remove or move meanwhile.

use bytes::Bytes;
use xronox_model::{CollectionName, Location, VersionRow};
use xronox_store::{Bodies, StoreError, Which};

use crate::{Error, storage::Storage};

/// Bodies that one reader has under way at a time.
pub(crate) const READ_AHEAD: usize = 16;

/// Inline bodies that one call of the catalog should bring, in bytes.
const STRETCH_BYTES: usize = 8 * 1024 * 1024;

/// The rows in handfuls whose documents and files come to no more than so many
/// bytes, wherever they are stored; one that is larger stands alone.
pub(crate) fn handfuls(rows: Vec<VersionRow>, most_bytes: u64) -> Vec<Vec<VersionRow>> {
    let (mut handfuls, mut bytes) = (Vec::<Vec<VersionRow>>::new(), 0);
    for row in rows {
        let body = row.body.as_ref();
        let files = body.iter().flat_map(|body| &body.files);
        let size = body.map_or(0, |body| body.size) + files.map(|file| file.size).sum::<u64>();
        bytes += size;
        match handfuls.last_mut() {
            Some(last) if bytes <= most_bytes => last.push(row),
            _ => {
                bytes = size;
                handfuls.push(vec![row]);
            }
        }
    }
    handfuls
}

/// The canonical bytes of a row's body, with the row as it is now; `None` if
/// the version is gone: purged, pruned, or not kept.
pub(crate) async fn read_body(
    database: &Storage,
    collection: &CollectionName,
    row: VersionRow,
) -> Result<Option<(VersionRow, Bytes)>, Error> {
    let Some(body) = &row.body else {
        return Ok(None);
    };
    let omitted = body.location == Location::Inline && body.inline.is_none();
    let failed = if omitted {
        None
    } else {
        match database.payloads.read(body).await {
            Ok(bytes) => return Ok(Some((row, bytes))),
            Err(error @ StoreError::Corrupt(_)) => Some(error),
            Err(error) => return Err(error.into()),
        }
    };
    // A body that is not where the row says may have been moved or removed
    // since the row was read.
    let which = Which::Ov(row.ov);
    let now = database
        .catalog
        .version(collection, &row.id, which, Bodies::Inline)
        .await?;
    let Some(now) = now else {
        return Ok(None);
    };
    match (&now.body, failed) {
        (None, _) => Ok(None),
        (Some(new), Some(error)) if new.location == body.location => Err(error.into()),
        (Some(new), _) => {
            let bytes = database.payloads.read(new).await?;
            Ok(Some((now, bytes)))
        }
    }
}

/// How many rows to read at a time: more and more, as long as the bodies that
/// come with them are small.
#[derive(Debug)]
pub(crate) struct Stretch {
    rows: usize,
    most: usize,
}

impl Stretch {
    pub(crate) fn starting(rows: usize, most: usize) -> Self {
        Self { rows, most }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Learns from the rows that came.
    pub(crate) fn saw<'r>(&mut self, rows: impl IntoIterator<Item = &'r VersionRow>) {
        let (mut count, mut bytes) = (0, 0);
        for row in rows {
            count += 1;
            bytes += row.inline_bytes();
        }
        let each = usize::checked_div(bytes, count).unwrap_or(0).max(1);
        self.rows = (self.rows * 2)
            .min(STRETCH_BYTES / each)
            .clamp(1, self.most);
    }
}
