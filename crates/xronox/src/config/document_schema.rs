//! The JSON Schema that documents of a collection have to fit.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use jsonschema::{PatternOptions, Validator};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xronox_model::{Invalid, Path};

/// More places of one document are not told.
const MAX_TOLD: usize = 100;

/// A JSON Schema that documents have to fit.
///
/// Drafts 4 to 2020-12 (<https://json-schema.org/specification>), as `$schema`
/// says, 2020-12 without it. `format` is checked; a `pattern` is searched for in
/// linear time, without look-around and back-references; a `$ref` leads to
/// somewhere in the schema itself, never to a file or a server. How long a check
/// takes is up to the schema, so it is the operator's and never a tenant's.
///
/// Clones share what was made ready of it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "Value", into = "Value")]
pub struct DocumentSchema {
    document: Value,
    ready: Arc<OnceLock<Result<Validator, Invalid>>>,
}

impl DocumentSchema {
    /// The schema as it is written.
    pub fn as_json(&self) -> &Value {
        &self.document
    }

    pub(crate) fn validator(&self) -> Result<&Validator, &Invalid> {
        let build = || {
            let options = jsonschema::options()
                .offline()
                .with_pattern_options(PatternOptions::regex())
                .should_validate_formats(true);
            options
                .build(&self.document)
                .map_err(|error| invalid(&error))
        };
        self.ready.get_or_init(build).as_ref()
    }

    /// Every place of a document where it does not fit.
    pub(crate) fn unfit(&self, document: &Value) -> Result<Vec<Invalid>, Invalid> {
        let validator = self.validator().map_err(Clone::clone)?;
        let errors = validator.iter_errors(document).take(MAX_TOLD);
        Ok(errors.map(|error| invalid(&error)).collect())
    }
}

/// What is wrong, without what stands there.
fn invalid(error: &jsonschema::ValidationError<'_>) -> Invalid {
    let segments = error.instance_path().into_iter();
    let path = Path::from_segments(segments.map(|segment| segment.to_string()));
    // Empty for the whole document.
    let path = path.map(|path| path.to_string()).unwrap_or_default();
    Invalid::at(path, error.masked().to_string())
}

impl From<Value> for DocumentSchema {
    fn from(document: Value) -> Self {
        Self {
            document,
            ready: Arc::default(),
        }
    }
}

impl From<DocumentSchema> for Value {
    fn from(schema: DocumentSchema) -> Self {
        schema.document
    }
}

impl PartialEq for DocumentSchema {
    fn eq(&self, other: &Self) -> bool {
        self.document == other.document
    }
}

impl fmt::Debug for DocumentSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.document.fmt(f)
    }
}
