//! Where long work is recorded, so that it can go on after a crash.

use xronox_model::CollectionName;

use crate::Error;

/// The plain collection of jobs.
pub(crate) const JOBS: &str = "xronox_jobs";

pub(crate) fn jobs() -> Result<CollectionName, Error> {
    Ok(JOBS.parse()?)
}
