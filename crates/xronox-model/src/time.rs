//! Commit times: UTC, whole milliseconds.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// A moment in UTC with millisecond precision, from the year 0 to 9999-12-30.
///
/// Text form: RFC 3339 with exactly three fraction digits and `Z`
/// (`2024-01-31T09:30:00.000Z`), so that text order is time order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

const MIN_MS: i64 = -62_167_219_200_000;
// The last whole second that `jiff` can show.
const MAX_MS: i64 = 253_402_207_200_000;

impl Timestamp {
    /// The moment `ms` milliseconds after 1970-01-01T00:00:00Z, held within
    /// the range.
    pub fn from_millis(ms: i64) -> Self {
        Self(ms.clamp(MIN_MS, MAX_MS))
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// The moment `ms` milliseconds later (earlier if negative).
    pub fn plus_millis(self, ms: i64) -> Self {
        Self::from_millis(self.0.saturating_add(ms))
    }
}

impl FromStr for Timestamp {
    type Err = Invalid;

    /// Reads RFC 3339 with any offset; finer fractions are cut to milliseconds.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let refused = || {
            Invalid::at(
                "",
                "not an RFC 3339 date and time (such as 2024-01-31T09:30:00Z)",
            )
        };
        let at: jiff::Timestamp = text.parse().map_err(|_| refused())?;
        let ms = at.as_nanosecond().div_euclid(1_000_000);
        let ms = i64::try_from(ms).map_err(|_| refused())?;
        if (MIN_MS..=MAX_MS).contains(&ms) {
            Ok(Self(ms))
        } else {
            Err(refused())
        }
    }
}

impl TryFrom<String> for Timestamp {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(at: Timestamp) -> Self {
        at.to_string()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The range of a `Timestamp` lies inside jiff's.
        let at = jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        write!(f, "{at:.3}")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_exactly_milliseconds() {
        for (text, printed) in [
            ("2024-01-31T09:30:00Z", "2024-01-31T09:30:00.000Z"),
            ("2024-01-31T09:30:00.1239+01:00", "2024-01-31T08:30:00.123Z"),
            ("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
            ("9999-12-30T00:00:00Z", "9999-12-30T00:00:00.000Z"),
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), printed);
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "yesterday", "2024-01-31", "2024-13-01T00:00:00Z"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn far_times_are_held_in_range() {
        assert_eq!(
            Timestamp::from_millis(i64::MAX).to_string(),
            "9999-12-30T22:00:00.000Z"
        );
        assert!(
            Timestamp::from_millis(i64::MIN)
                .to_string()
                .starts_with("0000")
        );
    }
}
