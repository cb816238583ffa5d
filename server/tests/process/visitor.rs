//! A plain browser's part: gets pages, fills in forms, follows redirects by hand. It keeps no cookies unless told to.

use crate::{until, until_or};
use reqwest::{Client, StatusCode, Url, header, redirect::Policy};
use scraper::{Html, Selector};

/// Somebody who visits the pages.
#[derive(Clone)]
pub struct Visitor {
    http: Client,
    base: Url,
    /// The session, once signed in.
    cookie: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub struct Page {
    pub status: StatusCode,
    pub html: String,
    /// Where it sends the browser.
    pub location: Option<Url>,
    url: Url,
    set_cookie: Option<String>,
}

/// A form as found in a page.
#[derive(Debug, Clone)]
pub struct Form {
    pub action: Url,
    pub fields: Vec<(String, String)>,
}

/// A paid sale.
#[derive(Debug, Clone)]
pub struct Bought {
    /// Its page's path.
    pub path: String,
    pub pulses: u64,
}

impl Page {
    /// Texts of what a CSS selector finds, with single spaces.
    pub fn texts(&self, selector: &str) -> Vec<String> {
        let selector = Selector::parse(selector).unwrap();
        let html = Html::parse_document(&self.html);
        let text =
            |element: scraper::ElementRef| element.text().flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ");
        html.select(&selector).map(text).collect()
    }

    /// Where it leads by itself: by a redirect, or by its own refresh to another page.
    pub fn leads_to(&self) -> Option<Url> {
        let refresh = self.attribute("head > meta[http-equiv=refresh]", "content");
        let refreshed = refresh.and_then(|content| self.url.join(content.split_once("url=")?.1).ok());
        self.location.clone().or(refreshed)
    }

    /// An attribute of the first that a CSS selector finds.
    pub fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        let selector = Selector::parse(selector).unwrap();
        let html = Html::parse_document(&self.html);
        html.select(&selector).next()?.attr(name).map(str::to_owned)
    }

    /// The forms whose action holds these words.
    pub fn forms(&self, action: &str) -> Vec<Form> {
        let (form, input) = (Selector::parse("form").unwrap(), Selector::parse("input[name]").unwrap());
        let html = Html::parse_document(&self.html);
        let parsed = html.select(&form).map(|form| {
            let field = |input: scraper::ElementRef| {
                Some((input.attr("name")?.to_owned(), input.attr("value").unwrap_or_default().to_owned()))
            };
            Form {
                action: self.url.join(form.attr("action").unwrap_or_default()).unwrap(),
                fields: form.select(&input).filter_map(field).collect(),
            }
        });
        parsed.filter(|form| form.action.path().contains(action)).collect()
    }

    /// The state a sale's page shows.
    pub fn sale_state(&self) -> Option<String> {
        self.attribute("[data-state]", "data-state")
    }
}

impl Form {
    /// The same with a field filled in.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(found, _)| found != name);
        self.fields.push((name.into(), value.into()));
        self
    }
}

impl Visitor {
    pub fn new(base: Url) -> Self {
        let mut headers = header::HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, header::HeaderValue::from_static("en"));
        let http = Client::builder().redirect(Policy::none()).default_headers(headers).build().unwrap();
        Self { http, base, cookie: None }
    }

    /// Gets a page. An error is a server that does not answer.
    pub async fn try_get(&self, path: &str) -> reqwest::Result<Page> {
        self.send(self.http.get(self.base.join(path).unwrap())).await
    }

    /// The sum of a metric over its labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let page = self.get("/metrics").await;
        let of = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        page.html.lines().filter(|line| of(line)).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub async fn get(&self, path: &str) -> Page {
        self.try_get(path).await.unwrap()
    }

    /// Sends a body that is no form; gives the status.
    pub async fn post(&self, path: &str, body: &'static str) -> StatusCode {
        let url = self.base.join(path).unwrap();
        self.http.post(url).body(body).send().await.expect("the server answers").status()
    }

    /// Sends a form.
    pub async fn try_submit(&self, form: &Form) -> reqwest::Result<Page> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&form.fields).finish();
        let request = self.http.post(form.action.clone()).body(body);
        self.send(request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")).await
    }

    /// Sends a form; where the answer asks whether that is meant, says yes.
    pub async fn submit(&self, form: &Form) -> Page {
        let answer = self.try_submit(form).await.unwrap();
        if answer.texts("#sure").is_empty() {
            return answer;
        }
        let confirmed = answer.forms(form.action.path()).remove(0);
        self.try_submit(&confirmed).await.unwrap()
    }

    async fn send(&self, mut request: reqwest::RequestBuilder) -> reqwest::Result<Page> {
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let response = request.send().await?;
        let url = response.url().clone();
        let text = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let location = text(header::LOCATION).map(|location| url.join(&location).unwrap());
        let session = text(header::SET_COOKIE).map(|cookie| cookie.split(';').next().unwrap().to_owned());
        Ok(Page { status: response.status(), location, url, set_cookie: session, html: response.text().await? })
    }

    /// Opens a live stream and leaves it unread.
    pub async fn listen(&self, path: &str) -> reqwest::Response {
        let mut request = self.http.get(self.base.join(path).unwrap());
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response
    }

    /// Signs in; the visitor who comes back has the session.
    pub async fn sign_in(&self, email: &str, password: &str) -> Option<Self> {
        let form = self.get("/sign-in").await.forms("/sign-in").remove(0);
        let page = self.submit(&form.with("email", email).with("password", password)).await;
        let cookie = page.set_cookie.filter(|_| page.status == StatusCode::SEE_OTHER)?;
        Some(Self { cookie: Some(cookie), ..self.clone() })
    }

    /// Waits until a machine's page offers prices, and gives their forms.
    pub async fn price_forms(&self, code: &str) -> Vec<Form> {
        until("a ready scan page", async || {
            let forms = self.get(&format!("/s/{code}")).await.forms("/order");
            (!forms.is_empty()).then_some(forms)
        })
        .await
    }

    /// Orders at a machine: as far as the provider's page. Nothing, if the machine takes no money just now.
    pub async fn try_order(&self, code: &str) -> reqwest::Result<Option<Form>> {
        let forms = self.try_get(&format!("/s/{code}")).await?.forms("/order");
        let Some(form) = forms.first() else { return Ok(None) };
        let mut page = self.try_submit(form).await?;
        // Where the provider takes a while, our own pages wait and lead on.
        while let Some(next) = page.leads_to() {
            page = self.send(self.http.get(next)).await?;
        }
        Ok(page.forms("/h5/pay").pop())
    }

    /// Approves the payment, and gives the path of the sale's page. Nothing, if the provider knows of no such payment:
    /// where one was killed, the provider of another test's demo may have its address by now.
    pub async fn try_approve(&self, payment: &Form) -> reqwest::Result<Option<String>> {
        let approved = self.try_submit(&payment.clone().with("decision", "approve")).await?;
        Ok(approved.location.map(|back| back.path().to_owned()))
    }

    /// As [`Visitor::try_approve`], at a provider that runs.
    pub async fn approve(&self, payment: &Form) -> String {
        self.try_approve(payment).await.unwrap().expect("the provider sends its visitor back")
    }

    /// Buys the first price: scans, orders, approves. Gives the sale, paid and on its way.
    pub async fn buy(&self, code: &str) -> Bought {
        self.price_forms(code).await;
        let pulses = self.get(&format!("/s/{code}")).await.texts(".price small").remove(0);
        let pulses = pulses.split(' ').next().unwrap().parse().unwrap();
        let payment = self.try_order(code).await.unwrap().expect("the machine is ready");
        Bought { path: self.approve(&payment).await, pulses }
    }

    /// Waits until a sale has come to one of these states.
    pub async fn sale_state(&self, path: &str, states: &[&str]) -> String {
        let mut last = String::new();
        let looking = until_or(async || {
            let page = self.get(path).await;
            // Asked too often: other tests ask from the same address.
            let is_limited = page.status == StatusCode::TOO_MANY_REQUESTS;
            let state = page.sale_state();
            assert!(state.is_some() || is_limited, "no sale's page: {}", page.html);
            last = state?;
            states.contains(&last.as_str()).then(|| last.clone())
        });
        match looking.await {
            Some(state) => state,
            None => panic!("{path} did not come to {states:?} in time: it is {last:?}"),
        }
    }

    /// Pulses that a virtual machine has counted.
    pub async fn machine_pulses(&self, module: &str) -> u64 {
        let counted = self.get("/demo").await.texts(&format!("#module-{module} [data-pulses]"));
        counted[0].parse().unwrap()
    }

    /// Uses a button of the demo: coin, stop or start.
    pub async fn demo_button(&self, module: &str, action: &str) {
        let form = self.get("/demo").await.forms(&format!("/demo/modules/{module}/{action}")).remove(0);
        assert_eq!(self.submit(&form).await.status, StatusCode::SEE_OTHER);
    }
}
