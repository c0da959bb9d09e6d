//! Files as text.

use bytes::Bytes;
use encoding_rs::Encoding;

/// A file as UTF-8, if all of it is text in this character set (a label of
/// <https://encoding.spec.whatwg.org/#names-and-labels>) and nothing of it is lost.
/// A byte order mark goes.
pub(super) fn rendition(content: &[u8], charset: &str) -> Option<Bytes> {
    let encoding = Encoding::for_label(charset.as_bytes())?;
    let (text, damaged) = encoding.decode_with_bom_removal(content);
    let printable = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\u{c}');
    if damaged || !text.chars().all(printable) {
        return None;
    }
    Some(text.into_owned().into())
}

/// Whether there is such a character set.
pub(crate) fn is_charset(label: &str) -> bool {
    Encoding::for_label(label.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_is_text() {
        let text = |content: &[u8], charset| {
            rendition(content, charset).map(|text| String::from_utf8(text.to_vec()).unwrap())
        };
        assert_eq!(text("für\n".as_bytes(), "utf-8").as_deref(), Some("für\n"));
        assert_eq!(text(b"\xef\xbb\xbfx", "UTF-8").as_deref(), Some("x"));
        assert_eq!(text(b"f\xfcr", "iso-8859-1").as_deref(), Some("für"));
        assert_eq!(text(b"\xff\xfeA\0", "utf-16le").as_deref(), Some("A"));
        assert_eq!(text(b"", "utf-8").as_deref(), Some(""));
        for (content, charset) in [
            (&b"f\xfcr"[..], "utf-8"),
            (b"a\0b", "utf-8"),
            (b"\x1b[2J", "utf-8"),
            (b"x", "no-such-charset"),
        ] {
            assert_eq!(text(content, charset), None);
        }
        assert!(is_charset("latin1") && !is_charset("klingon"));
    }
}
