//! Our numbers at providers: of payments and of refunds.

use crate::{
    Context, Result, clock,
    ids::AccountId,
    payments::{
        attempt,
        found::find_refund,
        refund,
        states::{Cause, RefundCause},
    },
};
use aws_lc_rs::digest;
use sea_orm::DatabaseTransaction;

/// Characters of a refund's number behind its letter: 125 bits.
const NUMBER_CHARS: usize = 25;

/// The number of the refund of a payment, derived from the payment's number; or that of the next try, derived from the
/// number that the provider closed. So even a store that forgot the refund asks for the same one, and the provider
/// makes it once.
pub(crate) fn number_after(number: &str) -> String {
    let hash = digest::digest(&digest::SHA256, format!("coinwire refund 1\0{number}").as_bytes());
    format!("R{}", clock::text_of(&hash.as_ref()[..NUMBER_CHARS]))
}

/// The number of a refund of a payment. A payment has one automatic refund, whatever its cause; additional refunds
/// decided by people have their own numbers.
pub(crate) fn number_of(out_trade_no: &str, cause: RefundCause) -> String {
    if cause.cause == Cause::Manual {
        number_after(&format!("{out_trade_no} {cause}"))
    } else {
        number_after(out_trade_no)
    }
}

/// As [`number_of`], or the next number that no refund here has: an earlier refund of the payment may have been taken
/// back, or reported by the provider.
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

/// How many numbers of a refund the provider has closed before this one, as far as they follow each other; `most` at most.
pub(crate) fn closed_before(out_trade_no: &str, refund: &refund::Model, most: i32) -> i32 {
    let mut number = number_of(out_trade_no, refund.cause);
    for count in 0..most {
        if number == refund.out_refund_no {
            return count;
        }
        number = number_after(&number);
    }
    most
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
