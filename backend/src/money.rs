//! Money: an amount in integer minor units of a currency. How it is written is decided where it is shown.

use serde::{Deserialize, Serialize};

/// A currency Coinwire can sell in. Whether a payment in it is possible depends on the payment provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Currency {
    /// Chinese yuan; the minor unit is the fen.
    Cny,
    /// Euro; the minor unit is the cent.
    Eur,
    /// Japanese yen; it has no smaller unit.
    Jpy,
    /// Kuwaiti dinar; the minor unit is the fils, a thousandth.
    Kwd,
}

impl Currency {
    /// All of them.
    pub const ALL: [Currency; 4] = [Currency::Cny, Currency::Eur, Currency::Jpy, Currency::Kwd];

    /// The ISO 4217 code.
    pub fn code(self) -> &'static str {
        match self {
            Currency::Cny => "CNY",
            Currency::Eur => "EUR",
            Currency::Jpy => "JPY",
            Currency::Kwd => "KWD",
        }
    }

    /// Reads an ISO 4217 code.
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|currency| currency.code() == code)
    }

    /// How many decimals an amount in whole units has, by ISO 4217.
    pub fn decimals(self) -> u32 {
        match self {
            Currency::Jpy => 0,
            Currency::Cny | Currency::Eur => 2,
            Currency::Kwd => 3,
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

    /// The amount in whole units, with the currency's decimals: `1.05`, `-0.050`, `300`.
    pub fn decimal(self) -> String {
        let decimals = self.currency.decimals();
        let unit = 10u64.pow(decimals);
        let sign = if self.amount_minor < 0 { "-" } else { "" };
        let amount = self.amount_minor.unsigned_abs();
        match decimals {
            0 => format!("{sign}{amount}"),
            _ => format!("{sign}{}.{:0width$}", amount / unit, amount % unit, width = decimals as usize),
        }
    }
}

/// An amount in the currency in which it was paid, which may be an unknown one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PaidMoney {
    /// The amount in the currency's minor units, as the provider counts them.
    pub amount_minor: i64,
    /// The ISO 4217 code, as the provider writes it.
    pub currency: String,
}

impl PaidMoney {
    /// As money, if the currency is known.
    pub fn known(&self) -> Option<Money> {
        Currency::parse(&self.currency).map(|currency| Money::new(self.amount_minor, currency))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_has_the_decimals_of_its_currency() {
        assert_eq!(Money::new(105, Currency::Cny).decimal(), "1.05");
        assert_eq!(Money::new(-5, Currency::Eur).decimal(), "-0.05");
        assert_eq!(Money::new(300, Currency::Jpy).decimal(), "300");
        assert_eq!(Money::new(1050, Currency::Kwd).decimal(), "1.050");
        assert_eq!(Money::new(-5, Currency::Kwd).decimal(), "-0.005");
        assert_eq!(Money::new(i64::MIN, Currency::Cny).decimal(), "-92233720368547758.08");
    }
}
