//! Documents out of a stream of JSON: JSON lines, or one array.
//!
//! Memory holds one document at a time, however long the stream is.

use std::io::{self, BufRead, Read};

use serde_json::Value;
use xronox::json::{self, JsonError};

use crate::exit::Failure;

/// Reads the documents of a stream.
#[derive(Debug)]
pub(crate) struct Documents<R> {
    reader: R,
    /// What the stream is called in messages.
    name: String,
    /// The longest text of one document, in bytes.
    limit: usize,
    form: Form,
    /// Bytes read so far.
    read: u64,
    /// The line of the next byte, from 1.
    line: u64,
    /// Where in that line the next byte is, in characters from 0.
    offset: usize,
    text: Vec<u8>,
}

/// One document.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) value: Value,
    /// Where it begins.
    pub(crate) line: u64,
    /// Bytes of the stream up to its end.
    pub(crate) read: u64,
}

/// How the stream is made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Nothing but white space was seen so far.
    Unknown,
    /// One document a line.
    Lines,
    /// Before the first element of an array.
    ArrayStart,
    /// Before another element of an array.
    ArrayMore,
    /// Behind an array.
    ArrayEnd,
    /// Behind the last document.
    Ended,
}

/// What stands behind an element of an array.
enum Stop {
    Comma,
    Bracket,
    /// The stream ended, the limit was met, or what was read can never be JSON.
    Broken,
}

impl<R: BufRead> Documents<R> {
    /// Reads `reader`, which messages call `name`; a document may have
    /// `limit` bytes of text.
    pub(crate) fn new(reader: R, name: impl Into<String>, limit: usize) -> Self {
        Self {
            reader,
            name: name.into(),
            limit,
            form: Form::Unknown,
            read: 0,
            line: 1,
            offset: 0,
            text: Vec::new(),
        }
    }

    /// The next document, if there is one. After an error there is none.
    pub(crate) fn next(&mut self) -> Result<Option<Document>, Failure> {
        let next = self.advance();
        if next.is_err() {
            self.form = Form::Ended;
        }
        next
    }

    fn advance(&mut self) -> Result<Option<Document>, Failure> {
        if self.form == Form::Unknown {
            self.skip_mark()?;
            self.form = match self.skip_space()? {
                None => Form::Ended,
                Some(b'[') => {
                    self.take();
                    Form::ArrayStart
                }
                Some(_) => Form::Lines,
            };
        }
        match self.form {
            Form::Lines => self.line(),
            Form::ArrayStart | Form::ArrayMore => self.element(),
            Form::ArrayEnd => self.end(),
            Form::Unknown | Form::Ended => Ok(None),
        }
    }

    fn line(&mut self) -> Result<Option<Document>, Failure> {
        if self.skip_space()?.is_none() {
            self.form = Form::Ended;
            return Ok(None);
        }
        let (line, offset) = (self.line, self.offset);
        self.text.clear();
        let limit = u64::try_from(self.limit).unwrap_or(u64::MAX);
        let mut bounded = (&mut self.reader).take(limit.saturating_add(1));
        let got = bounded.read_until(b'\n', &mut self.text);
        let got = got.map_err(|error| self.unreadable(&error))?;
        self.read += got as u64;
        let ended = self.text.pop_if(|last| *last == b'\n').is_some();
        if ended {
            self.line += 1;
            self.offset = 0;
        } else if self.text.len() > self.limit {
            return Err(self.too_long(line));
        }
        self.document(line, offset).map(Some).map_err(|failure| {
            // A document that goes on in the next line is the usual reason.
            if line == 1 && ended {
                failure.with(" (expected one document a line, or one array of documents)")
            } else {
                failure
            }
        })
    }

    fn element(&mut self) -> Result<Option<Document>, Failure> {
        let next = self.skip_space()?;
        let (line, offset) = (self.line, self.offset);
        if next == Some(b']') && self.form == Form::ArrayStart {
            self.take();
            return self.end();
        }
        if matches!(next, None | Some(b',' | b']')) {
            let why = match next {
                None => "the text ends early",
                Some(_) => "a value was expected",
            };
            return Err(self.at(line, offset + 1, why));
        }
        let stop = self.scan()?;
        if matches!(stop, Stop::Broken) && self.text.len() == self.limit {
            return Err(self.too_long(line));
        }
        let document = self.document(line, offset)?;
        self.form = match stop {
            Stop::Comma => Form::ArrayMore,
            Stop::Bracket => Form::ArrayEnd,
            // The text so far is a document, but nothing ended it.
            Stop::Broken => return Err(self.at(self.line, self.offset + 1, "the text ends early")),
        };
        Ok(Some(document))
    }

    /// Takes the text of an element and what stands behind it. Whether it is
    /// JSON is for the parser to say; here only its extent counts.
    fn scan(&mut self) -> Result<Stop, Failure> {
        self.text.clear();
        let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
        loop {
            let Some(byte) = self.peek()? else {
                return Ok(Stop::Broken);
            };
            if in_string {
                match byte {
                    // No string goes on in the next line: what follows would
                    // be taken for its content up to the end of the stream.
                    b'\n' => {
                        self.text.push(byte);
                        return Ok(Stop::Broken);
                    }
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => in_string = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => in_string = true,
                    b'{' | b'[' => depth += 1,
                    b',' if depth == 0 => {
                        self.take();
                        return Ok(Stop::Comma);
                    }
                    b']' if depth == 0 => {
                        self.take();
                        return Ok(Stop::Bracket);
                    }
                    b'}' | b']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
            if self.text.len() == self.limit {
                return Ok(Stop::Broken);
            }
            self.text.push(byte);
            self.take();
        }
    }

    /// Behind an array there is nothing.
    fn end(&mut self) -> Result<Option<Document>, Failure> {
        self.form = Form::Ended;
        match self.skip_space()? {
            None => Ok(None),
            Some(_) => Err(self.at(
                self.line,
                self.offset + 1,
                "the text goes on after its array",
            )),
        }
    }

    fn document(&self, line: u64, offset: usize) -> Result<Document, Failure> {
        let value =
            json::parse(&self.text).map_err(|error| self.malformed(&error, line, offset))?;
        Ok(Document {
            value,
            line,
            read: self.read,
        })
    }

    fn peek(&mut self) -> Result<Option<u8>, Failure> {
        match self.reader.fill_buf() {
            Ok(buffer) => Ok(buffer.first().copied()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.peek(),
            Err(error) => Err(self.unreadable(&error)),
        }
    }

    /// Goes on to the byte behind the one that was peeked at.
    fn take(&mut self) {
        let byte = self
            .reader
            .fill_buf()
            .ok()
            .and_then(|buffer| buffer.first().copied());
        self.reader.consume(1);
        self.read += 1;
        match byte {
            Some(b'\n') => {
                self.line += 1;
                self.offset = 0;
            }
            // The rest of a character that was counted already.
            Some(0x80..0xC0) => {}
            _ => self.offset += 1,
        }
    }

    /// Skips the byte order mark that some programs put in front.
    fn skip_mark(&mut self) -> Result<(), Failure> {
        const MARK: &[u8] = "\u{feff}".as_bytes();
        self.peek()?;
        if self
            .reader
            .fill_buf()
            .is_ok_and(|buffer| buffer.starts_with(MARK))
        {
            self.reader.consume(MARK.len());
            self.read += MARK.len() as u64;
        }
        Ok(())
    }

    fn skip_space(&mut self) -> Result<Option<u8>, Failure> {
        loop {
            match self.peek()? {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.take(),
                next => return Ok(next),
            }
        }
    }

    fn malformed(&self, error: &JsonError, line: u64, offset: usize) -> Failure {
        let within = error.line() as u64 - 1;
        let column = if within == 0 {
            offset + error.column()
        } else {
            error.column()
        };
        let path = match error.path() {
            "" => String::new(),
            path => format!("`{path}`: "),
        };
        self.at(line + within, column, &format!("{path}{}", error.message()))
    }

    fn at(&self, line: u64, column: usize, why: &str) -> Failure {
        Failure::invalid(format!(
            "{}: line {line}, column {column}: {why}",
            self.name
        ))
    }

    fn too_long(&self, line: u64) -> Failure {
        let limit = crate::output::bytes(self.limit as u64);
        Failure::invalid(format!(
            "{}: line {line}: a document of over {limit}",
            self.name
        ))
    }

    fn unreadable(&self, error: &io::Error) -> Failure {
        Failure::file(self.name.as_ref(), error)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Reads through a buffer so small that every boundary is met.
    fn read(text: &str, buffer: usize) -> (Vec<(Value, u64)>, Option<String>) {
        let reader = io::BufReader::with_capacity(buffer, text.as_bytes());
        let mut documents = Documents::new(reader, "in", 64);
        let mut out = Vec::new();
        loop {
            match documents.next() {
                Ok(Some(document)) => out.push((document.value, document.line)),
                Ok(None) => {
                    assert_eq!(documents.read, text.len() as u64);
                    return (out, None);
                }
                Err(failure) => {
                    assert!(matches!(documents.next(), Ok(None)));
                    return (out, Some(failure.to_string()));
                }
            }
        }
    }

    #[test]
    fn lines_and_arrays_give_the_same_documents() {
        let wanted = [
            json!({"a": "]},\\\"["}),
            json!([1, [2]]),
            json!(3),
            json!("x"),
        ];
        for (text, lines) in [
            (
                "{\"a\":\"]},\\\\\\\"[\"}\r\n\n [1,[2]] \n3\n\"x\"",
                [1, 3, 4, 5],
            ),
            (
                "\n[{\"a\":\"]},\\\\\\\"[\"},\n[1,\n[2]]\n, 3,\"x\"]\n",
                [2, 3, 5, 5],
            ),
            ("[{\"a\":\"]},\\\\\\\"[\"},[1,[2]],3,\"x\"]", [1, 1, 1, 1]),
        ] {
            for buffer in [1, 2, 3, 7, 4096] {
                let (got, error) = read(text, buffer);
                assert_eq!(error, None, "{text}");
                let values: Vec<&Value> = got.iter().map(|(value, _)| value).collect();
                assert_eq!(values, wanted.iter().collect::<Vec<_>>(), "{text}");
                assert_eq!(got.iter().map(|(_, line)| *line).collect::<Vec<_>>(), lines);
            }
        }
    }

    #[test]
    fn no_documents_are_no_error() {
        for text in ["", "\n \n", "[]", " [ \n ] \n"] {
            assert_eq!(read(text, 4096), (Vec::new(), None), "{text:?}");
        }
        let (got, error) = read("\u{feff}{\"a\":1}", 4096);
        assert_eq!((got, error), (vec![(json!({"a": 1}), 1)], None));
    }

    #[test]
    fn errors_name_the_place_and_keep_what_was_before() {
        for (text, before, place) in [
            (
                "{\"a\":1}\n{\"a\":}\n",
                1,
                "in: line 2, column 6: `a`: a value was expected",
            ),
            (
                "{\"a\":1}\n\n{\"a\"",
                1,
                "in: line 3, column 5: the text ends early",
            ),
            (
                "{\"a\":1} {\"b\":2}\n",
                0,
                "in: line 1, column 9: the text goes on",
            ),
            (
                "{\n\"a\":1}\n",
                0,
                "in: line 1, column 2: the text ends early (expected one document",
            ),
            (
                "[{\"a\":1},\n  {\"a\":}]",
                1,
                "in: line 2, column 8: `a`: a value was expected",
            ),
            (
                "[{\"a\":1},\n{\n\"b\":nul\n}]",
                1,
                "in: line 3, column 5: `b`: a value was expected",
            ),
            ("[1,,2]", 1, "in: line 1, column 4: a value was expected"),
            ("[1,]", 1, "in: line 1, column 4: a value was expected"),
            ("[,1]", 0, "in: line 1, column 2: a value was expected"),
            ("[1,\n2", 1, "in: line 2, column 2: the text ends early"),
            ("[1,\n", 1, "in: line 2, column 1: the text ends early"),
            (
                "[1]\n2",
                1,
                "in: line 2, column 1: the text goes on after its array",
            ),
            ("[\"a\n,1]", 0, "in: line 1, column 4: a control character"),
            ("[1 2]", 0, "in: line 1, column 4: the text goes on"),
            (
                "[{]",
                0,
                "in: line 1, column 3: a property name was expected",
            ),
            ("[}]", 0, "in: line 1, column 2: a value was expected"),
        ] {
            for buffer in [1, 4096] {
                let (got, error) = read(text, buffer);
                let error = error.unwrap_or_default();
                assert!(error.starts_with(place), "{text}: {error}");
                assert_eq!(got.len(), before, "{text}");
            }
        }
    }

    #[test]
    fn a_document_has_a_bounded_length() {
        let long = format!("\"{}\"", "x".repeat(62));
        for text in [format!("{long}\n{long}"), format!("[{long},{long}]")] {
            assert_eq!(read(&text, 16).0.len(), 2);
        }
        let longer = format!("\"{}\"", "x".repeat(63));
        for text in [
            format!("1\n{longer}\n"),
            format!("1\n{longer}"),
            format!("[1,\n{longer}]"),
        ] {
            let (got, error) = read(&text, 16);
            assert_eq!(got.len(), 1, "{text}");
            assert_eq!(
                error.unwrap(),
                "in: line 2: a document of over 64 B",
                "{text}"
            );
        }
    }
}
