//! Numbers of stored rows, a type each, so that a machine's number cannot stand where an operator's belongs.

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
}
