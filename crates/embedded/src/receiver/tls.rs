//! What can be wrong with a receiver's TLS.

use clap::ValueEnum;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What a sender meets before HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// A certificate of the receiver's authority
    #[default]
    Valid,
    /// A certificate that expired in 2001
    Expired,
    /// A certificate of the year 4000
    NotYetValid,
    /// A certificate that nobody else signed
    SelfSigned,
    /// A certificate of another host
    WrongHost,
    /// A certificate of another authority than the one that is shown
    UnknownAuthority,
    /// A certificate of the receiver's authority whose signature is wrong
    BadSignature,
    /// A server that speaks TLS 1.1 at most
    Tls11,
    /// A server that shares no cipher with anybody
    NoSharedCipher,
    /// A server that never answers the client's hello
    Silent,
}

/// Protocol version 1.1 and a cipher of its time, as a server chooses them that knows nothing newer. rustls cannot.
/// After the 32 random bytes: no session, ECDHE-RSA-AES128-CBC-SHA, no compression.
const SERVER_HELLO_1_1: &[u8; 47] =
    b"\x16\x03\x02\x00\x2a\x02\x00\x00\x26\x03\x02randomrandomrandomrandomrandomra\x00\xc0\x13\x00";
/// The fatal alert `handshake_failure`.
const NO_SHARED_CIPHER: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 40];

/// How connections begin.
#[derive(Clone)]
pub(super) enum Handshake {
    Accept(TlsAcceptor),
    /// These bytes are the answer to the client's hello.
    Answer(&'static [u8]),
}

impl Handshake {
    pub(super) fn new(tls: Tls, acceptor: TlsAcceptor) -> Self {
        match tls {
            Tls::Tls11 => Self::Answer(SERVER_HELLO_1_1),
            Tls::NoSharedCipher => Self::Answer(&NO_SHARED_CIPHER),
            Tls::Silent => Self::Answer(&[]),
            Tls::Valid
            | Tls::Expired
            | Tls::NotYetValid
            | Tls::SelfSigned
            | Tls::WrongHost
            | Tls::UnknownAuthority
            | Tls::BadSignature => Self::Accept(acceptor),
        }
    }

    /// Returns nothing when there is no TLS between the two.
    pub(super) async fn accept(&self, mut stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        match self {
            Self::Accept(acceptor) => acceptor.accept(stream).await.ok(),
            Self::Answer(bytes) => {
                let mut hello = [0; 1024];
                let _ = stream.read(&mut hello).await;
                let _ = stream.write_all(bytes).await;
                let _ = copy(&mut stream, &mut sink()).await;
                None
            }
        }
    }
}
