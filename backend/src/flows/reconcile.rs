//! What a day's statement tells that we did not know, applied as facts.

use crate::{
    Context, Result,
    flows::{
        after_commit::{AfterCommit, publish_after_commit},
        apply_payment_fact::apply_fact,
    },
    ids::AccountId,
    payments::{
        account,
        accounts::accounts_of,
        attempt,
        found::has_number_of_theirs,
        inbox,
        outcome::Outcome,
        provider::{
            DisputeDetails, Fact, Provider, ProviderError, RefundDetails, RefundNumbers, RefundState, ToldTrade,
            TradeNumbers, TradeState,
        },
        refund,
        states::{AttemptState, RefundProgress},
    },
    sales::order_attachment::OrderAttachment,
};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, prelude::*};
use std::collections::{BTreeMap, BTreeSet};

/// What came of reading a statement.
#[derive(Debug, Default)]
pub(crate) struct StatementOutcome {
    pub(super) facts: i64,
    pub(super) learned: i64,
    pub(super) orphans: i64,
    pub(super) first_orphan: Option<String>,
    pub(super) unread: usize,
}

/// Trades looked up at once.
const LOOKED_UP_AT_ONCE: usize = 200;

/// Facts that fit no order of ours are kept up to this number a statement: another system may use the account too.
const ORPHANS_KEPT: i64 = 1_000;

/// The facts about one trade, in the order in which they are to be applied: the payment first.
type Trades<'a> = BTreeMap<&'a str, Vec<&'a Fact>>;

/// Holds the facts of a statement against what we know, and applies those that are news. An error of the provider's
/// leaves the rest for another time.
pub(crate) async fn reconcile(
    ctx: &Context,
    account: &account::Model,
    provider: &dyn Provider,
    facts: &[Fact],
) -> Result<Result<StatementOutcome, ProviderError>> {
    let mut reading =
        StatementOutcome { facts: i64::try_from(facts.len()).unwrap_or(i64::MAX), ..StatementOutcome::default() };
    let own_numbers = own_numbers(ctx, account.id, facts).await?;
    let trades: Vec<(&str, Vec<&Fact>)> = by_trade(facts, &own_numbers).into_iter().collect();
    let accounts = accounts_of(ctx.db.read(), account.operator_id).await?;
    for some in trades.chunks(LOOKED_UP_AT_ONCE) {
        let known = known_of(ctx, account.id, &accounts, some).await?;
        for (out_trade_no, facts) in some {
            // Two accounts of one merchant are told each other's payments.
            if known.elsewhere.contains(*out_trade_no) {
                continue;
            }
            let news: Vec<&Fact> = facts.iter().filter(|fact| known.is_new(fact)).copied().collect();
            if news.is_empty() {
                continue;
            }
            match refreshed(ctx, provider, &known, out_trade_no, &news).await {
                Ok(news) => apply_news(ctx, account, &news, &mut reading).await?,
                // Of this trade alone: it must not keep all that follows from being read.
                Err(error @ (ProviderError::Refused { .. } | ProviderError::Untrusted(_))) => {
                    tracing::warn!(account = %account.id, %out_trade_no, %error, "a trade of a statement cannot be looked up");
                    reading.unread += news.len();
                }
                Err(error) => return Ok(Err(error)),
            }
        }
    }
    Ok(Ok(reading))
}

/// Our numbers of the payments that refunds and disputes name by the provider's own: those we know, and those that the
/// statement itself tells.
async fn own_numbers(ctx: &Context, account_id: AccountId, facts: &[Fact]) -> Result<BTreeMap<String, String>> {
    let theirs: Vec<&str> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Refund { told: Some(RefundDetails { trade: ToldTrade::Theirs(number), .. }), .. }
            | Fact::Dispute(DisputeDetails { trade: ToldTrade::Theirs(number), .. }) => Some(number.as_str()),
            Fact::Payment { .. } | Fact::Refund { .. } | Fact::Dispute(_) => None,
        })
        .collect();
    let mut own = BTreeMap::new();
    if theirs.is_empty() {
        return Ok(own);
    }
    for fact in facts {
        if let Fact::Payment { out_trade_no, state: TradeState::Paid(paid) | TradeState::Refunded(paid) } = fact {
            own.insert(paid.provider_txn_id.clone(), out_trade_no.clone());
        }
    }
    for some in theirs.chunks(LOOKED_UP_AT_ONCE) {
        let attempts = attempt::Entity::find()
            .filter(attempt::Column::AccountId.eq(account_id))
            .filter(has_number_of_theirs(some.iter().copied()))
            .all(ctx.db.read())
            .await?;
        for attempt in attempts {
            for number in [attempt.provider_txn_id, attempt.reference].into_iter().flatten() {
                own.insert(number, attempt.out_trade_no.clone());
            }
        }
    }
    Ok(own)
}

/// What we know of some trades of an account, and which of them are of another one of its operator's `accounts`.
async fn known_of(
    ctx: &Context,
    account_id: AccountId,
    accounts: &[AccountId],
    trades: &[(&str, Vec<&Fact>)],
) -> Result<Known> {
    // Our numbers are random: one that is another account's is that account's payment.
    let (attempts, elsewhere): (Vec<_>, Vec<_>) = attempt::Entity::find()
        .filter(attempt::Column::AccountId.is_in(accounts.iter().copied()))
        .filter(attempt::Column::OutTradeNo.is_in(trades.iter().map(|(number, _)| *number)))
        .all(ctx.db.read())
        .await?
        .into_iter()
        .partition(|attempt| attempt.account_id == account_id);
    let numbers: Vec<&str> = trades.iter().flat_map(|(_, facts)| facts).filter_map(|fact| refund_no(fact)).collect();
    let refunds = match numbers.is_empty() {
        true => vec![],
        false => {
            refund::Entity::find()
                .filter(refund::Column::AccountId.eq(account_id))
                .filter(refund::Column::OutRefundNo.is_in(numbers))
                .all(ctx.db.read())
                .await?
        }
    };
    let is_paid = |attempt: &attempt::Model| AttemptState::MONEY_CAME.contains(&attempt.state);
    Ok(Known {
        attempts: attempts.iter().map(|attempt| (attempt.out_trade_no.clone(), attempt.numbers())).collect(),
        elsewhere: elsewhere.into_iter().map(|attempt| attempt.out_trade_no).collect(),
        paid: attempts.into_iter().filter(is_paid).map(|attempt| attempt.out_trade_no).collect(),
        refunds: refunds.into_iter().map(|refund| (refund.out_refund_no.clone(), refund)).collect(),
    })
}

/// News of one trade as they stand now: a statement is never brought up to date. And a payment that we know by its
/// refund alone is asked for, so that both are booked.
async fn refreshed(
    ctx: &Context,
    provider: &dyn Provider,
    known: &Known,
    out_trade_no: &str,
    news: &[&Fact],
) -> Result<Vec<Fact>, ProviderError> {
    let (mut payments, mut others) = (vec![], vec![]);
    let numbers = known.numbers(out_trade_no, news);
    let is_ours = known.attempts.contains_key(out_trade_no) || news.iter().any(|fact| has_own_attachment(ctx, fact));
    for fact in news {
        match fact {
            // It may have gone back since, and nobody is to be served for it then.
            Fact::Payment { .. } if is_ours => match provider.query(&numbers).await? {
                state @ (TradeState::Paid(_) | TradeState::Refunded(_) | TradeState::PaidUnknownCurrency(_)) => {
                    payments.push(Fact::Payment { out_trade_no: out_trade_no.to_owned(), state });
                }
                TradeState::NotPaid | TradeState::NotFound | TradeState::Closed => payments.push((*fact).clone()),
            },
            Fact::Payment { .. } => payments.push((*fact).clone()),
            Fact::Refund { out_refund_no, state, told } if is_ours => {
                let refund = RefundNumbers {
                    trade: numbers.clone(),
                    out_refund_no: out_refund_no.clone(),
                    reference: told.as_ref().map(|told| told.provider_refund_id.clone()),
                };
                let state = match provider.query_refund(&refund).await.map(|answer| answer.state) {
                    // A number of a form that the provider gives and does not take: its statement stands.
                    Ok(RefundState::NotFound) | Err(ProviderError::Refused { .. }) => *state,
                    answer => answer?,
                };
                others.push(Fact::Refund { out_refund_no: out_refund_no.clone(), state, told: told.clone() });
            }
            Fact::Refund { .. } | Fact::Dispute(_) => others.push((*fact).clone()),
        }
    }
    let is_returned = |fact: &Fact| matches!(fact, Fact::Refund { state, .. } if state.moves_money());
    if is_ours && others.iter().any(is_returned) {
        if payments.is_empty() && !known.paid.contains(out_trade_no) {
            let state = provider.query(&numbers).await?;
            payments.push(Fact::Payment { out_trade_no: out_trade_no.to_owned(), state });
        }
        // Money of it went back: nobody is to be served for it.
        payments = payments.into_iter().map(returned).collect();
    }
    payments.append(&mut others);
    Ok(payments)
}

/// Applies the news of one trade in one transaction, so that a payment and what went back of it are seen together.
async fn apply_news(
    ctx: &Context,
    account: &account::Model,
    news: &[Fact],
    reading: &mut StatementOutcome,
) -> Result<()> {
    let keep = reading.orphans < ORPHANS_KEPT;
    let (after, outcomes) = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let (mut after, mut outcomes) = (AfterCommit::default(), vec![]);
            for fact in news {
                let outcome = apply_fact(ctx, txn, account, fact, &mut after).await?;
                if outcome == Outcome::Orphan && keep {
                    store_orphan(ctx, txn, account.id, fact).await?;
                }
                outcomes.push(outcome);
            }
            Ok((after, outcomes))
        })
        .await?;
    // One alarm tells of all orphans: there may be many.
    let is_orphan = outcomes.contains(&Outcome::Orphan);
    if is_orphan {
        let orphans = outcomes.iter().filter(|outcome| **outcome == Outcome::Orphan).count();
        reading.orphans += i64::try_from(orphans).unwrap_or(i64::MAX);
        reading.first_orphan = reading.first_orphan.take().or_else(|| news.first().map(describe));
    } else {
        publish_after_commit(ctx, after).await;
    }
    for (fact, outcome) in news.iter().zip(outcomes) {
        if outcome == Outcome::Applied {
            reading.learned += 1;
            tracing::info!(account = %account.id, "learned by the provider's statement: {}", describe(fact));
        }
    }
    Ok(())
}

/// Whether it is a payment that carries our mark, whatever became of its order here.
fn has_own_attachment(ctx: &Context, fact: &Fact) -> bool {
    let Fact::Payment { out_trade_no, state: TradeState::Paid(paid) | TradeState::Refunded(paid) } = fact else {
        return false;
    };
    OrderAttachment::read(&ctx.attachment_key, out_trade_no, &paid.attach).is_some()
}

async fn store_orphan(ctx: &Context, txn: &DatabaseTransaction, account_id: AccountId, fact: &Fact) -> Result<()> {
    let event_id = format!("statement {}", describe(fact));
    let known = inbox::Entity::find()
        .filter(inbox::Column::AccountId.eq(account_id))
        .filter(inbox::Column::EventId.eq(&event_id))
        .count(txn)
        .await?;
    if known > 0 {
        return Ok(());
    }
    let row = inbox::ActiveModel {
        account_id: Set(account_id),
        event_id: Set(event_id),
        outcome: Set(Outcome::Orphan),
        headers: Set(String::new()),
        body: Set(vec![]),
        plaintext: Set(format!("{fact:?}")),
        received_ms: Set(ctx.now_ms()),
        ..Default::default()
    };
    inbox::Entity::insert(row).exec_without_returning(txn).await?;
    Ok(())
}

/// What we know of some trades.
struct Known {
    /// All numbers of attempts, by ours.
    attempts: BTreeMap<String, TradeNumbers>,
    paid: BTreeSet<String>,
    /// Numbers of attempts that another account has.
    elsewhere: BTreeSet<String>,
    /// Refunds, by their numbers.
    refunds: BTreeMap<String, refund::Model>,
}

impl Known {
    /// All numbers of a trade. Of one that is not here only those that the statement tells.
    fn numbers(&self, out_trade_no: &str, facts: &[&Fact]) -> TradeNumbers {
        let told = facts.iter().find_map(|fact| match fact {
            Fact::Payment { state: TradeState::Paid(paid) | TradeState::Refunded(paid), .. } => {
                Some(paid.provider_txn_id.clone())
            }
            Fact::Payment { .. } | Fact::Refund { .. } | Fact::Dispute(_) => None,
        });
        let known = self.attempts.get(out_trade_no).cloned();
        let unknown = TradeNumbers { out_trade_no: out_trade_no.to_owned(), reference: None, provider_txn_id: None };
        let numbers = known.unwrap_or(unknown);
        TradeNumbers { provider_txn_id: numbers.provider_txn_id.or(told), ..numbers }
    }

    fn is_new(&self, fact: &Fact) -> bool {
        match fact {
            Fact::Payment { out_trade_no, .. } => !self.paid.contains(out_trade_no),
            // One of ours that is under way is asked about until it is through.
            Fact::Refund { out_refund_no, state, told } => {
                let is_known = self.refunds.get(out_refund_no).is_some_and(|known| {
                    let same_amount =
                        told.as_ref().is_none_or(|told| told.is_total || told.amount_minor == known.amount_minor);
                    known.state != RefundProgress::Cancelled && same_amount
                });
                !is_known && *state != RefundState::Closed
            }
            Fact::Dispute(_) => true,
        }
    }
}

fn by_trade<'a>(facts: &'a [Fact], own_numbers: &'a BTreeMap<String, String>) -> Trades<'a> {
    let own = |trade: &'a ToldTrade| match trade {
        ToldTrade::Ours(number) => number.as_str(),
        ToldTrade::Theirs(number) => own_numbers.get(number).unwrap_or(number).as_str(),
    };
    let mut trades = Trades::new();
    for fact in facts {
        let (out_trade_no, is_payment) = match fact {
            Fact::Payment { out_trade_no, .. } => (out_trade_no.as_str(), true),
            Fact::Refund { told: Some(told), .. } => (own(&told.trade), false),
            // Of no payment: it stands alone.
            Fact::Refund { out_refund_no, told: None, .. } => (out_refund_no.as_str(), false),
            Fact::Dispute(told) => (own(&told.trade), false),
        };
        let of_trade = trades.entry(out_trade_no).or_default();
        if is_payment { of_trade.insert(0, fact) } else { of_trade.push(fact) }
    }
    trades
}

/// A payment as one of which money went back.
fn returned(fact: Fact) -> Fact {
    if let Fact::Payment { out_trade_no, state: TradeState::Paid(paid) } = fact {
        Fact::Payment { out_trade_no, state: TradeState::Refunded(paid) }
    } else {
        fact
    }
}

fn refund_no(fact: &Fact) -> Option<&str> {
    match fact {
        Fact::Refund { out_refund_no, .. } => Some(out_refund_no),
        Fact::Payment { .. } | Fact::Dispute(_) => None,
    }
}

fn describe(fact: &Fact) -> String {
    match fact {
        Fact::Payment { out_trade_no, .. } => format!("payment {out_trade_no}"),
        Fact::Refund { out_refund_no, .. } => format!("refund {out_refund_no}"),
        Fact::Dispute(told) => format!("dispute {}", told.dispute_id),
    }
}
