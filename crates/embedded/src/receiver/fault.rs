//! Answers that are none, or that should not be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt, copy, sink, split};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// What goes wrong with an answer. Where a head is sent, it has the status and headers of the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The connection is reset (TCP RST) after the request was read
    Reset,
    /// The connection is reset in the middle of the head
    ResetInHead,
    /// The connection ends in good order before the head
    Close,
    /// The connection ends in good order in the middle of the head
    CloseInHead,
    /// A complete answer, then the end of the connection without a word about it
    CloseAfterAnswer,
    /// Never a byte
    Never,
    /// A status line that is not HTTP
    Garbage,
    /// A body without a head, as HTTP/0.9 had it
    Http09,
    /// 100 Continue without end
    InformationalFlood,
    /// Headers without end
    HeaderFlood,
    /// One header of a mebibyte
    LongHeader,
    /// A body shorter than its Content-Length
    LongContentLength,
    /// A chunk whose length is no number
    BrokenChunk,
    /// A body of one byte per second
    Trickle,
    /// A body of 10 GiB
    HugeBody,
    /// A body of 10 MiB that unpacks to 10 GiB
    GzipBomb,
    /// A body that is not UTF-8 and holds NUL
    BinaryBody,
}

/// A body with everything that a text must not have.
pub(super) const BINARY: &[u8] = b"\x00\xff\xfe\xc3(\x80 caf\xe9 \x00\xed\xa0\x80 end";
const LONG_HEADER_BYTES: usize = 1 << 20;

/// What hyper cannot be made to send, to be written by hand.
#[derive(Clone, Debug)]
pub(super) enum Breach {
    Fault { fault: Fault, head: String, flooded: Arc<AtomicU64> },
    Raw(Vec<u8>),
}

impl std::fmt::Display for Breach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("what is to be sent is not HTTP")
    }
}

/// It travels as the service's error.
impl std::error::Error for Breach {}

impl Fault {
    /// Whether it is a well-formed answer with a strange body.
    pub(super) const fn is_of_body(self) -> bool {
        matches!(self, Self::Trickle | Self::HugeBody | Self::GzipBomb | Self::BinaryBody)
    }

    /// Whether the sender sees a status.
    pub(super) const fn has_head(self) -> bool {
        self.is_of_body()
            || matches!(self, Self::CloseAfterAnswer | Self::LongContentLength | Self::BrokenChunk)
    }
}

impl Breach {
    /// Writes it. The peer may well hang up on what it is sent.
    pub(super) async fn carry_out(&self, stream: TlsStream<TcpStream>) {
        match self {
            Self::Raw(bytes) => write_and_close(stream, bytes).await,
            Self::Fault { fault, head, flooded } => carry_out(stream, *fault, head, flooded).await,
        }
    }
}

async fn carry_out(mut stream: TlsStream<TcpStream>, fault: Fault, head: &str, flooded: &AtomicU64) {
    let begun = head.get(..head.len().min(12)).unwrap_or_default();
    match fault {
        Fault::Reset => reset(&stream),
        Fault::ResetInHead => {
            let _ = stream.write_all(begun.as_bytes()).await;
            let _ = stream.flush().await;
            reset(&stream);
        }
        Fault::Close => write_and_close(stream, b"").await,
        Fault::CloseInHead => write_and_close(stream, begun.as_bytes()).await,
        Fault::CloseAfterAnswer => {
            write_and_close(stream, format!("{head}content-length: 0\r\n\r\n").as_bytes()).await;
        }
        Fault::Never => {
            let _ = copy(&mut stream, &mut sink()).await;
        }
        Fault::Garbage => write_and_close(stream, b"SMTP 220 ready\r\n\r\n").await,
        Fault::Http09 => write_and_close(stream, b"<html>thank you</html>\r\n").await,
        Fault::InformationalFlood => flood(stream, "", "HTTP/1.1 100 Continue\r\n\r\n", flooded).await,
        Fault::HeaderFlood => flood(stream, head, "x-flood: 0123456789\r\n", flooded).await,
        Fault::LongHeader => {
            let long =
                format!("{head}x-long: {}\r\ncontent-length: 0\r\n\r\n", "0".repeat(LONG_HEADER_BYTES));
            write_and_close(stream, long.as_bytes()).await;
        }
        Fault::LongContentLength => {
            write_and_close(stream, format!("{head}content-length: 100\r\n\r\npart").as_bytes()).await;
        }
        Fault::BrokenChunk => {
            let chunks = "transfer-encoding: chunked\r\n\r\n4\r\npart\r\nZZ\r\n";
            write_and_close(stream, format!("{head}{chunks}").as_bytes()).await;
        }
        // These are bodies of answers that hyper sends.
        Fault::Trickle | Fault::HugeBody | Fault::GzipBomb | Fault::BinaryBody => {}
    }
}

/// With a lingering time of zero, closing sends RST instead of FIN.
fn reset(stream: &TlsStream<TcpStream>) {
    let _ = stream.get_ref().0.set_zero_linger();
}

/// Ends the writing side and waits until the peer ends its own: closing at once could reset what it has not read yet.
async fn write_and_close(mut stream: TlsStream<TcpStream>, bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let _ = copy(&mut stream, &mut sink()).await;
}

/// Writes the same again until the peer hangs up.
async fn flood(stream: TlsStream<TcpStream>, begin: &str, again: &str, flooded: &AtomicU64) {
    let (mut reading, mut writing) = split(stream);
    let bytes = again.repeat(200);
    let write = async {
        let mut written = writing.write_all(begin.as_bytes()).await;
        while written.is_ok() {
            written = writing.write_all(bytes.as_bytes()).await;
            flooded.fetch_add(u64::try_from(bytes.len()).unwrap_or_default(), Ordering::Relaxed);
        }
    };
    let mut nowhere = sink();
    tokio::select! {
        () = write => {}
        _ = copy(&mut reading, &mut nowhere) => {}
    }
}
