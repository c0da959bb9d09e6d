//! The different values of a property.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use serde_json::Value;
use xronox_model::{Invalid, OrderedKey, json::canonical, values_at};

use crate::{Collection, Error, IntoDocument, IntoPath};

/// How many values are gathered, and bytes of them.
const MAX_VALUES: usize = 10_000;
const MAX_BYTES: usize = 64 * 1024 * 1024;

impl Collection {
    /// The different values at a path of the records that match, in the order
    /// in which queries sort. Of an array its elements count; where nothing is,
    /// nothing does. What is hidden in them counts only where the path names
    /// it.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query), and [`Invalid`](crate::ErrorKind::Invalid) for
    /// more than 10,000 values or 64 MiB of them.
    pub async fn distinct(
        &self,
        path: impl IntoPath,
        filter: impl IntoDocument,
    ) -> Result<Vec<Value>, Error> {
        let path = path.into_path()?;
        let gathered = async {
            let sight = self.shared.sight_of(&self.scope, &path)?;
            let mut records = self.query(filter).seen(sight).stream().await?;
            let (mut values, mut held) = (BTreeMap::new(), 0);
            while let Some(record) = records.try_next().await? {
                for value in values_at(&record.json(), &path) {
                    let whole = canonical(value);
                    let size = whole.len();
                    let key = (OrderedKey::of(value), whole);
                    if values.contains_key(&key) {
                        continue;
                    }
                    held += size;
                    if values.len() == MAX_VALUES || held > MAX_BYTES {
                        let why = "there are more than 10,000 different values here, or 64 MiB";
                        return Err(Invalid::at(path.to_string(), why).into());
                    }
                    values.insert(key, value.clone());
                }
            }
            Ok(values.into_values().collect())
        };
        let gathered: Result<_, Error> = gathered.await;
        gathered.map_err(|e| e.during(&self.shared.doing("distinct", None)))
    }
}
