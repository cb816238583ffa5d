//! Words for where attempts, refunds and disputes stand, and why money goes back.

/// Words for a statement's state, as stored.
pub(crate) mod statement_state {
    /// To be read.
    pub const DUE: &str = "due";
    /// Read.
    pub const READ: &str = "read";
    /// There was none.
    pub const NONE: &str = "none";
    /// It could not be had.
    pub const MISSED: &str = "missed";
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
    /// Taken back before it was submitted, or never came about.
    pub const CANCELLED: &str = "cancelled";
    /// Decided, and held back while the payment is in dispute; can be taken back.
    pub const HELD: &str = "held";
    /// A person must act.
    pub const STUCK: &str = "stuck";
}

/// Words for where a sale's or an attempt's dispute stands, as stored and shown.
pub(crate) mod dispute_state {
    /// Somebody decides.
    pub const OPENED: &str = "opened";
    /// Decided for the merchant.
    pub const WON: &str = "won";
    /// Decided for the payer.
    pub const LOST: &str = "lost";
}
