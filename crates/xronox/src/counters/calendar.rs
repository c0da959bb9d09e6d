//! Hours, days, weeks and months in a time zone.

use jiff::{ToSpan, Zoned, civil::Weekday, tz::TimeZone};
use xronox_model::{Invalid, Timestamp};

use crate::{Error, Timeframe};

/// Every timeframe.
pub(super) const TIMEFRAMES: [Timeframe; 4] = [
    Timeframe::Hourly,
    Timeframe::Daily,
    Timeframe::Weekly,
    Timeframe::Monthly,
];

const HOUR: i64 = 3_600_000;

/// Where hours, days, weeks and months begin.
#[derive(Debug)]
pub(super) struct Calendar {
    zone: TimeZone,
}

impl Calendar {
    pub(super) fn of(zone: &str) -> Result<Self, Error> {
        let zone = TimeZone::get(zone)
            .map_err(|_| Invalid::at("analytics.timeZone", format!("no time zone {zone:?}")))?;
        Ok(Self { zone })
    }

    pub(super) fn utc() -> Self {
        Self {
            zone: TimeZone::UTC,
        }
    }

    /// When the hour, day, week or month of a time began. Weeks begin on
    /// Mondays.
    pub(super) fn start(&self, at: Timestamp, timeframe: Timeframe) -> Result<Timestamp, Error> {
        let there = self.zoned(at)?;
        let start = match timeframe {
            Timeframe::Hourly => {
                // The hours of a day, however long it is.
                let midnight = time(&self.midnight(&there, 0)?);
                let since = at.as_millis() - midnight.as_millis();
                return Ok(midnight.plus_millis(since - since % HOUR));
            }
            Timeframe::Daily => self.midnight(&there, 0)?,
            Timeframe::Weekly => {
                let since = there.weekday().since(Weekday::Monday);
                self.midnight(&there, i64::from(since))?
            }
            Timeframe::Monthly => {
                let first = there.date().first_of_month();
                first.to_zoned(self.zone.clone()).map_err(beyond)?
            }
        };
        Ok(time(&start))
    }

    /// When the next one begins after the one that begins there.
    pub(super) fn next(&self, start: Timestamp, timeframe: Timeframe) -> Result<Timestamp, Error> {
        let there = self.zoned(start)?;
        let span = match timeframe {
            Timeframe::Hourly | Timeframe::Daily => 1.day(),
            Timeframe::Weekly => 1.week(),
            Timeframe::Monthly => 1.month(),
        };
        let date = there.date().checked_add(span).map_err(beyond)?;
        let next = time(&date.to_zoned(self.zone.clone()).map_err(beyond)?);
        Ok(match timeframe {
            Timeframe::Hourly => next.min(start.plus_millis(HOUR)),
            _ => next,
        })
    }

    fn midnight(&self, there: &Zoned, days_before: i64) -> Result<Zoned, Error> {
        let date = there.date().checked_sub(days_before.days());
        let date = date.map_err(beyond)?;
        date.to_zoned(self.zone.clone()).map_err(beyond)
    }

    fn zoned(&self, at: Timestamp) -> Result<Zoned, Error> {
        let at = jiff::Timestamp::from_millisecond(at.as_millis()).map_err(beyond)?;
        Ok(at.to_zoned(self.zone.clone()))
    }
}

fn time(zoned: &Zoned) -> Timestamp {
    Timestamp::from_millis(zoned.timestamp().as_millisecond())
}

fn beyond(_: jiff::Error) -> Error {
    Invalid::at("at", "a time beyond the calendar").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[track_caller]
    fn starts(zone: &str, time: &str, expected: [&str; 4]) {
        let calendar = Calendar::of(zone).unwrap();
        let found = TIMEFRAMES.map(|frame| calendar.start(at(time), frame).unwrap());
        assert_eq!(found, expected.map(at));
    }

    #[test]
    fn periods_begin_where_the_zone_says() {
        starts(
            "UTC",
            "2026-03-29T10:17:03.004Z",
            [
                "2026-03-29T10:00:00Z",
                "2026-03-29T00:00:00Z",
                "2026-03-23T00:00:00Z",
                "2026-03-01T00:00:00Z",
            ],
        );
        starts(
            "Europe/Rome",
            "2026-03-29T22:30:00Z",
            [
                "2026-03-29T22:00:00Z",
                "2026-03-29T22:00:00Z",
                "2026-03-29T22:00:00Z",
                "2026-02-28T23:00:00Z",
            ],
        );
        // Half an hour beside the others.
        starts(
            "Asia/Kolkata",
            "2026-06-15T10:17:00Z",
            [
                "2026-06-15T09:30:00Z",
                "2026-06-14T18:30:00Z",
                "2026-06-14T18:30:00Z",
                "2026-05-31T18:30:00Z",
            ],
        );
        assert!(Calendar::of("Moon/Crater").is_err());
    }

    #[test]
    fn periods_follow_on_each_other() {
        for zone in [
            "UTC",
            "Europe/Rome",
            "America/New_York",
            "Australia/Lord_Howe",
        ] {
            let calendar = Calendar::of(zone).unwrap();
            for frame in TIMEFRAMES {
                let mut start = calendar.start(at("2025-12-31T23:59:59Z"), frame).unwrap();
                for _ in 0..10_000 {
                    let next = calendar.next(start, frame).unwrap();
                    assert!(next > start, "{zone} {frame:?} {start}");
                    let last = next.plus_millis(-1);
                    assert_eq!(
                        calendar.start(last, frame).unwrap(),
                        start,
                        "{zone} {frame:?}"
                    );
                    assert_eq!(
                        calendar.start(next, frame).unwrap(),
                        next,
                        "{zone} {frame:?}"
                    );
                    if next > at("2027-02-01T00:00:00Z") {
                        break;
                    }
                    start = next;
                }
            }
        }
    }
}
