//! Who is asking, by address.

use crate::page::Page;
use poem::{Addr, FromRequest, Request, RequestBody};
use std::net::{IpAddr, Ipv4Addr};

/// The client's address.
pub(crate) struct ClientIp(pub(crate) IpAddr);

/// The client's address: the peer's, or, behind a trusted proxy, the one the proxy adds at the end of
/// `X-Forwarded-For`. What stands before that the client may have written itself.
pub(crate) fn client_ip(request: &Request, trust_proxy_header: bool) -> IpAddr {
    if trust_proxy_header
        && let Some(forwarded) = request.headers().get_all("x-forwarded-for").iter().next_back()
        && let Some(last) = forwarded.to_str().ok().and_then(|list| list.rsplit(',').next())
        && let Ok(ip) = last.trim().parse()
    {
        return ip;
    }
    match &request.remote_addr().0 {
        Addr::SocketAddr(address) => address.ip(),
        // A unix socket or a test's client: this machine.
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

impl<'a> FromRequest<'a> for ClientIp {
    async fn from_request(request: &'a Request, body: &mut RequestBody) -> poem::Result<Self> {
        let page = Page::from_request(request, body).await?;
        Ok(Self(client_ip(request, page.app.config.trust_proxy_header)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(forwarded: &[&str], trust: bool) -> String {
        let mut request = Request::builder();
        for value in forwarded {
            request = request.header("x-forwarded-for", *value);
        }
        client_ip(&request.finish(), trust).to_string()
    }

    #[test]
    fn believes_only_the_proxys_own_word() {
        assert_eq!(asked(&["203.0.113.1, 198.51.100.2"], true), "198.51.100.2");
        assert_eq!(asked(&["203.0.113.1", "198.51.100.3"], true), "198.51.100.3");
        assert_eq!(asked(&["2001:db8::1"], true), "2001:db8::1");
        assert_eq!(asked(&["203.0.113.1"], false), "127.0.0.1");
        assert_eq!(asked(&["nonsense"], true), "127.0.0.1");
    }
}
