//! A payer's phone: a browser over real sockets, with cookies and without JavaScript.

use scraper::{Html, Selector};
use std::{collections::BTreeMap, sync::Mutex};
use url::Url;

/// Redirects that are followed in a row.
const REDIRECTS_MAX: usize = 10;

pub struct Phone {
    http: reqwest::Client,
    /// By host and port, and name.
    cookies: Mutex<BTreeMap<(String, String), String>>,
    user_agent: &'static str,
}

/// What came back.
pub struct Page {
    pub address: Url,
    pub status: u16,
    pub location: Option<Url>,
    pub text: String,
}

impl Page {
    /// An attribute of the first element that fits.
    pub fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        let html = Html::parse_document(&self.text);
        html.select(&Selector::parse(selector).unwrap()).next()?.attr(name).map(str::to_owned)
    }

    pub fn has(&self, selector: &str) -> bool {
        Html::parse_document(&self.text).select(&Selector::parse(selector).unwrap()).next().is_some()
    }

    /// The fields of the first form that is posted.
    fn fields(&self) -> Vec<(String, String)> {
        let html = Html::parse_document(&self.text);
        let inputs = Selector::parse("form[method=post] input[name]").unwrap();
        let field = |input: scraper::ElementRef<'_>| {
            let value = |name| input.attr(name).unwrap_or_default().to_owned();
            (value("name"), value("value"))
        };
        html.select(&inputs).map(field).collect()
    }
}

impl Phone {
    pub fn new(user_agent: &'static str) -> Self {
        let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Self { http: builder.build().unwrap(), cookies: Mutex::default(), user_agent }
    }

    /// Opens an address; a redirect is told, not followed.
    pub async fn open(&self, address: &Url) -> Page {
        self.send(self.http.get(address.clone()), address).await
    }

    /// Opens an address and goes wherever it leads. Gives all that was met, the last first.
    pub async fn follow(&self, address: &Url) -> Vec<Page> {
        let mut met = vec![self.open(address).await];
        while let Some(next) = met[0].location.clone() {
            assert!(met.len() <= REDIRECTS_MAX, "it leads in circles: {next}");
            met.insert(0, self.open(&next).await);
        }
        met
    }

    /// Sends the page's form; of several buttons, by that one.
    pub async fn press(&self, page: &Page, button: Option<(&str, &str)>) -> Page {
        let action = page.attribute("form[method=post]", "action").expect("the page has a form");
        let address = page.address.join(&action).unwrap();
        let fields = page.fields();
        let pairs = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(button);
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let form = ("content-type", "application/x-www-form-urlencoded");
        self.send(self.http.post(address.clone()).header(form.0, form.1).body(body), &address).await
    }

    /// Sends JSON, as a page's script does.
    pub async fn post_json(&self, address: &Url, json: String) -> Page {
        let request = self.http.post(address.clone()).header("content-type", "application/json").body(json);
        self.send(request, address).await
    }

    async fn send(&self, request: reqwest::RequestBuilder, address: &Url) -> Page {
        let host = address.authority().to_owned();
        let cookies: Vec<String> = {
            let cookies = self.cookies.lock().unwrap();
            let own = cookies.iter().filter(|((of, _), _)| *of == host);
            own.map(|((_, name), value)| format!("{name}={value}")).collect()
        };
        let mut request = request.header("user-agent", self.user_agent).header("accept-language", "en");
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        let answer = request.send().await.unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            let mut cookies = self.cookies.lock().unwrap();
            let key = (host.clone(), name.to_owned());
            match cookie.contains("Max-Age=0;") || cookie.ends_with("Max-Age=0") {
                true => cookies.remove(&key),
                false => cookies.insert(key, value.to_owned()),
            };
        }
        let location = answer.headers().get("location").map(|to| address.join(to.to_str().unwrap()).unwrap());
        let status = answer.status().as_u16();
        Page { address: address.clone(), status, location, text: answer.text().await.unwrap() }
    }
}
