//! A relay for browsers that cannot reach each other: coturn, which is what most installations run.

use std::net::UdpSocket;
use std::process::Stdio;

use carelog_embedded::packages::{Packages, install};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::wait::until;

const SERVER: &str = "turnserver";
const PACKAGES: Packages = Packages { apt: &["coturn"], dnf: &["coturn"], apk: &["coturn"] };

/// A relay on this machine; it ends when it is dropped.
pub struct Coturn {
    /// Its address, as browsers are told it.
    pub url: String,
    _server: Child,
    _home: TempDir,
}

impl Coturn {
    /// Starts it, and installs it first where it is missing and that is possible.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(secret: &str) -> Self {
        if Command::new(SERVER).arg("--version").stdout(Stdio::null()).status().await.is_err() {
            install(&PACKAGES).await.expect("coturn is there or can be installed");
        }
        let home = TempDir::new().expect("a temporary directory can be made");
        let port = free_port();
        let mut server = Command::new(SERVER)
            .args(["-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", "--allow-loopback-peers"])
            .args(["--use-auth-secret", "--realm=carelog.example", "--no-cli", "--no-tls", "--no-dtls"])
            .args(["--simple-log", "--log-file=stdout"])
            .arg(format!("--static-auth-secret={secret}"))
            .arg(format!("--listening-port={port}"))
            .arg(format!("--pidfile={}", home.path().join("pid").display()))
            .arg(format!("--userdb={}", home.path().join("users").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("coturn starts");
        until("coturn listens", async || {
            assert!(server.try_wait().expect("it can be asked").is_none(), "coturn ended");
            TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        Self { url: format!("turn:127.0.0.1:{port}?transport=udp"), _server: server, _home: home }
    }
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a port is free");
    socket.local_addr().expect("it has one").port()
}
