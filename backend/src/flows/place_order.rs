//! An order: probed, committed with its attempt, and only then told to the provider.

use crate::{
    Context, Error, Result,
    access::operators::operator_row,
    clock, db,
    flows::{
        after_commit::{AfterCommit, publish_after_commit},
        leave_order::{Left, leave_order},
        scan_machine::readiness,
        settle_sale::apply_event,
    },
    ids::{PriceId, SaleToken},
    ledger,
    machines::{machine, price, rows::machine_by_code},
    modules::numbers::next_sequence,
    money::{Currency, Money},
    payments::{
        account,
        accounts::notify_url,
        attempt,
        bulkhead::Lane,
        found::{attempts_open, find_attempt_row},
        method::{Handoff, Payer, PayerApp},
        numbers::new_number,
        provider::{PaymentRequest, ProviderError},
        states::{AttemptState, DisputeStanding},
        ways::{Way, way_word, ways_of},
    },
    sales::{
        order_attachment::OrderAttachment,
        readiness::Readiness,
        rows::{is_asking, lock_sale, sale_url},
        sale,
        state::{Event, SaleReason, SaleState},
    },
};
use sea_orm::{ActiveValue::Set, QueryOrder, TryIntoModel, prelude::*};
use std::net::IpAddr;

/// Characters of a sale's public token: 100 bits, so that it cannot be guessed.
const TOKEN_CHARS: usize = 20;

/// Bounds of a form key's characters.
const FORM_KEY_CHARS: std::ops::RangeInclusive<usize> = 16..=64;

/// Sales that one form may make, one after the other: a page that the browser kept is used again for each ride.
const FORM_USES_MAX: u32 = 20;

/// What a form may still be used for.
pub(crate) enum FormUse {
    /// A new order, under this key.
    Free(String),
    /// It was answered with an order made before, which is not over.
    Kept(Checkout),
    /// Its newest sale is not over: it is that one that is meant.
    Open(Checkout),
}

/// Makes an order and an attempt, commits both, and asks the provider to take the payment. The same form sent again
/// gives the same sale while that one can be paid or is on its way; once it is over, a new one. Sent again with another way
/// to pay, or in place of an order that this payer left, the first is closed before there is a second; where the first is
/// being paid, it is that one that is meant.
///
/// # Errors
/// `NotFound` if there is no such machine; `Conflict` if the price or the way to pay is another by now; `NotReady` says why the machine
/// sells nothing just now; `PayerUnknown` if the way needs to know who pays; `Provider` if it did not take the order;
/// `Invalid`, `Store`.
pub async fn order(ctx: &Context, mut request: OrderRequest) -> Result<Checkout> {
    if !FORM_KEY_CHARS.contains(&request.form_key.len()) || !request.form_key.is_ascii() {
        return Err(Error::invalid("form_key", "is not of a form we made; open the page again"));
    }
    let free_key = match form_use(ctx, &request.form_key).await? {
        FormUse::Kept(checkout) => return Ok(checkout),
        FormUse::Open(checkout) if is_same_way(ctx, &checkout.token, request.way.as_deref()).await? => {
            return Ok(checkout);
        }
        FormUse::Open(checkout) => {
            request.instead_of = Some(checkout.token);
            None
        }
        FormUse::Free(key) => Some(key),
    };
    let machine = machine_by_code(ctx, &request.code).await?;
    let price = price::Entity::find_by_id(request.price_id)
        .filter(price::Column::MachineId.eq(machine.id))
        .one(ctx.db.read())
        .await?
        .ok_or(Error::Conflict("price"))?;
    if price.amount_minor != request.amount_minor {
        return Err(Error::Conflict("price"));
    }
    let operator = operator_row(ctx, machine.operator_id).await?;
    let currency = ledger::currency(&operator.currency)?;
    let ways = ways_of(ctx, &machine, currency).await?;
    let way = ways.choose(ctx, request.app, request.way.as_deref())?;
    // An identity that the way does not ask for goes no further.
    let scope = way.method.payer_scope.as_ref();
    request.payer = request.payer.filter(|payer| Some(&payer.scope) == scope);
    if scope.is_some() && request.payer.is_none() {
        return Err(Error::PayerUnknown);
    }
    let readiness = readiness(ctx, &machine).await?;
    if readiness != Readiness::Ready {
        return Err(Error::NotReady(readiness));
    }
    if let Some(former) = &request.instead_of
        && leave_order(ctx, former, machine.id, &request.form_key).await? == Left::Kept
    {
        return Ok(Checkout { token: former.clone(), next: sale_url(ctx, former) });
    }
    request.form_key = match free_key {
        Some(key) => key,
        // Its order was left just now.
        None => match form_use(ctx, &request.form_key).await? {
            FormUse::Kept(checkout) | FormUse::Open(checkout) => return Ok(checkout),
            FormUse::Free(key) => key,
        },
    };
    let silent = Error::NotReady(Readiness::ProviderSilent);
    let _pass = ctx.providers.bulkhead(way.account.id).acquire(Lane::Order).ok_or(silent)?;
    let ordered = match commit_order(ctx, &request, &machine, &price, currency, &way).await {
        Err(Error::Store(error)) if db::is_unique_violation(&error) => {
            // The same form was sent twice at once, and the other request came first.
            return match form_use(ctx, &request.form_key).await? {
                FormUse::Kept(checkout) | FormUse::Open(checkout) => Ok(checkout),
                FormUse::Free(_) => Err(Error::Store(error)),
            };
        }
        outcome => outcome?,
    };
    hand_off(ctx, ordered, &way).await
}

/// An order as it was committed.
struct Ordered {
    sale: sale::Model,
    attempt: attempt::Model,
    payment: PaymentRequest,
}

async fn commit_order(
    ctx: &Context,
    request: &OrderRequest,
    machine: &machine::Model,
    price: &price::Model,
    currency: Currency,
    way: &Way,
) -> Result<Ordered> {
    let module_id = machine.module_id.clone().ok_or(Error::NotReady(Readiness::Closed))?;
    let now_ms = ctx.now_ms();
    let expires_ms = now_ms + ctx.rules.order_lifetime_ms;
    let new_sale = sale::ActiveModel {
        token: Set(SaleToken(clock::random_text(&*ctx.random, TOKEN_CHARS))),
        form_key: Set(request.form_key.clone()),
        kept_for_form: Set(None),
        operator_id: Set(machine.operator_id),
        machine_id: Set(machine.id),
        module_id: Set(module_id.clone()),
        label: Set(price.label.clone()),
        amount_minor: Set(price.amount_minor),
        currency: Set(currency.code().into()),
        pulses: Set(price.pulses),
        pulses_given: Set(0),
        state: Set(SaleState::Created),
        reason: Set(SaleReason::None),
        served_and_refunded: Set(false),
        version: Set(0),
        created_ms: Set(ctx.wall_ms()),
        expires_ms: Set(expires_ms),
        paid_ms: Set(None),
        finished_ms: Set(None),
        dispute: Set(DisputeStanding::None),
        credit_asked: Set(false),
        rebuilt_ms: Set(None),
        ..Default::default()
    };
    let out_trade_no = &new_number(ctx, "S");
    // Where our number alone says nothing, asking would send the order once more: not while the first is on its way.
    let by_our_number = way.provider.profile().finds_by_our_number;
    let answered_ms = if by_our_number { 0 } else { i64::try_from(ctx.rules.order_wait_ms).unwrap_or(i64::MAX) };
    let new_attempt = attempt::ActiveModel {
        account_id: Set(way.account.id),
        out_trade_no: Set(out_trade_no.clone()),
        provider_txn_id: Set(None),
        method: Set(way.method.word.into()),
        reference: Set(None),
        handoff: Set(None),
        state: Set(AttemptState::Created),
        amount_minor: Set(price.amount_minor),
        currency: Set(currency.code().into()),
        payer_ip: Set(Some(request.payer_ip.to_string())),
        created_ms: Set(now_ms),
        expires_ms: Set(expires_ms),
        due_ms: Set(Some(now_ms + answered_ms + ctx.rules.poll_first_ms)),
        polls: Set(0),
        paid_minor: Set(None),
        paid_currency: Set(None),
        ..Default::default()
    };
    let module_id = &module_id;
    let new_sale = &new_sale;
    let new_attempt = &new_attempt;
    ctx.db
        .write(|txn| async move {
            let txn = &*txn;
            let (mut sale, mut attempt) = (new_sale.clone(), new_attempt.clone());
            sale.credit_sequence = Set(Some(next_sequence(txn, module_id, now_ms).await?));
            sale.id = Set(sale::Entity::insert(sale.clone()).exec(txn).await?.last_insert_id);
            let sale = sale.try_into_model()?;
            let payment = payment_request(ctx, &sale, out_trade_no, machine, request, way)?;
            attempt.sale_id = Set(sale.id);
            attempt.request = Set(Some(payment.to_json().map_err(unwritable)?));
            attempt.id = Set(attempt::Entity::insert(attempt.clone()).exec(txn).await?.last_insert_id);
            Ok(Ordered { sale, attempt: attempt.try_into_model()?, payment })
        })
        .await
}

/// What the provider is asked. Stored with the attempt, so that a repeat is the same.
fn payment_request(
    ctx: &Context,
    sale: &sale::Model,
    out_trade_no: &str,
    machine: &machine::Model,
    order: &OrderRequest,
    way: &Way,
) -> Result<PaymentRequest> {
    let attach = order_attachment(sale, machine)?.write(&ctx.attachment_key, out_trade_no);
    let carries_mark = attach.len() <= way.provider.profile().attach_max_bytes;
    Ok(PaymentRequest {
        out_trade_no: out_trade_no.to_owned(),
        method: way.method.word.to_owned(),
        description: format!("{} {}", machine.name, sale.label),
        amount: Money::new(sale.amount_minor, ledger::currency(&sale.currency)?),
        // The provider goes by its own clock, and the wall clock is what is closest to it.
        expires_at_ms: sale.expires_ms - ctx.now_ms() + ctx.wall_ms(),
        payer_ip: order.payer_ip,
        payer: order.payer.clone(),
        notify_url: notify_url(ctx, &way.account),
        return_url: sale_url(ctx, &sale.token),
        attach: if carries_mark { attach } else { String::new() },
    })
}

/// What a provider gave cannot be written as JSON.
fn unwritable(error: serde_json::Error) -> Error {
    Error::invalid("order", error.to_string())
}

async fn hand_off(ctx: &Context, ordered: Ordered, way: &Way) -> Result<Checkout> {
    let Ordered { sale, attempt, payment } = ordered;
    // The payer was told the longest wait.
    let answer = tokio::select! {
        biased;
        answer = way.provider.create(&payment) => answer,
        () = ctx.clock.sleep_ms(ctx.rules.order_wait_ms) => Err(ProviderError::Unknown("no answer in time".into())),
    };
    let event = match &answer {
        Ok(_) => Event::HandedOff,
        // Nothing happened there: the sale is over before money was taken.
        Err(ProviderError::Refused { .. }) => Event::OrderRefused,
        // The provider may have the order. The payer was not sent there, so nobody will pay; polling finds out and
        // closes it.
        Err(_) => Event::OrderUnanswered,
    };
    let created = &answer.as_ref().ok();
    let after = ctx
        .db
        .write(|txn| async move {
            let txn = &*txn;
            let mut after = AfterCommit::default();
            let sale = lock_sale(txn, sale.id).await?;
            let attempt = find_attempt_row(txn, attempt.id).await?;
            // The callback may have been faster: a paid attempt stays paid.
            let is_new = attempt.state == AttemptState::Created;
            let mut change: attempt::ActiveModel = attempt.into();
            if let Some(created) = created {
                if created.reference.is_some() {
                    change.reference = Set(created.reference.clone());
                }
                if is_new {
                    change.state = Set(AttemptState::Pending);
                    change.handoff = Set(Some(created.handoff.to_json().map_err(unwritable)?));
                }
            } else if is_new && event == Event::OrderRefused {
                change.close();
            } else if is_new {
                // Nobody waits for the answer any more.
                change.due_ms = Set(Some(ctx.now_ms() + ctx.rules.poll_first_ms));
            }
            if change.is_changed() {
                change.update_without_returning(txn).await?;
            }
            apply_event(ctx, txn, sale, event, None, &mut after).await?;
            Ok(after)
        })
        .await?;
    publish_after_commit(ctx, after).await;
    match answer {
        Ok(created) => Ok(Checkout { next: next_url(ctx, &sale.token, &created.handoff), token: sale.token }),
        Err(error) => {
            metrics::counter!("coinwire_provider_errors_total").increment(1);
            Err(error.into())
        }
    }
}

/// What a form may still be used for. A form whose sale is over is free again, under the next key of its own: so it
/// buys another ride, and pressed twice it still makes one sale. A form may have been answered with the order of another.
pub(crate) async fn form_use(ctx: &Context, form_key: &str) -> Result<FormUse> {
    let kept = sale::Entity::find().filter(sale::Column::KeptForForm.eq(form_key)).one(ctx.db.read()).await?;
    if let Some(kept) = kept
        && let Some(next) = resume_checkout(ctx, &kept).await?
    {
        return Ok(FormUse::Kept(Checkout { token: kept.token, next }));
    }
    for number in 1..=FORM_USES_MAX {
        let key = if number == 1 { form_key.to_owned() } else { format!("{form_key}.{number}") };
        let Some(sale) = sale::Entity::find().filter(sale::Column::FormKey.eq(&key)).one(ctx.db.read()).await? else {
            return Ok(FormUse::Free(key));
        };
        if let Some(next) = resume_checkout(ctx, &sale).await? {
            return Ok(FormUse::Open(Checkout { token: sale.token, next }));
        }
    }
    Err(Error::Conflict("form"))
}

/// Whether a sale is to be paid in the way that was picked, if one was.
pub(crate) async fn is_same_way(ctx: &Context, token: &SaleToken, picked: Option<&str>) -> Result<bool> {
    let Some(picked) = picked else { return Ok(true) };
    let sale = sale::Entity::find().filter(sale::Column::Token.eq(token.clone())).one(ctx.db.read()).await?;
    let Some(sale) = sale else { return Ok(true) };
    let Some(attempt) = attempts_open(ctx, sale.id).await?.into_iter().next() else { return Ok(true) };
    let account = account::Entity::find_by_id(attempt.account_id).one(ctx.db.read()).await?;
    let account = account.ok_or_else(|| Error::inconsistent("an attempt's merchant account is not there"))?;
    Ok(way_word(&account.provider, &attempt.method) == picked)
}

/// Where the payer of a sale continues, while it can be paid or is in progress.
async fn resume_checkout(ctx: &Context, sale: &sale::Model) -> Result<Option<String>> {
    let own_page = || Some(sale_url(ctx, &sale.token));
    Ok(match sale.state {
        SaleState::Created => own_page().filter(|_| is_asking(ctx, sale)),
        SaleState::AwaitingPayment => pay_url(ctx, sale).await?,
        SaleState::Paid | SaleState::Crediting => own_page(),
        SaleState::Credited
        | SaleState::Expired
        | SaleState::RefundPending
        | SaleState::Refunded
        | SaleState::Review
        | SaleState::Settled => None,
    })
}

/// Where a sale can be paid, while it can.
pub(crate) async fn pay_url(ctx: &Context, sale: &sale::Model) -> Result<Option<String>> {
    if sale.state != SaleState::AwaitingPayment || ctx.now_ms() >= sale.expires_ms {
        return Ok(None);
    }
    let attempt = attempt::Entity::find()
        .filter(attempt::Column::SaleId.eq(sale.id))
        .filter(attempt::Column::State.eq(AttemptState::Pending))
        .order_by_desc(attempt::Column::Id)
        .one(ctx.db.read())
        .await?;
    let handoff = attempt.and_then(|attempt| attempt.stored_handoff());
    Ok(handoff.map(|handoff| next_url(ctx, &sale.token, &handoff)))
}

/// Where a payer goes who is to be handed over: to the provider, or to the sale's page, which shows or calls what is needed.
fn next_url(ctx: &Context, token: &SaleToken, handoff: &Handoff) -> String {
    match handoff {
        Handoff::Redirect { url } => url.clone(),
        Handoff::Invoke(_) | Handoff::Code { .. } => sale_url(ctx, token),
    }
}

/// What the provider carries for us, should we forget the order.
fn order_attachment(sale: &sale::Model, machine: &machine::Model) -> Result<OrderAttachment> {
    Ok(OrderAttachment {
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

/// An order as it comes from a page.
#[derive(Debug, Clone)]
pub struct OrderRequest {
    /// The machine's code.
    pub code: String,
    /// The price picked.
    pub price_id: PriceId,
    /// The amount the page showed; if the price changed since, there is no order.
    pub amount_minor: i64,
    /// Random, made with the page: the same form sent twice is one sale. 16 to 64 characters.
    pub form_key: String,
    /// The payer's address.
    pub payer_ip: IpAddr,
    /// Where the payer looks at our page.
    pub app: PayerApp,
    /// The word of the way to pay that was picked; the best if none was.
    pub way: Option<String>,
    /// Who pays, if a provider said so.
    pub payer: Option<Payer>,
    /// The order that this payer made before. If it is of the same machine and not paid, it is left for this one.
    pub instead_of: Option<SaleToken>,
}

/// An order that was made, and where the payer goes now.
#[derive(Debug, Clone)]
pub struct Checkout {
    /// The sale's public token.
    pub token: SaleToken,
    /// An absolute address: the provider's page, or that of the sale.
    pub next: String,
}
