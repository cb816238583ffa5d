//! The addresses of the demo: for the browser on this computer, or for a phone on the same network.

use crate::server::Server;
use anyhow::{Context, Result};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// An address for documentation (RFC 5737). Nobody has it, so the route to it is the default route.
const BEYOND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// Where people reach the pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicAddress {
    /// The pages' origin: in links and codes.
    pub origin: String,
    /// This computer's name or address there, as in a URL.
    pub host: String,
    /// What the person at the terminal should know about it.
    pub notice: Option<&'static str>,
}

impl PublicAddress {
    /// For pages that are served on `listen`. `told` is the address given by the person; `own` finds this computer's
    /// address on its network.
    pub fn of(listen: SocketAddr, told: Option<&url::Url>, own: impl FnOnce() -> Option<IpAddr>) -> Self {
        if let Some(told) = told {
            let host = told.host_str().unwrap_or_default().to_owned();
            return Self { origin: told.origin().ascii_serialization(), host, notice: None };
        }
        let (ip, notice) = match listen.ip().is_unspecified() {
            false => (listen.ip(), None),
            true => match own() {
                Some(ip) => (ip, None),
                None => (Ipv4Addr::LOCALHOST.into(), Some(NO_NETWORK)),
            },
        };
        let address = SocketAddr::new(ip, listen.port());
        Self { origin: format!("http://{address}"), host: host_of(ip), notice }
    }
}

const NO_NETWORK: &str = "This machine has no network, so only its own browser gets here. Connect it and start the demo \
    again, or say by --public-url where phones reach it.";

/// An address as written in a URL.
fn host_of(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// This computer's address on the network of its default route. Nothing is sent to find it.
pub fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(BEYOND).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
}

/// The address by which this computer itself reaches a listener on all interfaces.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), address.port()),
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

/// Reads `--public-url`.
pub fn read_public_url(text: &str) -> Result<url::Url, String> {
    let wrong = || format!("{text:?} is no address like http://192.168.1.5:8080");
    let url = url::Url::parse(text).map_err(|_| wrong())?;
    let plain = matches!(url.scheme(), "http" | "https") && url.host_str().is_some() && url.path() == "/";
    if plain && url.query().is_none() && url.fragment().is_none() && url.username().is_empty() {
        Ok(url)
    } else {
        Err(wrong())
    }
}

/// Where a running demo is reached.
pub struct DemoAddresses {
    pub public: PublicAddress,
    pub mqtt: SocketAddr,
    pub mqtt_tls: SocketAddr,
    pub mqtt_ws: SocketAddr,
}

impl DemoAddresses {
    pub fn of(public: PublicAddress, server: &Server) -> Result<Self> {
        let open = |address: Option<SocketAddr>| address.map(reachable).context("the demo's broker does not listen");
        Ok(Self { public, mqtt: open(server.mqtt)?, mqtt_tls: open(server.mqtt_tls)?, mqtt_ws: open(server.mqtt_ws)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(listen: &str, told: Option<&str>, own: Option<&str>) -> (String, String, bool) {
        let told = told.map(|told| read_public_url(told).unwrap());
        let own = || own.map(|own| own.parse().unwrap());
        let address = PublicAddress::of(listen.parse().unwrap(), told.as_ref(), own);
        (address.origin, address.host, address.notice.is_some())
    }

    fn is(origin: &str, host: &str, has_notice: bool) -> (String, String, bool) {
        (origin.into(), host.into(), has_notice)
    }

    #[test]
    fn links_lead_to_where_a_phone_gets() {
        let lan = Some("192.168.1.5");
        assert_eq!(of("127.0.0.1:8080", None, lan), is("http://127.0.0.1:8080", "127.0.0.1", false));
        assert_eq!(of("10.0.0.3:80", None, lan), is("http://10.0.0.3:80", "10.0.0.3", false));
        assert_eq!(of("0.0.0.0:8080", None, lan), is("http://192.168.1.5:8080", "192.168.1.5", false));
        assert_eq!(of("[::]:8080", None, lan), is("http://192.168.1.5:8080", "192.168.1.5", false));
        assert_eq!(of("[::1]:8080", None, lan), is("http://[::1]:8080", "[::1]", false));
    }

    #[test]
    fn without_a_network_links_lead_to_this_machine_and_it_is_said() {
        assert_eq!(of("0.0.0.0:8080", None, None), is("http://127.0.0.1:8080", "127.0.0.1", true));
    }

    #[test]
    fn what_the_person_says_counts() {
        let told = Some("https://demo.example.com");
        assert_eq!(of("127.0.0.1:8080", told, None), is("https://demo.example.com", "demo.example.com", false));
        let told = Some("http://[fe80::1]:9000/");
        assert_eq!(of("0.0.0.0:8080", told, None), is("http://[fe80::1]:9000", "[fe80::1]", false));
        for wrong in ["demo.example.com", "ftp://a", "http://a/path", "http://a/?x", "http://me@a"] {
            assert!(read_public_url(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
