//! From an error of the client to a kind of outcome.
//!
//! The cause is found by its type, at any depth of the chain; texts are never compared.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::iter;

use carelog_domain::webhook_delivery::AttemptDetail;
use rustls::{AlertDescription, CertificateError, PeerIncompatible};

use super::outcome::OutcomeKind;
use super::resolver::{LookupError, ResolveError};

/// A kind and, where the type of the cause tells more, what exactly was wrong.
pub(super) type Classified = (OutcomeKind, Option<AttemptDetail>);

pub(super) fn classify(error: &reqwest::Error) -> Classified {
    if let Some(classified) = causes(error).find_map(of_cause) {
        return classified;
    }
    if error.is_timeout() {
        (OutcomeKind::Timeout, None)
    } else if error.is_builder() {
        // The URL was refused by the client itself, which never happens to one that `WebhookUrl` accepted.
        (OutcomeKind::BlockedUrl, None)
    } else if error.is_connect() {
        (OutcomeKind::ConnectFailed, None)
    } else {
        (OutcomeKind::Unknown, None)
    }
}

/// The error and what lies beneath it. An I/O error that wraps another hides it from `source`, and TLS errors
/// arrive wrapped twice.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| inner_cause(error))
}

fn inner_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>() {
        Some(wrapper) => wrapper.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    }
}

fn of_cause(error: &(dyn Error + 'static)) -> Option<Classified> {
    if let Some(error) = error.downcast_ref::<ResolveError>() {
        return Some(of_resolve(error));
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(of_tls(error));
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return of_http(error);
    }
    error.downcast_ref::<io::Error>().and_then(of_io)
}

fn of_resolve(error: &ResolveError) -> Classified {
    let detail = match error {
        ResolveError::Refused(_) => return (OutcomeKind::BlockedUrl, None),
        ResolveError::Lookup(LookupError::NotFound) => AttemptDetail::DnsNoSuchName,
        ResolveError::Lookup(LookupError::Failed(_)) => AttemptDetail::DnsServerFailed,
        ResolveError::Lookup(LookupError::NoServers) => AttemptDetail::DnsNoServers,
    };
    (OutcomeKind::DnsFailed, Some(detail))
}

fn of_tls(error: &rustls::Error) -> Classified {
    let detail = match error {
        rustls::Error::InvalidCertificate(error) => {
            return (OutcomeKind::TlsCertificate, Some(of_certificate(error)));
        }
        rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        )
        | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => AttemptDetail::TlsProtocol,
        // The alert of a receiver that finds nothing in common.
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => AttemptDetail::TlsCipher,
        rustls::Error::AlertReceived(_) => AttemptDetail::TlsRefusedByReceiver,
        _ => return (OutcomeKind::TlsFailed, None),
    };
    (OutcomeKind::TlsFailed, Some(detail))
}

fn of_certificate(error: &CertificateError) -> AttemptDetail {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => AttemptDetail::TlsExpired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            AttemptDetail::TlsNotYetValid
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            AttemptDetail::TlsWrongHost
        }
        CertificateError::UnknownIssuer => AttemptDetail::TlsUnknownIssuer,
        CertificateError::BadSignature => AttemptDetail::TlsBadSignature,
        CertificateError::Revoked => AttemptDetail::TlsRevoked,
        _ => AttemptDetail::TlsCertificateRefused,
    }
}

fn of_http(error: &hyper::Error) -> Option<Classified> {
    if error.is_parse() {
        Some((OutcomeKind::InvalidResponse, None))
    } else if error.is_incomplete_message() || error.is_canceled() {
        Some((OutcomeKind::Reset, None))
    } else {
        None
    }
}

fn of_io(error: &io::Error) -> Option<Classified> {
    let kind = match error.kind() {
        ErrorKind::ConnectionRefused => OutcomeKind::ConnectRefused,
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => OutcomeKind::Reset,
        ErrorKind::TimedOut => OutcomeKind::Timeout,
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable => {
            OutcomeKind::ConnectFailed
        }
        _ => return None,
    };
    Some((kind, None))
}
