//! One server process, with a folder of its own.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal};

/// The longest that a server may take to answer; seconds, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(50);
/// The file in the folder of a server that says which process it is.
const PID: &str = "pid";

/// The mark of `mongod` for information.
const ROUTINE: &str = "\"s\":\"I\"";

/// How long a server lives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// As long as its handle and the process that started it; its data goes
    /// with it.
    Tied,
    /// Until someone ends it, by the process id in its folder.
    Detached,
}

/// A server process that can be ended and started again.
pub(crate) struct Daemon {
    name: &'static str,
    folder: PathBuf,
    life: Life,
    program: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(&'static str, &'static str)>,
    child: Option<Child>,
}

impl Daemon {
    /// A server of this program, not started yet. It works in its folder, by
    /// which it is told from another process of the same id.
    pub(crate) fn new(name: &'static str, folder: PathBuf, life: Life, program: PathBuf) -> Self {
        Self {
            name,
            folder,
            life,
            program,
            arguments: Vec::new(),
            variables: Vec::new(),
            child: None,
        }
    }

    pub(crate) fn argument(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub(crate) fn arguments(&mut self, line: &str) -> &mut Self {
        self.arguments.extend(line.split(' ').map(OsString::from));
        self
    }

    pub(crate) fn variable(&mut self, name: &'static str, value: &'static str) -> &mut Self {
        self.variables.push((name, value));
        self
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts the process and waits until `answers` finds nothing wrong.
    pub(crate) fn start(&mut self, answers: impl FnMut() -> Result<()>) -> Result<()> {
        self.spawn()?;
        self.wait(answers)
    }

    /// Waits until `answers` finds nothing wrong. A process that ends or takes
    /// too long is an error, with the end of its log.
    pub(crate) fn wait(&mut self, mut answers: impl FnMut() -> Result<()>) -> Result<()> {
        let begun = Instant::now();
        loop {
            let wrong = match answers() {
                Ok(()) => return Ok(()),
                Err(wrong) => wrong,
            };
            let name = self.name;
            if let Some(status) = self
                .child
                .as_mut()
                .map(Child::try_wait)
                .transpose()?
                .flatten()
            {
                self.child = None;
                bail!(
                    "{name} ended while it started ({status})\n{}",
                    self.log_end()
                );
            }
            if begun.elapsed() > PATIENCE {
                let seconds = PATIENCE.as_secs();
                let log = self.log_end();
                self.kill();
                return Err(wrong.context(format!("{name} does not answer in {seconds} s\n{log}")));
            }
            thread::sleep(BETWEEN_QUESTIONS);
        }
    }

    fn spawn(&mut self) -> Result<()> {
        if self.child.is_some() {
            bail!("{} runs already", self.name);
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))?;
        let mut command = match self.life {
            Life::Tied => {
                let mut command = Command::new("setpriv");
                command
                    .args(["--pdeathsig", "KILL", "--"])
                    .arg(&self.program);
                command
            }
            Life::Detached => Command::new(&self.program),
        };
        command
            .args(&self.arguments)
            .envs(self.variables.iter().copied())
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // An interrupt at the terminal is for the tests.
            .process_group(0);
        let child = match self.life {
            Life::Tied => spawn_tied(command)?,
            Life::Detached => command.spawn(),
        };
        let child = child.with_context(|| {
            let program = self.program.display();
            format!(
                "{} does not start ({program}, by setpriv of util-linux)",
                self.name
            )
        })?;
        // At once, so that even a server whose start is interrupted is found.
        fs::write(self.folder.join(PID), child.id().to_string())?;
        self.child = Some(child);
        Ok(())
    }

    /// Ends the process as a crash would, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error of either says that the process is gone already.
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Gives up the handle of a detached server, which goes on.
    pub(crate) fn leave(mut self) {
        debug_assert!(
            self.life == Life::Detached,
            "a tied server ends with its handle"
        );
        self.child = None;
    }

    /// The end of the log without what is routine, as far as a server marks it:
    /// `mongod` says much while it ends.
    fn log_end(&self) -> String {
        const LINES: usize = 15;
        let log = fs::read(self.folder.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let mut lines: Vec<_> = log.lines().filter(|line| !line.contains(ROUTINE)).collect();
        lines.drain(..lines.len().saturating_sub(LINES));
        lines.join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let left = self.life == Life::Detached && self.child.is_none();
        self.kill();
        if !left {
            // What stays is swept by the next process that starts a server.
            drop(fs::remove_dir_all(&self.folder));
        }
    }
}

/// Starts a process that the kernel ends when this one ends.
///
/// The kernel means the thread that started it, so all are started by one
/// thread that lives as long as the process.
fn spawn_tied(command: Command) -> Result<io::Result<Child>> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static STARTER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, waiting) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in waiting {
                // Who ordered it has waited for it; there is nobody else to tell.
                drop(answer.send(command.spawn()));
            }
        });
        orders
    });
    let (answer, started) = mpsc::channel();
    let gone = |_| anyhow!("the thread that starts servers has ended");
    starter
        .send((command, answer))
        .map_err(|_| gone(mpsc::RecvError))?;
    started.recv().map_err(gone)
}

/// The process of the server that has this folder, if it runs.
pub(crate) fn running(folder: &Path) -> Option<u32> {
    let pid = fs::read_to_string(folder.join(PID)).ok()?.parse().ok()?;
    // The id may have gone to another process since: only one that works in the
    // folder is ours.
    let works_in = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    (works_in == folder.canonicalize().ok()?).then_some(pid)
}

/// Ends the server that has this folder, if it runs, and removes the folder.
pub(crate) fn end(folder: &Path) -> Result<()> {
    let begun = Instant::now();
    while let Some(pid) = running(folder) {
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let process = process.with_context(|| format!("{pid} is no process id"))?;
        match rustix::process::kill_process(process, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot end process {pid}")),
        }
        if begun.elapsed() > PATIENCE {
            bail!("process {pid} does not end");
        }
        thread::sleep(BETWEEN_QUESTIONS);
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
