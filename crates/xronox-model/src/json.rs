//! JSON documents: strict reading, one normal form, one canonical text.
//!
//! A document is a [`serde_json::Value`]. It is in *normal form* when
//!
//! - a number is an integer wherever it is integral and fits `i64` or `u64`
//!   (`1.0` is `1`, `-0.0` is `0`), and a finite `f64` otherwise;
//! - no property name holds a NUL character;
//! - it nests at most [`MAX_DEPTH`] objects and arrays;
//! - no object is a typed date, `{"$date": …}`: those become RFC 3339 strings
//!   in UTC with milliseconds.
//!
//! [`parse`] reads text into that form and [`normalize`] brings a value there
//! that a caller has built. Everything else in this crate takes documents in
//! normal form, where equal documents are equal values.
//!
//! Text is read by a parser of our own. `serde_json` rounds an integer too
//! large for 64 bits to a float and lets the last of two equal names win before
//! anybody could object, and which of its number types arrives depends on Cargo
//! features (`arbitrary_precision`) that any crate of the final program may
//! switch on.

mod canonical;
mod date;
mod normal;
mod parse;

pub use canonical::{canonical, canonical_into};
pub use normal::normalize;
pub(crate) use normal::{is_within, number};
pub use parse::{JsonError, parse};

/// How many objects and arrays may stand inside one another, the outermost
/// counted: `[[]]` is 2 deep. The same as
/// [MongoDB's limit](https://www.mongodb.com/docs/manual/reference/limits/).
pub const MAX_DEPTH: usize = 100;

const NUL_IN_NAME: &str = "a property name cannot hold a NUL character";
const TOO_DEEP: &str = "nested deeper than 100 objects and arrays";
const NOT_64_BITS: &str = "an integer outside the 64-bit range; give it as text";
const NOT_FINITE: &str = "a number too large for a 64-bit float";

/// A refusal whose path grows from the inside out, so that a document without
/// faults costs no path at all.
#[derive(Debug)]
struct Fault {
    message: &'static str,
    /// Innermost first.
    segments: Vec<String>,
}

impl Fault {
    fn new(message: &'static str) -> Self {
        Self {
            message,
            segments: Vec::new(),
        }
    }

    fn within(mut self, segment: impl Into<String>) -> Self {
        self.segments.push(segment.into());
        self
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for (i, segment) in self.segments.iter().rev().enumerate() {
            if i > 0 {
                path.push('.');
            }
            crate::path::escape_segment(segment, &mut path);
        }
        path.replace('\0', "\\0")
    }
}

impl From<Fault> for crate::Invalid {
    fn from(fault: Fault) -> Self {
        Self::at(fault.path(), fault.message)
    }
}
