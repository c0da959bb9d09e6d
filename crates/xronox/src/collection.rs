//! The handle of a collection.

use std::sync::{Arc, OnceLock};

use xronox_model::{CollectionName, CollectionView, IndexSpec};
use xronox_store::Space;

use crate::{
    config::Validation,
    database::Siblings,
    engine::{
        committer::Committer, files::FileRules, indexes::IndexState, scope::Scope, turns::Turns,
    },
    error::Doing,
    storage::Storage,
};

/// Bodies of up to this many bytes are inline where objects are close by.
const INLINE_MAX: u64 = 65_536;

/// A collection of records, every version of which is kept.
///
/// Handles are cheap to clone; all handles of one collection share its
/// committer, so concurrent writes are committed together.
#[derive(Debug, Clone)]
pub struct Collection {
    pub(crate) shared: Arc<Shared>,
    pub(crate) scope: Scope,
    /// What is beside it, where that is known.
    pub(crate) siblings: Option<Arc<Siblings>>,
}

/// What all handles of a collection share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) database: Arc<Storage>,
    pub(crate) name: CollectionName,
    pub(crate) rules: Rules,
    pub(crate) indexes: IndexState,
    pub(crate) turns: Arc<Turns>,
    committer: OnceLock<Committer>,
}

/// The settings that hold for one collection.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own"
)]
pub(crate) struct Rules {
    pub(crate) versioning: bool,
    pub(crate) logical_delete: bool,
    pub(crate) hard_delete: bool,
    pub(crate) inline_max: u64,
    pub(crate) max_bytes: u64,
    /// Any property is indexed when it is first used.
    pub(crate) index_on_use: bool,
    /// The indexes that the configuration names.
    pub(crate) declared: Vec<IndexSpec>,
    /// What documents have to be.
    pub(crate) validation: Option<Validation>,
    /// What is kept as files.
    pub(crate) files: FileRules,
    /// What reads show.
    pub(crate) view: CollectionView,
}

impl Shared {
    pub(crate) fn new(database: Arc<Storage>, name: CollectionName) -> Arc<Self> {
        let settings = &database.settings;
        let map = settings
            .collection_maps
            .get(name.as_str())
            .cloned()
            .unwrap_or_default();
        let mut declared = Vec::new();
        let required = map.validation.iter();
        let fields = map
            .indexed_props
            .iter()
            .chain(map.indexes.iter().flat_map(|index| index.fields.keys()))
            .chain(required.flat_map(|validation| &validation.required_indexed));
        for field in fields {
            let spec = IndexSpec::field(field.clone());
            if !xronox_store::ruling::always_indexed(field) && !declared.contains(&spec) {
                declared.push(spec);
            }
        }
        for index in map.indexes.iter().filter(|index| index.unique) {
            declared.push(IndexSpec::unique(index.fields.keys().cloned().collect()));
        }
        let remote = database.payloads.home().is_some_and(Space::is_remote);
        let logical_delete = map
            .logical_delete
            .unwrap_or(settings.logical_delete.enabled);
        let rules = Rules {
            versioning: map.versioning.unwrap_or(settings.versioning.enabled),
            logical_delete,
            hard_delete: settings.hard_delete_enabled || !logical_delete,
            inline_max: map
                .inline_max_bytes
                .or(settings.payloads.inline_max_bytes)
                .unwrap_or(if remote { 0 } else { INLINE_MAX })
                .min(database.catalog.capabilities().max_inline),
            max_bytes: settings.payloads.max_bytes,
            index_on_use: map.indexed_props.is_empty(),
            declared,
            validation: map.validation,
            files: FileRules {
                properties: map.base64_props,
            },
            view: CollectionView {
                hidden: map.hidden_fields,
                named: map.projection,
            },
        };
        Arc::new(Self {
            database,
            name,
            rules,
            indexes: IndexState::default(),
            turns: Arc::default(),
            committer: OnceLock::new(),
        })
    }

    pub(crate) fn committer(&self) -> &Committer {
        self.committer
            .get_or_init(|| Committer::start(&self.database, self.name.clone()))
    }

    /// What is being done, for messages.
    pub(crate) fn doing<'a>(
        &'a self,
        what: &'static str,
        id: Option<&'a xronox_model::RecordId>,
    ) -> Doing<'a> {
        Doing {
            what,
            collection: &self.name,
            id,
        }
    }
}

impl Collection {
    /// The name of the collection.
    pub fn name(&self) -> &CollectionName {
        &self.shared.name
    }
}
