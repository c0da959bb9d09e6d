//! A description checked and completed.

use std::{collections::BTreeMap, path::PathBuf};

use ::url::{Host, Url};
use xronox_model::BucketRole;

use super::{ConnectionError, Credentials, PerRole, Provider, Secret, SpaceConnection};
use crate::payloads::{
    gate::GateLimits,
    space::{ROLES, role_name},
};

/// What a description comes to.
#[derive(Debug)]
pub(in crate::payloads) struct Plan {
    pub(in crate::payloads) target: Target,
    pub(in crate::payloads) limits: GateLimits,
    folder_prefixes: PerRole,
    storage_class: PerRole,
}

/// The store to be reached.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "cloud"),
    expect(dead_code, reason = "what they hold is for cloud stores")
)]
pub(in crate::payloads) enum Target {
    Memory,
    Files(PathBuf),
    S3 {
        /// `https://host[:port][/path]`, without the bucket.
        endpoint: Url,
        region: String,
        path_style: bool,
        keys: Keys,
    },
    Azure {
        /// The account's URL, `https://host[:port][/path]`.
        endpoint: Url,
        account: String,
        keys: Keys,
    },
    Gcs {
        /// `None` for Google's own.
        endpoint: Option<Url>,
        keys: Keys,
    },
}

/// What requests are signed with.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "cloud"),
    expect(dead_code, reason = "what they hold is for cloud stores")
)]
pub(in crate::payloads) enum Keys {
    Given { access: String, secret: Secret },
    Environment,
}

/// Where the objects of a role are.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::payloads) struct Place {
    pub(in crate::payloads) bucket: String,
    /// Segments joined by slashes, without one at either end; empty for none.
    pub(in crate::payloads) folder: String,
    pub(in crate::payloads) storage_class: Option<String>,
}

type Checked<T> = Result<T, ConnectionError>;

fn wrong<T>(field: impl Into<String>, problem: impl Into<String>) -> Checked<T> {
    Err(ConnectionError::new(field, problem))
}

/// A string that is there.
fn given(value: Option<&String>) -> Option<&str> {
    value.map(String::as_str).filter(|value| !value.is_empty())
}

impl SpaceConnection {
    /// Checks the description.
    pub(in crate::payloads) fn plan(&self) -> Checked<Plan> {
        let target = match self.resolved_provider()? {
            Provider::Memory => self.without_keys().map(|()| Target::Memory)?,
            Provider::File => self.without_keys().and_then(|()| self.files())?,
            Provider::S3 => self.s3()?,
            Provider::Azure => self.azure()?,
            Provider::Gcs => self.gcs()?,
        };
        Ok(Plan {
            target,
            limits: self.limits()?,
            folder_prefixes: self.folder_prefixes.clone(),
            storage_class: self.storage_class.clone(),
        })
    }

    /// The provider that is named, or that the endpoint shows.
    fn resolved_provider(&self) -> Checked<Provider> {
        let endpoint = self.endpoint.as_str();
        let local = match endpoint {
            "" => return wrong("endpoint", "is missing"),
            "memory:" => Some(Provider::Memory),
            _ if endpoint.starts_with("file:") => Some(Provider::File),
            _ => None,
        };
        let shown = match local {
            Some(local) => local,
            None if endpoint.starts_with("gs://") => Provider::Gcs,
            None => self.shown_by_host()?,
        };
        match self.provider {
            None => Ok(shown),
            Some(named) if named == shown => Ok(named),
            // A web address may be anything that speaks over it.
            Some(named @ (Provider::S3 | Provider::Azure | Provider::Gcs))
                if local.is_none() && !endpoint.starts_with("gs://") =>
            {
                Ok(named)
            }
            Some(Provider::File) => wrong("provider", "files have an endpoint `file:PATH`"),
            Some(Provider::Memory) => wrong("provider", "memory has the endpoint `memory:`"),
            Some(_) => wrong("provider", "does not go with this endpoint"),
        }
    }

    fn shown_by_host(&self) -> Checked<Provider> {
        let url = self.web_address()?;
        let host = url.host_str().unwrap_or_default();
        Ok(if azure_account(host).is_some() {
            Provider::Azure
        } else if host == "storage.googleapis.com" {
            Provider::Gcs
        } else {
            Provider::S3
        })
    }

    /// The endpoint as an `http` or `https` URL without extras.
    fn web_address(&self) -> Checked<Url> {
        let scheme = "must begin with https:// (or http://, gs://, file:, memory:)";
        // The endpoint itself stays out of errors: it may hold a password.
        let Ok(url) = Url::parse(&self.endpoint) else {
            return wrong("endpoint", format!("is no URL; it {scheme}"));
        };
        if !matches!(url.scheme(), "http" | "https") {
            return wrong("endpoint", scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return wrong("endpoint", "must hold no credentials");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return wrong("endpoint", "must end with its path");
        }
        Ok(url)
    }

    fn without_keys(&self) -> Checked<()> {
        for (field, named) in [
            ("accessKey", given(self.access_key.as_ref()).is_some()),
            ("secretKey", self.secret().is_some()),
            ("credentials", self.credentials.is_some()),
            ("storageClass", self.storage_class != PerRole::default()),
        ] {
            if named {
                return wrong(field, "files and memory have none");
            }
        }
        Ok(())
    }

    fn files(&self) -> Checked<Target> {
        let path = self.endpoint.strip_prefix("file:").unwrap_or_default();
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.contains('\0') {
            return wrong("endpoint", "names no directory after `file:`");
        }
        Ok(Target::Files(path.into()))
    }

    fn s3(&self) -> Checked<Target> {
        let mut endpoint = self.web_address()?;
        let host = endpoint.host_str().unwrap_or_default().to_owned();
        let named = given(self.region.as_ref());
        if let Some(region) = named
            && !region
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || c == b'-')
        {
            return wrong("region", "holds only letters, digits and `-`");
        }
        let shown = host
            .strip_prefix("s3.")
            .and_then(|rest| rest.strip_suffix(".amazonaws.com"))
            .map(|region| region.trim_start_matches("dualstack."));
        let region = named.or(shown).unwrap_or("us-east-1").to_owned();
        if host == "s3.amazonaws.com"
            && endpoint
                .set_host(Some(&format!("s3.{region}.amazonaws.com")))
                .is_err()
        {
            return wrong("region", "cannot be part of a host name");
        }
        let path_style = self.force_path_style
            || !matches!(endpoint.host(), Some(Host::Domain(name)) if name != "localhost");
        if !path_style && endpoint.path() != "/" {
            return wrong("endpoint", "has a path, which only forcePathStyle allows");
        }
        let access = given(self.access_key.as_ref());
        let secret = self.secret();
        let keys = match (access, secret, self.credentials) {
            (None, None, Some(Credentials::Environment)) => Keys::Environment,
            (Some(_), _, Some(_)) => return redundant("accessKey"),
            (_, Some(_), Some(_)) => return redundant("secretKey"),
            (Some(access), Some(secret), None) => Keys::Given {
                access: in_header("accessKey", access)?.to_owned(),
                secret: secret.clone(),
            },
            (None, _, None) => return missing("accessKey"),
            (Some(_), None, None) => return missing("secretKey"),
        };
        Ok(Target::S3 {
            endpoint,
            region,
            path_style,
            keys,
        })
    }

    fn azure(&self) -> Checked<Target> {
        let mut endpoint = self.web_address()?;
        let shown = azure_account(endpoint.host_str().unwrap_or_default());
        let named = given(self.access_key.as_ref());
        let account = match (shown, named) {
            (Some(shown), Some(named)) if shown != named => {
                return wrong("accessKey", "is not the account in the endpoint");
            }
            (None, None) => return wrong("accessKey", "is missing: the name of the account"),
            (shown, named) => shown.or(named).unwrap_or_default().to_owned(),
        };
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !account.bytes().all(plain) {
            let problem = "the name of an Azure account holds only small letters and digits";
            return wrong("accessKey", problem);
        }
        if self.force_path_style && endpoint.path() == "/" {
            endpoint.set_path(&account);
        }
        let keys = match (self.secret(), self.credentials) {
            (Some(_), Some(_)) => return redundant("secretKey"),
            (None, Some(Credentials::Environment)) => Keys::Environment,
            (None, None) => return missing("secretKey"),
            (Some(secret), None) => Keys::Given {
                access: account.clone(),
                secret: secret.clone(),
            },
        };
        Ok(Target::Azure {
            endpoint,
            account,
            keys,
        })
    }

    fn gcs(&self) -> Checked<Target> {
        let endpoint = match self.endpoint.strip_prefix("gs://") {
            Some(bucket) if bucket.contains(['/', '?', '#', '@']) => {
                let problem = "is `gs://` with at most a bucket; a folder goes in folderPrefixes";
                return wrong("endpoint", problem);
            }
            Some(_) => None,
            None => Some(self.web_address()?),
        };
        if given(self.access_key.as_ref()).is_some() {
            let problem = "GCS has none; for HMAC keys say \"provider\": \"s3\"";
            return wrong("accessKey", problem);
        }
        let keys = match (self.secret(), self.credentials) {
            (Some(_), Some(_)) => return redundant("secretKey"),
            (None, Some(Credentials::Environment)) => Keys::Environment,
            (None, None) => return missing("secretKey"),
            (Some(secret), None) => {
                // Its own error would quote the key.
                if serde_json::from_str::<serde_json::Map<_, _>>(secret.reveal()).is_err() {
                    return wrong("secretKey", "is not the JSON of a service account key");
                }
                Keys::Given {
                    access: String::new(),
                    secret: secret.clone(),
                }
            }
        };
        Ok(Target::Gcs { endpoint, keys })
    }

    fn secret(&self) -> Option<&Secret> {
        self.secret_key
            .as_ref()
            .filter(|secret| !secret.reveal().is_empty())
    }

    /// The bucket in a `gs://` endpoint.
    pub(super) fn bucket_in_endpoint(&self) -> Option<&str> {
        self.endpoint
            .strip_prefix("gs://")
            .filter(|bucket| !bucket.is_empty())
    }
}

fn missing<T>(field: &str) -> Checked<T> {
    let problem = "is missing; to use the provider's own chain of credentials, \
                   say \"credentials\": \"environment\"";
    wrong(field, problem)
}

fn redundant<T>(field: &str) -> Checked<T> {
    let problem = "is given although \"credentials\" says to take it from the environment";
    wrong(field, problem)
}

/// A value that goes into a header as it is.
pub(in crate::payloads) fn in_header<'a>(field: &str, value: &'a str) -> Checked<&'a str> {
    if value.bytes().all(|c| c.is_ascii_graphic()) {
        Ok(value)
    } else {
        wrong(field, "holds a space, a line end or another odd character")
    }
}

/// The account in the host name of Azure's own endpoints.
fn azure_account(host: &str) -> Option<&str> {
    let (account, rest) = host.split_once(".blob.")?;
    let known = [
        "core.windows.net",
        "core.usgovcloudapi.net",
        "core.chinacloudapi.cn",
    ];
    known.contains(&rest).then_some(account)
}

impl Plan {
    /// Where the objects of each role are, of those that have a bucket.
    pub(in crate::payloads) fn places(
        &self,
        buckets: &PerRole,
    ) -> Checked<BTreeMap<BucketRole, Place>> {
        let local = matches!(self.target, Target::Memory | Target::Files(_));
        let mut places = BTreeMap::new();
        for role in ROLES {
            let name = role_name(role);
            let bucket = match buckets.get(role) {
                Some(bucket) => bucket,
                None if local => name,
                None => continue,
            };
            check_bucket(name, bucket)?;
            let storage_class = self.storage_class.get(role);
            if let Some(class) = storage_class
                && !class
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || b"_-".contains(&c))
            {
                return wrong(format!("storageClass.{name}"), "is no name of a class");
            }
            let asked = self.folder_prefixes.get(role);
            let mut folder = folder(name, asked.unwrap_or_default())?;
            let taken = |folder: &str| {
                let taken = |place: &Place| place.bucket == bucket && place.folder == folder;
                places.values().any(taken)
            };
            if asked.is_none() && taken(&folder) {
                name.clone_into(&mut folder);
            }
            if taken(&folder) {
                let problem = "is where the objects of another role are";
                return wrong(format!("folderPrefixes.{name}"), problem);
            }
            let place = Place {
                bucket: bucket.to_owned(),
                folder,
                storage_class: storage_class.map(str::to_owned),
            };
            places.insert(role, place);
        }
        if places.is_empty() {
            return wrong("bucket", "is missing");
        }
        Ok(places)
    }
}

/// What every provider takes; each adds rules of its own.
fn check_bucket(role: &str, bucket: &str) -> Checked<()> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    let ends = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = bucket.as_bytes();
    if bytes.len() <= 222
        && bytes.iter().copied().all(plain)
        && ends(bytes.first())
        && ends(bytes.last())
        && !bucket.contains("..")
    {
        return Ok(());
    }
    let problem = "cannot be the name of a bucket: letters, digits, `-`, `_` and single dots, \
                   a letter or digit at either end";
    wrong(format!("buckets.{role}"), problem)
}

fn folder(role: &str, asked: &str) -> Checked<String> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    let folder = asked.trim_matches('/');
    let fits =
        |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain);
    if !folder.is_empty() && !folder.split('/').all(fits) {
        let problem = "holds only letters, digits, `.`, `_` and `-` between single slashes";
        return wrong(format!("folderPrefixes.{role}"), problem);
    }
    Ok(folder.to_owned())
}
