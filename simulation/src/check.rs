//! The checkers: what the store says, held against what happened physically. After every step, and at rest.

use crate::{
    Sales,
    check_machines::{booked_coins_minor, check_coins, check_credit_total, check_settings},
    machine::{Machine, PulseTrain},
    operators::system,
    provider::{ProviderBooks, Trade, manner::ALIPAY},
    store::{LedgerRow, SaleRow, Store},
    world::{COIN_MINOR, Checked, Violation},
};
use backend::{
    access::actor::Actor,
    ids::{MachineId, OperatorId},
    ledger::{self, Account},
    machines::fleet,
    modules::credit_id,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

macro_rules! hold {
    ($promise:expr, $($broken:tt)+) => {
        if !$promise {
            return Err(Violation(format!($($broken)+)));
        }
    };
}
pub(crate) use hold;

/// A machine as the backend knows it.
struct Known {
    operator_id: OperatorId,
    machine_id: MachineId,
    account_tokens: Vec<String>,
}

/// Everything known of a sale at one moment.
struct Facts<'a> {
    row: &'a SaleRow,
    trade: Option<&'a Trade>,
    pulse_trains: Vec<&'a PulseTrain>,
    /// Money booked, by kind of posting, in minor units.
    booked: BTreeMap<&'a str, i64>,
}

impl Facts<'_> {
    fn booked_minor(&self, kind: &str) -> i64 {
        self.booked.get(kind).copied().unwrap_or(0)
    }

    fn pulses(&self) -> i64 {
        self.pulse_trains.iter().map(|train| i64::from(train.pulses)).sum()
    }

    fn cut(&self) -> bool {
        self.pulse_trains.iter().any(|train| train.cut)
    }
}

/// Holds the promises.
pub struct Checker {
    store: Store,
    known: Vec<Known>,
    changes: i64,
    postings: i64,
    ledger: Vec<LedgerRow>,
    states: BTreeMap<i64, String>,
    moves: Vec<String>,
    /// Sales that were paid for or can no longer be, and are not on their way any more.
    over: BTreeSet<String>,
    sales: Sales,
    /// Times that the store was put back from a copy.
    restores: u64,
}

impl Checker {
    /// A checker that looks into a store.
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            known: vec![],
            changes: 0,
            postings: 0,
            ledger: vec![],
            states: BTreeMap::new(),
            moves: vec![],
            over: BTreeSet::new(),
            sales: Sales::default(),
            restores: 0,
        }
    }

    /// Looks into the store as another opened it.
    pub(crate) fn look_into(&mut self, store: Store) {
        self.store = store;
        self.changes = 0;
    }

    /// The store was put back from a copy: what was seen of it before counts no longer.
    pub(crate) fn forget_history(&mut self) {
        (self.changes, self.postings) = (-1, -1);
        self.states.clear();
        self.restores += 1;
    }

    /// Tells of a machine; in the order of the modules.
    pub fn register_machine(&mut self, operator_id: OperatorId, machine_id: MachineId, account_tokens: Vec<String>) {
        self.known.push(Known { operator_id, machine_id, account_tokens });
    }

    /// Checks all that holds at every moment, if anything changed since it was checked last. Gives when the next work
    /// is due.
    pub(crate) async fn check_step(
        &mut self,
        provider_books: &Mutex<ProviderBooks>,
        machines: &[Machine],
        backend: Option<&backend::Context>,
    ) -> Checked<Option<i64>> {
        let snapshot = self.store.snapshot().await?;
        if std::mem::replace(&mut self.postings, snapshot.postings) != snapshot.postings {
            self.ledger = self.store.ledger().await?;
            self.check_ledger(machines, backend).await?;
        }
        if std::mem::replace(&mut self.changes, snapshot.changes) != snapshot.changes {
            self.check_sales(provider_books, machines).await?;
        }
        Ok(snapshot.due_ms)
    }

    /// The machine of a module, by its number.
    pub(crate) fn machine_id(&self, machine: usize) -> MachineId {
        self.known[machine].machine_id
    }

    /// Sales that moved since the last call, a line each.
    pub fn take_moves(&mut self) -> Vec<String> {
        std::mem::take(&mut self.moves)
    }

    /// Whether a sale is over: its form can be used for another.
    pub fn is_over(&self, token: &str) -> bool {
        self.over.contains(token)
    }

    /// Sales so far, by their end.
    pub fn sales(&self) -> Sales {
        Sales { restores: self.restores, ..self.sales }
    }

    /// What is not at rest, a line each.
    pub(crate) async fn open(
        &self,
        provider_books: &Mutex<ProviderBooks>,
        machines: &[Machine],
        backend: Option<&backend::Context>,
    ) -> Checked<Vec<String>> {
        let Some(backend) = backend else { return Ok(vec!["the server is down".into()]) };
        let due = self.store.due().await?;
        if due > 0 {
            let open = |row: &SaleRow| !["credited", "expired", "refunded", "review"].contains(&row.state.as_str());
            let rows = self.store.sales().await?;
            let lines = rows.iter().filter(|row| open(row)).map(SaleRow::line);
            return Ok(lines.chain([format!("{due} commands, payments or refunds wait")]).collect());
        }
        let mut lines = unknown_to_store(&self.store.sales().await?, &locked(provider_books));
        for (known, machine) in self.known.iter().zip(machines) {
            let view = fleet::machine(backend, &system(), known.machine_id).await?;
            let Some(module) = view.row.module else { continue };
            let heard = module.coin_pulses;
            if u64::try_from(heard).unwrap_or(0) < machine.coin_total() {
                lines.push(format!("of {} coin pulses {heard} are heard", machine.coin_total()));
            }
            // Where none were chosen here, the module keeps what it has.
            let chosen = module.settings_wanted > 0 || self.restores == 0;
            if chosen && module.settings_version != module.settings_wanted {
                let (has, wanted) = (module.settings_version, module.settings_wanted);
                lines.push(format!("a module has settings {has}, wanted are {wanted}"));
            }
        }
        Ok(lines)
    }

    async fn check_ledger(&self, machines: &[Machine], backend: Option<&backend::Context>) -> Checked {
        let crooked = self.store.unbalanced_postings().await?;
        hold!(crooked == 0, "{crooked} postings of the ledger do not sum to zero");
        for (known, machine) in self.known.iter().zip(machines) {
            let booked = booked_coins_minor(&self.ledger, known.machine_id);
            let fallen_minor = i64::try_from(machine.coins.fallen).unwrap_or(i64::MAX) * COIN_MINOR;
            hold!(booked <= fallen_minor, "coins: {booked} booked, {fallen_minor} fell");
            let Some(backend) = backend else { continue };
            let balances = ledger::balances(backend, &Actor::system("the checkers"), known.operator_id).await?;
            let sum: i64 = balances.iter().map(|balance| balance.amount_minor).sum();
            hold!(sum == 0, "the ledger of operator {} sums to {sum}: {balances:?}", known.operator_id);
        }
        Ok(())
    }

    async fn check_sales(&mut self, provider_books: &Mutex<ProviderBooks>, machines: &[Machine]) -> Checked {
        let rows = self.store.sales().await?;
        for row in &rows {
            self.note_move(row)?;
        }
        let provider_books = locked(provider_books);
        self.check_pulse_trains(machines, &rows, &provider_books)?;
        self.sales = Sales::default();
        for facts in facts(&rows, &self.ledger, &provider_books, machines) {
            check_sale(&facts)?;
            count(&mut self.sales, &facts);
        }
        Ok(())
    }

    /// A sale never leaves an end but to a refund of late money, and to what a person did.
    fn note_move(&mut self, row: &SaleRow) -> Checked {
        let before = self.states.insert(row.id, row.state.clone()).unwrap_or_default();
        if before == row.state {
            return Ok(());
        }
        self.moves.push(format!("sale {} {before} -> {} {}", row.token, row.state, row.reason));
        if ["credited", "expired", "refund_pending", "refunded", "review"].contains(&row.state.as_str()) {
            self.over.insert(row.token.clone());
        }
        let legal = match before.as_str() {
            "credited" | "refunded" => false,
            // Refunded at once: one message may say that it was paid late and that all of it was given back in the console.
            "expired" => ["paid", "refund_pending", "review", "refunded"].contains(&row.state.as_str()),
            "review" => ["refunded", "paid"].contains(&row.state.as_str()),
            _ => true,
        };
        hold!(legal, "sale {} went from {before} to {}", row.token, row.state);
        Ok(())
    }

    /// The promises that hold once all is at rest.
    pub(crate) async fn check_rest(
        &self,
        provider_books: &Mutex<ProviderBooks>,
        machines: &[Machine],
        backend: Option<&backend::Context>,
    ) -> Checked {
        let Some(backend) = backend else { return Err(Violation("at rest without a server".into())) };
        let rows = self.store.sales().await?;
        for (known, machine) in self.known.iter().zip(machines) {
            let balances = ledger::balances(backend, &Actor::system("the checkers"), known.operator_id).await?;
            let balance = |account: Account| {
                balances.iter().filter(|balance| balance.account == account).map(|balance| balance.amount_minor).sum()
            };
            let mut at_all_minor = 0;
            for token in &known.account_tokens {
                let (taken, returned) = locked(provider_books).sums_minor(token);
                let at_provider = self.store.at_provider_minor(token).await?;
                at_all_minor += at_provider;
                let excused = locked(provider_books).of_account(token).any(|(number, trade)| {
                    let is_here = rows.iter().any(|row| row.out_trade_no.as_ref() == Some(number));
                    trade.refund_forgotten || trade.may_be_untold() || !is_here && trade.may_be_unknown()
                });
                hold!(
                    at_provider == taken - returned || excused,
                    "the provider took {taken} and gave back {returned}, the ledger says it holds {at_provider}"
                );
            }
            let at_providers: i64 = balance(Account::ProviderClearing);
            hold!(at_providers == at_all_minor, "accounts hold {at_all_minor}, their operator {at_providers}");
            let view = fleet::machine(backend, &system(), known.machine_id).await?;
            let Some(module) = view.row.module else { return Err(Violation("a machine lost its module".into())) };
            check_coins(machine, module.coin_pulses, balance(Account::CashBox))?;
            check_credit_total(machine)?;
            let locked = machine.module.as_ref().is_some_and(|module| module.is_locked());
            let excused = machine.lock_forgotten || self.store.lock_expired(machine.identity.id.as_str()).await?;
            hold!(
                (locked == machine.lock_ordered || excused) && module.locked == locked,
                "a lock was ordered {}, the module has {locked}, the server believes {}",
                machine.lock_ordered,
                module.locked
            );
            check_settings(machine, module.settings_wanted)?;
        }
        let provider_books = locked(provider_books);
        for (number, trade) in provider_books.trades() {
            let known = rows.iter().any(|row| row.out_trade_no.as_ref() == Some(number));
            let excused = trade.may_be_unknown();
            hold!(known || excused || trade.taken_minor == 0, "{number} was paid and belongs to no sale");
        }
        for facts in facts(&rows, &self.ledger, &provider_books, machines) {
            check_sale_at_rest(&facts)?;
        }
        Ok(())
    }
}

/// What the provider's statements have still to tell: payments that fit no order here, and what went back past the store,
/// in the console or before a copy was put back. A line each.
fn unknown_to_store(rows: &[SaleRow], provider_books: &ProviderBooks) -> Vec<String> {
    let mut lines = vec![];
    for (number, trade) in provider_books.trades().iter().filter(|(_, trade)| trade.taken_minor > 0) {
        let Some(row) = rows.iter().find(|row| row.out_trade_no.as_ref() == Some(number)) else {
            if !trade.may_be_unknown() {
                lines.push(format!("{number} was paid and belongs to no sale"));
            }
            continue;
        };
        let is_known = if trade.may_be_untold() || trade.refund_forgotten && !trade.manner.habits.has_statements {
            true
        } else if trade.refund_forgotten {
            row.returned_minor >= trade.returned_minor
        } else {
            row.elsewhere_minor == trade.elsewhere_minor
        };
        if !is_known {
            let (token, there, here) = (&row.token, trade.elsewhere_minor, row.elsewhere_minor);
            let (went, known) = (trade.returned_minor, row.returned_minor);
            lines.push(format!(
                "sale {token}: {went} went back, {there} in the console; {known} is known, {here} in the console"
            ));
        }
    }
    lines
}

fn locked(provider_books: &Mutex<ProviderBooks>) -> MutexGuard<'_, ProviderBooks> {
    provider_books.lock().unwrap_or_else(PoisonError::into_inner)
}

fn facts<'a>(
    rows: &'a [SaleRow],
    ledger: &'a [LedgerRow],
    provider_books: &'a ProviderBooks,
    machines: &'a [Machine],
) -> Vec<Facts<'a>> {
    let of_row = |row: &'a SaleRow| {
        let all = machines.iter().flat_map(|machine| &machine.pulse_trains);
        let ours = |train: &&PulseTrain| row.command() == Some(train.command);
        Facts {
            row,
            trade: row.out_trade_no.as_ref().and_then(|number| provider_books.trades().get(number)),
            pulse_trains: all.filter(ours).collect(),
            booked: ledger
                .iter()
                .filter(|line| line.sale_id == Some(row.id))
                .map(|line| (line.kind.as_str(), line.amount_minor))
                .collect(),
        }
    };
    rows.iter().map(of_row).collect()
}

impl Checker {
    /// A payment's command is executed at most once, whatever the store has forgotten, with at most its pulses; and nothing is
    /// executed that was not commanded.
    fn check_pulse_trains(&self, machines: &[Machine], rows: &[SaleRow], provider_books: &ProviderBooks) -> Checked {
        let mut given = BTreeMap::new();
        for (machine, train) in
            machines.iter().flat_map(|machine| machine.pulse_trains.iter().map(move |t| (machine, t)))
        {
            let times = given.entry(train.command).or_insert(0_u32);
            *times += 1;
            hold!(*times == 1, "the credit {:x} was given {times} times", train.command);
            let Some(row) = rows.iter().find(|row| row.command() == Some(train.command)) else {
                let module = machine.identity.id;
                let mut paid = provider_books.trades().iter().filter(|(_, trade)| trade.taken_minor > 0);
                let forgotten =
                    self.restores > 0 && paid.any(|(number, _)| credit_id(module.as_str(), number) == train.command);
                hold!(forgotten, "credit {:x} was given and belongs to no sale", train.command);
                continue;
            };
            let pulses = i64::from(train.pulses);
            hold!(pulses <= row.pulses, "sale {} bought {} pulses and got {pulses}", row.token, row.pulses);
        }
        Ok(())
    }
}

/// What holds of a sale at every moment.
fn check_sale(facts: &Facts<'_>) -> Checked {
    let Facts { row, trade, .. } = facts;
    let (taken, returned) = trade.map_or((0, 0), |trade| (trade.taken_minor, trade.returned_minor));
    let token = &row.token;
    let paid = facts.booked_minor("payment") + facts.booked_minor("suspense");
    hold!(paid == 0 || paid == taken, "sale {token}: {paid} booked as paid, {taken} taken");
    let refunding = facts.booked_minor("refund") + facts.booked_minor("suspense_refund")
        - facts.booked_minor("refund_cancelled")
        - facts.booked_minor("suspense_refund_cancelled");
    hold!((0..=paid).contains(&refunding), "sale {token}: {refunding} to go back of {paid} paid");
    let done = facts.booked_minor("refund_done") - facts.booked_minor("refund_reversed");
    hold!(done <= returned, "sale {token}: {done} booked as returned, {returned} returned");
    hold!(returned <= taken, "sale {token}: {returned} returned of {taken} taken");
    hold!(row.refunds <= 1, "sale {token} has {} refunds", row.refunds);
    hold!(facts.row.command_id.is_none() || paid > 0, "sale {token} is credited without being paid");
    if row.state == "credited" {
        hold!(
            facts.pulses() == row.pulses,
            "sale {token} counts as credited, the machine got {} pulses",
            facts.pulses()
        );
        // What its operator gave back in the console beside.
        let elsewhere = trade.map_or(0, |trade| trade.elsewhere_minor);
        let forgot = trade.is_some_and(|trade| trade.refund_forgotten);
        hold!(
            refunding == row.elsewhere_minor && (returned == elsewhere || forgot),
            "sale {token} is credited, and {refunding} goes back, {elsewhere} by the console"
        );
    }
    if row.state == "refunded" {
        hold!(done > 0 && done == refunding, "sale {token} counts as refunded with {done} of {refunding} returned");
    }
    if row.served_and_refunded {
        let lost = facts.booked_minor("loss");
        // What went back in the console later is no more a loss than that of a credited sale.
        let served = lost > 0 && (refunding - row.elsewhere_minor..=refunding).contains(&lost);
        hold!(served, "sale {token} was served and refunded, and {lost} is booked as lost");
        hold!(facts.pulses() == row.pulses, "sale {token} counts as served, the machine got {} pulses", facts.pulses());
    }
    Ok(())
}

/// What holds of a sale once all is at rest: credited or refunded, never neither, never both but marked.
fn check_sale_at_rest(facts: &Facts<'_>) -> Checked {
    let Facts { row, trade, .. } = facts;
    let (taken, returned) = trade.map_or((0, 0), |trade| (trade.taken_minor, trade.returned_minor));
    let (token, pulses) = (&row.token, facts.pulses());
    // What went back and was forgotten is known to the provider alone, until its refunds are read from its bill.
    if trade.is_some_and(|trade| trade.refund_forgotten) {
        return Ok(());
    }
    match row.state.as_str() {
        "expired" => {
            // Told before the store was put back; nobody tells it again.
            let excused = trade.is_some_and(|trade| trade.payment_forgotten && trade.may_be_unknown());
            hold!(taken == 0 || excused, "sale {token} counts as never paid, and {taken} was taken");
            hold!(pulses == 0, "sale {token} was never paid, and the machine got {pulses} pulses");
        }
        "credited" => hold!(taken == row.amount_minor, "sale {token} is credited for {taken}"),
        "refunded" => {
            let whole = returned == taken;
            let remainder = row.refund_remainder && row.pulses_given > 0 && (1..taken).contains(&returned);
            hold!(whole || remainder, "sale {token} is refunded, {returned} of {taken}");
            hold!(row.pulses_given <= pulses, "sale {token}: {} pulses known, {pulses} given", row.pulses_given);
            // Only the pulse at which power went is in doubt; what was given whole is marked.
            let known = pulses <= row.pulses_given + i64::from(facts.cut());
            hold!(
                known || row.served_and_refunded,
                "sale {token} is refunded with {} pulses known, {pulses} given",
                row.pulses_given
            );
        }
        "review" => {
            let wrong = taken != row.amount_minor;
            let stuck = trade.is_some_and(|trade| trade.abnormal) || row.refund_state == "stuck";
            hold!(wrong || stuck, "sale {token} is before a person without need");
            let elsewhere = trade.map_or(0, |trade| trade.elsewhere_minor);
            hold!(returned == elsewhere, "sale {token} is before a person, and {returned} went back");
            let excused = trade.is_some_and(Trade::may_be_untold);
            hold!(returned < taken || excused, "sale {token} is before a person, and all of it went back");
        }
        other => return Err(Violation(format!("sale {token} rests as {other}"))),
    }
    Ok(())
}

fn count(sales: &mut Sales, facts: &Facts<'_>) {
    let row = facts.row;
    sales.made += 1;
    sales.paid += u64::from(facts.trade.is_some_and(|trade| trade.taken_minor > 0));
    let by_alipay = |trade: &Trade| trade.taken_minor > 0 && std::ptr::eq(trade.manner, &ALIPAY);
    sales.paid_by_alipay += u64::from(facts.trade.is_some_and(by_alipay));
    sales.credited += u64::from(row.state == "credited");
    sales.refunded += u64::from(row.state == "refunded");
    sales.review += u64::from(row.state == "review");
    sales.served_and_refunded += u64::from(row.served_and_refunded);
}
