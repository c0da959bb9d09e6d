//! Whether a server is in reach, as its callers have found it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use crate::StoreError;

/// The first pause after a server was found out of reach, and the longest.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How much the newest answer counts in the average.
const SHARE: u32 = 8;

/// What the callers of one server have found, so that not each of them has to
/// wait for one that is out of reach.
///
/// - It is *down* once a call ended without an answer, with all the
///   repetitions it makes, while no other call got one either.
/// - While it is down, callers are [refused](Self::admit) at once. After a
///   pause of 250 ms, and twice as long each time up to 5 s, one caller goes
///   ahead to try; the others are still refused.
/// - The first answer, whatever it says, brings it back *up*.
///
/// A call that goes ahead and then says nothing of how it ended (its caller
/// gave up) says nothing about the server.
#[derive(Debug)]
pub struct Health(Mutex<State>);

#[derive(Debug)]
struct State {
    down: Option<Down>,
    /// The newest answer, and a moving average of how long answers take.
    answered: Option<Instant>,
    latency: Option<Duration>,
}

#[derive(Debug)]
struct Down {
    since: Instant,
    reason: String,
    pause: Duration,
    /// When the next caller may try.
    retry: Instant,
}

/// How a server was found.
///
/// As JSON `{ up, latencyMs?, downForMs?, reason? }`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct HealthStatus {
    /// Whether calls go ahead; also before the first.
    pub up: bool,
    /// How long an answer took lately, in milliseconds; `None` before the
    /// first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// For how long it has been down, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down_for_ms: Option<u64>,
    /// Why it is down, without secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Default for HealthStatus {
    /// Of what nobody has called yet.
    fn default() -> Self {
        Health::default().status()
    }
}

impl Default for Health {
    fn default() -> Self {
        Self(Mutex::new(State {
            down: None,
            answered: None,
            latency: None,
        }))
    }
}

impl Health {
    /// Lets a call go ahead, unless the server is down; gives when it began.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] that says why it is down.
    pub fn admit(&self) -> Result<Instant, StoreError> {
        let now = Instant::now();
        self.admit_at(now).map_err(StoreError::unavailable)?;
        Ok(now)
    }

    fn admit_at(&self, now: Instant) -> Result<(), String> {
        let mut state = self.0.lock();
        let Some(down) = &mut state.down else {
            return Ok(());
        };
        down.check(now)?;
        // This caller tries; who comes meanwhile is refused. Should it give
        // up without a word, another may.
        down.wait(now);
        Ok(())
    }

    /// Refuses as [`admit`](Self::admit) does, but tries nothing: for work that
    /// is made of calls which ask for themselves.
    ///
    /// # Errors
    ///
    /// As [`admit`](Self::admit).
    pub fn check(&self) -> Result<(), StoreError> {
        let state = self.0.lock();
        let down = state.down.as_ref();
        let checked = down.map_or(Ok(()), |down| down.check(Instant::now()));
        checked.map_err(StoreError::unavailable)
    }

    /// A call that began then was answered, whatever the answer said.
    pub fn answered(&self, begun: Instant) {
        self.answered_at(begun, Instant::now());
    }

    fn answered_at(&self, begun: Instant, now: Instant) {
        let took = now.saturating_duration_since(begun);
        let mut state = self.0.lock();
        state.down = None;
        state.answered = Some(now);
        state.latency = Some(match state.latency {
            None => took,
            Some(before) => (before * (SHARE - 1) + took) / SHARE,
        });
    }

    /// A call that began then could not reach the server, or got no answer in
    /// time. Where others were answered meanwhile, that says little of it.
    pub fn unanswered(&self, begun: Instant, reason: impl Into<String>) {
        self.unanswered_at(begun, reason.into(), Instant::now());
    }

    fn unanswered_at(&self, begun: Instant, reason: String, now: Instant) {
        let mut state = self.0.lock();
        let others = state.answered.is_some_and(|answered| answered > begun);
        if let Some(down) = &mut state.down {
            down.reason = reason;
            if now >= down.retry {
                down.wait(now);
            }
        } else if !others {
            state.down = Some(Down {
                since: now,
                reason,
                pause: PAUSE,
                retry: now + PAUSE,
            });
        }
    }

    /// How the server was found.
    pub fn status(&self) -> HealthStatus {
        self.status_at(Instant::now())
    }

    fn status_at(&self, now: Instant) -> HealthStatus {
        let state = self.0.lock();
        let down = state.down.as_ref();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        HealthStatus {
            up: down.is_none(),
            latency_ms: state.latency.map(|latency| latency.as_secs_f64() * 1000.0),
            down_for_ms: down.map(|down| millis(now.saturating_duration_since(down.since))),
            reason: down.map(|down| down.reason.clone()),
        }
    }
}

impl Down {
    fn check(&self, now: Instant) -> Result<(), String> {
        if now < self.retry {
            return Err(format!("{}, so it is not asked at the moment", self.reason));
        }
        Ok(())
    }

    /// Nobody tries for twice as long as before.
    fn wait(&mut self, now: Instant) {
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.retry = now + self.pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn nobody_waits_for_a_server_that_is_down() {
        let (health, start) = (Health::default(), Instant::now());
        let at = |ms| start + MS(ms);
        health.admit_at(start).unwrap();
        health.unanswered_at(start, "refused".to_owned(), at(10));
        let why = "refused, so it is not asked at the moment";
        assert_eq!(health.admit_at(at(11)).unwrap_err(), why);
        let status = health.status_at(at(110));
        assert_eq!((status.up, status.down_for_ms), (false, Some(100)));

        // After the pause one goes ahead, and nobody else.
        health.admit_at(at(260)).unwrap();
        assert!(health.admit_at(at(261)).is_err());
        health.unanswered_at(at(260), "still refused".to_owned(), at(262));
        assert!(health.admit_at(at(500)).unwrap_err().starts_with("still"));

        // Each pause is twice as long; an answer ends them.
        health.admit_at(at(760)).unwrap();
        health.answered_at(at(760), at(765));
        assert!(health.admit_at(at(766)).is_ok());
        let status = health.status_at(at(766));
        assert_eq!((status.up, status.latency_ms), (true, Some(5.0)));
    }

    #[test]
    fn pauses_have_an_end() {
        let (health, mut now) = (Health::default(), Instant::now());
        health.unanswered_at(now, String::new(), now);
        for _ in 0..20 {
            now += LONGEST_PAUSE;
            health.admit_at(now).unwrap();
            health.unanswered_at(now, String::new(), now);
        }
        let almost = LONGEST_PAUSE.checked_sub(MS(1)).unwrap();
        assert!(health.admit_at(now + almost).is_err());
        // One that tried and gave up without a word keeps nobody away for good.
        health.admit_at(now + LONGEST_PAUSE).unwrap();
        assert!(health.admit_at(now + LONGEST_PAUSE * 2).is_ok());
    }

    #[test]
    fn one_that_tries_unasked_makes_others_wait_too() {
        let (health, start) = (Health::default(), Instant::now());
        health.unanswered_at(start, String::new(), start);
        health.unanswered_at(start + MS(300), String::new(), start + MS(300));
        assert!(health.admit_at(start + MS(700)).is_err());
        assert!(health.admit_at(start + MS(800)).is_ok());
    }

    #[test]
    fn one_slow_call_is_not_a_server_that_is_down() {
        let (health, start) = (Health::default(), Instant::now());
        let at = |ms| start + MS(ms);
        health.answered_at(at(1), at(2));
        health.unanswered_at(start, "timed out".to_owned(), at(30_000));
        assert!(health.status_at(at(30_001)).up);
        health.unanswered_at(at(30_002), "timed out".to_owned(), at(60_002));
        assert!(!health.status_at(at(60_003)).up);
    }
}
