//! The app in which a payer sees our pages, by the browser's user agent. It is only a hint, used to choose ways to pay.

use backend::payments::method::PayerApp;
use poem::{FromRequest, Request, RequestBody};

/// The app that shows the page.
pub(crate) struct SeenIn(pub(crate) PayerApp);

impl<'a> FromRequest<'a> for SeenIn {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self(app_of(request.header("user-agent").unwrap_or_default())))
    }
}

fn app_of(user_agent: &str) -> PayerApp {
    if user_agent.contains("MicroMessenger") {
        PayerApp::Wechat
    } else if user_agent.contains("AlipayClient") {
        PayerApp::Alipay
    } else {
        PayerApp::Browser
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_are_known_by_their_names() {
        let phone =
            "Mozilla/5.0 (Linux; Android 14; 2211133C) AppleWebKit/537.36 Chrome/116.0.0.0 Mobile Safari/537.36";
        assert_eq!(app_of(phone), PayerApp::Browser);
        assert_eq!(
            app_of(&format!("{phone} MicroMessenger/8.0.50.2701 NetType/WIFI Language/zh_CN")),
            PayerApp::Wechat
        );
        assert_eq!(
            app_of(&format!("{phone} AlipayDefined(nt:WIFI) AliApp(AP/10.5.96) AlipayClient/10.5.96")),
            PayerApp::Alipay
        );
        assert_eq!(app_of(""), PayerApp::Browser);
    }
}
