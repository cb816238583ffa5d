//! What every page needs: the language, the form token, the request's id, and the templates.

use crate::{
    failure::Failure,
    guard::{
        address::{self, Unreadable},
        form_token,
    },
    locale::Language,
    shared::App,
    templates::Templates,
};
use backend::access::signed_in::Member;
use poem::{FromRequest, Request, RequestBody, Response, http::StatusCode};
use serde_json::json;
use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};
use tera::Context;

/// The data for one request's page. Made by the envelope.
#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) app: Arc<App>,
    pub(crate) look: Look,
    /// The visitor's address, or why a trusted proxy's header does not give it.
    pub(crate) visitor: Result<IpAddr, Unreadable>,
    /// The member who asks, once the request has come that far.
    pub(crate) signed: Arc<OnceLock<Member>>,
}

/// What templates need besides their own data.
#[derive(Clone)]
pub(crate) struct Look {
    pub(crate) language: Language,
    pub(crate) request_id: String,
    /// The token that forms carry.
    pub(crate) csrf: String,
    /// The page's own address, to switch language on.
    pub(crate) here: String,
    pub(crate) demo: bool,
    /// Whether the MQTT broker is in this process.
    pub(crate) mqtt: bool,
    /// The time zone of the member's operator; without a member, times are shown in the reader's own zone.
    pub(crate) time_zone: Option<String>,
}

impl Look {
    /// Renders a template.
    pub(crate) fn html(&self, templates: &Templates, template: &str, mut context: Context) -> Result<String, Failure> {
        let joint = if self.here.contains('?') { '&' } else { '?' };
        let other = self.language.other();
        let href = format!("{}{joint}lang={}", self.here, other.code());
        context.insert("switch", &json!({ "code": other.code(), "html": other.html(), "href": href }));
        context.insert("html_lang", self.language.html());
        context.insert("csrf", &self.csrf);
        context.insert("request_id", &self.request_id);
        context.insert("demo", &self.demo);
        context.insert("mqtt", &self.mqtt);
        context.insert("time_zone", &self.time_zone);
        Ok(templates.render(self.language, template, &context)?)
    }
}

impl Page {
    /// The page for a request.
    pub(crate) async fn open(app: &Arc<App>, request: &Request, request_id: String) -> Self {
        let look = Look {
            language: Language::of(request).await,
            csrf: form_token::token(&app.config.csrf_key, &form_token::binding(request), app.backend.now_ms()),
            request_id,
            here: without_language(request.uri().path(), request.uri().query()),
            demo: app.config.demo.is_some(),
            mqtt: app.config.mqtt.is_some(),
            time_zone: None,
        };
        let visitor = address::client_ip(request, &app.config.proxies);
        Self { app: app.clone(), look, visitor, signed: Arc::default() }
    }

    /// The page without anything of this request and without a session's form token, so that it is the same for
    /// everybody.
    pub(crate) fn for_everybody(mut self) -> Self {
        self.look.csrf = form_token::token(&self.app.config.csrf_key, "", self.app.backend.now_ms());
        self.look.request_id.clear();
        self
    }

    /// The same page with another address: the answer to a form is shown under the address of the form's page.
    pub(crate) fn at(mut self, path: String) -> Self {
        self.look.here = path;
        self
    }

    /// Renders a template to text: a fragment of a page.
    pub(crate) fn fragment(&self, template: &str, context: Context) -> Result<String, Failure> {
        self.look.html(&self.app.templates, template, context)
    }

    /// Renders a template as an answer.
    pub(crate) fn render(&self, template: &str, context: Context) -> Result<Response, Failure> {
        self.render_as(StatusCode::OK, template, context)
    }

    /// Renders a template as an answer with a status.
    pub(crate) fn render_as(&self, status: StatusCode, template: &str, context: Context) -> Result<Response, Failure> {
        let html = self.fragment(template, context)?;
        Ok(Response::builder().status(status).content_type("text/html; charset=utf-8").body(html))
    }
}

impl<'a> FromRequest<'a> for Page {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        let page = request.extensions().get::<Page>().expect("the envelope puts a page into every request");
        Ok(page.clone())
    }
}

/// An answer that sends the browser on, with a GET.
pub(crate) fn see_other(location: &str) -> Response {
    Response::builder().status(StatusCode::SEE_OTHER).header("location", location).finish()
}

fn without_language(path: &str, query: Option<&str>) -> String {
    // A link to `//host/` would lead to another site, and browsers read `\` as `/`.
    let path = format!("/{}", path.trim_start_matches(['/', '\\']));
    let mut rest = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if name != "lang" {
            rest.append_pair(&name, &value);
        }
    }
    let rest = rest.finish();
    if rest.is_empty() { path } else { format!("{path}?{rest}") }
}

/// The client's address, in its one form: an IPv4 address is never written as an IPv6 one.
pub(crate) struct ClientIp(pub(crate) IpAddr);

impl<'a> FromRequest<'a> for ClientIp {
    async fn from_request(request: &'a Request, body: &mut RequestBody) -> poem::Result<Self> {
        let page = Page::from_request(request, body).await?;
        Ok(Self(page.visitor()?))
    }
}

impl Page {
    /// The visitor's address.
    ///
    /// # Errors
    /// If it cannot be read from a trusted proxy's header.
    pub(crate) fn visitor(&self) -> Result<IpAddr, Failure> {
        self.visitor.clone().map_err(|unreadable| {
            let Unreadable { proxy, header, shape } = unreadable;
            metrics::counter!("web_proxy_headers_unreadable_total").increment(1);
            tracing::warn!(
                %proxy, %header, shape,
                "a trusted proxy's header does not tell the visitor's address; the request is refused. Have the proxy \
                 send an address there, or take it out of trusted_proxies"
            );
            Failure::Malformed("the proxy's header does not tell the visitor's address")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_query_but_for_the_language() {
        assert_eq!(without_language("/a", None), "/a");
        assert_eq!(without_language("/a", Some("lang=zh")), "/a");
        assert_eq!(without_language("//evil.example/x", Some("lang=en")), "/evil.example/x");
        assert_eq!(without_language("/\\evil.example/x", None), "/evil.example/x");
        assert_eq!(without_language("/", None), "/");
        assert_eq!(without_language("/a", Some("state=paid&lang=zh&x=%26")), "/a?state=paid&x=%26");
    }
}
