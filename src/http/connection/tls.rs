//! TLS: a certificate and its key from two files, which can be reloaded while the server runs.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use actix_web::rt::net::TcpStream;
use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// The first byte of a TLS connection: the type of a handshake record.
const HANDSHAKE: u8 = 22;

/// Why these files can't be used for TLS. A certificate that is loaded already stays in use.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum TlsError {
    #[error("{path} {why}")]
    Unreadable { path: PathBuf, why: String },
    #[error("certificate {cert} and key {key} can't be used: {why}")]
    Unusable { cert: PathBuf, key: PathBuf, why: String },
}

/// A certificate with its key. Clones share it, so a reload reaches all of them.
#[derive(Clone)]
pub struct Tls {
    files: Arc<(PathBuf, PathBuf)>,
    config: Arc<ArcSwap<ServerConfig>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads a certificate chain and its private key, both in PEM form.
    ///
    /// # Errors
    /// [`TlsError`] if they can't be read or do not belong together.
    pub fn read(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let config = Arc::new(ArcSwap::from_pointee(configure(cert, key)?));
        Ok(Self { files: Arc::new((cert.to_owned(), key.to_owned())), config })
    }

    /// Reads both files again, for new connections.
    ///
    /// # Errors
    /// As [`Tls::read`]; the loaded certificate then stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.config.store(Arc::new(configure(&self.files.0, &self.files.1)?));
        Ok(())
    }

    pub(super) async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.config.load_full()).accept(socket).await
    }
}

/// Returns true if the client sends plain HTTP on a TLS port, by its first byte.
pub(super) async fn is_plain_http(socket: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    Ok(socket.peek(&mut first).await? == 1 && first[0] != HANDSHAKE && first[0].is_ascii_alphabetic())
}

fn configure(cert: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let unreadable = |what, path: &Path, error: pem::Error| TlsError::Unreadable {
        path: path.to_owned(),
        why: match error {
            pem::Error::NoItemsFound => format!("holds no {what} in PEM form"),
            error => format!("can't be read: {error}; it must hold the {what} in PEM form"),
        },
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(|certificates| match certificates.collect::<Result<Vec<_>, _>>()? {
            none if none.is_empty() => Err(pem::Error::NoItemsFound),
            chain => Ok(chain),
        })
        .map_err(|error| unreadable("certificate", cert, error))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("private key", key, error))?;
    let unusable = |error: rustls::Error| TlsError::Unusable {
        cert: cert.to_owned(),
        key: key.to_owned(),
        why: error.to_string(),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
