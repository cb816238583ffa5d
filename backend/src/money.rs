//! Money: an amount in integer minor units of a currency.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A currency Coinwire can sell in. Both have two decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Currency {
    /// Chinese yuan; the minor unit is the fen.
    Cny,
    /// Euro; the minor unit is the cent.
    Eur,
}

impl Currency {
    /// All of them.
    pub const ALL: [Currency; 2] = [Currency::Cny, Currency::Eur];

    /// The ISO 4217 code.
    pub fn code(self) -> &'static str {
        match self {
            Currency::Cny => "CNY",
            Currency::Eur => "EUR",
        }
    }

    /// Reads an ISO 4217 code.
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|currency| currency.code() == code)
    }

    /// The sign people write before an amount.
    pub fn symbol(self) -> &'static str {
        match self {
            Currency::Cny => "¥",
            Currency::Eur => "€",
        }
    }
}

/// An amount of money. Negative amounts occur in ledgers only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// The amount in minor units (fen, cents).
    pub amount_minor: i64,
    /// Its currency.
    pub currency: Currency,
}

impl Money {
    /// An amount in a currency.
    pub fn new(amount_minor: i64, currency: Currency) -> Self {
        Self { amount_minor, currency }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.amount_minor < 0 { "-" } else { "" };
        let amount = self.amount_minor.unsigned_abs();
        write!(f, "{sign}{}{}.{:02}", self.currency.symbol(), amount / 100, amount % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_two_decimals_and_the_sign_in_front() {
        assert_eq!(Money::new(105, Currency::Cny).to_string(), "¥1.05");
        assert_eq!(Money::new(-5, Currency::Eur).to_string(), "-€0.05");
        assert_eq!(Money::new(i64::MIN, Currency::Cny).to_string(), "-¥92233720368547758.08");
    }
}
