//! Ctrl-C: the first one asks, the second one insists.

use tokio::sync::watch;

use crate::exit::{Exit, Failure};

/// Knows whether the user has asked to stop.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Listens from now on.
    pub(crate) fn listen() -> Self {
        let (asked, interrupt) = watch::channel(false);
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_err() {
                // Without a handler Ctrl-C ends the process, which is safe too.
                std::future::pending::<()>().await;
            }
            asked.send_replace(true);
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(i32::from(Exit::Interrupted as u8));
            }
        });
        Self(interrupt)
    }

    /// Waits until the user asks to stop.
    pub(crate) async fn asked(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Does something that may be dropped half-way, unless the user asks to stop.
    pub(crate) async fn or<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            result = work => result,
            () = self.asked() => Err(Failure::interrupted("interrupted")),
        }
    }
}
