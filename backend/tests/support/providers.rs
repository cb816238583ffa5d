//! The providers that accounts of the tests are with.

use backend::{
    Result,
    payments::{Providers, RealProviders, provider::Provider},
};
use fake_providers::{
    bank::{self, Bank},
    kiosk::{self, Kiosk},
};
use std::sync::Arc;

/// Opens accounts at the bank under the word `bank`, at the kiosk under `kiosk`, and real providers under theirs.
pub struct TestProviders {
    pub bank: Arc<Bank>,
    pub kiosk: Arc<Kiosk>,
    pub real: RealProviders,
}

impl Providers for TestProviders {
    fn open(&self, provider: &str, config: &str) -> Result<Arc<dyn Provider>> {
        match provider {
            "bank" => bank::open(self.bank.clone(), config),
            "kiosk" => kiosk::open(self.kiosk.clone(), config),
            other => self.real.open(other, config),
        }
    }
}
