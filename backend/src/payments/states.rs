//! Where attempts, refunds, statements and disputes stand, and why money goes back.

use sea_orm::entity::prelude::*;
use serde::Serialize;
use strum::IntoStaticStr;

/// What became of a statement.
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
    /// It could not be had.
    Missed,
}

/// Why money goes back. One refund a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// A person gave money back. There may be several of a payment: the stored word has a number behind it.
    Manual,
    /// A person ended a review by giving the money back.
    Settled,
    /// Somebody gave money back at the provider: that refund, or ours of what it left.
    Elsewhere,
}

impl Cause {
    /// The word for it, as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Late => "late",
            Cause::SecondPayment => "second_payment",
            Cause::ModuleFailed => "module_failed",
            Cause::ModuleExpired => "module_expired",
            Cause::ModuleSilent => "module_silent",
            Cause::ModuleForgot => "module_forgot",
            Cause::Manual => "by_hand",
            Cause::Settled => "settled",
            Cause::Elsewhere => "refunded_elsewhere",
        }
    }
}

/// Where an attempt stands.
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

/// How far a refund is, as the books have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))", rename_all = "snake_case")]
pub enum RefundProgress {
    /// Decided; can be taken back.
    Pending,
    /// Being told to the provider; the same number may be sent again.
    Submitted,
    /// The provider has it and works on it.
    Processing,
    /// The money went back.
    Done,
    /// Taken back before it was submitted, or never came about.
    Cancelled,
    /// Decided, and held back while the payment is in dispute; can be taken back.
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

/// Where the last dispute of a sale or an attempt stands.
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
    /// Somebody decides.
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

    /// Two derives make the word, one for the store and one for all else.
    fn check<E: ActiveEnum<Value = String> + Iterable + Copy>(word: impl Fn(E) -> &'static str) {
        for state in E::iter() {
            assert_eq!(word(state), state.to_value());
        }
    }

    #[test]
    fn the_word_that_is_shown_is_the_word_that_is_stored() {
        check(SaleState::as_str);
        check(Role::as_str);
        check(DisputeStanding::as_str);
        check(StatementState::as_str);
    }
}
