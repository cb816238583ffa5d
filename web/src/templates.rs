//! Templates (tera) and static files, embedded in the binary.

use crate::{
    locale::{Language, Texts},
    money,
};
use backend::{money::PaidMoney, zones::Zone};
use chrono::{DateTime, SecondsFormat};
use poem::i18n::I18NArgs;
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Arc};
use tera::{Context, Error, Kwargs, Map, State, Tera, TeraResult, Value};

#[derive(RustEmbed)]
#[folder = "templates/"]
struct TemplateFiles;

#[cfg(feature = "demo")]
#[derive(RustEmbed)]
#[folder = "demo/"]
struct DemoFiles;

#[derive(RustEmbed)]
#[folder = "static/"]
struct StaticFiles;

/// Hexadecimal digits of the content's hash in a static file's name.
const HASH_DIGITS: usize = 10;

/// The pages' templates, one set for each language, and the static files they use.
pub struct Templates {
    zh: Tera,
    en: Tera,
    assets: Arc<Assets>,
}

/// Static files by the name they are served under.
#[derive(Default)]
pub(crate) struct Assets {
    hashed_names: BTreeMap<String, String>,
    files: BTreeMap<String, Asset>,
}

/// A static file.
pub(crate) struct Asset {
    pub(crate) content_type: &'static str,
    pub(crate) bytes: Vec<u8>,
}

impl Templates {
    /// Compiles the embedded templates.
    ///
    /// # Errors
    /// If one does not compile, which a test rules out.
    pub fn load() -> Result<Self, Error> {
        let assets = Arc::new(Assets::load());
        Ok(Self { zh: compile(Language::Zh, &assets)?, en: compile(Language::En, &assets)?, assets })
    }

    /// Renders a template.
    ///
    /// # Errors
    /// If it uses a text or a variable that does not exist.
    pub fn render(&self, language: Language, template: &str, context: &Context) -> Result<String, Error> {
        match language {
            Language::Zh => self.zh.render(template, context),
            Language::En => self.en.render(template, context),
        }
    }

    /// A static file by the name in its address.
    pub(crate) fn asset(&self, hashed_name: &str) -> Option<&Asset> {
        self.assets.files.get(hashed_name)
    }

    /// The address of a static file.
    pub fn asset_path(&self, name: &str) -> Option<String> {
        self.assets.path(name)
    }
}

impl Assets {
    fn load() -> Self {
        let mut assets = Self::default();
        for name in StaticFiles::iter() {
            let Some(file) = StaticFiles::get(&name) else { continue };
            let Some((stem, extension)) = name.rsplit_once('.') else { continue };
            let content_type = match extension {
                "css" => "text/css; charset=utf-8",
                "js" => "text/javascript; charset=utf-8",
                "svg" => "image/svg+xml",
                _ => continue,
            };
            let digest = hex::encode(Sha256::digest(&file.data));
            let hashed_name = format!("{stem}.{}.{extension}", &digest[..HASH_DIGITS]);
            assets.hashed_names.insert(name.to_string(), hashed_name.clone());
            assets.files.insert(hashed_name, Asset { content_type, bytes: file.data.into_owned() });
        }
        assets
    }

    fn path(&self, name: &str) -> Option<String> {
        self.hashed_names.get(name).map(|hashed| format!("/static/{hashed}"))
    }
}

fn compile(language: Language, assets: &Arc<Assets>) -> Result<Tera, Error> {
    let mut tera = Tera::new();
    let texts = Texts::new(&Language::resources(), language);
    tera.register_function("t", move |kwargs: Kwargs, _: &State| text(&texts, &kwargs));
    let assets = assets.clone();
    tera.register_function("asset", move |kwargs: Kwargs, _: &State| {
        let name: &str = kwargs.must_get("name")?;
        assets.path(name).ok_or_else(|| Error::message(format!("there is no static file {name}")))
    });
    tera.register_function("money", |kwargs: Kwargs, _: &State| Ok::<_, Error>(money::text(&amount(&kwargs)?)));
    tera.register_function("decimal", |kwargs: Kwargs, _: &State| -> TeraResult<String> {
        let amount = amount(&kwargs)?;
        let known = amount.known().ok_or_else(|| Error::message(format!("{} is not sold in", amount.currency)))?;
        Ok(known.decimal())
    });
    tera.register_function("when", |kwargs: Kwargs, state: &State| when(&kwargs, state));
    let files = template_files::<TemplateFiles>()?;
    #[cfg(feature = "demo")]
    let files = [files, template_files::<DemoFiles>()?].concat();
    tera.add_raw_templates(files.iter().map(|(name, content)| (name.as_str(), content.as_str())))?;
    Ok(tera)
}

/// The argument `of`, an amount with its currency.
fn amount(kwargs: &Kwargs) -> TeraResult<PaidMoney> {
    let of: &Map = kwargs.must_get("of")?;
    let field = |name: &'static str| of.get(&name.into()).ok_or_else(|| Error::message(format!("no {name} in it")));
    let amount_minor = field("amount_minor")?.as_i64().ok_or_else(|| Error::message("amount_minor is no number"))?;
    let currency = field("currency")?.as_str().ok_or_else(|| Error::message("currency is no text"))?;
    Ok(PaidMoney { amount_minor, currency: currency.to_owned() })
}

fn template_files<F: RustEmbed>() -> TeraResult<Vec<(String, String)>> {
    let mut files = Vec::new();
    for name in F::iter() {
        let Some(file) = F::get(&name) else { continue };
        let content = String::from_utf8(file.data.into_owned())
            .map_err(|error| Error::message(format!("template {name} is not UTF-8: {error}")))?;
        files.push((name.to_string(), content));
    }
    Ok(files)
}

/// `t(k="key", ..)`: the text of a key; other arguments go into the text.
fn text(texts: &Texts, kwargs: &Kwargs) -> TeraResult<String> {
    let key: &str = kwargs.must_get("k")?;
    let mut args = I18NArgs::default();
    for (name, value) in kwargs.iter() {
        let name = name.to_string();
        if name == "k" {
            continue;
        }
        args = match (value.as_i64(), value.as_str()) {
            (Some(number), _) => args.set(name, number),
            (None, Some(text)) => args.set(name, text.to_owned()),
            (None, None) => return Err(Error::message(format!("text {key}: argument {name} is no text or number"))),
        };
    }
    texts.get(key, args).map_err(Error::message)
}

/// `when(ms=..)`: a time as a `<time>` element. On an operator's pages it is in the operator's time zone, wherever the
/// reader is; on other pages it is in UTC, which the script converts to the reader's own time.
fn when(kwargs: &Kwargs, state: &State) -> TeraResult<Value> {
    let ms: i64 = kwargs.must_get("ms")?;
    let time = DateTime::from_timestamp_millis(ms).ok_or_else(|| Error::message(format!("{ms} ms is not a time")))?;
    let machine = time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let name = state.get::<String>("time_zone")?;
    let zone = name.as_deref().and_then(|name| Zone::parse(name).ok());
    if let Some((zone, words)) = zone.and_then(|zone| zone.text(ms).map(|words| (zone, words))) {
        let name = zone.name();
        return Ok(Value::safe_string(&format!("<time datetime=\"{machine}\" data-zone=\"{name}\">{words}</time>")));
    }
    let words = time.format("%Y-%m-%d %H:%M UTC");
    Ok(Value::safe_string(&format!("<time datetime=\"{machine}\">{words}</time>")))
}
