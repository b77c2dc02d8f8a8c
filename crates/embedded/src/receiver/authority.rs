//! A certificate authority that lives as long as the receiver.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::ReceiverError;
use super::tls::Tls;

pub(super) struct Authority {
    pub(super) pem: String,
    pub(super) server: Arc<ServerConfig>,
}

impl Authority {
    /// A fresh authority and a server certificate signed by it. rcgen's wide
    /// default validity is kept, so that no clock is needed.
    pub(super) fn new(names: &[String], tls: Tls) -> Result<Self, ReceiverError> {
        let (mut pem, issuer) = issuer("Carelog demo receiver CA")?;
        if tls == Tls::UnknownAuthority {
            // What the sender is told to trust is another authority than the one that signed.
            pem = self::issuer("Another CA")?.0;
        }
        let (certificate, key) = server_certificate(&issuer, names, tls)?;
        let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { pem, server: Arc::new(server) })
    }
}

fn issuer(name: &str) -> Result<(String, Issuer<'static, KeyPair>), ReceiverError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    Ok((pem, Issuer::new(params, key)))
}

/// The last bits of a certificate are those of its signature.
fn altered(certificate: &[u8]) -> CertificateDer<'static> {
    let mut bytes = certificate.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    CertificateDer::from(bytes)
}

fn server_certificate(
    issuer: &Issuer<'_, KeyPair>,
    names: &[String],
    tls: Tls,
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), ReceiverError> {
    let own = ["localhost", "127.0.0.1"].map(str::to_owned);
    let all: Vec<String> = match tls {
        Tls::WrongHost => vec!["another.example".to_owned()],
        _ => own.into_iter().chain(names.iter().cloned()).collect(),
    };
    let mut params = CertificateParams::new(all)?;
    match tls {
        Tls::Expired => params.not_after = date_time_ymd(2001, 1, 1),
        Tls::NotYetValid => params.not_before = date_time_ymd(4000, 1, 1),
        _ => {}
    }
    params.distinguished_name.push(DnType::CommonName, "Carelog demo receiver");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = match tls {
        Tls::SelfSigned => params.self_signed(&key)?.der().clone(),
        Tls::BadSignature => altered(params.signed_by(&key, issuer)?.der()),
        _ => params.signed_by(&key, issuer)?.der().clone(),
    };
    Ok((certificate, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))))
}
