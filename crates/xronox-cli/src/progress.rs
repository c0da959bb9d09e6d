//! Progress of long work, on standard error where that is a terminal.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How much is said beside the data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Notices {
    /// Only errors.
    pub(crate) quiet: bool,
}

impl Notices {
    /// Says something that is not data.
    pub(crate) fn say(self, text: &str) {
        if !self.quiet {
            // Nobody listens: nothing is lost.
            let _ = writeln!(std::io::stderr(), "{}", crate::output::printable(text));
        }
    }

    /// Whether anybody sees progress.
    pub(crate) fn shown(self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }

    /// The bar of work on so many bytes, or on nobody knows how many.
    pub(crate) fn bytes(self, total: Option<u64>) -> ProgressBar {
        match total {
            Some(total) => self.bar(
                Some(total),
                "{bar:30} {percent:>3}%  {bytes} of {total_bytes}  {bytes_per_sec}  {msg}  {eta} left",
            ),
            None => self.bar(None, "{spinner} {bytes}  {bytes_per_sec}  {msg}  {elapsed}"),
        }
    }

    /// The bar of work on so many things, or on nobody knows how many.
    pub(crate) fn things(self, total: Option<u64>) -> ProgressBar {
        match total {
            Some(total) => self.bar(
                Some(total),
                "{bar:30} {percent:>3}%  {human_pos} of {human_len}  {per_sec}  {msg}  {eta} left",
            ),
            None => self.bar(None, "{spinner} {human_pos}  {per_sec}  {msg}  {elapsed}"),
        }
    }

    fn bar(self, total: Option<u64>, template: &str) -> ProgressBar {
        let target = if self.quiet {
            ProgressDrawTarget::hidden()
        } else {
            // Hidden by itself where standard error is no terminal.
            ProgressDrawTarget::stderr_with_hz(10)
        };
        let bar = ProgressBar::with_draw_target(total, target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        bar
    }
}
