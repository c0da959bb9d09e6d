//! What documents of a collection have to be.

use serde_json::Value;
use xronox_model::{CollectionView, Invalid, Path, values_at};

use crate::{
    Error,
    collection::Rules,
    config::Validation,
    engine::{files::Known, prepare::Canonical},
};

impl Rules {
    /// Takes what a caller wants a new record to be: see
    /// [`canonical`](Self::canonical). What a
    /// collection demands of its documents, it demands of new ones; what is
    /// there already stays, can be read, and can be restored.
    pub(crate) fn accept(
        &self,
        given: Value,
        known: Known,
        veiled: bool,
    ) -> Result<Canonical, Error> {
        let canonical = self.canonical(given, known, veiled)?;
        self.demand(&canonical.document)?;
        Ok(canonical)
    }

    /// Refuses a whole document that is not what the collection demands.
    pub(crate) fn demand(&self, document: &Value) -> Result<(), Error> {
        let validation = self.validation.as_ref();
        Error::of_all(validation.map_or(Ok(Vec::new()), |v| v.check(document))?)
    }

    /// The same, where parts of the document may be hidden from who gave the
    /// rest: what is wrong there, and around it, is told without a word of it.
    pub(crate) fn demand_veiled(&self, document: &Value) -> Result<(), Error> {
        let validation = self.validation.as_ref();
        let mut wrong = validation.map_or(Ok(Vec::new()), |v| v.check(document))?;
        for one in &mut wrong {
            if let Some(place) = veiled(&self.view, one.path()) {
                *one = Invalid::at(place, "does not fit");
            }
        }
        wrong.dedup();
        Error::of_all(wrong)
    }
}

/// Where to tell of a place instead, if it is hidden or holds what is.
fn veiled(view: &CollectionView, place: &str) -> Option<String> {
    let Ok(path) = place.parse::<Path>() else {
        return Some(String::new());
    };
    let is_at = |hidden: &&Path| {
        let hidden = std::slice::from_ref(*hidden);
        let alone = CollectionView {
            hidden: hidden.to_vec(),
            ..CollectionView::default()
        };
        alone.path_allowed(&path, "a place", true).is_err()
    };
    view.hidden.iter().find(is_at).map(Path::to_string)
}

impl Validation {
    fn check(&self, document: &Value) -> Result<Vec<Invalid>, Error> {
        let is_there = |value: &&Value| !value.is_null();
        let lacking = self.required_indexed.iter().filter(|path| {
            let values = values_at(document, path);
            !values.iter().any(is_there)
        });
        let required = |path: &Path| Invalid::at(path.to_string(), "is required");
        let mut wrong: Vec<Invalid> = lacking.map(required).collect();
        if let Some(schema) = &self.schema {
            wrong.extend(schema.unfit(document)?);
        }
        Ok(wrong)
    }
}
