//! How many different values there are: exactly as long as they are few, then
//! by a sketch.

use base64::{Engine, engine::general_purpose::STANDARD};
use datasketches::{
    common::NumStdDev,
    hll::{HllSketch, HllType},
};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct};

use crate::{Error, ErrorKind};

/// Registers of a sketch, as a power of two: 32,768 of four bits each, for a
/// relative standard error of 0.6 %
/// (<https://datasketches.apache.org/docs/HLL/HLL.html>).
const LG_K: u8 = 15;

/// As it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Different {
    /// So many; which ones, other documents say.
    Exact(u64),
    /// The bytes of the sketch, in base64.
    Sketch(String),
}

impl Default for Different {
    fn default() -> Self {
        Self::Exact(0)
    }
}

/// A sketch to add values to.
#[derive(Debug)]
pub(super) struct Sketch(HllSketch);

impl Sketch {
    pub(super) fn new() -> Result<Self, Error> {
        HllSketch::new(LG_K, HllType::Hll4)
            .map(Self)
            .map_err(|_| damaged())
    }

    pub(super) fn read(text: &str) -> Result<Self, Error> {
        let bytes = STANDARD.decode(text).map_err(|_| damaged())?;
        HllSketch::deserialize(&bytes)
            .map(Self)
            .map_err(|_| damaged())
    }

    /// Adds values, by what tells them apart.
    pub(super) fn add<T: AsRef<str>>(&mut self, values: impl IntoIterator<Item = T>) {
        for value in values {
            self.0.update(value.as_ref());
        }
    }

    pub(super) fn stored(&self) -> Different {
        Different::Sketch(STANDARD.encode(self.0.serialize()))
    }
}

impl Different {
    pub(super) fn count(&self) -> Result<Distinct, Error> {
        Ok(match self {
            Self::Exact(count) => Distinct {
                count: *count,
                least: *count,
                most: *count,
            },
            Self::Sketch(text) => {
                let Sketch(sketch) = Sketch::read(text)?;
                Distinct {
                    count: whole(sketch.estimate()),
                    least: whole(sketch.lower_bound(NumStdDev::Three)),
                    most: whole(sketch.upper_bound(NumStdDev::Three).ceil()),
                }
            }
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "estimates are counts, far below 2^53"
)]
fn whole(estimate: f64) -> u64 {
    estimate.max(0.0) as u64
}

fn damaged() -> Error {
    Error::new(ErrorKind::Corrupt, "a stored sketch cannot be read")
}

/// How many different values there are.
///
/// As JSON a number where they are counted exactly, else
/// `{ estimate, least, most }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Distinct {
    /// So many; an estimate if [`least`](Self::least) and [`most`](Self::most)
    /// are others.
    pub count: u64,
    /// There are hardly fewer (three standard deviations, 99.7 %).
    pub least: u64,
    /// There are hardly more.
    pub most: u64,
}

impl Distinct {
    /// Whether they were counted one by one.
    pub fn is_exact(&self) -> bool {
        self.least == self.most
    }
}

impl Serialize for Distinct {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_exact() {
            return serializer.serialize_u64(self.count);
        }
        let mut fields = serializer.serialize_struct("Distinct", 3)?;
        fields.serialize_field("estimate", &self.count)?;
        fields.serialize_field("least", &self.least)?;
        fields.serialize_field("most", &self.most)?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sketch_is_small_and_near() {
        let mut sketch = Sketch::new().unwrap();
        for n in 0..1_000_000 {
            sketch.add([format!("{n:032x}"), format!("{:032x}", n / 2)]);
        }
        let stored = sketch.stored();
        let Different::Sketch(text) = &stored else {
            panic!("a sketch")
        };
        assert!(text.len() < 64 * 1024, "{} bytes", text.len());
        let found = stored.count().unwrap();
        assert!(!found.is_exact());
        assert!(found.count.abs_diff(1_000_000) < 20_000, "{found:?}");
        assert!(
            found.least <= 1_000_000 && 1_000_000 <= found.most,
            "{found:?}"
        );
        let mut again = Sketch::read(text).unwrap();
        again.add([format!("{:032x}", 10)]);
        assert_eq!(
            again.stored(),
            stored,
            "a value that is in it changes nothing"
        );
    }

    #[test]
    fn few_are_exact() {
        let few = Different::Exact(7).count().unwrap();
        assert!(few.is_exact());
        assert_eq!(serde_json::to_value(few).unwrap(), 7);
        assert!(Sketch::read("no sketch").is_err());
    }
}
