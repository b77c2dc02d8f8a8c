//! Ends TLS in front of a server without it, as a partner's proxy does.

use std::net::{Ipv4Addr, SocketAddr};

use futures::future::BoxFuture;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::tls::Handshake;
use super::{Receiver, ReceiverError, listen};

impl Receiver {
    /// Listens on another port with the receiver's certificate and hands every byte to a plain server, unchanged in
    /// both directions. Lives as long as the receiver.
    ///
    /// # Errors
    /// When no port is free.
    pub fn front(&self, server: SocketAddr) -> BoxFuture<'_, Result<SocketAddr, ReceiverError>> {
        Box::pin(async move {
            let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let listener = listen(any_port).await?;
            let address = listener.local_addr();
            let address = address.map_err(|source| ReceiverError::Listen { address: any_port, source })?;
            let tracker = self.connections.clone();
            let accepting = accept(listener, self.handshake.clone(), server, tracker, self.stop.clone());
            self.connections.spawn(self.stop.clone().run_until_cancelled_owned(accepting));
            Ok(address)
        })
    }
}

async fn accept(
    listener: TcpListener,
    handshake: Handshake,
    server: SocketAddr,
    connections: TaskTracker,
    stop: CancellationToken,
) {
    // A listener on loopback fails for want of file descriptors only; then the front ends.
    while let Ok((stream, _)) = listener.accept().await {
        let handshake = handshake.clone();
        let connection = async move {
            let Some(mut outside) = handshake.accept(stream).await else { return };
            let Ok(mut inside) = TcpStream::connect(server).await else { return };
            // Whoever ends first ends both.
            let _ = copy_bidirectional(&mut outside, &mut inside).await;
        };
        connections.spawn(stop.clone().run_until_cancelled_owned(connection));
    }
}
