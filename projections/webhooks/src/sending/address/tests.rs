use super::*;

/// The first and the last address of each refused block, and the special addresses inside.
const REFUSED: &[&str] = &[
    "0.0.0.0",
    "0.255.255.255",
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.255",
    "168.63.129.16",
    "169.254.0.0",
    "169.254.169.254",
    "169.254.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.0",
    "192.0.0.255",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.0",
    "192.168.255.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.0",
    "239.255.255.255",
    "240.0.0.0",
    "255.255.255.255",
    // IPv6 outside the global unicast block.
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:168.63.129.16",
    "::127.0.0.1",
    "::8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "4000::",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fdff::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "::ffff:0:127.0.0.1",
    // Holes in it.
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:10::1",
    "2001:20::1",
    "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
    "2001:db8::1",
    "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "3fff::1",
    "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
];

/// The nearest neighbours of those blocks.
const ALLOWED: &[&str] = &[
    "1.0.0.0",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.88.98.255",
    "192.88.100.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "198.51.101.0",
    "203.0.112.255",
    "203.0.114.0",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "2000::1",
    "2001:200::1",
    "2001:db7::1",
    "2001:db9::1",
    "2001:4860:4860::8888",
    "2003::1",
    "2606:4700:4700::1111",
    "3ffe::1",
    "3fff:1000::1",
];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

#[test]
fn every_special_block_is_refused_at_both_ends() {
    for text in REFUSED {
        assert_eq!(AddressPolicy::strict().check_ip(ip(text)), Err(AddressRefused), "{text}");
    }
}

#[test]
fn the_neighbours_of_each_block_are_allowed() {
    for text in ALLOWED {
        assert_eq!(AddressPolicy::strict().check_ip(ip(text)), Ok(()), "{text}");
    }
}

#[test]
fn an_exception_is_possible_for_loopback_alone() {
    for text in ["127.0.0.0/8", "127.0.0.1/32", "127.1.0.0/16", "::1/128"] {
        assert!(AddressPolicy::with_exceptions(vec![net(text)]).is_ok(), "{text}");
    }
    for text in
        ["126.0.0.0/7", "0.0.0.0/0", "10.0.0.0/8", "8.8.8.8/32", "::/0", "::/127", "::1/127", "fc00::/7"]
    {
        let refused = AddressPolicy::with_exceptions(vec![net("127.0.0.1/32"), net(text)]);
        assert_eq!(refused.unwrap_err(), PolicyError::NotLoopback { exception: net(text) });
    }
}

#[test]
fn an_exception_opens_what_it_names_and_nothing_else() {
    let policy = AddressPolicy::with_exceptions(vec![net("127.0.0.1/32")]).unwrap();
    assert_eq!(policy.check_ip(ip("127.0.0.1")), Ok(()));
    assert_eq!(policy.check_ip(ip("::ffff:127.0.0.1")), Ok(()));
    assert_eq!(policy.check_ip(ip("127.0.0.2")), Err(AddressRefused));
    assert_eq!(policy.check_ip(ip("::1")), Err(AddressRefused));
    assert_eq!(policy.check_ip(ip("10.0.0.1")), Err(AddressRefused));
    assert_eq!(policy.localhost_addresses().collect::<Vec<_>>(), [ip("127.0.0.1")]);
    assert_eq!(AddressPolicy::strict().localhost_addresses().count(), 0);
    assert_eq!(AddressPolicy::with_loopback().localhost_addresses().count(), 2);
}

#[test]
fn a_denied_range_is_refused_even_where_it_is_public_or_excepted() {
    let policy = AddressPolicy::with_loopback().denying([net("8.8.8.0/24"), net("127.0.0.1/32")]);
    assert_eq!(policy.check_ip(ip("8.8.8.8")), Err(AddressRefused));
    assert_eq!(policy.check_ip(ip("::ffff:8.8.8.8")), Err(AddressRefused));
    assert_eq!(policy.check_ip(ip("127.0.0.1")), Err(AddressRefused));
    assert_eq!(policy.check_ip(ip("8.8.4.4")), Ok(()));
}
