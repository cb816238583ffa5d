//! The states of attempts, refunds, statements and disputes, and the causes of refunds.

use sea_orm::entity::prelude::*;
use serde::Serialize;
use std::{fmt, str::FromStr};
use strum::IntoStaticStr;

/// The state of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum, IntoStaticStr)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum StatementState {
    /// To be read.
    Due,
    /// Read.
    Read,
    /// There was none.
    None,
    /// It could not be fetched.
    Missed,
}

/// Why money is refunded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumIter, IntoStaticStr, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub enum Cause {
    /// Paid after expiry, or known too late.
    Late,
    /// The sale was paid twice.
    SecondPayment,
    /// The module failed to give all pulses.
    ModuleFailed,
    /// The command reached the module too late.
    ModuleExpired,
    /// The module did not answer.
    ModuleSilent,
    /// The module no longer knows whether it gave the credit.
    ModuleForgot,
    /// A person gave money back. A payment may have several of these.
    #[strum(serialize = "by_hand")]
    Manual,
    /// A person ended a review by giving the money back.
    Settled,
    /// Somebody gave money back at the provider: either that refund, or ours of the rest.
    #[strum(serialize = "refunded_elsewhere")]
    Elsewhere,
}

impl Cause {
    /// The word for it, as stored and shown.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Identifies a refund of a payment: its cause, and its ordinal if there are several of one cause. Stored as `late`,
/// `by_hand_2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, DeriveValueType)]
#[sea_orm(value_type = "String")]
pub struct RefundCause {
    /// Why.
    pub cause: Cause,
    /// Counts from 1; `None` for a refund that is the only one of its cause.
    pub number: Option<u32>,
}

impl RefundCause {
    /// The only refund of its cause.
    pub fn only(cause: Cause) -> Self {
        Self { cause, number: None }
    }
}

impl fmt::Display for RefundCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => write!(f, "{}_{number}", self.cause.as_str()),
            None => f.write_str(self.cause.as_str()),
        }
    }
}

impl FromStr for RefundCause {
    type Err = strum::ParseError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        if let Some((cause, number)) = word.rsplit_once('_')
            && let Ok(number) = number.parse()
        {
            return Ok(Self { cause: cause.parse()?, number: Some(number) });
        }
        Ok(Self::only(word.parse()?))
    }
}

/// The state of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))", rename_all = "snake_case")]
pub enum AttemptState {
    /// Committed; the provider may or may not know of it.
    Created,
    /// The provider waits for the payer.
    Pending,
    /// Paid.
    Paid,
    /// Paid in another amount or currency than asked.
    PaidWrong,
    /// Can no longer be paid.
    Closed,
}

/// The state of a refund in the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))", rename_all = "snake_case")]
pub enum RefundProgress {
    /// Decided; can be taken back.
    Pending,
    /// Being submitted to the provider; the same number may be sent again.
    Submitted,
    /// The provider has it and works on it.
    Processing,
    /// The money was refunded.
    Done,
    /// Taken back before it was submitted, or never made.
    Cancelled,
    /// Decided, but held back while the payment is in dispute; can be taken back.
    Held,
    /// A person must act.
    Stuck,
}

impl AttemptState {
    /// The states in which money may still come.
    pub(crate) const OPEN: [Self; 2] = [Self::Created, Self::Pending];
    /// The states in which money came.
    pub(crate) const MONEY_CAME: [Self; 2] = [Self::Paid, Self::PaidWrong];
}

/// The state of the last dispute of a sale or an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum, IntoStaticStr, Serialize)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum DisputeStanding {
    /// There was none.
    #[sea_orm(string_value = "")]
    #[serde(rename = "")]
    #[strum(serialize = "")]
    None,
    /// Not decided yet.
    Opened,
    /// Decided for the merchant.
    Won,
    /// Decided for the payer.
    Lost,
}

impl DisputeStanding {
    /// The word for it, as stored and shown; empty if there was none.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl StatementState {
    /// The word for it, as stored and counted.
    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{access::role::Role, sales::SaleState};
    use sea_orm::{ActiveEnum, Iterable};

    /// Two derives make the word: one for the store and one for everything else.
    fn check<E: ActiveEnum<Value = String> + Iterable + Copy>(word: impl Fn(E) -> &'static str) {
        for state in E::iter() {
            assert_eq!(word(state), state.to_value());
        }
    }

    #[test]
    fn a_refunds_cause_is_read_as_it_is_stored() {
        for cause in Cause::iter() {
            for number in [None, Some(1), Some(12)] {
                let stored = RefundCause { cause, number };
                assert_eq!(stored.to_string().parse(), Ok(stored));
            }
        }
        assert_eq!("by_hand_2".parse(), Ok(RefundCause { cause: Cause::Manual, number: Some(2) }));
        assert_eq!("refunded_elsewhere".parse(), Ok(RefundCause::only(Cause::Elsewhere)));
        assert!("generosity".parse::<RefundCause>().is_err());
    }

    #[test]
    fn the_word_that_is_shown_is_the_word_that_is_stored() {
        check(SaleState::as_str);
        check(Role::as_str);
        check(DisputeStanding::as_str);
        check(StatementState::as_str);
    }
}
