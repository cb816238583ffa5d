//! What the provider tells of: written, signed, and proven again.

use crate::book::details;
use aws_lc_rs::hmac;
use backend::{
    money::{Currency, Money},
    payments::provider::{
        CallbackContent, CallbackError, DisputeDetails, DisputeState, Fact, Paid, RawCallback, RefundDetails,
        RefundState, ToldTrade, TradeState, UnknownCurrencyPayment, VerifiedCallback, id_of_body,
    },
};
use serde::{Deserialize, Serialize};

/// The header with a callback's signature.
pub const SIGNATURE: &str = "bank-signature";

/// A merchant account's configuration, as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    pub merchant: String,
    /// Signs callbacks.
    pub key: String,
}

/// A callback on its way.
#[derive(Debug, Clone)]
pub struct Callback {
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Callback {
    pub fn raw(&self) -> RawCallback<'_> {
        RawCallback { headers: &self.headers, body: &self.body }
    }
}

/// What a callback says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Notice {
    pub event: String,
    pub merchant: String,
    pub number: String,
    pub what: What,
}

/// The fact in a callback.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum What {
    Paid {
        txn: String,
        amount_minor: i64,
        paid_at_ms: i64,
        #[serde(default)]
        attach: String,
    },
    Closed,
    RefundDone,
    RefundClosed,
    RefundAbnormal,
    /// A refund that was made at the counter.
    Outside {
        trade: String,
        amount_minor: i64,
        state: Standing,
    },
    /// A refund, told by what went back of the payment in all.
    ReturnedInAll {
        trade: String,
        amount_minor: i64,
    },
    /// As the last, with the payment: the notice is of that, and says beside it what went back.
    PaidAndReturned {
        txn: String,
        amount_minor: i64,
        paid_at_ms: i64,
        attach: String,
        refund: String,
        returned_minor: i64,
    },
    /// Paid in a currency that nobody here knows.
    PaidUnknownCurrency {
        amount_minor: i64,
        currency: String,
    },
    Dispute {
        trade: String,
        amount_minor: i64,
        fee_minor: i64,
        state: Standing,
    },
    /// Something new of next year.
    Novelty,
}

impl What {
    /// That a payment was made.
    pub fn paid(paid: Paid) -> Self {
        let Paid { provider_txn_id: txn, amount, paid_at_ms, attach } = paid;
        What::Paid { txn, amount_minor: amount.amount_minor, paid_at_ms, attach }
    }

    /// That of a payment so much went back in all, the last of it by that refund.
    pub fn returned(paid: Paid, refund: &str, returned_minor: i64) -> Self {
        let Paid { provider_txn_id: txn, amount, paid_at_ms, attach } = paid;
        let (amount_minor, refund) = (amount.amount_minor, refund.to_owned());
        What::PaidAndReturned { txn, amount_minor, paid_at_ms, attach, refund, returned_minor }
    }
}

/// Where something stands, in a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    Processing,
    Done,
    Closed,
    Opened,
    Won,
    Lost,
}

impl Standing {
    fn of_refund(self) -> RefundState {
        match self {
            Standing::Processing => RefundState::Processing,
            Standing::Done => RefundState::Done,
            Standing::Closed => RefundState::Closed,
            Standing::Opened | Standing::Won | Standing::Lost => panic!("{self:?} is no state of a refund"),
        }
    }

    fn of_dispute(self) -> DisputeState {
        match self {
            Standing::Opened => DisputeState::Opened,
            Standing::Won => DisputeState::Won,
            Standing::Lost => DisputeState::Lost,
            Standing::Processing | Standing::Done | Standing::Closed => panic!("{self:?} is no state of a dispute"),
        }
    }
}

impl Notice {
    /// Signs it with an account's key.
    pub fn signed(&self, key: &str) -> Callback {
        let body = serde_json::to_vec(self).unwrap();
        Callback { headers: vec![(SIGNATURE.into(), tag_of(&body, key))], body }
    }
}

fn tag_of(body: &[u8], key: &str) -> String {
    hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), body))
}

/// Proves a callback for an account, and reads it.
pub(crate) fn verify(config: &Config, raw: RawCallback<'_>) -> Result<VerifiedCallback, CallbackError> {
    let tag = raw.header(SIGNATURE).ok_or(CallbackError::Header(SIGNATURE))?;
    if tag_of(raw.body, &config.key) != tag {
        return Err(CallbackError::Signature);
    }
    let plaintext = String::from_utf8_lossy(raw.body).into_owned();
    match serde_json::from_slice::<Notice>(raw.body) {
        Ok(notice) => {
            let (event_id, content) = (notice.event.clone(), content(config, notice));
            Ok(VerifiedCallback { event_id, content, plaintext })
        }
        Err(error) => {
            let content = CallbackContent::NotUnderstood(error.to_string());
            Ok(VerifiedCallback { event_id: id_of_body(raw.body), content, plaintext })
        }
    }
}

fn paid(provider_txn_id: String, amount_minor: i64, paid_at_ms: i64, attach: String) -> Paid {
    Paid { provider_txn_id, amount: Money::new(amount_minor, Currency::Cny), paid_at_ms, attach }
}

fn content(config: &Config, notice: Notice) -> CallbackContent {
    if notice.merchant != config.merchant {
        return CallbackContent::Foreign(notice.merchant);
    }
    let number = notice.number;
    let fact = match notice.what {
        What::Paid { txn, amount_minor, paid_at_ms, attach } => {
            let state = TradeState::Paid(paid(txn, amount_minor, paid_at_ms, attach));
            Fact::Payment { out_trade_no: number, state }
        }
        What::PaidAndReturned { txn, amount_minor, paid_at_ms, attach, refund, returned_minor } => {
            let paid = paid(txn, amount_minor, paid_at_ms, attach);
            let details = details(&refund, &number, returned_minor);
            let told = Some(RefundDetails { is_total: true, payment: Some(paid.clone()), ..details });
            let payment = Fact::Payment { out_trade_no: number, state: TradeState::Refunded(paid) };
            let refund = Fact::Refund { out_refund_no: refund, state: RefundState::Done, told };
            return CallbackContent::Facts(vec![payment, refund]);
        }
        What::PaidUnknownCurrency { amount_minor, currency } => {
            let provider_txn_id = format!("T{number}");
            let paid = UnknownCurrencyPayment { provider_txn_id, amount_minor, currency };
            Fact::Payment { out_trade_no: number, state: TradeState::PaidUnknownCurrency(paid) }
        }
        What::Closed => Fact::Payment { out_trade_no: number, state: TradeState::Closed },
        What::RefundDone => Fact::Refund { out_refund_no: number, state: RefundState::Done, told: None },
        What::RefundClosed => Fact::Refund { out_refund_no: number, state: RefundState::Closed, told: None },
        What::RefundAbnormal => Fact::Refund { out_refund_no: number, state: RefundState::Abnormal, told: None },
        What::Outside { trade, amount_minor, state } => {
            let told = Some(details(&number, &trade, amount_minor));
            Fact::Refund { out_refund_no: number, state: state.of_refund(), told }
        }
        What::ReturnedInAll { trade, amount_minor } => {
            let told = Some(RefundDetails { is_total: true, ..details(&number, &trade, amount_minor) });
            Fact::Refund { out_refund_no: number, state: RefundState::Done, told }
        }
        What::Dispute { trade, amount_minor, fee_minor, state } => Fact::Dispute(DisputeDetails {
            dispute_id: number,
            trade: ToldTrade::Ours(trade),
            amount_minor,
            fee_minor,
            state: state.of_dispute(),
        }),
        What::Novelty => return CallbackContent::NotUnderstood("a novelty".into()),
    };
    CallbackContent::Facts(vec![fact])
}
