//! A browser without JavaScript: cookies, forms, redirects by hand.

use futures_util::StreamExt;
use poem::{Body, Endpoint, Request, Response, endpoint::DynEndpoint, http::Method};
use scraper::{Html, Selector};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

/// The longest wait for something that should come at once.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

pub struct Browser {
    app: Arc<dyn DynEndpoint<Output = Response>>,
    cookies: Mutex<BTreeMap<String, String>>,
    pub language: String,
    pub user_agent: String,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    pub fn location(&self) -> &str {
        self.header("location")
    }

    /// The texts of all elements that fit.
    pub fn all(&self, selector: &str) -> Vec<String> {
        let html = Html::parse_document(&self.text);
        let selector = Selector::parse(selector).unwrap();
        html.select(&selector).map(|element| element.text().collect::<String>().trim().to_owned()).collect()
    }

    /// An attribute of all elements that fit.
    pub fn attributes(&self, selector: &str, name: &str) -> Vec<String> {
        let html = Html::parse_document(&self.text);
        let selector = Selector::parse(selector).unwrap();
        html.select(&selector).filter_map(|element| element.attr(name)).map(str::to_owned).collect()
    }

    pub fn has(&self, selector: &str) -> bool {
        !self.attributes(selector, "class").is_empty() || !self.all(selector).is_empty()
    }

    pub fn csrf(&self) -> String {
        self.attributes("input[name=csrf]", "value").into_iter().next().unwrap_or_default()
    }
}

impl Browser {
    pub fn new(app: Arc<dyn DynEndpoint<Output = Response>>) -> Self {
        Self { app, cookies: Mutex::default(), language: "en".into(), user_agent: "test".into() }
    }

    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().unwrap().get(name).cloned()
    }

    pub fn set_cookie(&self, name: &str, value: &str) {
        self.cookies.lock().unwrap().insert(name.into(), value.into());
    }

    pub fn forget(&self, name: &str) {
        self.cookies.lock().unwrap().remove(name);
    }

    pub fn has_cookies(&self) -> bool {
        !self.cookies.lock().unwrap().is_empty()
    }

    async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> Response {
        let mut request = Request::builder().method(method).uri_str(path);
        request = request.header("accept-language", &self.language).header("user-agent", &self.user_agent);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let cookies: Vec<String> =
            self.cookies.lock().unwrap().iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        let response = self.app.call(request.body(body)).await.expect("the envelope answers everything");
        for cookie in response.headers().get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            let mut cookies = self.cookies.lock().unwrap();
            match cookie.contains("Max-Age=0") {
                true => cookies.remove(name),
                false => cookies.insert(name.into(), value.into()),
            };
        }
        response
    }

    async fn answer(response: Response) -> Answer {
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers = headers.map(|(n, v)| (n.as_str().to_owned(), v.to_str().unwrap().to_owned())).collect();
        // A live stream has no end.
        let is_stream = response.content_type() == Some("text/event-stream");
        let text = if is_stream { String::new() } else { response.into_body().into_string().await.unwrap() };
        Answer { status, headers, text }
    }

    pub async fn get(&self, path: &str) -> Answer {
        Self::answer(self.call(Method::GET, path, &[], Body::empty()).await).await
    }

    /// The status only: what follows is not read.
    pub async fn get_head(&self, path: &str) -> u16 {
        self.call(Method::GET, path, &[], Body::empty()).await.status().as_u16()
    }

    /// How the answer is encoded, and its bytes.
    pub async fn get_bytes(&self, path: &str, headers: &[(&str, &str)]) -> (String, Vec<u8>) {
        let response = self.call(Method::GET, path, headers, Body::empty()).await;
        let encoding = response.header("content-encoding").unwrap_or_default().to_owned();
        (encoding, response.into_body().into_vec().await.unwrap())
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        Self::answer(self.call(Method::GET, path, headers, Body::empty()).await).await
    }

    /// Sends fields with the token of a page.
    pub async fn post(&self, path: &str, page: &Answer, fields: &[(&str, &str)]) -> Answer {
        let token = page.csrf();
        let fields: Vec<(&str, &str)> = [("csrf", token.as_str())].into_iter().chain(fields.iter().copied()).collect();
        self.post_plain(path, &[], &fields).await
    }

    /// Sends just these fields and headers.
    pub async fn post_plain(&self, path: &str, headers: &[(&str, &str)], fields: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
        all.extend_from_slice(headers);
        Self::answer(self.call(Method::POST, path, &all, body.into()).await).await
    }

    pub async fn raw_post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        Self::answer(self.call(Method::POST, path, headers, body.into()).await).await
    }

    /// The fields of a page's form, by its place among those that are posted.
    pub fn form(page: &Answer, place: usize) -> (String, Vec<(String, String)>) {
        let html = Html::parse_document(&page.text);
        let forms = Selector::parse("form[method=post]").unwrap();
        let inputs = Selector::parse("input[name]").unwrap();
        let form = html.select(&forms).nth(place).expect("the page has that form");
        let fields = form
            .select(&inputs)
            .map(|input| (input.attr("name").unwrap().to_owned(), input.attr("value").unwrap_or_default().to_owned()));
        (form.attr("action").unwrap().to_owned(), fields.collect())
    }

    /// Presses the button of a page's form.
    pub async fn submit(&self, page: &Answer, place: usize) -> Answer {
        let (action, fields) = Self::form(page, place);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.post_plain(&action, &[], &fields).await
    }

    /// Opens a live stream.
    pub async fn stream(&self, path: &str) -> Live {
        let response = self.call(Method::GET, path, &[], Body::empty()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.content_type(), Some("text/event-stream"));
        Live { body: Box::pin(response.into_body().into_bytes_stream()), text: String::new() }
    }
}

/// A live stream.
pub struct Live {
    body: std::pin::Pin<Box<dyn futures_util::Stream<Item = std::io::Result<bytes::Bytes>> + Send>>,
    /// Everything that came so far.
    pub text: String,
}

impl Live {
    /// Reads until the text was seen.
    pub async fn until(&mut self, wanted: &str) {
        let reading = async {
            while !self.text.contains(wanted) {
                let chunk = self.body.next().await.unwrap_or_else(|| panic!("ended without {wanted:?}: {}", self.text));
                self.text.push_str(&String::from_utf8_lossy(&chunk.unwrap()));
            }
        };
        if tokio::time::timeout(WAIT_TIMEOUT, reading).await.is_err() {
            panic!("{wanted:?} did not come: {}", self.text);
        }
    }

    /// Reads until the server closes it.
    pub async fn until_end(&mut self) {
        let reading = async {
            while let Some(chunk) = self.body.next().await {
                self.text.push_str(&String::from_utf8_lossy(&chunk.unwrap()));
            }
        };
        tokio::time::timeout(WAIT_TIMEOUT, reading).await.expect("the stream ends");
    }
}
