//! Which proxies are trusted to give a visitor's address.

use std::{
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

/// The header in which proxies give the visitor's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`; `Forwarded` in a request that has no `X-Forwarded-For`.
    Either,
    /// `X-Forwarded-For` only.
    XForwardedFor,
    /// `Forwarded` (RFC 7239) only.
    Forwarded,
}

impl FromStr for ProxyHeader {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "either" => Ok(Self::Either),
            "x-forwarded-for" => Ok(Self::XForwardedFor),
            "forwarded" => Ok(Self::Forwarded),
            _ => Err(format!("{text:?} is none of \"either\", \"x-forwarded-for\" and \"forwarded\"")),
        }
    }
}

/// The trusted proxies.
#[derive(Debug, Clone)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    pub(crate) header: ProxyHeader,
    /// One proxy, the last before this server: the last address is the visitor's, whatever network it is in.
    pub(crate) one_hop: bool,
}

impl TrustedProxies {
    /// No proxy is trusted.
    pub fn none() -> Self {
        Self { networks: vec![], header: ProxyHeader::Either, one_hop: false }
    }

    /// These are trusted: addresses, or networks like `10.0.0.0/8`. The visitor is the last address that is not one of
    /// theirs.
    ///
    /// # Errors
    /// If one is neither an address nor a network; the text says which.
    pub fn these(networks: &[String], header: ProxyHeader) -> Result<Self, String> {
        let networks = networks.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        Ok(Self { networks, header, one_hop: false })
    }

    /// One proxy on this computer or in a private network; the last address in its header is the visitor's.
    pub fn one_nearby(header: ProxyHeader) -> Self {
        Self { header, one_hop: true, ..Self::none() }
    }

    /// Whether a peer is trusted.
    pub(crate) fn is_trusted(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        (self.one_hop && is_nearby(peer)) || self.networks.iter().any(|network| network.contains(peer))
    }
}

/// Whether an address is this computer's or in a private network, where proxies usually are and visitors rarely.
pub(crate) fn is_nearby(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local() || is_shared(ip),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// 100.64.0.0/10: some clouds put their load balancers there.
fn is_shared(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    first == 100 && (64..128).contains(&second)
}

/// Addresses with the same first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                (ours.to_bits() ^ other.to_bits()) & mask == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                (ours.to_bits() ^ other.to_bits()) & mask == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is neither an address like 192.0.2.7 nor a network like 10.0.0.0/8");
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text.trim(), None),
        };
        let written: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = |address: IpAddr| -> u8 { if address.is_ipv4() { 32 } else { 128 } };
        let mut bits: u8 = match bits {
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most(written)).ok_or_else(wrong)?,
            None => most(written),
        };
        let address = written.to_canonical();
        if written.is_ipv6() && address.is_ipv4() {
            // A mapped IPv4 network: its bits come after 96 others.
            bits = bits.checked_sub(96).ok_or_else(wrong)?;
        }
        Ok(Self { address, bits })
    }
}

/// For tests of what hangs on the address.
#[cfg(test)]
pub(crate) fn proxies(networks: &[&str]) -> TrustedProxies {
    let networks: Vec<String> = networks.iter().map(|text| (*text).to_owned()).collect();
    TrustedProxies::these(&networks, ProxyHeader::Either).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        let trusts = |network: &str, address: &str| proxies(&[network]).is_trusted(address.parse().unwrap());
        assert!(trusts("10.0.0.0/8", "10.255.0.1") && !trusts("10.0.0.0/8", "11.0.0.1"));
        assert!(trusts("192.0.2.7", "192.0.2.7") && !trusts("192.0.2.7", "192.0.2.8"));
        assert!(trusts("192.0.2.7", "::ffff:192.0.2.7") && trusts("::ffff:192.0.2.0/120", "192.0.2.9"));
        assert!(trusts("2001:db8::/32", "2001:db8:1::1") && !trusts("2001:db8::/32", "2001:db9::1"));
        assert!(trusts("0.0.0.0/0", "203.0.113.1") && !trusts("0.0.0.0/0", "2001:db8::1"));
        assert!(trusts("::/0", "2001:db8::1"));
        for wrong in
            ["", "proxy.example", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "::/129", "::ffff:1.2.3.4/8", "10/8"]
        {
            let error = TrustedProxies::these(&[wrong.to_owned()], ProxyHeader::Either).unwrap_err();
            assert!(error.contains(&format!("{wrong:?}")), "{error}");
        }
    }

    #[test]
    fn a_proxy_nearby_is_on_this_machine_or_in_a_private_network() {
        let nearby = TrustedProxies::one_nearby(ProxyHeader::Either);
        for address in
            ["127.0.0.1", "::1", "10.1.2.3", "172.20.0.2", "192.168.1.1", "100.64.0.9", "fd00::1", "::ffff:10.0.0.1"]
        {
            assert!(nearby.is_trusted(address.parse().unwrap()), "{address}");
        }
        for address in ["203.0.113.1", "2001:db8::1", "100.128.0.1", "172.32.0.1"] {
            assert!(!nearby.is_trusted(address.parse().unwrap()), "{address}");
        }
        assert!(!TrustedProxies::none().is_trusted("127.0.0.1".parse().unwrap()));
    }
}
