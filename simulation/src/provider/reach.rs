//! The providers as the backend reaches them.

use super::{
    PAY_URL, ProviderBooks,
    calls::{Caller, Way},
    manner::Manner,
};
use crate::time::Time;
use async_trait::async_trait;
use backend::payments::{
    Providers,
    provider::{PaymentRequest, Provider, ProviderError},
};
use fake_providers::{
    account::{Account, Act, Asked, Conduct},
    notice::Config,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The providers, over their common books.
pub struct SimProvider {
    provider_books: Arc<Mutex<ProviderBooks>>,
    time: Arc<Time>,
}

impl SimProvider {
    /// The providers over books.
    pub fn new(provider_books: Arc<Mutex<ProviderBooks>>, time: Arc<Time>) -> Self {
        Self { provider_books, time }
    }
}

impl Providers for SimProvider {
    fn open(&self, word: &str, config: &str) -> backend::Result<Arc<dyn Provider>> {
        let wrong = |what: String| backend::Error::invalid("merchant account", what);
        let manner = Manner::of_word(word).ok_or_else(|| wrong(format!("{word:?} is no provider")))?;
        let config: Config = serde_json::from_str(config).map_err(|error| wrong(error.to_string()))?;
        let account = config.merchant.parse().map_err(|_| wrong("names no account".into()))?;
        let (provider_books, time) = (self.provider_books.clone(), self.time.clone());
        let conduct = ByChance { provider_books, time, caller: Caller { account, config: config.clone(), manner } };
        Ok(Arc::new(Account::new(conduct, config, manner.habits, PAY_URL)))
    }
}

/// How calls of an account are met.
struct ByChance {
    provider_books: Arc<Mutex<ProviderBooks>>,
    time: Arc<Time>,
    caller: Caller,
}

impl ByChance {
    fn provider_books(&self) -> MutexGuard<'_, ProviderBooks> {
        self.provider_books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Conduct for ByChance {
    /// A call, and its answer: each on its way for some time. Whoever no longer waits for it has it dropped.
    async fn meet(&self, asked: Asked<'_>, act: &mut Act<'_>) -> Result<(), ProviderError> {
        let Way { there_ms, back_ms } = self.provider_books().way(self.caller.account);
        self.time.sleep_ms(there_ms).await;
        let (slow_ms, answer) = {
            let mut provider_books = self.provider_books();
            let (slow_ms, answer) = provider_books.met(&self.caller, asked, act);
            let (call, number) = (asked.call(), asked.number());
            provider_books.notes.push(format!("provider {call:?} {number}: {answer:?}, {back_ms} ms later"));
            (slow_ms, answer)
        };
        self.time.sleep_ms(back_ms).await;
        self.time.sleep_ms(slow_ms).await;
        answer
    }

    fn sign(&self, request: &PaymentRequest, act: &mut Act<'_>) {
        self.provider_books().take_order(&self.caller, request, act);
    }
}
