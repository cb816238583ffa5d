//! The visitor's address.
//!
//! The visitor's address is the peer's or, behind a trusted proxy, the last one in the proxy's header that is not a
//! trusted proxy's; the visitor may have written whatever comes before that. If the header from a trusted proxy cannot
//! be parsed, the request is refused; if the proxy's own address were used instead, all visitors would count as one.

use crate::guard::proxies::{ProxyHeader, TrustedProxies, is_nearby};
use poem::{
    Addr, Request,
    http::{HeaderMap, HeaderName, header},
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A trusted proxy's header that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) proxy: IpAddr,
    pub(crate) header: HeaderName,
    /// Its form, without its content.
    pub(crate) shape: String,
}

/// The peer's address. A unix socket, or a test's client, counts as this computer.
pub(crate) fn peer_ip(request: &Request) -> IpAddr {
    if let Addr::SocketAddr(address) = &request.remote_addr().0 {
        address.ip().to_canonical()
    } else {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    }
}

/// The client's address.
pub(crate) fn client_ip(request: &Request, proxies: &TrustedProxies) -> Result<IpAddr, Unreadable> {
    let peer = peer_ip(request);
    if !proxies.is_trusted(peer) {
        return Ok(peer);
    }
    let headers = request.headers();
    let header = match proxies.header {
        ProxyHeader::XForwardedFor => X_FORWARDED_FOR,
        ProxyHeader::Forwarded => header::FORWARDED,
        ProxyHeader::Either if headers.contains_key(X_FORWARDED_FOR) => X_FORWARDED_FOR,
        ProxyHeader::Either => header::FORWARDED,
    };
    if !headers.contains_key(&header) {
        // The proxy's own request: a health check.
        return Ok(peer);
    }
    last_untrusted(headers, &header, proxies).map_err(|shape| Unreadable { proxy: peer, header, shape })
}

/// A peer in a nearby network that is not trusted but sends a proxy's header: most likely a proxy that somebody forgot
/// to configure.
pub(crate) fn unknown_proxy(request: &Request, proxies: &TrustedProxies) -> Option<IpAddr> {
    let peer = peer_ip(request);
    let headers = request.headers();
    let speaks_for_others = headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(header::FORWARDED);
    (speaks_for_others && is_nearby(peer) && !proxies.is_trusted(peer)).then_some(peer)
}

/// The last address that is not a trusted proxy's; if all are, the first. The error is the form of what cannot be read.
fn last_untrusted(headers: &HeaderMap, header: &HeaderName, proxies: &TrustedProxies) -> Result<IpAddr, String> {
    let mut farthest = None;
    for line in headers.get_all(header).iter().rev() {
        let Ok(line) = line.to_str() else { return Err(format!("{} bytes that are no text", line.len())) };
        let is_forwarded = *header == header::FORWARDED;
        for hop in hops(line, is_forwarded)?.into_iter().rev().map(str::trim).filter(|hop| !hop.is_empty()) {
            let node = if is_forwarded { forwarded_for(hop) } else { Some(hop) };
            let address = node.and_then(address_of).ok_or_else(|| shape(hop))?;
            if proxies.one_hop || !proxies.is_trusted(address) {
                return Ok(address);
            }
            farthest = Some(address);
        }
    }
    farthest.ok_or_else(|| "nothing".to_owned())
}

/// The hops in a line of the header, each as a proxy or the visitor wrote it. Quotes have a meaning only in
/// `Forwarded`. An unclosed quote there may come from the visitor, and would hide what the proxy added.
fn hops(line: &str, is_forwarded: bool) -> Result<Vec<&str>, String> {
    match is_forwarded {
        false => Ok(line.split(',').collect()),
        true if line.matches('"').count().is_multiple_of(2) => Ok(split(line, ',')),
        true => Err(shape(line)),
    }
}

/// The parts of a text between separators outside of quotes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    let is_between = |c: char| {
        if c == '"' {
            quoted = !quoted;
        }
        c == separator && !quoted
    };
    text.split(is_between).collect()
}

/// The `for` of an element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<&str> {
    split(element, ';').into_iter().find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
    })
}

/// An address as proxies write it: `192.0.2.7`, `192.0.2.7:51234`, `2001:db8::7`, `[2001:db8::7]`, `[2001:db8::7]:51234`,
/// any of them in quotes.
fn address_of(node: &str) -> Option<IpAddr> {
    let node = node.strip_prefix('"').and_then(|node| node.strip_suffix('"')).unwrap_or(node).trim();
    let bracketed = |node: &str| node.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    // An interface (`fe80::1%eth0`) has no meaning on another computer.
    let without_zone = match node.split_once('%') {
        Some((address, zone)) if is_word(zone) => address,
        _ => node,
    };
    let address = (without_zone.parse().ok())
        .or_else(|| bracketed(node))
        .or_else(|| node.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| with_hidden_port(node))?;
    let address = address.to_canonical();
    (!address.is_unspecified()).then_some(address)
}

/// RFC 7239 allows a word as a port: `192.0.2.7:_port`.
fn with_hidden_port(node: &str) -> Option<IpAddr> {
    let (address, port) = node.rsplit_once(':')?;
    if !port.strip_prefix('_').is_some_and(is_word) {
        return None;
    }
    match address.strip_prefix('[') {
        Some(address) => address.strip_suffix(']')?.parse().ok().map(IpAddr::V6),
        None => address.parse().ok().map(IpAddr::V4),
    }
}

/// Whether a text is the name of an interface or of a port, and nothing besides.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// A text's form: letters as `a`, digits as `0`, each run once. This is enough to correct a proxy's configuration, and
/// reveals nothing else.
pub(crate) fn shape(text: &str) -> String {
    const SHOWN: usize = 40;
    let mut shape = String::new();
    for c in text.chars() {
        let kind = match c {
            _ if c.is_ascii_digit() => '0',
            _ if c.is_alphanumeric() => 'a',
            _ if c.is_ascii_graphic() => c,
            _ => ' ',
        };
        if !(shape.ends_with(kind) && matches!(kind, '0' | 'a' | ' ')) {
            shape.push(kind);
        }
        if shape.len() >= SHOWN {
            break;
        }
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::proxies::proxies;

    fn ask(headers: &[(&str, &str)], proxies: &TrustedProxies) -> Result<String, String> {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        client_ip(&request.finish(), proxies).map(|ip| ip.to_string()).map_err(|unreadable| unreadable.shape)
    }

    fn told(value: &str) -> Result<String, String> {
        ask(&[("x-forwarded-for", value)], &proxies(&["127.0.0.1"]))
    }

    fn forwarded(value: &str) -> Result<String, String> {
        ask(&[("forwarded", value)], &proxies(&["127.0.0.1"]))
    }

    #[test]
    fn reads_an_address_however_a_proxy_writes_it() {
        for (written, meant) in [
            ("203.0.113.9", "203.0.113.9"),
            ("203.0.113.9:51234", "203.0.113.9"),
            (" 203.0.113.9 ", "203.0.113.9"),
            ("\"203.0.113.9:80\"", "203.0.113.9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("[::ffff:203.0.113.9]:51234", "203.0.113.9"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:51234", "2001:db8::7"),
            ("2001:DB8:0:0::7", "2001:db8::7"),
            ("fe80::1%eth0", "fe80::1"),
            ("198.51.100.1, 203.0.113.9:5,", "203.0.113.9"),
        ] {
            assert_eq!(told(written).as_deref(), Ok(meant), "{written}");
            let elements = written.split(',').map(|node| match node.trim() {
                "" => String::new(),
                node if node.starts_with('"') => format!("for={node}"),
                node => format!("proto=https; For=\"{node}\";by=x"),
            });
            let element = elements.collect::<Vec<_>>().join(", ");
            assert_eq!(forwarded(&element).as_deref(), Ok(meant), "{element}");
        }
        assert_eq!(forwarded("for=192.0.2.43:_p1").as_deref(), Ok("192.0.2.43"));
        assert_eq!(forwarded("for=\"[2001:db8::7]:_p1\";by=\"a,b;for=c\"").as_deref(), Ok("2001:db8::7"));
    }

    #[test]
    fn an_unreadable_header_gives_no_address() {
        for (written, shape) in [
            ("unknown", "a"),
            ("_hidden-7", "_a-0"),
            ("203.0.113.9, proxy-1.example:80", "a-0.a:0"),
            ("203.0.113", "0.0.0"),
            ("203.0.113.9:99999", "0.0.0.0:0"),
            ("203.0.113.9:x", "0.0.0.0:a"),
            ("[2001:db8::7", "[0:a0::0"),
            ("0.0.0.0", "0.0.0.0"),
            ("", "nothing"),
            (" , ,", "nothing"),
        ] {
            assert_eq!(told(written).as_deref().map_err(String::as_str), Err(shape), "{written}");
        }
        assert_eq!(forwarded("by=203.0.113.9").unwrap_err(), "a=0.0.0.0");
        assert!(forwarded("for=unknown").is_err() && forwarded("for=_secret").is_err());
        let long = told(&"a1".repeat(500)).unwrap_err();
        assert!(long.len() <= 40, "{long}");
    }

    #[test]
    fn what_the_visitor_may_have_written_is_not_read() {
        let behind_two = proxies(&["127.0.0.1", "10.0.0.0/8"]);
        let ask = |headers: &[(&str, &str)]| ask(headers, &behind_two).unwrap();
        assert_eq!(ask(&[("x-forwarded-for", "unknown, 203.0.113.9, 10.0.0.2")]), "203.0.113.9");
        assert_eq!(ask(&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.9")]), "203.0.113.9");
        assert_eq!(ask(&[("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "10.9.9.9")]), "203.0.113.9");
        assert_eq!(ask(&[("forwarded", "for=1.1.1.1, for=203.0.113.9;proto=http, for=10.0.0.2")]), "203.0.113.9");
        // A visitor in the proxies' own network.
        assert_eq!(ask(&[("x-forwarded-for", "10.0.0.9, 10.0.0.2")]), "10.0.0.9");
        // A proxy that writes one header passes the other on as the visitor wrote it.
        assert_eq!(ask(&[("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "203.0.113.9")]), "203.0.113.9");
        // Its own request.
        assert_eq!(ask(&[]), "127.0.0.1");
        // A visitor's quote does not hide what the proxy adds on the same line.
        for written in ["1.1.1.1%\"", "1.1.1.1:_\"", "\"1.1.1.1", "\"", "\"1.1.1.1\""] {
            let line = format!("{written}, 203.0.113.9");
            assert_eq!(ask(&[("x-forwarded-for", &line)]), "203.0.113.9", "{line}");
        }
    }

    #[test]
    fn a_quote_that_is_not_closed_makes_forwarded_unreadable() {
        for added in ["for=203.0.113.9", "for=\"[2001:db8::9]:80\""] {
            for written in ["for=1.1.1.1;x=\"", "for=1.1.1.1;x=\"a\";y=\"", "\""] {
                let line = format!("{written}, {added}");
                assert!(forwarded(&line).is_err(), "{line}");
            }
            for written in ["for=1.1.1.1;x=\"a,b\"", "for=1.1.1.1;x=\"\\\"", "x=\"\""] {
                let line = format!("{written}, {added}");
                let seen = forwarded(&line);
                assert!(["203.0.113.9", "2001:db8::9"].contains(&seen.clone().unwrap().as_str()), "{line}: {seen:?}");
            }
        }
    }

    #[test]
    fn only_the_header_that_was_named_is_read_and_only_from_trusted_peers() {
        let both = [("forwarded", "for=203.0.113.9"), ("x-forwarded-for", "1.1.1.1")];
        let only = TrustedProxies::these(&["127.0.0.1".to_owned()], ProxyHeader::Forwarded).unwrap();
        assert_eq!(ask(&both, &only).unwrap(), "203.0.113.9");
        assert_eq!(ask(&both, &TrustedProxies::none()).unwrap(), "127.0.0.1");
        assert_eq!(ask(&[("x-forwarded-for", "nonsense")], &proxies(&["192.0.2.1"])).unwrap(), "127.0.0.1");
    }

    #[test]
    fn one_proxy_nearby_tells_the_last_address_wherever_it_lies() {
        let nearby = TrustedProxies::one_nearby(ProxyHeader::Either);
        // The visitor is in the same private network, and cannot pretend to be another.
        assert_eq!(ask(&[("x-forwarded-for", "1.1.1.1, 10.0.0.9")], &nearby).unwrap(), "10.0.0.9");
        assert!(ask(&[("x-forwarded-for", "nonsense")], &nearby).is_err());
    }

    #[test]
    fn a_proxy_that_nobody_named_is_noticed() {
        let seen = |headers: &[(&str, &str)], proxies: &TrustedProxies| {
            let mut request = Request::builder();
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            unknown_proxy(&request.finish(), proxies).is_some()
        };
        let told = [("x-forwarded-for", "203.0.113.9")];
        assert!(seen(&told, &TrustedProxies::none()));
        assert!(seen(&[("forwarded", "for=203.0.113.9")], &proxies(&["10.0.0.0/8"])));
        assert!(!seen(&told, &proxies(&["127.0.0.0/8"])));
        assert!(!seen(&[], &TrustedProxies::none()));
    }
}
