//! Which addresses a delivery may go to.
//!
//! A partner names the URL, the server opens the connection from inside our network: unchecked, that is a way
//! to reach metadata services, databases and neighbours. IPv4 is allowed except for the special ranges of the
//! IANA registry, IPv6 only in the global unicast block except for its holes, so that loopback, unique-local,
//! link-local, NAT64, segment routing and multicast are refused without being named. IPv4 inside IPv6 is unwrapped
//! first.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

const BLOCKED_V4: [Ipv4Net; 16] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
    // A public address that answers only inside Azure: the host's own control channel.
    v4([168, 63, 129, 16], 32),
];

const ALLOWED_V6: Ipv6Net = v6([0x2000, 0, 0], 3);

const BLOCKED_V6: [Ipv6Net; 4] = [
    v6([0x2001, 0, 0], 23),     // Teredo, ORCHID and other special use of the IETF
    v6([0x2001, 0xdb8, 0], 32), // documentation
    v6([0x2002, 0, 0], 16),     // 6to4: carries any IPv4 address
    v6([0x3fff, 0, 0], 20),     // documentation
];

const LOOPBACK_V4: Ipv4Net = v4([127, 0, 0, 0], 8);
const LOOPBACK_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128);

/// The rule above with what an operator may change: ranges refused on top, and, for demonstrations and tests,
/// loopback ranges excepted. No other exception can be made.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    exceptions: Vec<IpNet>,
    denied: Vec<IpNet>,
}

/// The address is one that deliveries may not go to. Says no more, because the answer reaches the partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address is not a public one")]
pub struct AddressRefused;

/// The policy itself is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("an address exception must lie within 127.0.0.0/8 or be ::1, {exception} does not")]
    NotLoopback { exception: IpNet },
}

impl AddressPolicy {
    /// Public addresses only.
    pub const fn strict() -> Self {
        Self { exceptions: Vec::new(), denied: Vec::new() }
    }

    /// Public addresses and the given parts of loopback.
    pub fn with_exceptions(exceptions: Vec<IpNet>) -> Result<Self, PolicyError> {
        match exceptions.iter().find(|exception| !is_loopback_range(exception)) {
            Some(&exception) => Err(PolicyError::NotLoopback { exception }),
            None => Ok(Self { exceptions, denied: Vec::new() }),
        }
    }

    /// Public addresses and all of loopback: what a demonstration on one machine needs.
    pub fn with_loopback() -> Self {
        Self { exceptions: vec![IpNet::V4(LOOPBACK_V4), IpNet::V6(LOOPBACK_V6)], denied: Vec::new() }
    }

    /// Refuses further ranges, such as the operator's own public ones. A denial outweighs an exception.
    pub fn denying(mut self, denied: impl IntoIterator<Item = IpNet>) -> Self {
        self.denied.extend(denied);
        self
    }

    /// Whether a delivery may go to `ip`.
    pub fn check_ip(&self, ip: IpAddr) -> Result<(), AddressRefused> {
        let ip = unwrapped(ip);
        let is_within = |ranges: &[IpNet]| ranges.iter().any(|range| range.contains(&ip));
        if is_within(&self.denied) {
            return Err(AddressRefused);
        }
        if is_within(&self.exceptions) || is_public(ip) { Ok(()) } else { Err(AddressRefused) }
    }

    /// Whether a delivery may go to the host of a URL. A name passes: its addresses are checked when it is
    /// looked up, at each connection.
    pub fn check_host(&self, host: &url::Host<&str>) -> Result<(), AddressRefused> {
        match *host {
            url::Host::Ipv4(ip) => self.check_ip(ip.into()),
            url::Host::Ipv6(ip) => self.check_ip(ip.into()),
            url::Host::Domain(_) => Ok(()),
        }
    }

    /// What `localhost` means here: the loopback addresses that are excepted, none by default.
    pub fn localhost_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
            .into_iter()
            .filter(|&ip| self.check_ip(ip).is_ok())
    }
}

fn unwrapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !BLOCKED_V4.iter().any(|range| range.contains(&v4)),
        IpAddr::V6(v6) => ALLOWED_V6.contains(&v6) && !BLOCKED_V6.iter().any(|range| range.contains(&v6)),
    }
}

fn is_loopback_range(range: &IpNet) -> bool {
    match range {
        IpNet::V4(v4) => LOOPBACK_V4.contains(v4),
        IpNet::V6(v6) => LOOPBACK_V6.contains(v6),
    }
}

const fn v4(octets: [u8; 4], length: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(segments: [u16; 3], length: u8) -> Ipv6Net {
    let [a, b, c] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), length)
}

#[cfg(test)]
mod tests;
