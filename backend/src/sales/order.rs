//! An order: probed, committed with its attempt, and only then told to the provider.

use super::{
    Checkout, OrderRequest, PriceView, Readiness, ScanView, mark::OrderMark, sale, state::Event, state::SaleState,
};
use crate::{
    Backend, Error, Result, clock, db, ledger,
    machines::{machine, price},
    modules::next_sequence,
    money::Money,
    operators::operator,
    payments::{
        account, attempt, attempt_state,
        bulkhead::Lane,
        provider::{Handoff, PaymentRequest, ProviderError},
    },
    sales::After,
};
use protocol::limits::CREDITS_WAITING_MAX;
use sea_orm::{ActiveValue::Set, QueryOrder, TryIntoModel, prelude::*};

/// Characters of a sale's public token: 100 bits, so that it cannot be guessed.
const TOKEN_CHARS: usize = 20;
/// Bounds of a form key's characters.
const FORM_KEY_CHARS: std::ops::RangeInclusive<usize> = 16..=64;
/// Sales that one form may make, one after the other: a page that the browser kept is used again for each ride.
const FORM_USES_MAX: u32 = 20;

/// What a form may still be used for.
pub(super) enum FormUse {
    /// A new order, under this key.
    Free(String),
    /// Its newest sale is not over: it is that one that is meant.
    Open(Checkout),
}

impl Backend {
    /// The scan page of a machine: looks it up, and probes its module if the last answer is too old.
    pub async fn scan(&self, code: &str) -> Result<ScanView> {
        let machine = self.machine_by_code(code).await?;
        let operator = self.operator_row(machine.operator_id).await?;
        let prices = self.price_rows(machine.id).await?;
        let account = self.active_account(machine.operator_id).await?;
        let readiness = match account {
            _ if machine.retired_ms.is_some() => Readiness::Retired,
            Some(account) if !prices.is_empty() => self.payable(&machine, &account).await?,
            _ => Readiness::Closed,
        };
        let currency = ledger::currency(&operator.currency)?;
        Ok(ScanView {
            code: machine.code,
            machine: machine.name,
            site: machine.site,
            operator: operator.name,
            contact: operator.contact,
            readiness,
            prices: prices.into_iter().map(|price| PriceView::new(price, currency)).collect(),
        })
    }

    /// Makes an order and an attempt, commits both, and asks the provider to take the payment. The same form sent again
    /// gives the same sale while that one can be paid or is on its way; once it is over, a new one.
    pub async fn order(&self, mut request: OrderRequest) -> Result<Checkout> {
        if !FORM_KEY_CHARS.contains(&request.form_key.len()) || !request.form_key.is_ascii() {
            return Err(Error::invalid("form_key", "is not of a form we made; open the page again"));
        }
        match self.form_use(&request.form_key).await? {
            FormUse::Open(checkout) => return Ok(checkout),
            FormUse::Free(key) => request.form_key = key,
        }
        let machine = self.machine_by_code(&request.code).await?;
        let price = price::Entity::find_by_id(request.price_id)
            .filter(price::Column::MachineId.eq(machine.id))
            .one(self.db.read())
            .await?
            .ok_or(Error::Conflict("price"))?;
        if price.amount_minor != request.amount_minor {
            return Err(Error::Conflict("price"));
        }
        let account = self.active_account(machine.operator_id).await?.ok_or(Error::NotReady(Readiness::Closed))?;
        match self.payable(&machine, &account).await? {
            Readiness::Ready => {}
            other => return Err(Error::NotReady(other)),
        }
        let silent = Error::NotReady(Readiness::ProviderSilent);
        let _pass = self.providers.bulkhead(account.id).enter(Lane::Order).ok_or(silent)?;
        let (sale, attempt) = match self.commit_order(&request, &machine, &price, &account).await {
            Err(Error::Store(error)) if db::is_unique_violation(&error) => {
                // The same form, sent twice at once: the other one was first.
                return match self.form_use(&request.form_key).await? {
                    FormUse::Open(checkout) => Ok(checkout),
                    FormUse::Free(_) => Err(Error::Store(error)),
                };
            }
            outcome => outcome?,
        };
        self.hand_off(sale, attempt, &machine, &account, &request).await
    }

    async fn commit_order(
        &self,
        request: &OrderRequest,
        machine: &machine::Model,
        price: &price::Model,
        account: &account::Model,
    ) -> Result<(sale::Model, attempt::Model)> {
        let operator = self.operator_row(machine.operator_id).await?;
        ledger::currency(&operator.currency)?;
        let module_id = machine.module_id.clone().ok_or(Error::NotReady(Readiness::Closed))?;
        let now_ms = self.now_ms();
        let expires_ms = now_ms + self.rules.order_lifetime_ms;
        let new_sale = sale::ActiveModel {
            token: Set(clock::random_text(&*self.random, TOKEN_CHARS)),
            form_key: Set(request.form_key.clone()),
            operator_id: Set(machine.operator_id),
            machine_id: Set(machine.id),
            module_id: Set(module_id.clone()),
            label: Set(price.label.clone()),
            amount_minor: Set(price.amount_minor),
            currency: Set(operator.currency.clone()),
            pulses: Set(price.pulses),
            pulses_given: Set(0),
            state: Set(SaleState::Created.as_str().into()),
            reason: Set(String::new()),
            served_and_refunded: Set(false),
            version: Set(0),
            created_ms: Set(self.wall_ms()),
            expires_ms: Set(expires_ms),
            paid_ms: Set(None),
            finished_ms: Set(None),
            dispute: Set(String::new()),
            credit_asked: Set(false),
            rebuilt_ms: Set(None),
            ..Default::default()
        };
        let new_attempt = attempt::ActiveModel {
            account_id: Set(account.id),
            out_trade_no: Set(self.new_number("S")),
            provider_txn_id: Set(None),
            pay_url: Set(None),
            state: Set(attempt_state::CREATED.into()),
            amount_minor: Set(price.amount_minor),
            currency: Set(operator.currency),
            payer_ip: Set(Some(request.payer_ip.to_string())),
            created_ms: Set(now_ms),
            expires_ms: Set(expires_ms),
            due_ms: Set(Some(now_ms + self.rules.poll_first_ms)),
            polls: Set(0),
            paid_minor: Set(None),
            paid_currency: Set(None),
            ..Default::default()
        };
        let module_id = &module_id;
        let new_sale = &new_sale;
        let new_attempt = &new_attempt;
        self.db
            .write(|txn| async move {
                let txn = &*txn;
                let (mut sale, mut attempt) = (new_sale.clone(), new_attempt.clone());
                sale.credit_sequence = Set(Some(next_sequence(txn, module_id, now_ms).await?));
                sale.id = Set(sale::Entity::insert(sale.clone()).exec(txn).await?.last_insert_id);
                attempt.sale_id = sale.id.clone();
                attempt.id = Set(attempt::Entity::insert(attempt.clone()).exec(txn).await?.last_insert_id);
                Ok((sale.try_into_model()?, attempt.try_into_model()?))
            })
            .await
    }

    async fn hand_off(
        &self,
        sale: sale::Model,
        attempt: attempt::Model,
        machine: &machine::Model,
        account: &account::Model,
        request: &OrderRequest,
    ) -> Result<Checkout> {
        let provider = self.provider(account)?;
        let payment = PaymentRequest {
            out_trade_no: attempt.out_trade_no.clone(),
            description: format!("{} {}", machine.name, sale.label),
            amount: Money::new(attempt.amount_minor, ledger::currency(&attempt.currency)?),
            // The provider goes by its own clock, and the wall clock is what is closest to it.
            expires_at_ms: attempt.expires_ms - self.now_ms() + self.wall_ms(),
            payer_ip: request.payer_ip,
            notify_url: self.notify_url(account),
            return_url: self.sale_url(&sale.token),
            attach: self.mark(&sale, machine)?.write(&self.mark_key, &attempt.out_trade_no),
        };
        // The payer was told the longest wait.
        let answer = tokio::select! {
            biased;
            answer = provider.create(&payment) => answer,
            () = self.clock.sleep_ms(self.rules.order_wait_ms) => Err(ProviderError::Unknown("no answer in time".into())),
        };
        let (event, pay_url) = match &answer {
            Ok(Handoff::Redirect { url }) => (Event::HandedOff, Some(url.clone())),
            // Nothing happened there: the sale is over before money was taken.
            Err(ProviderError::Refused { .. }) => (Event::OrderRefused, None),
            // It may know of the order. Nobody was sent there, so nobody will pay; asking tells, and closes it.
            Err(_) => (Event::OrderUnanswered, None),
        };
        let pay_url = &pay_url;
        let after = self
            .db
            .write(|txn| async move {
                let txn = &*txn;
                let mut after = After::default();
                let sale = self.lock_sale(txn, sale.id).await?;
                let attempt =
                    attempt::Entity::find_by_id(attempt.id).one(txn).await?.ok_or(Error::NotFound("attempt"))?;
                // The callback may have been faster: a paid attempt stays paid.
                if attempt.state == attempt_state::CREATED {
                    let mut change: attempt::ActiveModel = attempt.into();
                    if pay_url.is_some() {
                        change.state = Set(attempt_state::PENDING.into());
                        change.pay_url = Set(pay_url.clone());
                    } else if event == Event::OrderRefused {
                        change.state = Set(attempt_state::CLOSED.into());
                        change.due_ms = Set(None);
                    }
                    if change.is_changed() {
                        change.update_without_returning(txn).await?;
                    }
                }
                self.move_sale(txn, sale, event, None, &mut after).await?;
                Ok(after)
            })
            .await?;
        self.follow_up(after).await;
        match answer {
            Ok(handoff) => Ok(Checkout { token: sale.token, handoff }),
            Err(error) => {
                metrics::counter!("coinwire_provider_errors_total").increment(1);
                Err(error.into())
            }
        }
    }

    /// What a form may still be used for. A form whose sale is over is free again, under the next key of its own: so it
    /// buys another ride, and pressed twice it still makes one sale.
    pub(super) async fn form_use(&self, form_key: &str) -> Result<FormUse> {
        for number in 1..=FORM_USES_MAX {
            let key = if number == 1 { form_key.to_owned() } else { format!("{form_key}.{number}") };
            let Some(sale) = sale::Entity::find().filter(sale::Column::FormKey.eq(&key)).one(self.db.read()).await?
            else {
                return Ok(FormUse::Free(key));
            };
            if let Some(url) = self.way_on(&sale).await? {
                return Ok(FormUse::Open(Checkout { token: sale.token, handoff: Handoff::Redirect { url } }));
            }
        }
        Err(Error::Conflict("form"))
    }

    /// Where the payer of a sale goes on, while it can be paid or is on its way.
    async fn way_on(&self, sale: &sale::Model) -> Result<Option<String>> {
        let own_page = || Some(self.sale_url(&sale.token));
        Ok(match SaleState::parse(&sale.state) {
            Some(SaleState::Created) => own_page().filter(|_| self.is_asking(sale)),
            Some(SaleState::AwaitingPayment) => self.pay_url(sale).await?,
            Some(SaleState::Paid | SaleState::Crediting) => own_page(),
            Some(
                SaleState::Credited
                | SaleState::Expired
                | SaleState::RefundPending
                | SaleState::Refunded
                | SaleState::Review
                | SaleState::Settled,
            )
            | None => None,
        })
    }

    /// Where a sale can be paid, while it can.
    pub(super) async fn pay_url(&self, sale: &sale::Model) -> Result<Option<String>> {
        if sale.state != SaleState::AwaitingPayment.as_str() || self.now_ms() >= sale.expires_ms {
            return Ok(None);
        }
        let attempt = attempt::Entity::find()
            .filter(attempt::Column::SaleId.eq(sale.id))
            .filter(attempt::Column::State.eq(attempt_state::PENDING))
            .order_by_desc(attempt::Column::Id)
            .one(self.db.read())
            .await?;
        Ok(attempt.and_then(|attempt| attempt.pay_url))
    }

    /// What the provider carries for us, should we forget the order.
    fn mark(&self, sale: &sale::Model, machine: &machine::Model) -> Result<OrderMark> {
        Ok(OrderMark {
            module_id: sale.module_id.clone(),
            code: machine.code.clone(),
            token: sale.token.clone(),
            pulses: sale.pulses,
            amount_minor: sale.amount_minor,
            currency: ledger::currency(&sale.currency)?,
            sequence: sale.credit_sequence.unwrap_or(0),
            created_s: sale.created_ms / 1000,
        })
    }

    fn sale_url(&self, token: &str) -> String {
        format!("{}/sale/{token}", self.public_url)
    }

    pub(crate) async fn operator_row(&self, operator_id: i64) -> Result<operator::Model> {
        operator::Entity::find_by_id(operator_id).one(self.db.read()).await?.ok_or(Error::NotFound("operator"))
    }

    /// Whether money can be taken for a machine now: not while its operator's provider does not answer.
    async fn payable(&self, machine: &machine::Model, account: &account::Model) -> Result<Readiness> {
        if self.providers.bulkhead(account.id).has_room(Lane::Order) {
            self.readiness(machine).await
        } else {
            Ok(Readiness::ProviderSilent)
        }
    }

    /// Whether a machine could give a credit now; asks its module if the last answer is too old.
    async fn readiness(&self, machine: &machine::Model) -> Result<Readiness> {
        match &machine.module_id {
            _ if machine.retired_ms.is_some() => Ok(Readiness::Retired),
            Some(module_id) if machine.active => match self.probe(module_id).await? {
                // Its answer may be some seconds old, and credits that were paid meanwhile may not have reached it.
                Readiness::Ready if self.open_credits(module_id).await? >= CREDITS_WAITING_MAX => Ok(Readiness::Busy),
                readiness => Ok(readiness),
            },
            _ => Ok(Readiness::Closed),
        }
    }
}
