//! Our numbers at providers: of payments and of refunds.

use crate::{
    Context, Result, clock,
    ids::AccountId,
    payments::{
        attempt,
        found::find_refund,
        states::{Cause, RefundCause},
    },
};
use aws_lc_rs::digest;
use sea_orm::DatabaseTransaction;

/// Characters of a refund's number behind its letter: 125 bits.
const NUMBER_CHARS: usize = 25;

/// The number of the refund of a payment, from the payment's number; or of the next try, from the number that the provider
/// closed. Whoever asks for it, and whatever he remembers, asks for the same refund, and the provider makes it once.
pub(crate) fn number_after(number: &str) -> String {
    let hash = digest::digest(&digest::SHA256, format!("coinwire refund 1\0{number}").as_bytes());
    format!("R{}", clock::text_of(&hash.as_ref()[..NUMBER_CHARS]))
}

/// The number of a refund of a payment. A payment has one refund of its own, whatever its cause; those that people decided
/// beside it have numbers of their own.
pub(crate) fn number_of(out_trade_no: &str, cause: RefundCause) -> String {
    if cause.cause == Cause::Manual {
        number_after(&format!("{out_trade_no} {cause}"))
    } else {
        number_after(out_trade_no)
    }
}

/// As [`number_of`], or the next after it that stands for no refund here: an earlier refund of the payment was taken back, or
/// was told by the provider.
pub(crate) async fn next_free_number(
    txn: &DatabaseTransaction,
    attempt: &attempt::Model,
    cause: RefundCause,
) -> Result<String> {
    let number = number_of(&attempt.out_trade_no, cause);
    if find_refund(txn, attempt.account_id, &number).await?.is_none() {
        return Ok(number);
    }
    next_number_after(txn, attempt.account_id, &number).await
}

/// The next number after one that cannot be used any more.
pub(crate) async fn next_number_after(
    txn: &DatabaseTransaction,
    account_id: AccountId,
    number: &str,
) -> Result<String> {
    let mut number = number_after(number);
    while find_refund(txn, account_id, &number).await?.is_some() {
        number = number_after(&number);
    }
    Ok(number)
}

/// A new number for the provider: letters and digits, within every provider's limits.
pub(crate) fn new_number(ctx: &Context, prefix: &str) -> String {
    format!("{prefix}{}", clock::random_text(&*ctx.random, 25))
}
