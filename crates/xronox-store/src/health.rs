//! Whether a server is in reach, as its callers have found it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

/// The first pause after a server was found out of reach, and the longest.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How much the newest answer counts in the average.
const SHARE: u32 = 8;

/// What the callers of one server have found, so that not each of them has to
/// wait for one that is out of reach.
///
/// - It is *down* once a call could not reach it, or got no answer in time,
///   while no other call got one either.
/// - While it is down, callers are [refused](Self::admit) at once. After a
///   pause of 250 ms, and twice as long each time up to 15 s, one caller goes
///   ahead to try; the others are still refused.
/// - The first answer, whatever it says, brings it back *up*.
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

/// A call that may go ahead. Dropped without a word (its caller gave up), it
/// says nothing about the server.
#[derive(Debug)]
#[must_use = "say how the call ended"]
pub struct Call<'a> {
    health: &'a Health,
    begun: Instant,
}

/// How a server was found.
///
/// As JSON `{ up, latencyMs?, downForMs?, reason? }`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct HealthStatus {
    /// Whether the last call that ended was answered; also before the first.
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
    /// Lets a call go ahead, unless the server is down.
    ///
    /// # Errors
    ///
    /// Why it is down.
    pub fn admit(&self) -> Result<Call<'_>, String> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Result<Call<'_>, String> {
        if let Some(down) = &mut self.0.lock().down {
            if now < down.retry {
                return Err(down.reason.clone());
            }
            // This caller tries; who comes meanwhile is refused. Should it give
            // up without a word, another may.
            down.pause = (down.pause * 2).min(LONGEST_PAUSE);
            down.retry = now + down.pause;
        }
        Ok(Call {
            health: self,
            begun: now,
        })
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

impl Call<'_> {
    /// The server answered, whatever it said.
    pub fn answered(self) {
        self.answered_at(Instant::now());
    }

    fn answered_at(self, now: Instant) {
        let took = now.saturating_duration_since(self.begun);
        let mut state = self.health.0.lock();
        state.down = None;
        state.answered = Some(now);
        state.latency = Some(match state.latency {
            None => took,
            Some(before) => (before * (SHARE - 1) + took) / SHARE,
        });
    }

    /// The server could not be reached, or gave no answer in time. Where
    /// others were answered meanwhile, that says little of it.
    pub fn unanswered(self, reason: impl Into<String>) {
        self.unanswered_at(reason.into(), Instant::now());
    }

    fn unanswered_at(self, reason: String, now: Instant) {
        let mut state = self.health.0.lock();
        let others = state.answered.is_some_and(|answered| answered > self.begun);
        if let Some(down) = &mut state.down {
            // The pause is set already, by whoever found it down or tried.
            down.reason = reason;
        } else if !others {
            state.down = Some(Down {
                since: now,
                reason,
                pause: PAUSE,
                retry: now + PAUSE,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn nobody_waits_for_a_server_that_is_down() {
        let (health, start) = (Health::default(), Instant::now());
        let call = health.admit_at(start).unwrap();
        call.unanswered_at("refused".to_owned(), start + MS(10));
        assert_eq!(health.admit_at(start + MS(11)).unwrap_err(), "refused");
        let status = health.status_at(start + MS(110));
        assert_eq!((status.up, status.down_for_ms), (false, Some(100)));

        // After the pause one goes ahead, and nobody else.
        let trial = health.admit_at(start + MS(260)).unwrap();
        assert!(health.admit_at(start + MS(261)).is_err());
        trial.unanswered_at("still refused".to_owned(), start + MS(262));
        assert_eq!(
            health.admit_at(start + MS(500)).unwrap_err(),
            "still refused"
        );

        // Each pause is twice as long; an answer ends them.
        let trial = health.admit_at(start + MS(760)).unwrap();
        trial.answered_at(start + MS(765));
        assert!(health.admit_at(start + MS(766)).is_ok());
        let status = health.status_at(start + MS(766));
        assert_eq!((status.up, status.latency_ms), (true, Some(5.0)));
    }

    #[test]
    fn pauses_have_an_end() {
        let (health, mut now) = (Health::default(), Instant::now());
        health
            .admit_at(now)
            .unwrap()
            .unanswered_at(String::new(), now);
        for _ in 0..20 {
            now += LONGEST_PAUSE;
            health
                .admit_at(now)
                .unwrap()
                .unanswered_at(String::new(), now);
        }
        assert!(health.admit_at(now + LONGEST_PAUSE - MS(1)).is_err());
        // One that tried and gave up without a word keeps nobody away for good.
        drop(health.admit_at(now + LONGEST_PAUSE).unwrap());
        assert!(health.admit_at(now + LONGEST_PAUSE * 2).is_ok());
    }

    #[test]
    fn one_slow_call_is_not_a_server_that_is_down() {
        let (health, start) = (Health::default(), Instant::now());
        let slow = health.admit_at(start).unwrap();
        let quick = health.admit_at(start + MS(1)).unwrap();
        quick.answered_at(start + MS(2));
        slow.unanswered_at("timed out".to_owned(), start + MS(30_000));
        assert!(health.status_at(start + MS(30_001)).up);

        let lonely = health.admit_at(start + MS(30_002)).unwrap();
        lonely.unanswered_at("timed out".to_owned(), start + MS(60_002));
        assert!(!health.status_at(start + MS(60_003)).up);
    }
}
