//! From an error of the client to a kind of outcome.
//!
//! The cause is found by its type, at any depth of the chain; texts are never compared.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::iter;

use rustls::{AlertDescription, CertificateError, PeerIncompatible};

use super::outcome::OutcomeKind;
use super::resolver::{LookupError, ResolveError};

/// A kind and, where the type of the cause tells more, a fixed text.
pub(super) type Classified = (OutcomeKind, Option<&'static str>);

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
    match error {
        ResolveError::Refused(_) => (OutcomeKind::BlockedUrl, None),
        ResolveError::Lookup(LookupError::NotFound) => (OutcomeKind::DnsFailed, Some("no such name")),
        ResolveError::Lookup(LookupError::Failed(_)) => (OutcomeKind::DnsFailed, Some("name server failed")),
        ResolveError::Lookup(LookupError::NoServers) => {
            (OutcomeKind::DnsFailed, Some("no name server configured"))
        }
    }
}

fn of_tls(error: &rustls::Error) -> Classified {
    match error {
        rustls::Error::InvalidCertificate(error) => {
            (OutcomeKind::TlsCertificate, Some(of_certificate(error)))
        }
        rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13)
        | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            (OutcomeKind::TlsFailed, Some("no common protocol version"))
        }
        rustls::Error::AlertReceived(AlertDescription::HandshakeFailure) => {
            (OutcomeKind::TlsFailed, Some("no common cipher"))
        }
        rustls::Error::PeerIncompatible(_) => {
            (OutcomeKind::TlsFailed, Some("no common protocol version or cipher"))
        }
        rustls::Error::AlertReceived(_) => (OutcomeKind::TlsFailed, Some("refused by the receiver")),
        _ => (OutcomeKind::TlsFailed, None),
    }
}

fn of_certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate not valid yet"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "certificate of another host"
        }
        CertificateError::UnknownIssuer => "certificate of an unknown issuer",
        CertificateError::Revoked => "certificate revoked",
        _ => "certificate refused",
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
