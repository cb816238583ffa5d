//! Daily statements: what providers list of a day is held against what we know, account by account and day by day. So a
//! lost callback is found, and a refund that was made at the provider.
//!
//! Each account has one row that is due: its next day. Reading a day ends its row and begins the next one's, in one
//! transaction; a crash in between reads the day again, and what was applied then is no news.

use super::{
    account, attempt, attempt_state,
    facts::Outcome,
    inbox,
    provider::{Fact, Provider, ProviderError, RefundState, Statement, TradeState},
    refund, refund_state, statement,
};
use crate::{
    Backend, Result, Rules,
    sales::{After, mark::OrderMark},
};
use sea_orm::{ActiveValue::Set, Condition, DatabaseTransaction, prelude::*, sea_query::Expr};
use std::collections::{BTreeMap, BTreeSet};

/// Trades looked up at once.
const LOOKED_UP_AT_ONCE: usize = 200;
/// Facts that fit no order of ours are kept up to this number a statement: another system may use the account too.
const ORPHANS_KEPT: i64 = 1_000;
/// A new account's first statement is that of so long ago.
const LOOK_BACK_MS: i64 = 3 * 24 * 3_600_000;
/// That there is no statement is believed so long after it should be there.
const NOTHING_AFTER_MS: i64 = 2 * 3_600_000;
/// A day whose statement is refused is given up after this long: providers keep them for three months.
const GIVEN_UP_AFTER_MS: i64 = 80 * 24 * 3_600_000;
/// After so many tries without success a person is told, and each time as many were made again.
const TRIES_A_WARNING: i32 = 12;

/// Words for a statement's state, as stored.
mod statement_state {
    /// To be read.
    pub const DUE: &str = "due";
    /// Read.
    pub const READ: &str = "read";
    /// There was none.
    pub const NONE: &str = "none";
    /// It could not be had.
    pub const MISSED: &str = "missed";
}

/// What came of reading a statement.
#[derive(Debug, Default)]
struct Reading {
    facts: i64,
    learned: i64,
    orphans: i64,
    first_orphan: Option<String>,
    unread: usize,
}

/// The facts about one trade, in the order in which they are to be applied: the payment first.
type Trades<'a> = BTreeMap<&'a str, Vec<&'a Fact>>;

impl Rules {
    fn statement_wait_ms(&self, tries: i32) -> i64 {
        Rules::backoff_ms(self.statement_first_ms, self.statement_max_ms, tries)
    }
}

/// The first row of an account: the first day follows from it.
pub(crate) fn beginning(account_id: i64) -> statement::ActiveModel {
    row(account_id, 0, 0)
}

fn row(account_id: i64, day: i64, due_ms: i64) -> statement::ActiveModel {
    statement::ActiveModel {
        account_id: Set(account_id),
        day: Set(day),
        state: Set(statement_state::DUE.into()),
        tries: Set(0),
        due_ms: Set(Some(due_ms)),
        facts: Set(0),
        learned: Set(0),
        orphans: Set(0),
        read_ms: Set(None),
        ..Default::default()
    }
}

impl Backend {
    /// Reads a statement that is due.
    pub(crate) async fn read_statement(&self, row: statement::Model) -> Result<()> {
        // Whatever happens meanwhile, it is tried again.
        if !self.claim_statement(&row).await? {
            return Ok(());
        }
        let (account, provider) = self.account(row.account_id).await?;
        if row.day == 0 {
            let first = provider.day_of(self.looked_back_to_ms(&account));
            return self.end_statement(&row, statement_state::READ, &Reading::default(), first, &*provider).await;
        }
        if self.begin_again(&account, &*provider).await? {
            return Ok(());
        }
        match self.look_into(&account, &*provider, row.day).await? {
            Ok(None) => Ok(()),
            Ok(Some((state, reading))) => {
                self.tell_of_reading(&account, &reading);
                // No day before this one can be had any more.
                let earliest = provider.day_of(self.wall_ms() - GIVEN_UP_AFTER_MS);
                self.end_statement(&row, state, &reading, (row.day + 1).max(earliest), &*provider).await
            }
            Err(error) => {
                self.statement_failed(&account, &row, &error);
                Ok(())
            }
        }
    }

    /// Since when an account's statements are read, if none was read yet.
    fn looked_back_to_ms(&self, account: &account::Model) -> i64 {
        let (wall_ms, created_ms) = (self.wall_ms(), account.created_ms);
        let look_back_ms = wall_ms - LOOK_BACK_MS;
        // An account from the future was made while the clock was ahead.
        if created_ms > wall_ms { look_back_ms } else { created_ms.max(look_back_ms) }
    }

    /// Has the days read again that were ended at a time still to come: the clock was ahead then, and what such a clock
    /// makes of a day that has no statement is wrong. What was learned of them is no news. False if there are none.
    async fn begin_again(&self, account: &account::Model, provider: &dyn Provider) -> Result<bool> {
        let wall_ms = self.wall_ms();
        let of_account = &Condition::all().add(statement::Column::AccountId.eq(account.id));
        let doubtful = &of_account.clone().add(statement::Column::ReadMs.gt(wall_ms));
        if statement::Entity::find().filter(doubtful.clone()).count(self.db.read()).await? == 0 {
            return Ok(false);
        }
        tracing::warn!(account = account.id, "the clock was ahead: some of the provider's statements are read again");
        let beginning = provider.day_of(self.looked_back_to_ms(account));
        self.db
            .write(|txn| async move {
                let txn = &*txn;
                let some = statement::Entity::find().filter(doubtful.clone()).all(txn).await?;
                let day = some.iter().map(|some| some.day).filter(|day| *day > 0).fold(beginning, i64::min);
                statement::Entity::delete_many()
                    .filter(of_account.clone().add(statement::Column::Day.gte(day)))
                    .exec(txn)
                    .await?;
                // What is left of them is the account's beginning.
                statement::Entity::update_many()
                    .col_expr(statement::Column::ReadMs, Expr::value(wall_ms))
                    .filter(doubtful.clone())
                    .exec(txn)
                    .await?;
                let next = row(account.id, day, self.statement_due_ms(account.id, day, provider));
                statement::Entity::insert(next).exec_without_returning(txn).await?;
                Ok(true)
            })
            .await
    }

    /// When a day's statement is asked for first, by the process's own time.
    fn statement_due_ms(&self, account_id: i64, day: i64, provider: &dyn Provider) -> i64 {
        let spread_ms = (account_id.wrapping_mul(7_919) * 1_000).rem_euclid(self.rules.statement_spread_ms.max(1));
        self.now_ms() + (provider.statement_ready_ms(day) + spread_ms - self.wall_ms()).max(0)
    }

    /// Asks for a day's statement and takes in what it says; nothing if it is to be asked for later.
    async fn look_into(
        &self,
        account: &account::Model,
        provider: &dyn Provider,
        day: i64,
    ) -> Result<Result<Option<(&'static str, Reading)>, ProviderError>> {
        let since_ready_ms = self.wall_ms() - provider.statement_ready_ms(day);
        let (facts, unread) = match provider.statement(day).await {
            Ok(Statement::NotYet) => return Ok(Ok(None)),
            Ok(Statement::Nothing) if since_ready_ms < NOTHING_AFTER_MS => return Ok(Ok(None)),
            Ok(Statement::Nothing) => return Ok(Ok(Some((statement_state::NONE, Reading::default())))),
            Ok(Statement::Facts { facts, unread }) => (facts, unread),
            Err(ProviderError::Refused { code, .. }) if since_ready_ms > GIVEN_UP_AFTER_MS => {
                let message = format!("an old statement of the payment provider cannot be had any more: {code}");
                self.alarm(account.operator_id, None, message);
                return Ok(Ok(Some((statement_state::MISSED, Reading::default()))));
            }
            Err(error) => return Ok(Err(error)),
        };
        let reading = self.reconcile(account, provider, &facts).await?;
        Ok(reading.map(|reading| Some((statement_state::READ, Reading { unread: unread + reading.unread, ..reading }))))
    }

    fn tell_of_reading(&self, account: &account::Model, reading: &Reading) {
        if reading.unread > 0 {
            let message = format!("{} lines of the payment provider's statement were not understood", reading.unread);
            self.alarm(account.operator_id, None, message);
        }
        if let Some(first) = &reading.first_orphan {
            let message = format!("{} facts of the provider's statement fit no order: {first}, ..", reading.orphans);
            self.alarm(account.operator_id, None, message);
        }
    }

    /// Takes a statement to work on. False if somebody else has it.
    async fn claim_statement(&self, row: &statement::Model) -> Result<bool> {
        let due_ms = self.now_ms() + self.rules.statement_wait_ms(row.tries);
        self.db
            .write(|txn| async move {
                let txn = &*txn;
                let update = statement::Entity::update_many()
                    .col_expr(statement::Column::DueMs, Expr::value(due_ms))
                    .col_expr(statement::Column::Tries, Expr::value(row.tries.saturating_add(1)))
                    .filter(statement::Column::Id.eq(row.id))
                    .filter(statement::Column::DueMs.eq(row.due_ms))
                    .exec(txn)
                    .await?;
                Ok(update.rows_affected == 1)
            })
            .await
    }

    fn statement_failed(&self, account: &account::Model, row: &statement::Model, error: &ProviderError) {
        metrics::counter!("coinwire_provider_errors_total").increment(1);
        tracing::warn!(account = account.id, day = row.day, %error, "the provider's statement could not be had");
        if (row.tries + 1) % TRIES_A_WARNING == 0 {
            let message = format!("the payment provider's daily statement cannot be had: {error}");
            self.alarm(account.operator_id, None, message);
        }
    }

    /// Ends a day's row, and begins that of the next day to be read.
    async fn end_statement(
        &self,
        ended: &statement::Model,
        state: &str,
        reading: &Reading,
        next_day: i64,
        provider: &dyn Provider,
    ) -> Result<()> {
        let next = row(ended.account_id, next_day, self.statement_due_ms(ended.account_id, next_day, provider));
        let next = &next;
        self.db
            .write(|txn| async move {
                let txn = &*txn;
                let mut change: statement::ActiveModel = ended.clone().into();
                change.state = Set(state.into());
                change.tries = Set(ended.tries + 1);
                change.due_ms = Set(None);
                change.facts = Set(reading.facts);
                change.learned = Set(reading.learned);
                change.orphans = Set(reading.orphans);
                change.read_ms = Set(Some(self.wall_ms()));
                change.update_without_returning(txn).await?;
                statement::Entity::insert(next.clone()).exec_without_returning(txn).await?;
                Ok(())
            })
            .await?;
        metrics::counter!("coinwire_statements_read_total", "state" => state.to_owned()).increment(1);
        Ok(())
    }

    /// Holds the facts of a statement against what we know, and applies those that are news. An error of the provider's
    /// leaves the rest for another time.
    async fn reconcile(
        &self,
        account: &account::Model,
        provider: &dyn Provider,
        facts: &[Fact],
    ) -> Result<Result<Reading, ProviderError>> {
        let mut reading = Reading { facts: i64::try_from(facts.len()).unwrap_or(i64::MAX), ..Reading::default() };
        let trades: Vec<(&str, Vec<&Fact>)> = by_trade(facts).into_iter().collect();
        for some in trades.chunks(LOOKED_UP_AT_ONCE) {
            let known = self.known_of(account.id, some).await?;
            for (out_trade_no, facts) in some {
                let news: Vec<&Fact> = facts.iter().filter(|fact| known.is_news(fact)).copied().collect();
                if news.is_empty() {
                    continue;
                }
                match self.as_of_now(provider, &known, out_trade_no, &news).await {
                    Ok(news) => self.apply_news(account, &news, &mut reading).await?,
                    // Of this trade alone: it must not keep all that follows from being read.
                    Err(error @ (ProviderError::Refused { .. } | ProviderError::Untrusted(_))) => {
                        tracing::warn!(account = account.id, %out_trade_no, %error, "a trade of a statement cannot be looked up");
                        reading.unread += news.len();
                    }
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
        Ok(Ok(reading))
    }

    async fn known_of(&self, account_id: i64, trades: &[(&str, Vec<&Fact>)]) -> Result<Known> {
        let attempts = attempt::Entity::find()
            .filter(attempt::Column::AccountId.eq(account_id))
            .filter(attempt::Column::OutTradeNo.is_in(trades.iter().map(|(number, _)| *number)))
            .all(self.db.read())
            .await?;
        let numbers: Vec<&str> =
            trades.iter().flat_map(|(_, facts)| facts).filter_map(|fact| refund_no(fact)).collect();
        let refunds = match numbers.is_empty() {
            true => vec![],
            false => {
                refund::Entity::find()
                    .filter(refund::Column::AccountId.eq(account_id))
                    .filter(refund::Column::OutRefundNo.is_in(numbers))
                    .all(self.db.read())
                    .await?
            }
        };
        let is_paid =
            |attempt: &attempt::Model| [attempt_state::PAID, attempt_state::PAID_WRONG].contains(&&*attempt.state);
        Ok(Known {
            attempts: attempts.iter().map(|attempt| attempt.out_trade_no.clone()).collect(),
            paid: attempts.into_iter().filter(is_paid).map(|attempt| attempt.out_trade_no).collect(),
            refunds: refunds.into_iter().map(|refund| (refund.out_refund_no, refund.state)).collect(),
        })
    }

    /// News of one trade as they stand now: a statement is never brought up to date. And a payment that we know by its
    /// refund alone is asked for, so that both are booked.
    async fn as_of_now(
        &self,
        provider: &dyn Provider,
        known: &Known,
        out_trade_no: &str,
        news: &[&Fact],
    ) -> Result<Vec<Fact>, ProviderError> {
        let (mut payments, mut others) = (vec![], vec![]);
        let is_ours = known.attempts.contains(out_trade_no) || news.iter().any(|fact| self.is_marked(fact));
        for fact in news {
            match fact {
                // It may have gone back since, and nobody is to be served for it then.
                Fact::Payment { .. } if is_ours => match provider.query(out_trade_no).await? {
                    state @ (TradeState::Paid(_) | TradeState::Refunded(_) | TradeState::PaidForeign(_)) => {
                        payments.push(Fact::Payment { out_trade_no: out_trade_no.to_owned(), state });
                    }
                    TradeState::NotPaid | TradeState::NotFound | TradeState::Closed => payments.push((*fact).clone()),
                },
                Fact::Payment { .. } => payments.push((*fact).clone()),
                Fact::Refund { out_refund_no, state, told } if is_ours => {
                    let state = match provider.query_refund(out_refund_no).await {
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
                let state = provider.query(out_trade_no).await?;
                payments.push(Fact::Payment { out_trade_no: out_trade_no.to_owned(), state });
            }
            // Money of it went back: nobody is to be served for it.
            payments = payments.into_iter().map(returned).collect();
        }
        payments.append(&mut others);
        Ok(payments)
    }

    /// Applies the news of one trade in one transaction, so that a payment and what went back of it are seen together.
    async fn apply_news(&self, account: &account::Model, news: &[Fact], reading: &mut Reading) -> Result<()> {
        let keep = reading.orphans < ORPHANS_KEPT;
        let (after, outcomes) = self
            .db
            .write(|txn| async move {
                let txn = &*txn;
                let (mut after, mut outcomes) = (After::default(), vec![]);
                for fact in news {
                    let outcome = self.apply_fact(txn, account, fact, &mut after).await?;
                    if outcome == Outcome::Orphan && keep {
                        self.keep_orphan(txn, account.id, fact).await?;
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
            reading.first_orphan = reading.first_orphan.take().or_else(|| news.first().map(words));
        } else {
            self.follow_up(after).await;
        }
        for (fact, outcome) in news.iter().zip(outcomes) {
            if outcome == Outcome::Applied {
                reading.learned += 1;
                tracing::info!(account = account.id, "learned by the provider's statement: {}", words(fact));
            }
        }
        Ok(())
    }

    /// Whether it is a payment that carries our mark, whatever became of its order here.
    fn is_marked(&self, fact: &Fact) -> bool {
        let Fact::Payment { out_trade_no, state: TradeState::Paid(paid) | TradeState::Refunded(paid) } = fact else {
            return false;
        };
        OrderMark::read(&self.mark_key, out_trade_no, &paid.attach).is_some()
    }

    async fn keep_orphan(&self, txn: &DatabaseTransaction, account_id: i64, fact: &Fact) -> Result<()> {
        let event_id = format!("statement {}", words(fact));
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
            outcome: Set(Outcome::Orphan.as_str().into()),
            headers: Set(String::new()),
            body: Set(vec![]),
            plaintext: Set(format!("{fact:?}")),
            received_ms: Set(self.now_ms()),
            ..Default::default()
        };
        inbox::Entity::insert(row).exec_without_returning(txn).await?;
        Ok(())
    }
}

/// What we know of some trades.
struct Known {
    attempts: BTreeSet<String>,
    paid: BTreeSet<String>,
    /// States of refunds, by their numbers.
    refunds: BTreeMap<String, String>,
}

impl Known {
    fn is_news(&self, fact: &Fact) -> bool {
        match fact {
            Fact::Payment { out_trade_no, .. } => !self.paid.contains(out_trade_no),
            // One of ours that is under way is asked about until it is through.
            Fact::Refund { out_refund_no, state, .. } => {
                let known = self.refunds.get(out_refund_no).map(String::as_str);
                known.is_none_or(|known| known == refund_state::CANCELLED) && *state != RefundState::Closed
            }
            Fact::Dispute(_) => true,
        }
    }
}

fn by_trade(facts: &[Fact]) -> Trades<'_> {
    let mut trades = Trades::new();
    for fact in facts {
        let (out_trade_no, is_payment) = match fact {
            Fact::Payment { out_trade_no, .. } => (out_trade_no.as_str(), true),
            Fact::Refund { told: Some(told), .. } => (told.out_trade_no.as_str(), false),
            // Of no payment: it stands alone.
            Fact::Refund { out_refund_no, told: None, .. } => (out_refund_no.as_str(), false),
            Fact::Dispute(told) => (told.out_trade_no.as_str(), false),
        };
        let of_trade = trades.entry(out_trade_no).or_default();
        if is_payment { of_trade.insert(0, fact) } else { of_trade.push(fact) }
    }
    trades
}

/// A payment as one of which money went back.
fn returned(fact: Fact) -> Fact {
    match fact {
        Fact::Payment { out_trade_no, state: TradeState::Paid(paid) } => {
            Fact::Payment { out_trade_no, state: TradeState::Refunded(paid) }
        }
        other => other,
    }
}

fn refund_no(fact: &Fact) -> Option<&str> {
    match fact {
        Fact::Refund { out_refund_no, .. } => Some(out_refund_no),
        Fact::Payment { .. } | Fact::Dispute(_) => None,
    }
}

fn words(fact: &Fact) -> String {
    match fact {
        Fact::Payment { out_trade_no, .. } => format!("payment {out_trade_no}"),
        Fact::Refund { out_refund_no, .. } => format!("refund {out_refund_no}"),
        Fact::Dispute(told) => format!("dispute {}", told.dispute_id),
    }
}
