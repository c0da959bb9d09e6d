//! What may be shown of values that may hold secrets.

use serde::Serializer;
use xronox_store::Secret;

/// In the place of what is not shown.
pub(crate) const MASKED: &str = "***";

/// A URI without user, password and options that may be secret, as far as its
/// form leaves no doubt which parts those are.
pub(crate) fn uri(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return match text.split_once(':') {
            // Places of files hold no secret.
            Some(("sqlite" | "file" | "memory", _)) => text.to_owned(),
            _ => MASKED.to_owned(),
        };
    };
    let known = [
        "mongodb",
        "mongodb+srv",
        "redis",
        "rediss",
        "http",
        "https",
        "s3",
        "gs",
        "az",
    ];
    if matches!(scheme, "sqlite" | "file") {
        return text.to_owned();
    }
    if !known.contains(&scheme) {
        return MASKED.to_owned();
    }
    let (authority, options) = match rest.find(['/', '?', '#']) {
        None => (rest, ""),
        Some(end) => (&rest[..end], &rest[end..]),
    };
    // An unescaped character of a password may have ended the authority early.
    let sure = !options.contains('@') && authority.matches('@').count() <= 1;
    let (user, hosts) = match authority.split_once('@') {
        Some((_, hosts)) => ("***@", hosts),
        None => ("", authority),
    };
    if !sure || !hosts.split(',').all(is_host) {
        return format!("{scheme}://{MASKED}");
    }
    let path = options.split(['?', '#']).next().unwrap_or_default();
    // Behind the host of a web address there may be a token.
    let named = !scheme.starts_with("http") && is_plain(path);
    let path = if named || path.len() <= 1 {
        path
    } else {
        "/***"
    };
    let more = match options.split_once('?') {
        Some((_, options)) if scheme.starts_with("mongodb") => known_options(options),
        _ if options.contains(['?', '#']) => "?***".to_owned(),
        _ => String::new(),
    };
    format!("{scheme}://{user}{hosts}{path}{more}")
}

/// Options, if none of them can hold a secret.
fn known_options(options: &str) -> String {
    const KNOWN: [&str; 17] = [
        "appname",
        "authmechanism",
        "authsource",
        "compressors",
        "connecttimeoutms",
        "directconnection",
        "journal",
        "loadbalanced",
        "maxpoolsize",
        "minpoolsize",
        "readpreference",
        "replicaset",
        "retrywrites",
        "serverselectiontimeoutms",
        "ssl",
        "tls",
        "w",
    ];
    let shown = |option: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-,".contains(c);
        option.split_once('=').is_some_and(|(name, value)| {
            KNOWN.contains(&&*name.to_lowercase()) && value.chars().all(plain)
        })
    };
    // One that may hold a secret may also hold what looks like others.
    if options.split('&').all(|option| shown(&option)) {
        format!("?{options}")
    } else {
        "?***=***".to_owned()
    }
}

fn is_plain(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/_-.".contains(c);
    path.len() <= 64 && path.chars().all(plain)
}

/// `name[:port]`; a word after the colon that is no port may be a password.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, "0"),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_[]:".contains(c);
    !name.is_empty()
        && name.chars().all(plain)
        && (!name.contains(':') || name.starts_with('['))
        && port.parse::<u16>().is_ok()
}

/// A string that stands in a configuration, cut to a length that can be read.
pub(crate) fn text(text: &str) -> String {
    let shown = if text.contains("://") {
        uri(text)
    } else if text.contains('@') && text.contains(':') {
        MASKED.to_owned()
    } else {
        text.to_owned()
    };
    let mut cut: String = shown.chars().take(60).collect();
    if cut.len() < shown.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}

pub(crate) fn serialize_uri<S: Serializer>(uri: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&self::uri(uri.reveal()))
}

/// A key, or the file that holds it.
#[expect(clippy::ref_option, reason = "serde calls it so")]
pub(crate) fn serialize_key<S: Serializer>(
    key: &Option<Secret>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match key {
        None => serializer.serialize_none(),
        Some(key) if key.reveal().starts_with("file:") => serializer.serialize_str(key.reveal()),
        Some(_) => serializer.serialize_str(MASKED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_no_secret_is_shown() {
        for (given, shown) in [
            (
                "mongodb://db1,db2:27018/admin?replicaSet=rs0",
                "mongodb://db1,db2:27018/admin?replicaSet=rs0",
            ),
            (
                "mongodb+srv://ann:hush@c.example.net",
                "mongodb+srv://***@c.example.net",
            ),
            ("mongodb://ann:hu@sh/word@db", "mongodb://***"),
            ("mongodb://ann:hu/sh@db", "mongodb://***"),
            ("mongodb://ann:hush", "mongodb://***"),
            ("mongodb://ann:hush?@db", "mongodb://***"),
            ("mongodb://[::1]:27017/", "mongodb://[::1]:27017/"),
            (
                "mongodb://db/?authMechanismProperties=AWS_SESSION_TOKEN:hush",
                "mongodb://db/?***=***",
            ),
            ("redis://:hush@cache:6379/0", "redis://***@cache:6379/0"),
            (
                "https://hooks.example/services/hush",
                "https://hooks.example/***",
            ),
            ("sqlite:/var/lib/x", "sqlite:/var/lib/x"),
            ("memory:", "memory:"),
            ("hush", "***"),
            ("mongo://ann:hush@db", "***"),
        ] {
            assert_eq!(uri(given), shown);
        }
        assert_eq!(text("ann:hush@db"), "\"***\"");
        assert_eq!(text("a\nb"), "\"a\\nb\"");
    }
}
