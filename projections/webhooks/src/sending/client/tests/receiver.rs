//! A TLS receiver on a free port of loopback that does what its test tells it to, and counts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::macros::datetime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

/// What happens after a request was read whole.
#[derive(Clone)]
pub(super) enum Answer {
    /// Writes these bytes and waits for the next request.
    Write(Vec<u8>),
    /// Writes these bytes and falls silent.
    WriteThenHang(Vec<u8>),
    /// Writes these bytes and ends the connection in good order.
    WriteThenClose(Vec<u8>),
    /// Resets the connection.
    Reset,
}

/// What is wrong with the certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Certificate {
    Valid,
    Expired,
    OfAnotherHost,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    requests: Vec<String>,
}

pub(super) struct Receiver {
    pub(super) port: u16,
    pub(super) root_pem: String,
    seen: Arc<Mutex<Seen>>,
}

impl Receiver {
    pub(super) async fn answering(answer: Answer) -> Self {
        Self::with_certificate(answer, Certificate::Valid).await
    }

    pub(super) async fn with_certificate(answer: Answer, certificate: Certificate) -> Self {
        let (root_pem, config) = server_config(certificate);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let tasks = TaskTracker::new();
        tasks.spawn(accept_all(listener, acceptor, answer, Arc::clone(&seen), tasks.clone()));
        Self { port, root_pem, seen }
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().requests.clone()
    }
}

async fn accept_all(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    answer: Answer,
    seen: Arc<Mutex<Seen>>,
    tasks: TaskTracker,
) {
    while let Ok((stream, _)) = listener.accept().await {
        seen.lock().unwrap().connections += 1;
        let (acceptor, answer, seen) = (acceptor.clone(), answer.clone(), Arc::clone(&seen));
        tasks.spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream, &answer, &seen).await;
            }
        });
    }
}

async fn serve(mut stream: TlsStream<TcpStream>, answer: &Answer, seen: &Mutex<Seen>) {
    while let Some(request) = read_request(&mut stream).await {
        seen.lock().unwrap().requests.push(request);
        // The sender may hang up while a long answer is written.
        match answer {
            Answer::Write(bytes) => drop(stream.write_all(bytes).await),
            Answer::WriteThenHang(bytes) => {
                drop(stream.write_all(bytes).await);
                std::future::pending::<()>().await;
            }
            Answer::WriteThenClose(bytes) => {
                drop(stream.write_all(bytes).await);
                drop(stream.shutdown().await);
                return;
            }
            Answer::Reset => {
                stream.get_ref().0.set_zero_linger().unwrap();
                return;
            }
        }
    }
}

async fn read_request(stream: &mut TlsStream<TcpStream>) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if let Some(request) = whole_request(&bytes) {
            return Some(request);
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn whole_request(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    (body.len() == length.parse::<usize>().unwrap()).then_some(text)
}

fn server_config(certificate: Certificate) -> (String, ServerConfig) {
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_pem = root.self_signed(&root_key).unwrap().pem();

    let key = KeyPair::generate().unwrap();
    let names = match certificate {
        Certificate::OfAnotherHost => vec!["other.example".to_owned()],
        Certificate::Valid | Certificate::Expired => {
            vec!["localhost".to_owned(), IpAddr::from(Ipv4Addr::LOCALHOST).to_string()]
        }
    };
    let mut leaf = CertificateParams::new(names).unwrap();
    if certificate == Certificate::Expired {
        leaf.not_after = datetime!(2001-01-01 00:00 UTC);
    }
    let leaf = leaf.signed_by(&key, &Issuer::new(root, root_key)).unwrap();

    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(leaf)],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (root_pem, config)
}
