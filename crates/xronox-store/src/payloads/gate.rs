//! Turns, time limits and repetitions of requests.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::failure::Failure;
use crate::Health;

/// How one storage connection is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateLimits {
    /// Requests under way at a time.
    pub max_concurrency: usize,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// How often a request that failed is repeated, where that can help.
    pub max_retries: u32,
    /// The pause before the first repetition; each next one is twice as long,
    /// up to 40 times this. A random part of up to half is left out.
    pub backoff: Duration,
    /// How long an operation may take with all its requests and pauses and
    /// its wait for a turn.
    pub operation_timeout: Duration,
}

impl Default for GateLimits {
    /// 64 at a time, 30 seconds each, 5 repetitions after 50 ms and more, 2
    /// minutes altogether.
    fn default() -> Self {
        Self {
            max_concurrency: 64,
            request_timeout: Duration::from_secs(30),
            max_retries: 5,
            backoff: Duration::from_millis(50),
            operation_timeout: Duration::from_mins(2),
        }
    }
}

/// The way to one storage connection. Clones share its turns, so that spaces
/// on one connection share its limits.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: GateLimits,
    turns: Semaphore,
    health: Health,
    jitter: Mutex<StdRng>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new(GateLimits::default())
    }
}

impl Gate {
    /// A gate with these limits.
    pub fn new(limits: GateLimits) -> Self {
        Self::with_jitter(limits, StdRng::from_os_rng())
    }

    /// A gate whose pauses a test can foretell.
    pub fn seeded(limits: GateLimits, seed: u64) -> Self {
        Self::with_jitter(limits, StdRng::seed_from_u64(seed))
    }

    fn with_jitter(limits: GateLimits, jitter: StdRng) -> Self {
        let turns = limits.max_concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Self(Arc::new(Shared {
            limits,
            turns: Semaphore::new(turns),
            health: Health::default(),
            jitter: Mutex::new(jitter),
        }))
    }

    /// Makes a request until it succeeds or repeating it cannot help.
    pub(super) async fn run<T, F, R>(&self, request: F) -> Result<T, Failure>
    where
        F: Fn() -> R + Send,
        R: Future<Output = object_store::Result<T>> + Send,
        T: Send,
    {
        let Shared { limits, health, .. } = &*self.0;
        let begun = health.admit().map_err(Failure::Down)?;
        let mut last = None;
        let attempts = async {
            let mut repeated = 0;
            loop {
                let failure = match self.once(request()).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(error)) => Failure::Store(error),
                    Err(silence) => silence,
                };
                if repeated == limits.max_retries || !failure.is_passing() {
                    return Err(failure);
                }
                tracing::debug!(
                    ?failure,
                    repeated,
                    "a storage request failed, will repeat it"
                );
                last = Some(failure);
                sleep(self.pause(repeated)).await;
                repeated += 1;
            }
        };
        let done = match timeout(limits.operation_timeout, attempts).await {
            Ok(done) => done,
            Err(_) => Err(last.unwrap_or(Failure::Silence(limits.operation_timeout))),
        };
        match &done {
            Err(failure) if failure.is_silence() => health.unanswered(begun, failure.in_short()),
            _ => health.answered(begun),
        }
        done
    }

    /// How the store was found lately.
    pub fn health(&self) -> &Health {
        &self.0.health
    }

    /// Waits for a turn and makes a request once.
    pub(super) async fn once<R: Future>(&self, request: R) -> Result<R::Output, Failure> {
        let limits = &self.0.limits;
        let turn = timeout(limits.operation_timeout, self.0.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(Failure::Silence(limits.operation_timeout));
        };
        timeout(limits.request_timeout, request)
            .await
            .map_err(|_| Failure::Silence(limits.request_timeout))
    }

    fn pause(&self, repeated: u32) -> Duration {
        let longest = self
            .0
            .limits
            .backoff
            .saturating_mul(2_u32.saturating_pow(repeated).min(40));
        longest.mul_f64(self.0.jitter.lock().random_range(0.5..=1.0))
    }
}
