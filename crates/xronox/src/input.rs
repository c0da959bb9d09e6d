//! What callers may pass where the library wants a document, an id, a path or a
//! moment.

use serde::Serialize;
use serde_json::Value;
use xronox_model::{Include, Invalid, Path, Projection, RecordId, Selection, Timestamp};

use crate::Error;

/// A document: a JSON [`Value`], or a reference to anything that serialises
/// to a JSON object.
pub trait IntoDocument {
    /// The document as JSON.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it cannot be
    /// serialised.
    fn into_document(self) -> Result<Value, Error>;
}

impl IntoDocument for Value {
    fn into_document(self) -> Result<Value, Error> {
        Ok(self)
    }
}

impl<T: Serialize + ?Sized> IntoDocument for &T {
    fn into_document(self) -> Result<Value, Error> {
        serde_json::to_value(self).map_err(|error| Invalid::at("", error.to_string()).into())
    }
}

/// A record id: a [`RecordId`] or its text.
pub trait IntoId {
    /// The id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the text is not a
    /// legal id.
    fn into_id(self) -> Result<RecordId, Error>;
}

impl IntoId for RecordId {
    fn into_id(self) -> Result<RecordId, Error> {
        Ok(self)
    }
}

impl IntoId for &RecordId {
    fn into_id(self) -> Result<RecordId, Error> {
        Ok(self.clone())
    }
}

impl IntoId for &str {
    fn into_id(self) -> Result<RecordId, Error> {
        Ok(self.parse()?)
    }
}

impl IntoId for &String {
    fn into_id(self) -> Result<RecordId, Error> {
        self.as_str().into_id()
    }
}

impl IntoId for String {
    fn into_id(self) -> Result<RecordId, Error> {
        self.as_str().into_id()
    }
}

/// A path into documents: a [`Path`] or its text, such as `address.city`.
pub trait IntoPath {
    /// The path.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the text is not a
    /// path.
    fn into_path(self) -> Result<Path, Error>;
}

impl IntoPath for Path {
    fn into_path(self) -> Result<Path, Error> {
        Ok(self)
    }
}

impl IntoPath for &Path {
    fn into_path(self) -> Result<Path, Error> {
        Ok(self.clone())
    }
}

impl IntoPath for &str {
    fn into_path(self) -> Result<Path, Error> {
        Ok(self.parse()?)
    }
}

impl IntoPath for &String {
    fn into_path(self) -> Result<Path, Error> {
        self.as_str().into_path()
    }
}

impl IntoPath for String {
    fn into_path(self) -> Result<Path, Error> {
        self.as_str().into_path()
    }
}

/// A moment in the life of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After the commit with this `cv`.
    Cv(u64),
    /// At this time: after the last commit that is not later.
    Time(Timestamp),
}

/// A moment: a [`Moment`], a [`Timestamp`], or a time as RFC 3339 text.
pub trait IntoMoment {
    /// The moment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the text is not a
    /// time.
    fn into_moment(self) -> Result<Moment, Error>;
}

impl IntoMoment for Moment {
    fn into_moment(self) -> Result<Moment, Error> {
        Ok(self)
    }
}

impl IntoMoment for Timestamp {
    fn into_moment(self) -> Result<Moment, Error> {
        Ok(Moment::Time(self))
    }
}

impl IntoMoment for &str {
    fn into_moment(self) -> Result<Moment, Error> {
        let time = self.parse::<Timestamp>();
        let time = time.map_err(|invalid| Invalid::at("at", invalid.message()))?;
        Ok(Moment::Time(time))
    }
}

impl IntoMoment for String {
    fn into_moment(self) -> Result<Moment, Error> {
        self.as_str().into_moment()
    }
}

impl IntoMoment for &String {
    fn into_moment(self) -> Result<Moment, Error> {
        self.as_str().into_moment()
    }
}

/// What a read shows of a record: a [`Projection`]; the name of one that the
/// collection has, or `"*"` for everything; a list of paths; or any of these as
/// JSON, `{"include": "*" | [paths], "exclude": [paths]}` too.
pub trait IntoProjection {
    /// The projection, or the name of one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the JSON is none, or
    /// a text is not a path.
    fn into_projection(self) -> Result<Selection, Error>;
}

impl IntoProjection for Projection {
    fn into_projection(self) -> Result<Selection, Error> {
        Ok(Selection::Custom(self))
    }
}

impl IntoProjection for &Projection {
    fn into_projection(self) -> Result<Selection, Error> {
        self.clone().into_projection()
    }
}

impl IntoProjection for Selection {
    fn into_projection(self) -> Result<Selection, Error> {
        Ok(self)
    }
}

impl IntoProjection for &str {
    fn into_projection(self) -> Result<Selection, Error> {
        Ok(match self {
            "*" => Selection::Custom(Projection::everything()),
            name => Selection::Named(name.to_owned()),
        })
    }
}

impl IntoProjection for &String {
    fn into_projection(self) -> Result<Selection, Error> {
        self.as_str().into_projection()
    }
}

impl IntoProjection for String {
    fn into_projection(self) -> Result<Selection, Error> {
        self.as_str().into_projection()
    }
}

impl IntoProjection for Value {
    fn into_projection(self) -> Result<Selection, Error> {
        match self {
            Value::String(name) => name.into_projection(),
            other => Projection::parse(&other)?.into_projection(),
        }
    }
}

impl IntoProjection for &Value {
    fn into_projection(self) -> Result<Selection, Error> {
        self.clone().into_projection()
    }
}

impl<const N: usize> IntoProjection for [&str; N] {
    fn into_projection(self) -> Result<Selection, Error> {
        // As JSON, where `id` names `_id` too.
        Value::from(self.to_vec()).into_projection()
    }
}

impl IntoProjection for &[String] {
    fn into_projection(self) -> Result<Selection, Error> {
        Value::from(self.to_vec()).into_projection()
    }
}

impl IntoProjection for Vec<Path> {
    fn into_projection(self) -> Result<Selection, Error> {
        Projection::new(Include::Paths(self), Vec::new()).into_projection()
    }
}
