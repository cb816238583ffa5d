//! Merchant accounts: each operator brings its own, stored encrypted.

use super::{
    account,
    bulkhead::{Bulkhead, Lane, Watched},
    provider::Provider,
    wechat,
};
use crate::{Backend, Error, Result, Rules, clock, sealed::Seal};
use sea_orm::{ActiveValue::Set, QueryOrder, prelude::*};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Makes a provider of a merchant account's stored configuration.
pub trait Providers: Send + Sync {
    /// `provider` is the stored word (`wechat`), `config` the stored JSON. An error names the field that is wrong.
    fn open(&self, provider: &str, config: &str) -> Result<Arc<dyn Provider>>;
}

/// The real providers.
pub struct RealProviders {
    http: reqwest::Client,
    clock: Arc<dyn clock::Clock>,
    random: Arc<dyn clock::Random>,
}

impl RealProviders {
    /// Providers reached over HTTPS with one connection pool.
    pub fn new(clock: Arc<dyn clock::Clock>, random: Arc<dyn clock::Random>) -> Result<Self> {
        let http = wechat::http_client()
            .map_err(|error| Error::Config { setting: "http client", message: error.to_string() })?;
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
            other => Err(wrong(format!("{other:?} is no provider; known: wechat"))),
        }
    }
}

/// What is known of merchant accounts: providers opened so far, and bulkheads.
pub(crate) struct OpenProviders {
    factory: Arc<dyn Providers>,
    clock: Arc<dyn clock::Clock>,
    rules: Arc<Rules>,
    known: Mutex<BTreeMap<i64, Known>>,
}

struct Known {
    bulkhead: Arc<Bulkhead>,
    opened: Option<Opened>,
}

/// The stored configuration a provider was made of, as it is sealed, and what it was opened to; nothing if it cannot be used.
type Opened = (Vec<u8>, Option<Arc<dyn Provider>>);

impl OpenProviders {
    pub fn new(factory: Arc<dyn Providers>, clock: Arc<dyn clock::Clock>, rules: Rules) -> Self {
        Self { factory, clock, rules: Arc::new(rules), known: Mutex::default() }
    }

    /// The provider of a stored account. Each sealing is another, so an account that was changed, by whichever process, is
    /// opened anew with the next call.
    fn of(&self, account: &account::Model, seal: &Seal) -> Result<Arc<dyn Provider>> {
        self.with(account.id, |known| {
            let before = known.opened.as_ref().filter(|(sealed, _)| *sealed == account.config_sealed);
            if let Some((_, Some(provider))) = before {
                return Ok(provider.clone());
            }
            let is_tried = before.is_some();
            match self.open(account, seal) {
                Ok(provider) => {
                    let watched: Arc<dyn Provider> = Arc::new(Watched::new(provider, known.bulkhead.clone()));
                    known.bulkhead.forget_failures();
                    known.opened = Some((account.config_sealed.clone(), Some(watched.clone())));
                    Ok(watched)
                }
                Err(error) => {
                    if !is_tried {
                        let (account, operator) = (account.id, account.operator_id);
                        tracing::error!(account, operator, %error, "a merchant account cannot be used; store it anew");
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

    fn with<T>(&self, account_id: i64, look: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        look(known.entry(account_id).or_insert_with(|| {
            let bulkhead = Bulkhead::new(account_id, self.clock.clone(), self.rules.clone());
            Known { bulkhead: Arc::new(bulkhead), opened: None }
        }))
    }

    /// An account's bulkhead.
    pub fn bulkhead(&self, account_id: i64) -> Arc<Bulkhead> {
        self.with(account_id, |known| known.bulkhead.clone())
    }

    /// The accounts that take no more work of that lane now.
    pub fn without_room(&self, lane: Lane) -> Vec<i64> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().filter(|(_, known)| !known.bulkhead.has_room(lane)).map(|(id, _)| *id).collect()
    }
}

fn purpose(token: &str) -> String {
    format!("merchant account {token}")
}

/// A merchant account in a list, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MerchantRow {
    /// Its number.
    pub account_id: i64,
    /// The operator's number.
    pub operator_id: i64,
    /// The provider's word.
    pub provider: String,
    /// Whether payments are taken by it.
    pub active: bool,
    /// Where the provider reports to.
    pub callbacks: String,
    /// Unix milliseconds.
    pub created_ms: i64,
}

impl Backend {
    /// Merchant accounts, of one operator or all, in the order of their numbers.
    pub async fn merchant_accounts(&self, operator_id: Option<i64>) -> Result<Vec<MerchantRow>> {
        let mut query = account::Entity::find();
        if let Some(operator_id) = operator_id {
            query = query.filter(account::Column::OperatorId.eq(operator_id));
        }
        let rows = query.order_by_asc(account::Column::Id).all(self.db.read()).await?;
        let listed = rows.into_iter().map(|row| MerchantRow {
            callbacks: self.notify_url(&row),
            account_id: row.id,
            operator_id: row.operator_id,
            provider: row.provider,
            active: row.active,
            created_ms: row.created_ms,
        });
        Ok(listed.collect())
    }

    /// Stores an operator's merchant account, or replaces the one of that provider. The configuration (JSON) is tried
    /// first. Gives the account's token, which stands in its notify address.
    pub async fn set_merchant_account(&self, operator_id: i64, provider: &str, config: &str) -> Result<String> {
        self.providers.factory.open(provider, config)?;
        self.operator_row(operator_id).await?;
        let existing = account::Entity::find()
            .filter(account::Column::OperatorId.eq(operator_id))
            .filter(account::Column::Provider.eq(provider))
            .one(self.db.read())
            .await?;
        let token = match &existing {
            Some(account) => account.token.clone(),
            None => clock::random_text(&*self.random, 26),
        };
        let sealed = self.seal.seal(&*self.random, &purpose(&token), config.as_bytes());
        let token = &token;
        let sealed = &sealed;
        let existing = &existing;
        self.db
            .write(|txn| async move {
                let txn = &*txn;
                match &existing {
                    Some(account) => {
                        let mut change: account::ActiveModel = account.clone().into();
                        change.config_sealed = Set(sealed.clone());
                        change.active = Set(true);
                        change.update_without_returning(txn).await?;
                    }
                    None => {
                        let row = account::ActiveModel {
                            operator_id: Set(operator_id),
                            provider: Set(provider.into()),
                            token: Set(token.clone()),
                            config_sealed: Set(sealed.clone()),
                            active: Set(true),
                            created_ms: Set(self.now_ms()),
                            ..Default::default()
                        };
                        let account_id = account::Entity::insert(row).exec(txn).await?.last_insert_id;
                        let first = super::statements::beginning(account_id);
                        super::statement::Entity::insert(first).exec_without_returning(txn).await?;
                    }
                }
                Ok(())
            })
            .await?;
        Ok(token.clone())
    }

    /// The account by which an operator takes payments, if there is one.
    pub(crate) async fn active_account(&self, operator_id: i64) -> Result<Option<account::Model>> {
        Ok(account::Entity::find()
            .filter(account::Column::OperatorId.eq(operator_id))
            .filter(account::Column::Active.eq(true))
            .one(self.db.read())
            .await?)
    }

    /// The account of that number, with its provider.
    pub(crate) async fn account(&self, account_id: i64) -> Result<(account::Model, Arc<dyn Provider>)> {
        let account = account::Entity::find_by_id(account_id)
            .one(self.db.read())
            .await?
            .ok_or(Error::NotFound("merchant account"))?;
        let provider = self.provider(&account)?;
        Ok((account, provider))
    }

    pub(crate) fn provider(&self, account: &account::Model) -> Result<Arc<dyn Provider>> {
        self.providers.of(account, &self.seal)
    }

    /// Where the provider reports to for an account.
    pub(crate) fn notify_url(&self, account: &account::Model) -> String {
        format!("{}/callbacks/{}/{}", self.public_url, account.provider, account.token)
    }
}
