//! What reads show of records, and what writes keep of them.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value};
use xronox_model::{Path, Projection, ReadShape, Refused, VersionRow};

use crate::{
    Collection, Database, Error, IntoProjection, Version,
    collection::Shared,
    engine::{files::fetch::Bring, record::Record, scope::Scope},
    storage::forbidden,
};

/// How a caller asks for parts of records.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    read: ReadShape,
    bring: Bring,
    broken: Option<Error>,
}

impl Shape {
    pub(crate) fn of(read: &ReadShape) -> Self {
        Self {
            read: read.clone(),
            bring: Bring::default(),
            broken: None,
        }
    }

    pub(crate) fn include_hidden(&mut self) {
        self.read.include_hidden = true;
    }

    pub(crate) fn presign(&mut self, ttl: Duration) {
        self.bring.presign = Some(ttl);
    }

    pub(crate) fn include_text(&mut self) {
        self.bring.texts = true;
    }

    /// The same, with this of files.
    pub(crate) fn bringing(self, bring: Bring) -> Self {
        Self { bring, ..self }
    }

    /// What is asked for of files.
    pub(crate) fn bring(&self) -> Bring {
        self.bring
    }

    pub(crate) fn project(&mut self, projection: impl IntoProjection) {
        match projection.into_projection() {
            Ok(selection) => self.read.projection = selection,
            Err(error) => {
                self.broken.get_or_insert(error);
            }
        }
    }

    /// What is asked for, unless it makes no sense.
    pub(crate) fn asked(self) -> Result<ReadShape, Error> {
        match self.broken {
            None => Ok(self.read),
            Some(error) => Err(error),
        }
    }
}

/// The setters that every read of documents has.
macro_rules! shaped {
    ($builder:ty, $($shape:ident).+ $(, $generic:ident)?) => {
        impl $(<$generic>)? $builder {
            /// Shows hidden fields too, also those that the default projection
            /// leaves out. [`Forbidden`](crate::ErrorKind::Forbidden) through a
            /// handle that is [sealed](crate::Collection::with_hidden).
            pub fn include_hidden(mut self) -> Self {
                self.$($shape).+.include_hidden();
                self
            }

            /// Gives what a projection shows, instead of the collection's
            /// default: one of the collection's own by its name, or
            /// [another](crate::IntoProjection).
            ///
            /// A hidden field is in it only if a path names it or something
            /// inside it, or if it includes everything and excludes nothing
            /// (both [`Forbidden`](crate::ErrorKind::Forbidden) through a
            /// sealed handle), or with
            /// [`include_hidden`](Self::include_hidden). A name that the
            /// collection does not know is
            /// [`Invalid`](crate::ErrorKind::Invalid).
            pub fn project(mut self, projection: impl crate::IntoProjection) -> Self {
                self.$($shape).+.project(projection);
                self
            }
        }
    };
}

pub(crate) use shaped;

/// What a read shows of each record.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    projection: Projection,
    /// Whether checksum and size of whole documents are told.
    sums: bool,
    /// What comes along of files.
    bring: Bring,
}

impl Default for Sight {
    /// Everything.
    fn default() -> Self {
        Self {
            projection: Projection::everything(),
            sums: true,
            bring: Bring::default(),
        }
    }
}

impl Sight {
    pub(crate) fn projection(&self) -> &Projection {
        &self.projection
    }

    /// The same, with this of files.
    pub(crate) fn with(self, bring: Bring) -> Self {
        Self { bring, ..self }
    }

    pub(crate) fn bring(&self) -> Bring {
        self.bring
    }

    /// What is shown of a whole record.
    pub(crate) fn of(&self, record: Record) -> Result<Record, Error> {
        let shown = record.project(&self.projection)?;
        Ok(if self.sums {
            shown
        } else {
            shown.without_sums()
        })
    }
}

impl Collection {
    /// This collection with its hidden fields out of reach, for `false`: the
    /// handle neither shows nor reads nor writes what `hiddenFields` names. To
    /// ask for hidden fields (by options, projections, filters, sorts,
    /// [`distinct`](Self::distinct)) or to write them is
    /// [`Forbidden`](crate::ErrorKind::Forbidden), and versions come without
    /// the checksum and size of their documents, which tell of what is hidden.
    /// What its writes do not name is kept, as ever.
    ///
    /// Handles that are made from a sealed one are sealed; `true` leaves the
    /// handle as it is.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), xronox::Error> {
    /// use serde_json::json;
    /// use xronox::{CollectionMap, Config, ErrorKind, Xronox};
    ///
    /// let mut config = Config::memory();
    /// let map = CollectionMap { hidden_fields: vec!["salary".parse()?], ..Default::default() };
    /// config.settings.collection_maps.insert("people".to_owned(), map);
    /// let people = Xronox::open(config).await?.collection("people")?;
    /// people.create_with_id("ann", json!({ "name": "Ann", "salary": 5000 })).await?;
    ///
    /// let sealed = people.with_hidden(false);
    /// assert_eq!(sealed.get_latest("ann").await?.document(), json!({ "name": "Ann" }));
    /// let refused = sealed.query(json!({ "salary": { "$gt": 4000 } })).await.unwrap_err();
    /// assert_eq!(*refused.kind(), ErrorKind::Forbidden);
    ///
    /// sealed.update("ann", json!({ "name": "Ann B." })).await?;
    /// let whole = people.get_latest("ann").include_hidden().await?;
    /// assert_eq!(whole.document(), json!({ "name": "Ann B.", "salary": 5000 }));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Restores, which bring back whole versions, and [`size`](Self::size) are
    /// refused too. That an id or a unique key is taken is told all the same, and
    /// so is it where something hidden stands in the way of a write.
    #[must_use = "it is the handle that is returned that is sealed"]
    pub fn with_hidden(&self, shown: bool) -> Self {
        Self {
            scope: self.scope.sealed_if(!shown),
            ..self.clone()
        }
    }

    /// The paths that reads leave out unless they are asked for
    /// (`hiddenFields`).
    pub fn hidden_fields(&self) -> &[Path] {
        &self.shared.rules.view.hidden
    }

    /// The projections of the collection by their names; `default` is that of
    /// plain reads.
    pub fn projections(&self) -> &BTreeMap<String, Projection> {
        &self.shared.rules.view.named
    }
}

impl Database {
    /// Refuses what takes records as they are, and all of them.
    pub(crate) fn complete(&self) -> Result<(), Error> {
        self.whole()?;
        if self.scope.is_sealed() {
            return Err(forbidden(
                "a copy is complete, and this handle cannot see hidden fields",
            ));
        }
        Ok(())
    }
}

impl Shared {
    /// What is shown of records where only the values at a path are asked for.
    pub(crate) fn sight_of(&self, scope: &Scope, path: &Path) -> Result<Sight, Error> {
        Ok(Sight {
            projection: self.rules.view.values_of(path, scope.is_sealed())?,
            sums: !self.veils(scope),
            bring: Bring::default(),
        })
    }

    /// What a read through a handle shows.
    pub(crate) fn sight(&self, scope: &Scope, read: &ReadShape) -> Result<Sight, Error> {
        Ok(Sight {
            projection: self.rules.view.resolve(read, scope.is_sealed())?,
            sums: !self.veils(scope),
            bring: Bring::default(),
        })
    }

    /// Whether there is something that a handle must not see.
    pub(crate) fn veils(&self, scope: &Scope) -> bool {
        scope.is_sealed() && self.hides()
    }

    /// Refuses what would tell a handle of what it must not see.
    pub(crate) fn unveiled(&self, scope: &Scope, what: &str) -> Result<(), Error> {
        if self.veils(scope) {
            let why = format!("{what} of hidden fields, and this handle cannot see them");
            return Err(forbidden(&why));
        }
        Ok(())
    }

    /// Whether there are fields that a plain read does not show.
    pub(crate) fn hides(&self) -> bool {
        !self.rules.view.hidden.is_empty()
    }

    /// All that a read may see, whatever it shows of that.
    pub(crate) fn insight(&self, scope: &Scope, read: &ReadShape) -> Result<Sight, Error> {
        let view = &self.rules.view;
        let projection = if read.include_hidden {
            view.resolve(read, scope.is_sealed())?;
            Projection::everything()
        } else {
            view.visible()
        };
        Ok(Sight {
            projection,
            ..Sight::default()
        })
    }

    /// Whether a record keeps something of what it is that the document which
    /// replaces it only refers to, or does not show.
    pub(crate) fn keeps(&self) -> bool {
        self.hides() || !self.rules.files.properties.is_empty()
    }

    /// A version, as a handle may see it.
    pub(crate) fn version_of(&self, scope: &Scope, row: VersionRow) -> Version {
        let mut version = Version::of(row);
        if self.veils(scope) {
            version.size = None;
            version.sha256 = None;
        }
        version
    }

    /// Refuses a document, or what is merged into one, that names what the
    /// handle must not see.
    pub(crate) fn may_write(&self, scope: &Scope, document: &Value) -> Result<(), Error> {
        let view = &self.rules.view;
        Ok(view.document_allowed(document, scope.is_sealed())?)
    }

    /// Refuses a patch likewise.
    pub(crate) fn may_patch(
        &self,
        scope: &Scope,
        changes: &Map<String, Value>,
    ) -> Result<(), Error> {
        Ok(self.rules.view.patch_allowed(changes, scope.is_sealed())?)
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Invalid(invalid) => invalid.into(),
            refused @ Refused::Forbidden(_) => forbidden(&refused.to_string()),
        }
    }
}
