//! The secrets of a server that asks for them: an authority of its own, a
//! certificate for 127.0.0.1, and the key that members of a set share.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::CertificateDer};

/// Files below the folder of one server, and a client's view of them.
pub(crate) struct Certificates {
    /// The authority, PEM.
    pub(crate) authority: PathBuf,
    /// Certificate and private key of the server, PEM.
    pub(crate) server: PathBuf,
    /// What members of a replica set know each other by.
    pub(crate) key_file: PathBuf,
    /// Trusts the authority, and nobody else.
    pub(crate) client: Arc<ClientConfig>,
}

impl Certificates {
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let mut authority = CertificateParams::default();
        authority
            .distinguished_name
            .push(DnType::CommonName, "Xronox test authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let authority_certificate = authority.self_signed(&key)?;
        let issuer = Issuer::new(authority, key);

        let names = ["127.0.0.1", "localhost"].map(str::to_owned);
        let mut server = CertificateParams::new(names)?;
        server
            .distinguished_name
            .push(DnType::CommonName, "Xronox test server");
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &issuer)?;

        let mut trusted = RootCertStore::empty();
        trusted.add(CertificateDer::from(authority_certificate.der().to_vec()))?;
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(trusted)
            .with_no_client_auth();

        Ok(Self {
            authority: secret(folder, "authority.pem", &authority_certificate.pem())?,
            server: secret(
                folder,
                "server.pem",
                &(certificate.pem() + &key.serialize_pem()),
            )?,
            key_file: secret(folder, "member.key", "eHJvbm94LXRlc3Qtc2VydmVycw==")?,
            client: Arc::new(client),
        })
    }
}

/// Writes a file that only its owner may read; `mongod` insists on that.
fn secret(folder: &Path, name: &str, content: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, content)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(path)
}
