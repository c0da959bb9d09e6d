//! What documents of a collection have to be.

use serde_json::Value;
use xronox_model::{Invalid, values_at};

use crate::{
    Error,
    collection::Rules,
    config::Validation,
    engine::prepare::{Canonical, canonical},
};

impl Rules {
    /// Takes what a caller wants a record to be: see [`canonical`]. What a
    /// collection demands of its documents, it demands of new ones; what is
    /// there already stays, can be read, and can be restored.
    pub(crate) fn accept(&self, given: Value) -> Result<Canonical, Error> {
        let canonical = canonical(given, self.max_bytes)?;
        self.demand(&canonical.document)?;
        Ok(canonical)
    }

    /// Refuses a whole document that is not what the collection demands.
    pub(crate) fn demand(&self, document: &Value) -> Result<(), Error> {
        match &self.validation {
            Some(validation) => validation.check(document),
            None => Ok(()),
        }
    }
}

impl Validation {
    fn check(&self, document: &Value) -> Result<(), Error> {
        let is_there = |value: &&Value| !value.is_null();
        let lacking = self.required_indexed.iter().filter(|path| {
            let values = values_at(document, path);
            !values.iter().any(is_there)
        });
        let required = |path: &xronox_model::Path| Invalid::at(path.to_string(), "is required");
        let mut wrong: Vec<Invalid> = lacking.map(required).collect();
        if let Some(schema) = &self.schema {
            wrong.extend(schema.unfit(document)?);
        }
        Error::of_all(wrong)
    }
}
