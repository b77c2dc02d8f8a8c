//! A cable between browsers and the product that can be cut and mended.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// Passes bytes on while it is whole.
pub(super) struct Cable {
    /// Its near end.
    pub(super) address: SocketAddr,
    is_whole: Arc<watch::Sender<bool>>,
    tasks: TaskTracker,
}

impl Cable {
    /// A whole one.
    pub(super) async fn to(far: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_whole, tasks) = (Arc::new(watch::Sender::new(true)), TaskTracker::new());
        let (state, strands) = (Arc::clone(&is_whole), tasks.clone());
        tasks.spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                strands.spawn(strand(near, far, state.subscribe()));
            }
        });
        Self { address, is_whole, tasks }
    }

    /// Breaks every connection, and lets none be made.
    pub(super) fn cut(&self) {
        self.is_whole.send_replace(false);
    }

    pub(super) fn mend(&self) {
        self.is_whole.send_replace(true);
    }

    /// A link that goes by this cable.
    pub(super) fn link(&self, link: &str) -> String {
        let (_, fragment) = link.split_once('#').unwrap();
        format!("http://{}/rooms#{fragment}", self.address)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.tasks.close();
    }
}

async fn strand(mut near: TcpStream, far: SocketAddr, mut is_whole: watch::Receiver<bool>) {
    if !*is_whole.borrow() {
        return;
    }
    let Ok(mut far) = TcpStream::connect(far).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        _ = is_whole.wait_for(|is_whole| !is_whole) => {}
    }
}
