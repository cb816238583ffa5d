//! Languages: which one a request gets, and the texts of each (Fluent, in `locales/`).

use poem::{
    FromRequest, Request,
    i18n::{I18NArgs, I18NBundle, I18NResources, Locale, unic_langid::LanguageIdentifier},
    web::cookie::{Cookie, SameSite},
};
use serde::Serialize;
use std::time::Duration;

/// Remembers a language picked by hand.
const LANGUAGE_COOKIE: &str = "cw_lang";
const LANGUAGE_COOKIE_AGE: Duration = Duration::from_secs(365 * 24 * 3600);

/// A language of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Chinese.
    Zh,
    /// English.
    En,
}

impl Language {
    /// All of them.
    pub const ALL: [Language; 2] = [Language::Zh, Language::En];

    /// Its code, as in `?lang=` and the cookie.
    pub fn code(self) -> &'static str {
        match self {
            Language::Zh => "zh",
            Language::En => "en",
        }
    }

    /// Its code for `<html lang>`.
    pub fn html(self) -> &'static str {
        match self {
            Language::Zh => "zh-CN",
            Language::En => "en",
        }
    }

    /// The one to switch to.
    pub fn other(self) -> Self {
        match self {
            Language::Zh => Language::En,
            Language::En => Language::Zh,
        }
    }

    fn parse(code: &str) -> Option<Self> {
        Language::ALL.into_iter().find(|language| language.code() == code)
    }

    fn texts(self) -> &'static str {
        match self {
            Language::Zh => include_str!("../locales/zh.ftl"),
            Language::En => include_str!("../locales/en.ftl"),
        }
    }

    fn identifier(self) -> LanguageIdentifier {
        self.code().parse().expect("zh and en are language identifiers")
    }

    /// All texts, in the form that poem needs.
    pub(crate) fn resources() -> I18NResources {
        let mut builder = I18NResources::builder().default_language(Language::En.identifier());
        for language in Language::ALL {
            builder = builder.add_ftl(language.code(), language.texts());
        }
        builder.build().expect("the embedded texts parse, as a test shows")
    }

    /// The language for a request: chosen in the address, chosen before, or the browser's.
    pub(crate) async fn of(request: &Request) -> Self {
        if let Some(picked) = Self::picked(request) {
            return picked;
        }
        if let Some(before) = request.cookie().get(LANGUAGE_COOKIE).and_then(|c| Self::parse(c.value_str())) {
            return before;
        }
        let Ok(locale) = Locale::from_request_without_body(request).await else { return Language::En };
        locale.text("language-code").ok().and_then(|code| Self::parse(&code)).unwrap_or(Language::En)
    }

    /// The language picked in the address.
    pub(crate) fn picked(request: &Request) -> Option<Self> {
        let query = request.uri().query()?;
        let (_, code) = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "lang")?;
        Self::parse(&code)
    }

    /// Remembers it in the browser.
    pub(crate) fn remember(self, request: &Request, secure: bool) {
        let mut cookie = Cookie::new_with_str(LANGUAGE_COOKIE, self.code());
        cookie.set_path("/");
        cookie.set_http_only(true);
        cookie.set_secure(secure);
        cookie.set_same_site(SameSite::Lax);
        cookie.set_max_age(LANGUAGE_COOKIE_AGE);
        request.cookie().add(cookie);
    }
}

/// The texts of one language.
pub(crate) struct Texts(I18NBundle);

impl Texts {
    pub(crate) fn new(resources: &I18NResources, language: Language) -> Self {
        Self(resources.negotiate_languages(&[language.identifier()]))
    }

    /// The text of a key. A missing key or a missing argument is an error.
    pub(crate) fn get(&self, key: &str, args: I18NArgs<'_>) -> Result<String, String> {
        let text = self.0.text_with_args(key, args).map_err(|error| format!("text {key}: {error}"))?;
        // Fluent wraps arguments in marks of direction, which no language here needs and some fonts show as boxes.
        Ok(text.replace(['\u{2068}', '\u{2069}'], ""))
    }
}
