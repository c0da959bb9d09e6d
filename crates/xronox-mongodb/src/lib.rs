//! The catalog and plain documents of Xronox on MongoDB.
