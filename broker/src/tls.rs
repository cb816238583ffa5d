//! TLS: certificates from files, reloaded when the files change, so that a renewal needs no restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often the files are checked.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The files of a TLS listener, all PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The server's certificate, its issuers behind it.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// Issuers of client certificates. If set, a client's certificate must be issued by one of them. A client may still
    /// connect without a certificate, since the login decides.
    pub client_ca: Option<PathBuf>,
}

/// What is wrong with a TLS file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}", path.display())]
pub struct TlsError {
    path: PathBuf,
    message: String,
}

impl TlsFiles {
    fn changed(&self) -> Vec<Option<SystemTime>> {
        let changed = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
        [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()]
            .into_iter()
            .flatten()
            .map(|path| changed(path))
            .collect()
    }

    fn load(&self) -> Result<ServerConfig, TlsError> {
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| wrong(&self.key, error))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&self.certificate, error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| wrong(path, error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = verifier.allow_unauthenticated().build().map_err(|error| wrong(path, error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        builder.with_single_cert(chain, key).map_err(|error| wrong(&self.certificate, error))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>());
    match read {
        Ok(certificates) if certificates.is_empty() => Err(wrong(path, "holds no certificate")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(wrong(path, error)),
    }
}

fn wrong(path: &Path, error: impl ToString) -> TlsError {
    TlsError { path: path.to_owned(), message: error.to_string() }
}

/// The TLS side of a listener.
pub(crate) struct Tls {
    files: TlsFiles,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    pub fn load(files: TlsFiles) -> Result<Tls, TlsError> {
        let config = RwLock::new(Arc::new(files.load()?));
        Ok(Tls { files, config })
    }

    /// The configuration for the next handshake.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.read().clone())
    }

    /// Reloads the files whenever they change, until the broker ends. Files that cannot be used change nothing.
    pub async fn watch_files(self: Arc<Self>, closing: CancellationToken) {
        let mut known = self.files.changed();
        while closing.run_until_cancelled(tokio::time::sleep(POLL_INTERVAL)).await.is_some() {
            let changed = self.files.changed();
            if changed == known {
                continue;
            }
            known = changed;
            match self.files.load() {
                Ok(config) => {
                    *self.config.write() = Arc::new(config);
                    info!(certificate = %self.files.certificate.display(), "uses a new certificate");
                }
                Err(error) => warn!(%error, "the TLS files changed and cannot be used; the old ones stay in use"),
            }
        }
    }
}
