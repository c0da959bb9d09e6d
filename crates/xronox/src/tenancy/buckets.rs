//! Whether the buckets of all databases are there.

use std::{collections::HashSet, future::IntoFuture};

use futures::{StreamExt, future::BoxFuture, stream};
use serde::{Serialize, Serializer, ser::SerializeMap};
use xronox_model::BucketRole;
use xronox_store::Space;

use super::{
    Tenancy,
    address::{Address, SpaceAddress},
    context::Context,
    directory::{Directory, Listed},
    record::State,
    removal::owners,
};
use crate::{Config, Error, config::check_folder};

/// Tenants that are looked at together, and buckets asked for at a time.
const TENANTS: usize = 500;
const ABREAST: usize = 16;
/// How many buckets a report names.
const MAX_NAMED: usize = 1000;

/// Makes the buckets of all databases; await it. Gives a [`BucketReport`]. Made
/// with [`Config::ensure_buckets`].
#[derive(Debug)]
#[must_use = "nothing is made until it is awaited"]
pub struct EnsureBuckets {
    config: Config,
    dry_run: bool,
}

/// Which buckets there are and which are not.
///
/// As JSON `{ there, madeCount, made, lackingCount, lacking }`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BucketReport {
    /// Buckets that were there and may be used.
    pub there: u64,
    /// How many were made.
    pub made_count: u64,
    /// The first 1,000 of them.
    pub made: Vec<BucketPlace>,
    /// How many are not there, or may not be used.
    pub lacking_count: u64,
    /// The first 1,000 of them.
    pub lacking: Vec<LackingBucket>,
}

/// A bucket.
///
/// As JSON `{ space, bucket?, role? }`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BucketPlace {
    /// Its connection, a key of `spacesConnections`.
    pub space: String,
    /// Its name; `None` for all that a space of files keeps, or for those of a
    /// space that cannot be opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// What it is for; if for several things, one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<BucketRole>,
}

/// A bucket that cannot be used.
///
/// As JSON `{ space, bucket?, role?, error: { kind, message } }`.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct LackingBucket {
    /// Which it is.
    #[serde(flatten)]
    pub place: BucketPlace,
    /// Why it cannot.
    #[serde(serialize_with = "told")]
    pub error: Error,
}

fn told<S: Serializer>(error: &Error, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(2))?;
    map.serialize_entry("kind", error.kind().name())?;
    map.serialize_entry("message", &error.to_string())?;
    map.end()
}

impl BucketReport {
    /// Whether every bucket may be used.
    pub fn complete(&self) -> bool {
        self.lacking_count == 0
    }

    fn add(&mut self, place: BucketPlace, found: Result<bool, Error>) {
        match found {
            Ok(false) => self.there += 1,
            Ok(true) => {
                self.made_count += 1;
                if self.made.len() < MAX_NAMED {
                    self.made.push(place);
                }
            }
            Err(error) => {
                self.lacking_count += 1;
                if self.lacking.len() < MAX_NAMED {
                    self.lacking.push(LackingBucket { place, error });
                }
            }
        }
    }
}

impl EnsureBuckets {
    pub(crate) fn of(config: Config) -> Self {
        Self {
            config,
            dry_run: false,
        }
    }

    /// Makes nothing, and reports what is lacking.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    async fn run(self) -> Result<BucketReport, Error> {
        let tenancy = Tenancy::new(self.config)?;
        let survey = Survey {
            tenancy: &tenancy,
            dry_run: self.dry_run,
            report: BucketReport::default(),
            seen: HashSet::new(),
        };
        let report = survey.everything().await;
        let closed = tenancy.close().await;
        let mut report = report?;
        report.made.sort();
        report.lacking.sort_by(|a, b| a.place.cmp(&b.place));
        closed.map(|()| report)
    }
}

impl IntoFuture for EnsureBuckets {
    type Output = Result<BucketReport, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// What to ask for: a bucket of a space, or nothing where folders do.
type Wanted = Result<Option<(Space, BucketRole)>, Error>;

struct Survey<'a> {
    tenancy: &'a Tenancy,
    dry_run: bool,
    report: BucketReport,
    /// Spaces and buckets that were asked for; of a space that cannot be opened,
    /// the buckets it was to be opened with.
    seen: HashSet<(String, String)>,
}

impl Survey<'_> {
    async fn everything(mut self) -> Result<BucketReport, Error> {
        let listed = self.tenancy.listed().await?;
        self.of(listed).await;
        let Some(directory) = self.tenancy.directory_that_is().await? else {
            return Ok(self.report);
        };
        let mut after = None;
        loop {
            let (tenants, end) = directory.page(after.as_deref(), TENANTS).await?;
            let staying = tenants.iter().filter(|known| !is_dropped(known));
            let addresses = staying.flat_map(|known| {
                owners(&known.id).filter_map(|owner| self.tenancy.whereabouts(&owner, Some(known)))
            });
            let addresses = addresses.collect();
            self.of(addresses).await;
            after = tenants.into_iter().next_back().map(|last| last.id);
            if end || after.is_none() {
                return Ok(self.report);
            }
        }
    }

    async fn of(&mut self, addresses: Vec<Address>) {
        let mut spaces: Vec<SpaceAddress> = Vec::new();
        for space in addresses.into_iter().filter_map(|address| address.space) {
            if !spaces.contains(&space) {
                spaces.push(space);
            }
        }
        let mut wanted: Vec<(BucketPlace, Wanted)> = Vec::new();
        let seen = &mut self.seen;
        let mut is_new = |space: &str, what: &str| seen.insert((space.to_owned(), what.to_owned()));
        for at in spaces {
            let mut place = BucketPlace {
                space: at.connection.clone(),
                bucket: None,
                role: None,
            };
            match space(self.tenancy, self.dry_run, &at).await {
                Ok(Some(space)) if space.is_remote() => {
                    for (bucket, role) in space.remote_buckets() {
                        if !is_new(&at.connection, bucket) {
                            continue;
                        }
                        place.bucket = Some(bucket.to_owned());
                        place.role = Some(role);
                        wanted.push((place.clone(), Ok(Some((space.clone(), role)))));
                    }
                }
                Ok(_) if is_new(&at.connection, "") => wanted.push((place, Ok(None))),
                Err(error) if is_new(&at.connection, &format!("{:?}", at.buckets)) => {
                    wanted.push((place, Err(error)));
                }
                _ => {}
            }
        }
        let dry_run = self.dry_run;
        let asked = stream::iter(wanted).map(|(place, wanted)| async move {
            let found = match wanted {
                Ok(None) => Ok(false),
                Ok(Some((space, role))) if dry_run => {
                    let there = space.check_bucket(role).await.map(|()| false);
                    there.map_err(Error::from)
                }
                Ok(Some((space, role))) => space.ensure_bucket(role).await.map_err(Error::from),
                Err(error) => Err(error),
            };
            (place, found)
        });
        let mut asked = asked.buffer_unordered(ABREAST);
        while let Some((place, found)) = asked.next().await {
            self.report.add(place, found);
        }
    }
}

/// A space as a database uses it; `None` if only its folder was looked at,
/// which is made when it is opened.
async fn space(
    tenancy: &Tenancy,
    dry_run: bool,
    at: &SpaceAddress,
) -> Result<Option<Space>, Error> {
    let client = tenancy.connections.space(&at.connection)?;
    if dry_run && let Some(folder) = client.folder() {
        check_folder(folder)?;
        return Ok(None);
    }
    client.space(&at.connection, &at.buckets).await.map(Some)
}

/// Whether a tenant is on its way out.
fn is_dropped(known: &Listed) -> bool {
    let state = known.record.as_ref().map(|record| &record.state);
    matches!(state, Some(State::Dropping { .. }))
}

impl Tenancy {
    /// Where the databases are that the configuration lists.
    async fn listed(&self) -> Result<Vec<Address>, Error> {
        let directory = self.directory_that_is().await?;
        let mut addresses = Vec::new();
        for owner in self.resolver.listed() {
            let said = self.resolver.resolve(&Context::of_owner(owner))?;
            let standing = match directory {
                Some(directory) if said.recorded => {
                    directory.look(owner).await?.address(owner).cloned()
                }
                _ => None,
            };
            addresses.push(standing.unwrap_or(said.address));
        }
        Ok(addresses)
    }

    /// The directory, if there is one yet.
    async fn directory_that_is(&self) -> Result<Option<&Directory>, Error> {
        let Some(address) = &self.directory_at else {
            return Ok(None);
        };
        let client = self.connections.database(&address.connection)?;
        if self.directory.get().is_none() && !client.exists(&address.database).await? {
            return Ok(None);
        }
        self.directory().await.map(Some)
    }
}
