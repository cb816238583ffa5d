//! Settings: `settings.toml` has each with a comment, its default and an example; a file and the environment override
//! them.

use anyhow::{Context, Result, bail};
use figment::{
    Figment, Metadata, Profile, Provider,
    providers::{Env, Format, Toml},
    value::{Dict, Map, Value},
};
use serde::Deserialize;
use std::{fs, io::Write, net::SocketAddr, path::Path};

/// All settings with comments and defaults, as `coinwire config` prints them.
pub const ANNOTATED: &str = include_str!("../settings.toml");

/// The settings. `settings.toml` says what each means.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub database_url: Secret,
    pub secret_key_file: String,
    pub http_listen: SocketAddr,
    pub public_url: String,
    #[serde(deserialize_with = "address_or_none")]
    pub metrics_listen: Option<SocketAddr>,
    pub trusted_proxies: Vec<String>,
    pub proxy_header: String,
    pub trust_proxy_header: bool,
    #[serde(deserialize_with = "address_or_none")]
    pub mqtt_listen: Option<SocketAddr>,
    #[serde(deserialize_with = "address_or_none")]
    pub mqtt_tls_listen: Option<SocketAddr>,
    pub mqtt_tls_certificate: String,
    pub mqtt_tls_key: String,
    pub mqtt_tls_client_ca: String,
    #[serde(deserialize_with = "address_or_none")]
    pub mqtt_ws_listen: Option<SocketAddr>,
    pub admins: Vec<String>,
    pub mqtt_connections: usize,
    pub mqtt_connections_per_address: usize,
    pub mqtt_module_publishes_per_minute: u32,
    pub broker_url: String,
    pub broker_username: String,
    pub broker_password: Secret,
    pub scans_per_minute: u32,
    pub orders_per_minute: u32,
    pub sign_ins_per_minute: u32,
    pub sign_ins_per_email_per_minute: u32,
    pub http_connections: u32,
    pub http_connections_per_address: u32,
    pub live_streams: u32,
    pub live_streams_per_address: u32,
    pub live_streams_per_member: u32,
    pub live_streams_per_sale: u32,
    pub log: String,
    mqtt_limits: broker::Limits,
}

/// Limits of the broker that have their own setting outside of the table: their names there and here.
const NAMED_LIMITS: [(&str, &str); 3] = [
    ("connections", "mqtt_connections"),
    ("connections_per_address", "mqtt_connections_per_address"),
    ("device_publishes_per_minute", "mqtt_module_publishes_per_minute"),
];
/// The table of the others.
const LIMITS_TABLE: &str = "mqtt_limits";

/// A text that must not be printed.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

fn address_or_none<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| serde::de::Error::custom(format!("{text:?} is no address like 127.0.0.1:1883")))
}

/// The environment's settings. A setting whose default is a text stays a text even if it looks like a number: a
/// password of digits must keep its zeros, and must not appear in an error.
struct Environment;

impl Environment {
    fn variables() -> Env {
        // COINWIRE_CONFIG names the file and is not a setting. Two underscores separate a table from its key.
        Env::prefixed("COINWIRE_").ignore(&["config"]).split("__")
    }
}

impl Provider for Environment {
    fn metadata(&self) -> Metadata {
        Self::variables().metadata()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let defaults = Figment::from(Toml::string(ANNOTATED));
        let value = |key: &str, text: String| -> Value {
            if matches!(defaults.find_value(key), Ok(Value::String(..))) {
                return text.into();
            }
            let Ok(parsed) = text.parse();
            parsed
        };
        let variables = Self::variables();
        let mut settings = Dict::new();
        for (key, text) in variables.iter() {
            let value = value(key.as_str(), text);
            let Some((table, name)) = key.as_str().split_once('.') else {
                settings.insert(key.to_string(), value);
                continue;
            };
            let table = settings.entry(table.to_owned()).or_insert_with(|| Dict::new().into());
            if let Value::Dict(_, entries) = table {
                entries.insert(name.to_owned(), value);
            }
        }
        Ok(Profile::Default.collect(settings))
    }
}

impl Settings {
    /// Only the defaults.
    #[cfg(any(feature = "demo", test))]
    pub fn defaults() -> Result<Self> {
        Figment::from(Toml::string(ANNOTATED)).extract().context("the built-in settings are damaged")
    }

    /// Reads the defaults, then the file if one is named, then the environment.
    pub fn read(file: Option<&Path>) -> Result<Self> {
        let mut figment = Figment::from(Toml::string(ANNOTATED));
        if let Some(file) = file {
            if !file.is_file() {
                bail!("there is no configuration file {}", file.display());
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        let figment = figment.merge(Environment);
        for (limit, name) in NAMED_LIMITS {
            if figment.contains(&format!("{LIMITS_TABLE}.{limit}")) {
                bail!("{LIMITS_TABLE}.{limit} is not in the table: it is the setting {name}, so set that");
            }
        }
        let settings: Self = figment.extract().context("a setting is wrong")?;
        settings.check_broker_limits()?;
        if settings.mqtt_listen.is_some() != settings.broker_url.is_empty() {
            bail!(
                "set either mqtt_listen (the embedded broker) or broker_url (an external one), not both and not neither"
            );
        }
        if settings.mqtt_listen.is_none() && (settings.mqtt_tls_listen.is_some() || settings.mqtt_ws_listen.is_some()) {
            bail!("mqtt_tls_listen and mqtt_ws_listen need the embedded broker, but mqtt_listen is empty");
        }
        settings.proxies()?;
        for (name, value) in [
            ("http_connections", settings.http_connections),
            ("http_connections_per_address", settings.http_connections_per_address),
        ] {
            if value == 0 {
                bail!("setting {name} is 0, and nobody could connect: it must be at least 1");
            }
        }
        let has_files = !settings.mqtt_tls_certificate.is_empty() && !settings.mqtt_tls_key.is_empty();
        if settings.mqtt_tls_listen.is_some() && !has_files {
            bail!("mqtt_tls_listen needs mqtt_tls_certificate and mqtt_tls_key");
        }
        Ok(settings)
    }

    /// The proxies that are trusted to give a visitor's address.
    pub fn proxies(&self) -> Result<web::TrustedProxies> {
        let header = self.proxy_header.parse().map_err(|error| anyhow::anyhow!("setting proxy_header: {error}"))?;
        if self.trusted_proxies.is_empty() {
            let nearby = self.trust_proxy_header.then(|| web::TrustedProxies::one_nearby(header));
            return Ok(nearby.unwrap_or_else(web::TrustedProxies::none));
        }
        if self.trust_proxy_header {
            bail!("trusted_proxies replaces trust_proxy_header = true: remove trust_proxy_header");
        }
        web::TrustedProxies::these(&self.trusted_proxies, header)
            .map_err(|error| anyhow::anyhow!("setting trusted_proxies: {error}"))
    }

    /// The limits of the embedded broker.
    pub fn broker_limits(&self) -> broker::Limits {
        broker::Limits {
            connections: self.mqtt_connections,
            connections_per_address: self.mqtt_connections_per_address,
            device_publishes_per_minute: self.mqtt_module_publishes_per_minute,
            ..self.mqtt_limits.clone()
        }
    }

    /// Checks that a broker can work with its limits, and the backend and modules with the broker.
    fn check_broker_limits(&self) -> Result<()> {
        let limits = self.broker_limits();
        limits.check().map_err(|error| {
            let broker::LimitError { name, value, must } = error;
            anyhow::anyhow!("setting {} is {value}, which cannot work: it must be {must}", setting_of_limit(name))
        })?;
        // The minimum for the backend's client and for modules, and a topic's longest name.
        for (limit, value, least) in [
            ("connections", limits.connections, 2),
            ("subscriptions", limits.subscriptions, 3),
            ("user_name_bytes", limits.user_name_bytes, 64),
            ("password_bytes", limits.password_bytes, 64),
            ("topic_bytes", limits.topic_bytes, 64),
            ("topic_levels", limits.topic_levels, 8),
        ] {
            if value < least {
                bail!("setting {} is {value}, which cannot work: it must be at least {least}", setting_of_limit(limit));
            }
        }
        Ok(())
    }
}

/// The name of a broker's limit among the settings.
fn setting_of_limit(limit: &str) -> String {
    match NAMED_LIMITS.iter().find(|(named, _)| *named == limit) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("{LIMITS_TABLE}.{limit}"),
    }
}

/// Writes a file that only its owner may read, and makes sure it is on the disk.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use figment::error::Kind;

    #[test]
    fn the_printed_settings_are_the_defaults_and_complete() {
        let settings = Settings::defaults().unwrap();
        assert_eq!(settings.http_listen.port(), 8080);
        assert!(settings.mqtt_listen.is_some());
    }

    #[test]
    fn a_wrong_value_is_named() {
        let figment = Figment::from(Toml::string(ANNOTATED)).merge(Toml::string("http_listen = \"here\""));
        let error = figment.extract::<Settings>().unwrap_err().to_string();
        assert!(error.contains("http_listen"), "{error}");
        let figment = Figment::from(Toml::string(ANNOTATED)).merge(Toml::string("htp_listen = \"127.0.0.1:1\""));
        let error = figment.extract::<Settings>().unwrap_err().to_string();
        assert!(error.contains("htp_listen"), "{error}");
    }

    #[test]
    fn the_printed_limits_of_the_broker_are_its_own_and_complete() {
        let settings = Settings::defaults().unwrap();
        assert_eq!(settings.broker_limits(), broker::Limits::default());
        // The error for an unknown name lists all names.
        let unknown = Figment::from(Toml::string("nothing = 1")).extract::<broker::Limits>().unwrap_err();
        let Kind::UnknownField(_, limits) = unknown.kind else { panic!("{unknown}") };
        let printed = Figment::from(Toml::string(ANNOTATED));
        for limit in limits {
            assert!(printed.contains(&setting_of_limit(limit)), "{limit} is not in settings.toml");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let settings = Settings::defaults().unwrap();
        assert!(!format!("{settings:?}").contains("sqlite"));
    }
}
