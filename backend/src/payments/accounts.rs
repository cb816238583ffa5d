//! Merchant accounts: each operator brings its own, stored encrypted.

use super::{account, provider::Provider, wechat};
use crate::{Backend, Error, Result, clock, sealed::Seal};
use sea_orm::{ActiveValue::Set, prelude::*};
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
                    Arc::new(move || clock.now_ms()),
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

/// Providers opened so far, by account.
pub(crate) struct OpenProviders {
    factory: Arc<dyn Providers>,
    open: Mutex<BTreeMap<i64, Arc<dyn Provider>>>,
}

impl OpenProviders {
    pub fn new(factory: Arc<dyn Providers>) -> Self {
        Self { factory, open: Mutex::default() }
    }

    fn of(&self, account: &account::Model, seal: &Seal) -> Result<Arc<dyn Provider>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(provider) = open.get(&account.id) {
            return Ok(provider.clone());
        }
        let config = seal.open(&purpose(&account.token), &account.config_sealed)?;
        let config = String::from_utf8(config).map_err(|_| Error::Sealed)?;
        let provider = self.factory.open(&account.provider, &config)?;
        open.insert(account.id, provider.clone());
        Ok(provider)
    }

    fn forget(&self, account_id: i64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&account_id);
    }
}

fn purpose(token: &str) -> String {
    format!("merchant account {token}")
}

impl Backend {
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
        if let Some(account) = existing {
            self.providers.forget(account.id);
        }
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
