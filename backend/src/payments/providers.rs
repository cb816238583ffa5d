//! Providers of stored merchant accounts. Each account is opened once and has its own bulkhead.

use crate::{
    Error, Result, Rules, clock,
    ids::AccountId,
    payments::{
        account, alipay,
        bulkhead::{Bulkhead, Lane, MonitoredProvider},
        http,
        provider::Provider,
        wechat,
    },
    sealed::Seal,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Makes a provider of a merchant account's stored configuration.
pub trait Providers: Send + Sync {
    /// `provider` is the stored word (`wechat`), `config` the stored JSON.
    ///
    /// # Errors
    ///
    /// `Invalid` names the field that is wrong, or the provider that nobody knows.
    fn open(&self, provider: &str, config: &str) -> Result<Arc<dyn Provider>>;
}

/// The real providers.
pub struct RealProviders {
    http: reqwest::Client,
    clock: Arc<dyn clock::Clock>,
    random: Arc<dyn clock::Random>,
}

impl RealProviders {
    /// Providers reached over HTTPS through one connection pool.
    ///
    /// # Errors
    ///
    /// `Config` if the system's certificates cannot be used.
    pub fn new(clock: Arc<dyn clock::Clock>, random: Arc<dyn clock::Random>) -> Result<Self> {
        let http =
            http::client().map_err(|error| Error::Config { setting: "http client", message: error.to_string() })?;
        Ok(Self { http, clock, random })
    }
}

impl Providers for RealProviders {
    fn open(&self, provider: &str, config: &str) -> Result<Arc<dyn Provider>> {
        let wrong = |message: String| Error::invalid("merchant account", message);
        match provider {
            "wechat" => {
                let account = serde_json::from_str(config).map_err(|error| wrong(error.to_string()))?;
                let clock = self.clock.clone();
                let random = self.random.clone();
                let pay = wechat::WechatPay::new(
                    account,
                    self.http.clone(),
                    Arc::new(move || clock.wall_ms()),
                    Arc::new(move || {
                        let mut nonce = [0; 16];
                        random.fill(&mut nonce);
                        nonce
                    }),
                )
                .map_err(|error| wrong(error.to_string()))?;
                Ok(Arc::new(pay))
            }
            "alipay" => {
                let account = serde_json::from_str(config).map_err(|error| wrong(error.to_string()))?;
                let clock = self.clock.clone();
                let pay = alipay::Alipay::new(&account, self.http.clone(), Arc::new(move || clock.wall_ms()))
                    .map_err(|error| wrong(error.to_string()))?;
                Ok(Arc::new(pay))
            }
            other => Err(wrong(format!("{other:?} is no provider; known: alipay, wechat"))),
        }
    }
}

/// What is remembered about merchant accounts: providers opened so far, and bulkheads.
pub(crate) struct OpenProviders {
    pub(crate) factory: Arc<dyn Providers>,
    clock: Arc<dyn clock::Clock>,
    rules: Arc<Rules>,
    known: Mutex<BTreeMap<AccountId, Known>>,
}

struct Known {
    bulkhead: Arc<Bulkhead>,
    opened: Option<Opened>,
}

/// The sealed configuration a provider was made from, and the provider; `None` if the configuration cannot be used.
type Opened = (Vec<u8>, Option<Arc<dyn Provider>>);

impl OpenProviders {
    pub fn new(factory: Arc<dyn Providers>, clock: Arc<dyn clock::Clock>, rules: Rules) -> Self {
        Self { factory, clock, rules: Arc::new(rules), known: Mutex::default() }
    }

    /// The provider of a stored account. Each sealing gives other bytes, so an account that was changed, by whichever
    /// process, is opened again with the next call.
    pub(crate) fn of(&self, account: &account::Model, seal: &Seal) -> Result<Arc<dyn Provider>> {
        self.with(account.id, |known| {
            let before = known.opened.as_ref().filter(|(sealed, _)| *sealed == account.config_sealed);
            if let Some((_, Some(provider))) = before {
                return Ok(provider.clone());
            }
            let is_tried = before.is_some();
            match self.open(account, seal) {
                Ok(provider) => {
                    let watched: Arc<dyn Provider> = Arc::new(MonitoredProvider::new(provider, known.bulkhead.clone()));
                    known.bulkhead.forget_failures();
                    known.opened = Some((account.config_sealed.clone(), Some(watched.clone())));
                    Ok(watched)
                }
                Err(error) => {
                    if !is_tried {
                        let (account, operator) = (account.id, account.operator_id.0);
                        tracing::error!(%account, operator, %error, "a merchant account cannot be used; store it again");
                    }
                    known.opened = Some((account.config_sealed.clone(), None));
                    Err(error)
                }
            }
        })
    }

    fn open(&self, account: &account::Model, seal: &Seal) -> Result<Arc<dyn Provider>> {
        let config = seal.open(&purpose(&account.token), &account.config_sealed)?;
        let config = String::from_utf8(config).map_err(|_| Error::Sealed)?;
        self.factory.open(&account.provider, &config)
    }

    fn with<T>(&self, account_id: AccountId, look: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        look(known.entry(account_id).or_insert_with(|| {
            let bulkhead = Bulkhead::new(account_id, self.clock.clone(), self.rules.clone());
            Known { bulkhead: Arc::new(bulkhead), opened: None }
        }))
    }

    /// An account's bulkhead.
    pub fn bulkhead(&self, account_id: AccountId) -> Arc<Bulkhead> {
        self.with(account_id, |known| known.bulkhead.clone())
    }

    /// The accounts whose lane is full now.
    pub fn saturated_accounts(&self, lane: Lane) -> Vec<AccountId> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter(|(_, known)| !known.bulkhead.has_room(lane)).map(|(id, _)| *id).collect()
    }
}

pub(crate) fn purpose(token: &str) -> String {
    format!("merchant account {token}")
}
