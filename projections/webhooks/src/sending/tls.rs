//! The TLS side of the shared client: rustls over ring, TLS 1.2 and 1.3, verification always on.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::client::SenderError;

/// Trusts the roots of Mozilla's programme, compiled in so that every machine verifies alike, and the
/// certificates of `extra_root_pem`, for receivers with a private authority.
pub(super) fn client_config(extra_root_pem: Option<&[u8]>) -> Result<ClientConfig, SenderError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(pem) = extra_root_pem {
        add_roots(&mut roots, pem)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(SenderError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn add_roots(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), SenderError> {
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| SenderError::RootPem)?;
        roots.add(certificate).map_err(SenderError::Tls)?;
    }
    if roots.len() == before { Err(SenderError::RootPem) } else { Ok(()) }
}
