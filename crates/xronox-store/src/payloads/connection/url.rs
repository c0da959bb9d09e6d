//! A connection in one line, for the command line.

use ::url::Url;

use super::{ConnectionError, Credentials, PerRole, Provider, SpaceConnection};

impl SpaceConnection {
    /// Reads a connection from one line:
    ///
    /// - `s3://bucket/prefix?endpoint=…&region=…&pathStyle=true`
    /// - `az://container/prefix?account=…&endpoint=…&pathStyle=true`
    /// - `gs://bucket/prefix?endpoint=…`
    /// - `file:PATH`
    /// - `memory:`
    ///
    /// The prefix and what follows `?` may be left out. All roles are in this
    /// one bucket: records below the prefix, the others in folders there that
    /// are named after them. Without an endpoint it is the provider's own:
    /// AWS in the region, Azure's public cloud, Google.
    ///
    /// Credentials come from the environment, as [`SpaceConnection`] says for
    /// [`Credentials::Environment`], and a line that holds any is refused. So
    /// do the region (`AWS_REGION`, `AWS_DEFAULT_REGION`) and the account
    /// (`AZURE_STORAGE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_NAME`) that the line
    /// leaves out.
    ///
    /// # Errors
    ///
    /// The part of the line that is wrong; what it holds is not repeated.
    pub fn from_url(line: &str) -> Result<Self, ConnectionError> {
        Self::from_url_in(line, |name| std::env::var(name).ok())
    }

    fn from_url_in(
        line: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConnectionError> {
        let connection = match line.split_once(':').map(|(scheme, _)| scheme) {
            Some("file" | "memory") => Self::new(line),
            Some("s3" | "az" | "gs") => remote(line, variable)?,
            _ => {
                let problem = "must begin with s3://, az://, gs://, file: or memory:";
                return Err(ConnectionError::new("url", problem));
            }
        };
        connection.validate()?;
        Ok(connection)
    }
}

fn remote(
    line: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<SpaceConnection, ConnectionError> {
    let Ok(url) = Url::parse(line) else {
        return Err(ConnectionError::new("url", "cannot be read"));
    };
    if !url.username().is_empty() || url.password().is_some() {
        let problem = "must hold no credentials; they come from the environment";
        return Err(ConnectionError::new("url", problem));
    }
    if url.fragment().is_some() || url.port().is_some() {
        let problem = "must be a bucket and a prefix; the address goes in `endpoint`";
        return Err(ConnectionError::new("url", problem));
    }
    let Some(bucket) = url.host_str().filter(|bucket| !bucket.is_empty()) else {
        return Err(ConnectionError::new("url", "names no bucket"));
    };
    let scheme = url.scheme();
    let (mut endpoint, mut region, mut account, mut path_style) = (None, None, None, None);
    for (name, value) in url.query_pairs() {
        let place = match (&*name, scheme) {
            ("endpoint", _) => &mut endpoint,
            ("region", "s3") => &mut region,
            ("account", "az") => &mut account,
            ("pathStyle", "s3" | "az") => &mut path_style,
            _ => {
                // The name may be a misplaced secret too.
                let problem = match scheme {
                    "s3" => "takes endpoint, region and pathStyle after `?`",
                    "az" => "takes account, endpoint and pathStyle after `?`",
                    _ => "takes endpoint after `?`",
                };
                return Err(ConnectionError::new("url", problem));
            }
        };
        if place.replace(value.into_owned()).is_some() {
            return Err(ConnectionError::new("url", format!("gives {name} twice")));
        }
    }
    let force_path_style = match path_style.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(ConnectionError::new("pathStyle", "must be true or false")),
    };
    let fallback = |names: [&str; 2]| names.into_iter().find_map(&variable);
    let (provider, public) = match scheme {
        "s3" => {
            region = region.or_else(|| fallback(["AWS_REGION", "AWS_DEFAULT_REGION"]));
            (Provider::S3, "https://s3.amazonaws.com".to_owned())
        }
        "az" => {
            let names = ["AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"];
            account = account.or_else(|| fallback(names));
            let Some(account) = &account else {
                let problem = "is missing, and so is AZURE_STORAGE_ACCOUNT";
                return Err(ConnectionError::new("account", problem));
            };
            let public = format!("https://{account}.blob.core.windows.net");
            (Provider::Azure, public)
        }
        _ => (Provider::Gcs, "gs://".to_owned()),
    };
    Ok(SpaceConnection {
        provider: Some(provider),
        region,
        access_key: account,
        credentials: Some(Credentials::Environment),
        force_path_style,
        bucket: Some(bucket.to_owned()),
        folder_prefixes: folders(url.path().trim_matches('/')),
        ..SpaceConnection::new(endpoint.unwrap_or(public))
    })
}

fn folders(prefix: &str) -> PerRole {
    if prefix.is_empty() {
        return PerRole::default();
    }
    let below = |role: &str| Some(format!("{prefix}/{role}"));
    PerRole {
        records: Some(prefix.to_owned()),
        versions: below("versions"),
        content: below("content"),
        backups: below("backups"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<SpaceConnection, ConnectionError> {
        SpaceConnection::from_url_in(line, |_| None)
    }

    fn environment(name: &str) -> Option<String> {
        let value = match name {
            "AWS_DEFAULT_REGION" => "eu-west-1",
            "AZURE_STORAGE_ACCOUNT" => "ours",
            "AZURE_STORAGE_ACCOUNT_NAME" => "theirs",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn a_line_names_a_bucket_and_a_place_in_it() {
        let s3 = read("s3://things/a/b/?endpoint=http://127.0.0.1:9000&region=r-1&pathStyle=true");
        let s3 = s3.unwrap();
        assert_eq!(s3.endpoint, "http://127.0.0.1:9000");
        assert_eq!(s3.provider, Some(Provider::S3));
        assert_eq!(s3.region.as_deref(), Some("r-1"));
        assert_eq!(s3.bucket.as_deref(), Some("things"));
        assert_eq!(s3.folder_prefixes.records.as_deref(), Some("a/b"));
        assert_eq!(s3.folder_prefixes.backups.as_deref(), Some("a/b/backups"));
        assert!(s3.force_path_style);
        assert_eq!(s3.credentials, Some(Credentials::Environment));

        let az = read("az://things?account=ours").unwrap();
        assert_eq!(az.endpoint, "https://ours.blob.core.windows.net");
        let az = read("az://things/x?account=ours&endpoint=http%3A%2F%2F127.0.0.1%3A1%2Fours");
        let az = az.unwrap();
        assert_eq!(
            (&*az.endpoint, az.provider),
            ("http://127.0.0.1:1/ours", Some(Provider::Azure))
        );

        let gs = read("gs://things/x").unwrap();
        assert_eq!((&*gs.endpoint, gs.provider), ("gs://", Some(Provider::Gcs)));

        assert_eq!(
            read("file:a b/c").unwrap(),
            SpaceConnection::new("file:a b/c")
        );
        assert_eq!(read("memory:").unwrap(), SpaceConnection::new("memory:"));
    }

    #[test]
    fn what_a_line_leaves_out_comes_from_the_environment() {
        let s3 = SpaceConnection::from_url_in("s3://things", environment).unwrap();
        assert_eq!(s3.region.as_deref(), Some("eu-west-1"));
        let s3 = SpaceConnection::from_url_in("s3://things?region=here", environment).unwrap();
        assert_eq!(s3.region.as_deref(), Some("here"));
        let az = SpaceConnection::from_url_in("az://things", environment).unwrap();
        assert_eq!(az.endpoint, "https://ours.blob.core.windows.net");
        assert_eq!(az.access_key.as_deref(), Some("ours"));
        assert_eq!(read("az://things").unwrap_err().field, "account");
    }

    #[test]
    fn a_line_that_is_wrong_is_not_repeated() {
        for line in [
            "",
            "things",
            "http://things",
            "s3:things",
            "s3://",
            "s3://AKIA:hush@things",
            "s3://things:9000/x",
            "s3://things/x#hush",
            "s3://things?secretKey=hush",
            "s3://things?hush",
            "s3://things?account=x",
            "gs://things?region=x",
            "az://things?account=Not.One",
            "s3://things?pathStyle=yes",
            "s3://things?region=a&region=b",
            "s3://things?endpoint=hush.example",
            "s3://things?endpoint=https://who:hush@s3.example",
            "s3://things/a%20b",
            "s3://th%2Fings/a",
            "memory:x",
            "file:",
        ] {
            let error = read(line).unwrap_err().to_string();
            assert!(!error.contains("hush"), "{line}: {error}");
        }
    }
}
