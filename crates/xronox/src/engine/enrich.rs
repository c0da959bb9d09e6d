//! Merging into a record what was found out about it.

use std::{
    future::IntoFuture,
    sync::atomic::{AtomicBool, Ordering},
};

use futures::future::BoxFuture;
use serde_json::{Value, json};
use xronox_model::{
    IndexSpec, Invalid, Op, Path, RecordId, Sha256, SystemChange, UniqueKey, json as form,
};
use xronox_store::{Expect, IdempotencyKey, Presence};

use crate::{
    Collection, Error, ErrorKind, IntoDocument, IntoId, IntoPath, Written,
    collection::Shared,
    engine::{
        attribution::{Attribution, attributed},
        draft::{Draft, contended},
        files::{Known, Offered},
        prepare::normal,
        scope::Scope,
    },
};

/// The longest name of a function, in bytes, and how many one write may name.
const MAX_FUNCTION: usize = 256;
const MAX_FUNCTIONS: usize = 64;
/// How often a key may change hands meanwhile.
const MAX_TRIES: u32 = 100;

/// Merges into a record's document; await it. Gives what was
/// [`Written`]. Made with [`Collection::enrich`].
#[derive(Debug)]
#[must_use = "nothing is written until it is awaited"]
pub struct Enrich<'a> {
    collection: &'a Collection,
    id: Result<RecordId, Error>,
    patches: Result<Value, Error>,
    pub(crate) attribution: Attribution,
    functions: Vec<String>,
    expected_ov: Option<u64>,
    idempotency: Option<String>,
    pub(crate) broken: Option<Error>,
}

/// Creates a record, or merges into the one that holds its key; await it.
/// Gives what was [`Written`]. Made with [`Collection::smart_insert`].
#[derive(Debug)]
#[must_use = "nothing is written until it is awaited"]
pub struct SmartInsert<'a> {
    collection: &'a Collection,
    document: Result<Value, Error>,
    key: Result<Vec<Path>, Error>,
    pub(crate) attribution: Attribution,
    functions: Vec<String>,
    idempotency: Option<String>,
    pub(crate) broken: Option<Error>,
}

attributed!(Enrich);
attributed!(SmartInsert);

impl Collection {
    /// Merges into a record's document what was found out about it: a JSON
    /// object, or a list of them, which are merged one after the other into
    /// one version.
    ///
    /// - Objects merge deeply.
    /// - Arrays become a union: equal elements are there once, and objects with
    ///   the same `id` (or `_id`) merge.
    /// - A boolean, number, text or file meeting an array is added to it.
    /// - Anything else replaces what is there, `null` too.
    ///
    /// Concurrent enrichments of one record are all kept. One that changes
    /// nothing writes nothing and gives the current version with
    /// [`unchanged`](Written::unchanged) set; naming a
    /// [function](Enrich::function) for the first time changes something.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), xronox::Error> {
    /// # use serde_json::json;
    /// # use xronox::{Config, Xronox};
    /// # let xronox = Xronox::open(Config::memory()).await?;
    /// let customers = xronox.collection("customers")?;
    /// customers.create_with_id("ann", json!({ "tags": ["new"], "seen": { "web": 1 } })).await?;
    /// customers
    ///     .enrich("ann", json!({ "tags": ["premium"], "seen": { "shop": 2 } }))
    ///     .function("scorer@v1")
    ///     .actor("system:scoring")
    ///     .await?;
    /// let ann = customers.get_latest("ann").await?.json();
    /// assert_eq!(ann["tags"], json!(["new", "premium"]));
    /// assert_eq!(ann["seen"], json!({ "web": 1, "shop": 2 }));
    /// assert_eq!(ann["_system"]["functionIds"], json!(["scorer@v1"]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub fn enrich(&self, id: impl IntoId, with: impl IntoDocument) -> Enrich<'_> {
        Enrich {
            collection: self,
            id: id.into_id(),
            patches: with.into_document(),
            attribution: Attribution::default(),
            functions: Vec::new(),
            expected_ov: None,
            idempotency: None,
            broken: None,
        }
    }

    /// Creates a record, unless a live one holds its key: then the document is
    /// merged into that one, as by [`enrich`](Self::enrich). However many do so
    /// at once, there is one record for a key. What it came to is the
    /// [`op`](Written::op): `CREATE` or `ENRICH`.
    ///
    /// The properties of the key together become a unique index of the
    /// collection, which is made if it is not there. A deleted record holds no
    /// key any more.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), xronox::Error> {
    /// # use serde_json::json;
    /// # use xronox::{Config, Op, Xronox};
    /// # let xronox = Xronox::open(Config::memory()).await?;
    /// let customers = xronox.collection("customers")?;
    /// let first = json!({ "email": "ann@example.com", "tags": ["web"] });
    /// let first = customers.smart_insert(first, ["email"]).await?;
    /// let second = json!({ "email": "ann@example.com", "tags": ["shop"] });
    /// let second = customers.smart_insert(second, ["email"]).await?;
    /// assert_eq!((first.op, second.op), (Op::Create, Op::Enrich));
    /// assert_eq!(first.id, second.id);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) if the document lacks a property of the
    /// key, or one is `null`, [`AlreadyExists`](ErrorKind::AlreadyExists) if
    /// live records share the key already (there is no such index then) or
    /// another unique key of the document is taken; those of
    /// [`create`](Self::create). Through a [scoped](Self::scoped) handle
    /// [`Forbidden`](ErrorKind::Forbidden) if the index is not there, and
    /// `AlreadyExists` for a key that a record out of its scope holds.
    pub fn smart_insert<K>(&self, document: impl IntoDocument, key: K) -> SmartInsert<'_>
    where
        K: IntoIterator,
        K::Item: IntoPath,
    {
        SmartInsert {
            collection: self,
            document: document.into_document(),
            key: key.into_iter().map(IntoPath::into_path).collect(),
            attribution: Attribution::default(),
            functions: Vec::new(),
            idempotency: None,
            broken: None,
        }
    }
}

impl Enrich<'_> {
    /// What found it out, such as `scorer@v1`: kept in
    /// `_system.functionIds`, each once. May be given several times. 1 to 256
    /// bytes without control characters; 64 at once, and 1,000 a record.
    pub fn function(mut self, id: impl Into<String>) -> Self {
        self.functions.push(id.into());
        self
    }

    /// Goes ahead only if the record's newest version is this one.
    pub fn expected_ov(mut self, ov: impl Into<Option<u64>>) -> Self {
        self.expected_ov = ov.into();
        self
    }

    /// Makes repeating this request safe; see
    /// [`Create::idempotency_key`](crate::Create::idempotency_key).
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency = Some(key.into());
        self
    }
}

impl SmartInsert<'_> {
    /// What found it out; see [`Enrich::function`].
    pub fn function(mut self, id: impl Into<String>) -> Self {
        self.functions.push(id.into());
        self
    }

    /// Makes repeating this request safe; see
    /// [`Create::idempotency_key`](crate::Create::idempotency_key).
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency = Some(key.into());
        self
    }
}

impl<'a> IntoFuture for Enrich<'a> {
    type Output = Result<Written, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Collection { shared, scope, .. } = self.collection;
            let id = self
                .id
                .map_err(|e| e.during(&shared.doing("enrich", None)))?;
            let write = async {
                if let Some(error) = self.broken {
                    return Err(error);
                }
                self.attribution.check()?;
                let mut patches = patches_of(self.patches?)?;
                for patch in &patches {
                    shared.may_write(scope, patch)?;
                }
                let offered = shared.rules.offered(&mut patches)?;
                let functions = functions_of(self.functions)?;
                let idempotency = shared.idempotency(
                    scope,
                    self.idempotency,
                    &json!([
                        "enrich",
                        id.to_string(),
                        self.expected_ov,
                        patches,
                        functions
                    ]),
                )?;
                let enrichment = Enrichment {
                    scope,
                    attribution: &self.attribution,
                    patches: &patches,
                    offered: &offered,
                    functions,
                    idempotency,
                    key: None,
                };
                let written = shared.enrich(&id, self.expected_ov, enrichment).await?;
                // Without a key it holds all that is asked of it.
                written.ok_or_else(contended)
            };
            let result = write.await;
            shared.tell(scope, "enrich", &id, result).await
        })
    }
}

impl<'a> IntoFuture for SmartInsert<'a> {
    type Output = Result<Written, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Collection { shared, scope, .. } = self.collection;
            let write = async {
                if let Some(error) = self.broken {
                    return Err(error);
                }
                self.attribution.check()?;
                let document = normal(self.document?)?;
                shared.may_write(scope, &document)?;
                let fields = self.key?;
                if fields.is_empty() {
                    return Err(Invalid::at("", "a key has one property at least").into());
                }
                for field in &fields {
                    let view = &shared.rules.view;
                    view.path_allowed(field, "a key", scope.is_sealed())?;
                }
                let spec = IndexSpec::unique(fields);
                let key =
                    UniqueKey::of(&document, &spec)?.ok_or_else(|| lacking(&spec, &document))?;
                let functions = functions_of(self.functions)?;
                let idempotency = shared.idempotency(
                    scope,
                    self.idempotency,
                    &json!([
                        "smart_insert",
                        spec.name(),
                        Sha256::of(&form::canonical(&document)),
                        functions
                    ]),
                )?;
                self.collection.ensure_key("smart_insert", &spec).await?;
                let mut patches = [document.clone()];
                let offered = shared.rules.offered(&mut patches)?;
                let enrichment = Enrichment {
                    scope,
                    attribution: &self.attribution,
                    patches: &patches,
                    offered: &offered,
                    functions,
                    idempotency,
                    key: Some((&spec, &key)),
                };
                Box::pin(shared.create_or_enrich(&document, &key, enrichment)).await
            };
            let written = Box::pin(write).await.map_err(|e| scope.anonymous(e));
            written.map_err(|e| e.during(&shared.doing("smart_insert", None)))
        })
    }
}

/// What is merged into a record, and how.
#[derive(Clone)]
pub(crate) struct Enrichment<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) attribution: &'a Attribution,
    pub(crate) patches: &'a [Value],
    pub(crate) offered: &'a Offered,
    pub(crate) functions: Vec<String>,
    pub(crate) idempotency: Option<IdempotencyKey>,
    /// The key that the record has to hold, if it was found by one.
    pub(crate) key: Option<(&'a IndexSpec, &'a UniqueKey)>,
}

impl<'a> Enrichment<'a> {
    fn draft(self, id: &'a RecordId, op: Op, expect: Expect) -> Draft<'a> {
        Draft {
            id,
            op,
            expect,
            attribution: self.attribution,
            change: SystemChange {
                function_ids: self.functions,
                ..SystemChange::default()
            },
            idempotency: self.idempotency,
            skip_unchanged: op == Op::Enrich,
            offered: Some(self.offered),
            scope: self.scope,
        }
    }
}

impl Collection {
    /// Makes sure that no two live records have this key.
    pub(crate) async fn ensure_key(
        &self,
        what: &'static str,
        spec: &IndexSpec,
    ) -> Result<(), Error> {
        let indexes = self.shared.indexes().await?;
        if indexes.get(&spec.name()).is_some_and(|index| index.ready) {
            return Ok(());
        }
        self.whole(what)?.ensure_index(spec).await
    }
}

impl Shared {
    /// Merges into a record; `None` if it does not hold the key any more.
    async fn enrich(
        &self,
        id: &RecordId,
        expected_ov: Option<u64>,
        enrichment: Enrichment<'_>,
    ) -> Result<Option<Written>, Error> {
        let (patches, key) = (enrichment.patches, enrichment.key);
        let moved = AtomicBool::new(false);
        let merge = |document: &mut Value| {
            if let Some((spec, key)) = key
                && UniqueKey::of(document, spec)?.as_ref() != Some(key)
            {
                moved.store(true, Ordering::Relaxed);
                return Err(Invalid::at("", "the record holds another key by now"));
            }
            self.merged(document, patches)
        };
        let expect = Expect {
            state: Presence::Live,
            ov: expected_ov,
            attempt: None,
        };
        let draft = enrichment.draft(id, Op::Enrich, expect);
        let written = self.write_changed(&draft, &merge).await;
        match self.or_remembered(&draft, written).await {
            Err(error) if *error.kind() == ErrorKind::Invalid && moved.load(Ordering::Relaxed) => {
                Ok(None)
            }
            written => written.map(Some),
        }
    }

    /// Merges into a document, which keeps what is hidden.
    pub(crate) fn merged(&self, document: &mut Value, patches: &[Value]) -> Result<(), Invalid> {
        let view = &self.rules.view;
        let before = self.hides().then(|| document.clone());
        let names_hidden = |patch: &Value| view.document_allowed(patch, true).is_err();
        if before.is_some() && !patches.iter().any(names_hidden) {
            // What was read and comes back is met as it was read: an element of
            // an array is the same though something is hidden in it.
            *document = view.visible().apply(document);
        }
        for patch in patches {
            xronox_model::enrich(document, patch);
        }
        match before {
            None => Ok(()),
            Some(before) => view.keep(document, &before),
        }
    }

    /// Whoever finds nobody with the key creates the record, and if somebody
    /// else was faster finds that one.
    pub(crate) async fn create_or_enrich(
        &self,
        document: &Value,
        key: &UniqueKey,
        enrichment: Enrichment<'_>,
    ) -> Result<Written, Error> {
        let catalog = &self.database.catalog;
        // Who holds the key, but not for this handle.
        let mut beyond = None;
        for _ in 0..MAX_TRIES {
            let holder = catalog.lookup_unique(&self.name, key).await?;
            if let Some(holder) = holder.filter(|holder| beyond.as_ref() != Some(holder)) {
                match self.enrich(&holder, None, enrichment.clone()).await {
                    Ok(Some(written)) => return Ok(written),
                    Err(error)
                        if *error.kind() == ErrorKind::NotFound
                            && !enrichment.scope.is_everything() =>
                    {
                        beyond = Some(holder);
                    }
                    Err(error)
                        if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Deleted) =>
                    {
                        return Err(error);
                    }
                    // It has given the key back.
                    Ok(None) | Err(_) => continue,
                }
            }
            let id = self.database.new_id();
            let draft = enrichment
                .clone()
                .draft(&id, Op::Create, Expect::only(Presence::Absent));
            // What is given may be a part only, of a record that is there.
            let known = Known::default().and(Some(enrichment.offered));
            let veiled = self.veils(enrichment.scope);
            let created = match self.rules.accept(document.clone(), known, veiled) {
                Ok(document) => self.write_whole(&draft, &document).await,
                Err(error) => Err(error),
            };
            match self.or_remembered(&draft, created).await {
                Err(error) if *error.kind() == ErrorKind::AlreadyExists => {
                    let holder = catalog.lookup_unique(&self.name, key).await?;
                    if holder.is_none() || holder == beyond {
                        return Err(error);
                    }
                }
                created => return created,
            }
        }
        Err(contended())
    }
}

/// A patch, or a list of them.
fn patches_of(given: Value) -> Result<Vec<Value>, Error> {
    let patches = match form::normalize(given)? {
        Value::Array(patches) => patches,
        patch => vec![patch],
    };
    match patches.iter().position(|patch| !patch.is_object()) {
        None => Ok(patches),
        Some(n) => {
            let why = format!("what is merged in are JSON objects; number {n} is none");
            Err(Invalid::at("", why).into())
        }
    }
}

fn functions_of(given: Vec<String>) -> Result<Vec<String>, Error> {
    let mut functions: Vec<String> = Vec::new();
    for function in given {
        let fits = (1..=MAX_FUNCTION).contains(&function.len());
        if !fits || function.chars().any(char::is_control) {
            let why =
                format!("a function has 1 to {MAX_FUNCTION} bytes without control characters");
            return Err(Invalid::at("functionId", why).into());
        }
        if !functions.contains(&function) {
            functions.push(function);
        }
    }
    if functions.len() > MAX_FUNCTIONS {
        let why = format!("at most {MAX_FUNCTIONS} functions at once");
        return Err(Invalid::at("functionId", why).into());
    }
    Ok(functions)
}

/// The error for a document that has not all of its key.
fn lacking(spec: &IndexSpec, document: &Value) -> Error {
    let alone = |field: &&Path| {
        let spec = IndexSpec::unique(vec![(*field).clone()]);
        matches!(UniqueKey::of(document, &spec), Ok(None))
    };
    let field = spec.fields.iter().find(alone);
    let field = field.map(ToString::to_string).unwrap_or_default();
    Invalid::at(field, "the key needs a value here").into()
}
