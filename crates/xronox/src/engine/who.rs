//! What an identity has to do with the records of a database.

use std::future::IntoFuture;

use futures::future::BoxFuture;
use serde_json::json;
use xronox_model::{Identity, Invalid, SystemFields};

use crate::{
    Database, Error, IntoActor, LocatedPage,
    engine::{
        across::{Across, Asked, Step, asked},
        shape::shaped,
    },
};

/// Finds what an identity created or changed last, in every collection; await
/// it for a [`LocatedPage`].
///
/// Made with [`Database::who`].
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct Who<'a> {
    database: &'a Database,
    identity: Result<Identity, Error>,
    asked: Asked,
}

asked!(Who);
shaped!(Who<'_>, asked.shape);

impl Database {
    /// The records that an identity created, and those whose newest version it
    /// made: of every collection, deleted records included (their
    /// `_system.deleted` says so). Type and identifier decide, whatever name
    /// and metadata the identity had.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), xronox::Error> {
    /// use serde_json::json;
    /// use xronox::{Config, Xronox};
    ///
    /// let xronox = Xronox::open(Config::memory()).await?;
    /// let (orders, carts) = (xronox.collection("orders")?, xronox.collection("carts")?);
    /// orders.create_with_id("o1", json!({ "total": 10 })).actor("user:42 (Ann)").await?;
    /// carts.create_with_id("c1", json!({ "items": 1 })).actor("service:shop").await?;
    /// carts.patch("c1", json!({ "items": 2 })).actor("user:42").await?;
    ///
    /// let page = xronox.home()?.who("user:42").await?;
    /// let found = page.items.iter().map(|at| format!("{}/{}", at.collection, at.record.id()));
    /// assert_eq!(found.collect::<Vec<_>>(), ["carts/c1", "orders/o1"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # What it costs
    ///
    /// Two indexes answer it, `_system.creator.identifier` and
    /// `_system.updater.identifier`, which each collection has from the first
    /// time on that somebody asks. Until one is filled (it is made beside the
    /// queries where there is much), or where a collection has as many indexes
    /// as it may, the bounds of [`query`](crate::Collection::query) hold.
    ///
    /// # What it does not see
    ///
    /// That the identity changed a record at some time *before* its newest
    /// version, that a change was made on its behalf, and that it removed a
    /// record for good: this stands in the versions alone, which no index
    /// holds by their actors. [`trail`](Database::trail) goes through them.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) if the identity is none or
    /// nobody, for a foreign cursor, and as
    /// [`query`](crate::Collection::query).
    pub fn who(&self, identity: impl IntoActor) -> Who<'_> {
        Who {
            database: self,
            identity: somebody(identity),
            asked: Asked::default(),
        }
    }
}

/// The identity that is asked about.
pub(crate) fn somebody(identity: impl IntoActor) -> Result<Identity, Error> {
    let identity = identity.into_actor()?;
    identity.ok_or_else(|| Invalid::at("identity", "names nobody").into())
}

impl<'a> IntoFuture for Who<'a> {
    type Output = Result<LocatedPage, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let identity = self.identity?;
            let filter = |role: &str| {
                let field = format!("_system.{role}.identifier");
                json!({ field: identity.identifier })
            };
            let (creator, updater) = (identity.clone(), identity.clone());
            let steps = vec![
                Step {
                    filter: filter("creator"),
                    counts: Box::new(move |system| created(system, &creator)),
                },
                Step {
                    filter: filter("updater"),
                    counts: Box::new(move |system| {
                        let last = system.updater.as_ref();
                        last.is_some_and(|last| last.is_same(&updater))
                            && !created(system, &updater)
                    }),
                },
            ];
            let across = Across {
                storage: &self.database.storage,
                scope: &self.database.scope,
                question: json!(["who", identity.kind, identity.identifier]),
                steps,
            };
            across.page(self.asked).await
        })
    }
}

fn created(system: &SystemFields, who: &Identity) -> bool {
    let creator = system.creator.as_ref();
    creator.is_some_and(|creator| creator.is_same(who))
}
