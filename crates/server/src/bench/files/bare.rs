//! The limit of `bench files`: a server that does nothing but seal, write, read and open.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use anyhow::Context;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use reqwest::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) const KEY: [u8; 32] = [7; 32];
pub(super) const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// As the product's.
const FRAME_BYTES: usize = 64 << 10;
const TAG_BYTES: usize = 16;

type Answer = Response<BoxBody<Bytes, io::Error>>;

/// Seals and opens numbered frames in place.
struct Frames {
    cipher: Aes256Gcm,
    number: u64,
}

impl Frames {
    fn new() -> Self {
        Self { cipher: Aes256Gcm::new((&KEY).into()), number: 0 }
    }

    fn nonce(&mut self) -> Nonce<aes_gcm::aead::consts::U12> {
        let mut bytes = [0; 12];
        if let Some(last) = bytes.last_chunk_mut() {
            *last = self.number.to_be_bytes();
        }
        self.number += 1;
        Nonce::from(bytes)
    }

    fn seal(&mut self, frame: &mut Vec<u8>) -> io::Result<()> {
        let nonce = self.nonce();
        let tag = self.cipher.encrypt_inout_detached(&nonce, b"", frame.as_mut_slice().into());
        frame.extend_from_slice(&tag.map_err(io::Error::other)?);
        Ok(())
    }

    fn open(&mut self, frame: &mut Vec<u8>) -> io::Result<()> {
        let nonce = self.nonce();
        let tag = frame.len().checked_sub(TAG_BYTES).map(|length| frame.split_off(length));
        let tag = tag.and_then(|tag| <[u8; TAG_BYTES]>::try_from(tag).ok());
        let tag = Tag::from(tag.ok_or_else(|| io::Error::other("a frame is too short"))?);
        let opened = self.cipher.decrypt_inout_detached(&nonce, b"", frame.as_mut_slice().into(), &tag);
        opened.map_err(io::Error::other)
    }
}

/// Starts it on a directory; gives its address.
pub(super) async fn start(
    directory: PathBuf,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> anyhow::Result<SocketAddr> {
    std::fs::create_dir_all(&directory).context("the directory cannot be made")?;
    let listener = TcpListener::bind(ANY_PORT).await?;
    let address = listener.local_addr()?;
    let (directory, stop, connections) = (Arc::new(directory), stop.clone(), tasks.clone());
    tasks.spawn(async move {
        while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
            let directory = Arc::clone(&directory);
            let service = service_fn(move |request| answer(Arc::clone(&directory), request));
            let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let stop = stop.clone();
            connections.spawn(async move { drop(stop.run_until_cancelled(serving).await) });
        }
    });
    Ok(address)
}

async fn answer(directory: Arc<PathBuf>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let path = directory.join(request.uri().path().trim_start_matches('/'));
    let answered = if request.method() == Method::PUT {
        write(&path, request.into_body()).await.map(|()| Response::new(nothing()))
    } else {
        read(&path).map(Response::new)
    };
    Ok(answered.unwrap_or_else(|error| {
        eprintln!("the bare server fails: {error}");
        let mut failed = Response::new(nothing());
        *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        failed
    }))
}

fn nothing() -> BoxBody<Bytes, io::Error> {
    Empty::new().map_err(|never: Infallible| match never {}).boxed()
}

async fn write(path: &Path, mut body: Incoming) -> io::Result<()> {
    let mut file = File::create(path)?;
    let (mut frames, mut frame) = (Frames::new(), Vec::with_capacity(FRAME_BYTES + TAG_BYTES));
    while let Some(piece) = body.frame().await {
        let Ok(mut piece) = piece.map_err(io::Error::other)?.into_data() else { continue };
        while !piece.is_empty() {
            let taken = piece.split_to(piece.len().min(FRAME_BYTES - frame.len()));
            frame.extend_from_slice(&taken);
            if frame.len() == FRAME_BYTES {
                frames.seal(&mut frame)?;
                file.write_all(&frame)?;
                frame.clear();
            }
        }
    }
    if !frame.is_empty() {
        frames.seal(&mut frame)?;
        file.write_all(&frame)?;
    }
    file.sync_all()
}

fn read(path: &Path) -> io::Result<BoxBody<Bytes, io::Error>> {
    let (mut file, mut frames) = (File::open(path)?, Frames::new());
    let pieces = std::iter::from_fn(move || {
        let mut frame = Vec::with_capacity(FRAME_BYTES + TAG_BYTES);
        let length = (FRAME_BYTES + TAG_BYTES) as u64;
        match Read::by_ref(&mut file).take(length).read_to_end(&mut frame) {
            Ok(0) => None,
            Ok(_) => Some(frames.open(&mut frame).map(|()| Frame::data(Bytes::from(frame)))),
            Err(error) => Some(Err(error)),
        }
    });
    Ok(BodyExt::boxed(StreamBody::new(futures::stream::iter(pieces))))
}

pub(super) async fn upload(
    client: &Client,
    server: SocketAddr,
    object: u16,
    content: &Bytes,
) -> anyhow::Result<()> {
    client.put(format!("http://{server}/{object}")).body(content.clone()).send().await?.error_for_status()?;
    Ok(())
}

pub(super) async fn download(
    client: &Client,
    server: SocketAddr,
    object: u16,
    expected: usize,
) -> anyhow::Result<()> {
    let answer = client.get(format!("http://{server}/{object}")).send().await?.error_for_status()?;
    super::drain(answer, expected).await
}
