//! The program `fault-receiver`: what it tells about its arguments, and what it does to a request.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use http_body_util::Empty;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_fault-receiver"))
}

#[test]
fn arguments_that_do_not_fit_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script.toml");
    std::fs::write(&script, "[[step]]\ncount = 1\n\n[[step]]\nstatus = 20\n").unwrap();
    let script = script.to_str().unwrap();
    for (arguments, told) in [
        (["--script", script].as_slice(), "script.toml: line 4: status of step 2"),
        (&["--script", "/nowhere"], "/nowhere: "),
        (&["--script", script, "--status", "500"], "cannot be used with"),
        (&["--fault", "rest"], "reset-in-head"),
        (&["--header", "nonsense"], "expected a name, a colon and a value"),
        (&["--secret", "whsec_%"], "not of the form"),
    ] {
        let output = program().args(["--listen", "127.0.0.1:0"]).args(arguments).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && errors.contains(told), "{arguments:?}: {errors}");
    }
}

#[tokio::test]
async fn each_request_is_answered_by_the_script_and_printed() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let arguments =
        ["--listen", "127.0.0.1:0", "--count", "1", "--status", "503", "--header", "retry-after: 5"];
    let mut command = program();
    command.args(arguments).arg("--ca").arg(&ca).stdout(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let mut lines = BufReader::new(running.0.stdout.take().unwrap());
    let listening = line(&mut lines);
    let port =
        listening.get("listening").unwrap().as_str().unwrap().trim_matches(|c: char| !c.is_ascii_digit());

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&ca).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream).await.unwrap();
    let (mut requests, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    let tracker = TaskTracker::new();
    tracker.spawn(connection);

    let mut statuses = Vec::new();
    for _ in 0..2 {
        let request =
            http::Request::post("/any/path").header("host", "localhost").header("webhook-id", "msg");
        requests.ready().await.unwrap();
        let answer =
            requests.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap()).await.unwrap();
        statuses.push((answer.status().as_u16(), answer.headers().contains_key("retry-after")));
        let told = line(&mut lines);
        assert_eq!(told.get("status").unwrap(), answer.status().as_u16());
        assert_eq!(told.get("webhook_id").unwrap(), "msg");
        assert_eq!(told.get("verified").unwrap(), false);
    }
    assert_eq!(statuses, [(503, true), (204, false)]);
}

fn line(lines: &mut BufReader<impl Read>) -> Value {
    let mut text = String::new();
    lines.read_line(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}
