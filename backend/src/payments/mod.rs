//! Payments: merchant accounts, attempts, what providers say of them, refunds.
//!
//! Callback, poll and (later) bill all end in `facts`, in one transaction with what follows from the fact.

pub(crate) mod account;
pub(crate) mod accounts;
pub(crate) mod attempt;
mod breaker;
pub(crate) mod bulkhead;
mod callback;
mod facts;
pub(crate) mod inbox;
mod poll;
pub mod provider;
pub(crate) mod refund;
pub(crate) mod refunds;
pub mod wechat;

pub use accounts::{MerchantRow, Providers, RealProviders};
pub use callback::CallbackFailure;

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
    ByHand,
    /// A person ended a review by giving the money back.
    Settled,
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
            Cause::ByHand => "by_hand",
            Cause::Settled => "settled",
        }
    }
}

/// Words for an attempt's state, as stored.
pub(crate) mod attempt_state {
    /// Committed; the provider may or may not know of it.
    pub const CREATED: &str = "created";
    /// The provider waits for the payer.
    pub const PENDING: &str = "pending";
    /// Paid.
    pub const PAID: &str = "paid";
    /// Paid in another amount or currency than asked.
    pub const PAID_WRONG: &str = "paid_wrong";
    /// Can no longer be paid.
    pub const CLOSED: &str = "closed";

    /// The states in which money may still come.
    pub const OPEN: [&str; 2] = [CREATED, PENDING];
}

/// Words for a refund's state, as stored.
pub(crate) mod refund_state {
    /// Decided; can be taken back.
    pub const PENDING: &str = "pending";
    /// Being told to the provider; the same number may be sent again.
    pub const SUBMITTED: &str = "submitted";
    /// The provider has it and works on it.
    pub const PROCESSING: &str = "processing";
    /// The money went back.
    pub const DONE: &str = "done";
    /// Taken back before it was submitted.
    pub const CANCELLED: &str = "cancelled";
    /// A person must act.
    pub const STUCK: &str = "stuck";
}
