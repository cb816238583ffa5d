//! Numbers and names of stored rows. Each has its own type, so that a machine's number cannot be used as an operator's.

use derive_more::{Display, FromStr};
use sea_orm::DeriveValueType;
use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Display, FromStr, Serialize, Deserialize,
            DeriveValueType,
        )]
        #[serde(transparent)]
        pub struct $name(pub i64);
    )*};
}

ids! {
    /// An operator's number.
    OperatorId,
    /// A member's number.
    MemberId,
    /// A manufacturer's number.
    ManufacturerId,
    /// A machine's number.
    MachineId,
    /// A price's number.
    PriceId,
    /// A sale's number in the store. People and links know its [`SaleToken`].
    SaleId,
    /// A payment attempt's number.
    AttemptId,
    /// A merchant account's number.
    AccountId,
    /// A refund's number.
    RefundId,
}

/// A sale's public name, in links, on pages and in exports. It cannot be guessed; whoever has it may see the sale.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Display, FromStr, Serialize, Deserialize, DeriveValueType,
)]
#[serde(transparent)]
pub struct SaleToken(pub String);
