//! TLS as libpq's `sslmode` means it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem, pem::PemObject as _},
};

/// What a connection demands of the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Connects without TLS.
    Disable,
    /// Uses TLS if the server has it, and accepts any certificate.
    Prefer,
    /// Insists on TLS, and accepts any certificate.
    Require,
    /// The certificate is signed by a known authority.
    Authority,
    /// And it names the host.
    Full,
}

impl Trust {
    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::Disable, Self::Prefer, Self::Require, Self::Authority, Self::Full]
            .into_iter()
            .find(|trust| trust.as_str() == text)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::Authority => "verify-ca",
            Self::Full => "verify-full",
        }
    }
}

/// The files of certificates, in PEM form.
#[derive(Debug, Clone, Default)]
pub(super) struct TlsFiles {
    /// The authorities that may sign the server's certificate.
    pub(super) roots: Option<PathBuf>,
    /// The certificate of this client.
    pub(super) certificate: Option<PathBuf>,
    /// Its private key.
    pub(super) key: Option<PathBuf>,
}

/// Builds the configuration of TLS connections.
///
/// # Errors
/// A text that names the file that can't be used.
pub(super) fn configure(trust: Trust, files: &TlsFiles) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let unusable = |error: &dyn std::fmt::Display| format!("TLS can't be set up: {error}");
    // As in libpq, `require` with a root certificate verifies the authority.
    let trust = match (trust, &files.roots) {
        (Trust::Require, Some(_)) => Trust::Authority,
        (trust, _) => trust,
    };
    let verifier = match (&files.roots, trust) {
        (Some(path), Trust::Authority | Trust::Full) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("sslrootcert", path)? {
                roots.add(certificate).map_err(|error| format!("sslrootcert {}: {error}", path.display()))?;
            }
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            Some(verifier.build().map_err(|error| unusable(&error))?)
        }
        _ => None,
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { trust, verifier, provider }));
    let (Some(certificate), Some(key)) = (&files.certificate, &files.key) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates("sslcert", certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("sslkey", key, &error))?;
    builder.with_client_auth_cert(chain, secret).map_err(|error| {
        format!("sslcert {} and sslkey {} can't be used: {error}", certificate.display(), key.display())
    })
}

fn certificates(name: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match chain.map_err(|error| unreadable(name, path, &error))? {
        none if none.is_empty() => Err(unreadable(name, path, &pem::Error::NoItemsFound)),
        chain => Ok(chain),
    }
}

fn unreadable(name: &str, path: &Path, error: &pem::Error) -> String {
    format!("{name} {} can't be read: {error}; it must be a file in PEM form", path.display())
}

/// Verifies what [`Trust`] demands, and always that the server has the key of its certificate.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    /// `None` if any certificate is accepted.
    verifier: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(verifier) = &self.verifier else { return Ok(ServerCertVerified::assertion()) };
        match verifier.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name is checked last, after the chain.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.trust == Trust::Authority => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
