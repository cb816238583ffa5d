//! The demo's own certificate authority, and a certificate from it for MQTT over TLS. Made on the first start.

use crate::config::write_private;
use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use std::path::{Path, PathBuf};

/// What a client must trust, in the data directory.
pub const CA_FILE: &str = "ca.pem";
/// Names of this computer in the demo.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Where the files are, PEM.
pub struct Certificate {
    ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    /// The files in the data directory; makes them if they are missing.
    pub fn load_or_make(dir: &Path) -> Result<Self> {
        let files =
            Self { ca: dir.join(CA_FILE), certificate: dir.join("mqtt-tls.pem"), key: dir.join("mqtt-tls.key") };
        if !files.ca.exists() || !files.certificate.exists() || !files.key.exists() {
            files.make().context("cannot make the demo's certificate")?;
        }
        Ok(files)
    }

    fn make(&self) -> Result<()> {
        let mut params = CertificateParams::new(vec![])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(DnType::CommonName, "Coinwire demo CA");
        // The authority's key is not stored: it signs only this certificate.
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(NAMES.map(String::from))?;
        params.distinguished_name.push(DnType::CommonName, NAMES[0]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &ca)?;
        write_private(&self.key, key.serialize_pem().as_bytes())?;
        write_private(&self.certificate, (certificate.pem() + &ca.pem()).as_bytes())?;
        write_private(&self.ca, ca.pem().as_bytes())?;
        Ok(())
    }
}
