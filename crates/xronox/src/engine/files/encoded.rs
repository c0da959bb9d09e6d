//! Files as text: base64 and `data:` URIs.

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use percent_encoding::percent_decode_str;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const PLAIN: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const SAFE: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// A decoded file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    /// What a `data:` URI says it is.
    pub(super) content_type: Option<String>,
    pub(super) bytes: Vec<u8>,
}

/// Decodes base64, standard or URL-safe, padded or not, with or without line
/// breaks (RFC 4648), or a `data:` URI (RFC 2397).
pub(super) fn decode(text: &str) -> Result<Decoded, String> {
    let scheme = text.get(..5).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("data:") {
        return Ok(Decoded {
            content_type: None,
            bytes: base64(text)?,
        });
    }
    let uri = &text[5..];
    let (kind, data) = uri
        .split_once(',')
        .ok_or("a `data:` URI has a comma in front of its data")?;
    // As browsers read it: with spaces around the last word.
    let (kind, is_base64) = match kind.rsplit_once(';') {
        Some((kind, last)) if last.trim().eq_ignore_ascii_case("base64") => (kind, true),
        _ => (kind, false),
    };
    let data: Vec<u8> = percent_decode_str(data).collect();
    let bytes = if is_base64 {
        let text = String::from_utf8(data).map_err(|_| NOT_BASE64)?;
        base64(&text)?
    } else {
        data
    };
    let kind = kind.trim();
    // RFC 2397: without a media type it is US-ASCII text.
    let kind = match kind.as_bytes() {
        [] => "text/plain;charset=US-ASCII".to_owned(),
        [b';', ..] => format!("text/plain{kind}"),
        _ => kind.to_owned(),
    };
    if !is_content_type(&kind) {
        return Err("the media type of a `data:` URI is printable ASCII".to_owned());
    }
    Ok(Decoded {
        content_type: Some(kind),
        bytes,
    })
}

const NOT_BASE64: &str = "is not base64";

/// Whether a media type can be told in a header: 1 to 256 printable ASCII
/// characters.
pub(crate) fn is_content_type(kind: &str) -> bool {
    const MAX: usize = 256;
    (1..=MAX).contains(&kind.len()) && kind.chars().all(|c| (' '..='~').contains(&c))
}

fn base64(text: &str) -> Result<Vec<u8>, String> {
    let compact: String;
    let text = if text.bytes().any(|c| c.is_ascii_whitespace()) {
        compact = text.split_ascii_whitespace().collect();
        &compact
    } else {
        text
    };
    let engine = if text.contains(['-', '_']) {
        &SAFE
    } else {
        &PLAIN
    };
    engine
        .decode(text)
        .map_err(|error| format!("{NOT_BASE64}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        decode(text).unwrap().bytes
    }

    #[test]
    fn every_form_of_base64_is_read() {
        let content = [0xfb, 0xff, 0xbf, 0x01];
        for text in ["+/+/AQ==", "+/+/AQ", "-_-_AQ==", "-_-_AQ", "+/+/\r\n AQ=="] {
            assert_eq!(bytes(text), content, "{text}");
        }
        assert_eq!(bytes(""), b"");
        for text in ["a", "+_", "AQ===", "AB", "é", "{}", "AQ==AQ=="] {
            assert!(decode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn data_uris_are_read() {
        for (uri, kind, content) in [
            ("data:image/png;base64,AQ==", "image/png", &b"\x01"[..]),
            ("DATA:a/b;x=y;BASE64,AQ%3D%3D", "a/b;x=y", b"\x01"),
            ("data:image/png; base64 ,AQ==", "image/png", b"\x01"),
            ("data:text/html,%3Cp%3E,", "text/html", b"<p>,"),
            ("data:,a%20b", "text/plain;charset=US-ASCII", b"a b"),
            ("data:;charset=utf-8,x", "text/plain;charset=utf-8", b"x"),
            ("data:;base64,", "text/plain;charset=US-ASCII", b""),
        ] {
            let decoded = decode(uri).unwrap();
            assert_eq!(decoded.content_type.as_deref(), Some(kind), "{uri}");
            assert_eq!(decoded.bytes, content, "{uri}");
        }
        for uri in [
            "data:",
            "data:x",
            "data:;base64,?",
            "data:a/b\u{1},x",
            "data:é/b,x",
        ] {
            assert!(decode(uri).is_err(), "{uri}");
        }
    }
}
