//! A way for datagrams between browsers and a relay, which can be cut, mended, moved to another network, and made lossy.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Longer than any datagram.
const LONGEST: usize = 65_536;

/// How the way is at present.
#[derive(Clone, Copy, Debug)]
struct Condition {
    is_whole: bool,
    /// Whoever has another one comes from other addresses.
    network: u32,
    /// One datagram of so many is lost, in each direction.
    loses_one_of: Option<u32>,
}

/// Passes datagrams on while it is whole.
pub(super) struct Way {
    /// Its near end, as browsers are told it.
    pub(super) url: String,
    condition: watch::Sender<Condition>,
    _stop_on_drop: DropGuard,
}

/// What all datagrams of a way share.
#[derive(Clone)]
struct Ends {
    near: Arc<UdpSocket>,
    far: SocketAddr,
    condition: watch::Receiver<Condition>,
    stop: CancellationToken,
}

impl Way {
    /// A whole one to a relay.
    pub(super) async fn to(relay: &str) -> Self {
        let far = relay.strip_prefix("turn:").and_then(|rest| rest.split('?').next()).unwrap();
        let near = Arc::new(UdpSocket::bind(("127.0.0.1", 0)).await.unwrap());
        let url = format!("turn:{}?transport=udp", near.local_addr().unwrap());
        let stop = CancellationToken::new();
        let condition = watch::Sender::new(Condition { is_whole: true, network: 0, loses_one_of: None });
        let tasks = TaskTracker::new();
        let ends =
            Ends { near, far: far.parse().unwrap(), condition: condition.subscribe(), stop: stop.clone() };
        tasks.clone().spawn(stop.clone().run_until_cancelled_owned(carry(ends, tasks)));
        Self { url, condition, _stop_on_drop: stop.drop_guard() }
    }

    /// Lets nothing through.
    pub(super) fn cut(&self) {
        self.condition.send_modify(|condition| condition.is_whole = false);
    }

    pub(super) fn mend(&self) {
        self.condition.send_modify(|condition| condition.is_whole = true);
    }

    /// Mends it, in another network: the relay knows nobody who comes from there.
    pub(super) fn mend_elsewhere(&self) {
        self.condition.send_modify(|condition| {
            condition.is_whole = true;
            condition.network += 1;
        });
    }

    /// Loses one datagram of so many, or none.
    pub(super) fn loses_one_of(&self, count: Option<u32>) {
        self.condition.send_modify(|condition| condition.loses_one_of = count);
    }
}

/// Counts datagrams of one direction, and says which get through.
#[derive(Default)]
struct Gate(u32);

impl Gate {
    fn lets_through(&mut self, condition: Condition) -> bool {
        self.0 = self.0.wrapping_add(1);
        condition.is_whole && condition.loses_one_of.is_none_or(|count| !self.0.is_multiple_of(count))
    }
}

async fn carry(ends: Ends, tasks: TaskTracker) {
    let mut outs: HashMap<(SocketAddr, u32), (Arc<UdpSocket>, Gate)> = HashMap::new();
    let mut datagram = vec![0; LONGEST];
    loop {
        // One that was refused at the other end is told here; the next ones matter.
        let Ok((size, browser)) = ends.near.recv_from(&mut datagram).await else { continue };
        let condition = *ends.condition.borrow();
        let key = (browser, condition.network);
        let (out, gate) = match outs.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let out = Arc::new(UdpSocket::bind(("127.0.0.1", 0)).await.unwrap());
                out.connect(ends.far).await.unwrap();
                let back = carry_back(ends.clone(), Arc::clone(&out), key);
                tasks.spawn(ends.stop.clone().run_until_cancelled_owned(back));
                new.insert((out, Gate::default()))
            }
        };
        if gate.lets_through(condition) {
            let _ = out.send(&datagram[..size]).await;
        }
    }
}

async fn carry_back(ends: Ends, out: Arc<UdpSocket>, (browser, network): (SocketAddr, u32)) {
    let (mut gate, mut datagram) = (Gate::default(), vec![0; LONGEST]);
    loop {
        let Ok(size) = out.recv(&mut datagram).await else { continue };
        let condition = *ends.condition.borrow();
        if condition.network != network {
            return;
        }
        if gate.lets_through(condition) {
            let _ = ends.near.send_to(&datagram[..size], browser).await;
        }
    }
}
