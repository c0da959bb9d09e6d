//! A store in a folder of its own, and the command run on it.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const XRONOX: &str = env!("CARGO_BIN_EXE_xronox");

pub(crate) struct Store {
    folder: TempDir,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            folder: TempDir::with_prefix("xronox-cli-").unwrap(),
        }
    }

    /// Where the command runs; its store is `xronox-data` in it.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file beside the store.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(XRONOX);
        command.current_dir(self.path()).args(args);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.feed(args, "")
    }

    /// Runs it with this on standard input.
    pub(crate) fn feed(&self, args: &[&str], input: &str) -> Output {
        let mut child = self.spawn(args);
        let mut stdin = child.stdin.take().unwrap();
        // It need not read it all.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    /// Starts it, with pipes.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// What it prints, for people; ids, times and checksums made the same.
    pub(crate) fn text(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        redacted(std::str::from_utf8(&output.stdout).unwrap())
    }

    /// The JSON values that it prints.
    pub(crate) fn json(&self, args: &[&str]) -> Vec<Value> {
        self.feed_json(args, "")
    }

    pub(crate) fn feed_json(&self, args: &[&str], input: &str) -> Vec<Value> {
        let all: Vec<&str> = args.iter().copied().chain(["--json", "--quiet"]).collect();
        let output = self.feed(&all, input);
        assert!(output.status.success(), "{args:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{args:?}: {output:?}");
        lines(&output.stdout)
    }

    /// The only JSON value that it prints.
    pub(crate) fn one(&self, args: &[&str]) -> Value {
        only(self.json(args))
    }

    /// Creates or replaces a record.
    pub(crate) fn put(&self, collection: &str, id: &str, document: &Value) -> Value {
        let args = ["put", collection, "-", "--id", id];
        only(self.feed_json(&args, &document.to_string()))
    }

    /// The message of the error that it ends with.
    pub(crate) fn fails(&self, args: &[&str], code: i32, kind: &str) -> String {
        self.feed_fails(args, "", code, kind)
    }

    pub(crate) fn feed_fails(&self, args: &[&str], input: &str, code: i32, kind: &str) -> String {
        let all: Vec<&str> = args.iter().copied().chain(["--json", "--quiet"]).collect();
        let output = self.feed(&all, input);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        let error = only(lines(&output.stderr));
        let error = error["error"].as_object().unwrap();
        assert_eq!(error.len(), 2, "{error:?}");
        assert_eq!(error["kind"], kind, "{error:?}");
        error["message"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub(crate) fn only(values: Vec<Value>) -> Value {
    let [value] = <[Value; 1]>::try_from(values).unwrap();
    value
}

/// The text with made-up ids, times and checksums in the place of real ones,
/// of the same length.
pub(crate) fn redacted(text: &str) -> String {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let time = rest.get(..24).filter(|time| {
            time.ends_with('Z') && time.starts_with("20") && time.as_bytes()[10] == b'T'
        });
        let digits = rest.find(|c| !hex(c)).unwrap_or(rest.len());
        let word = rest
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        let taken = if time.is_some() {
            out.push_str("2024-01-31T09:30:00.000Z");
            24
        } else if digits == word && matches!(digits, 12 | 24 | 64) {
            out.extend(std::iter::repeat_n('#', digits));
            digits
        } else {
            let taken = word.max(first.len_utf8());
            out.push_str(&rest[..taken]);
            taken
        };
        rest = &rest[taken..];
    }
    out
}

#[test]
fn redaction_touches_nothing_else() {
    let text = "größe 2026-11-23T06:05:09.748Z eb8af09e893a eb8af09e893 (507f1f77bcf86cd799439011)";
    assert_eq!(
        redacted(text),
        format!(
            "größe 2024-01-31T09:30:00.000Z {} eb8af09e893 ({})",
            "#".repeat(12),
            "#".repeat(24)
        )
    );
}
