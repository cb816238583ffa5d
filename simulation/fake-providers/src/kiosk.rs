//! A provider that is unlike the others in all it can be: form-encoded, answered by a word, with references of its own for
//! everything, not to be asked by our numbers, carrying nothing for us. It shows that the seam is nobody's shape.

use crate::{account::Call, notice::Callback};
use async_trait::async_trait;
use aws_lc_rs::hmac;
use backend::{
    Error, Result,
    money::{Currency, Money},
    payments::{
        method::{Handoff, HandoffKind, Invocation, Method, Payer, PayerApp},
        provider::{
            Calendar, CallbackAnswer, CallbackContent, CallbackError, CallbackRules, CloseOutcome, Created,
            DisputeDetails, DisputeState, Fact, Paid, PaymentRequest, Profile, Provider, ProviderError, RawCallback,
            RefundAnswer, RefundDetails, RefundNumbers, RefundRequest, RefundState, Statement, ToldTrade, TradeNumbers,
            TradeState, VerifiedCallback, id_of_body,
        },
    },
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
};
use url::form_urlencoded;

const HOUR_MS: i64 = 3_600_000;
/// The kiosk closes its books at midnight of a place five hours behind UTC, and shows them three hours later.
const CALENDAR: Calendar = Calendar { ahead_ms: -5 * HOUR_MS, day_ms: 24 * HOUR_MS, ready_after_ms: 3 * HOUR_MS };
/// Where the kiosk asks who pays.
pub const ASKS_AT: &str = "https://kiosk.test/who";
/// The header that is kept with a callback.
pub const REQUEST_ID: &str = "kiosk-request-id";

/// A shop's account, as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    pub shop: String,
    /// The app within which payers have ids.
    pub app: String,
    pub key: String,
    pub has_statements: bool,
}

impl Config {
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap()
    }
}

#[derive(Debug, Clone)]
struct Order {
    request: PaymentRequest,
    closed: bool,
    /// When it was paid.
    paid_at_ms: Option<i64>,
}

#[derive(Debug, Clone)]
struct Refund {
    order: String,
    /// The shop's number; none if it was made at the kiosk's counter.
    out_refund_no: Option<String>,
    amount_minor: i64,
    day: i64,
}

#[derive(Default)]
struct Book {
    /// By the kiosk's references, `ko_1`.
    orders: BTreeMap<String, Order>,
    /// By the kiosk's references, `kr_1`.
    refunds: BTreeMap<String, Refund>,
    disputed_minor: i64,
    events: u64,
    /// Codes that can still be exchanged, and for whom.
    codes: BTreeMap<String, String>,
    /// Kinds of calls that are done and not answered, once each.
    unanswered: BTreeSet<Call>,
    calls: Vec<(Call, String)>,
}

/// The kiosk's side, one for all shops.
#[derive(Default)]
pub struct Kiosk(Mutex<Book>);

impl Kiosk {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap()
    }

    /// The next call of that kind is done, and not answered.
    pub fn leave_unanswered(&self, call: Call) {
        self.book().unanswered.insert(call);
    }

    /// The kiosk's references of the calls of that kind so far (of orders the shop's numbers), in order.
    pub fn called(&self, call: Call) -> Vec<String> {
        self.book().calls.iter().filter(|(made, _)| *made == call).map(|(_, number)| number.clone()).collect()
    }

    /// What was ordered under a number of the shop's.
    pub fn request(&self, out_trade_no: &str) -> PaymentRequest {
        let book = self.book();
        book.orders[&book.order_of(out_trade_no).unwrap()].request.clone()
    }

    /// The kiosk's reference of an order of the shop's.
    pub fn reference(&self, out_trade_no: &str) -> String {
        self.book().order_of(out_trade_no).unwrap()
    }

    /// Whether an order can no longer be paid.
    pub fn is_closed(&self, out_trade_no: &str) -> bool {
        let book = self.book();
        book.orders[&book.order_of(out_trade_no).unwrap()].closed
    }

    /// Refunds by the shop's numbers, and what they are of.
    pub fn refunds(&self) -> Vec<(Option<String>, i64)> {
        self.book().refunds.values().map(|refund| (refund.out_refund_no.clone(), refund.amount_minor)).collect()
    }

    /// What consumers paid less what went back, in minor units.
    pub fn net_minor(&self) -> i64 {
        let book = self.book();
        let paid = book.orders.values().filter(|order| order.paid_at_ms.is_some());
        let paid_minor: i64 = paid.map(|order| order.request.amount.amount_minor).sum();
        paid_minor - book.refunds.values().map(|refund| refund.amount_minor).sum::<i64>() - book.disputed_minor
    }

    /// Somebody pays. Gives what the kiosk tells of it.
    pub fn pay(&self, config: &Config, out_trade_no: &str, now_ms: i64) -> Callback {
        let mut book = self.book();
        let reference = book.order_of(out_trade_no).unwrap();
        let order = book.orders.get_mut(&reference).unwrap();
        assert!(!order.closed && order.paid_at_ms.is_none(), "{out_trade_no} cannot be paid");
        order.paid_at_ms = Some(now_ms);
        let (amount, paid_at) = (order.request.amount.amount_minor.to_string(), now_ms.to_string());
        let says = [("order", &*reference), ("our", out_trade_no), ("amount", &amount), ("paid_at", &paid_at)];
        book.event(config, "paid", &says)
    }

    /// Somebody gives money back at the kiosk's counter, which tells its own numbers only.
    pub fn refund_at_counter(&self, config: &Config, out_trade_no: &str, amount_minor: i64, now_ms: i64) -> Callback {
        let mut book = self.book();
        let order = book.order_of(out_trade_no).unwrap();
        let payment = payment_of(&order);
        let day = CALENDAR.day_of(now_ms);
        let reference = book.add_refund(Refund { order, out_refund_no: None, amount_minor, day });
        let amount = amount_minor.to_string();
        book.event(config, "refunded", &[("refund", &*reference), ("payment", &*payment), ("amount", &*amount)])
    }

    /// A payer's bank takes the money back, which is told by the kiosk's own numbers only.
    pub fn dispute(&self, config: &Config, out_trade_no: &str, amount_minor: i64) -> Callback {
        let mut book = self.book();
        let payment = payment_of(&book.order_of(out_trade_no).unwrap());
        book.disputed_minor += amount_minor;
        let amount = amount_minor.to_string();
        book.event(config, "disputed", &[("dispute", "kd_1"), ("payment", &*payment), ("amount", &*amount)])
    }

    /// The kiosk tells of something else: its word and what it says.
    pub fn event(&self, config: &Config, kind: &str, says: &[(&str, &str)]) -> Callback {
        self.book().event(config, kind, says)
    }

    /// A browser at the kiosk's page that asks who pays. Gives what it comes back with: an address of ours.
    pub fn say_who(&self, asked_at: &str, id: &str) -> String {
        let url = url::Url::parse(asked_at).unwrap();
        assert!(asked_at.starts_with(ASKS_AT), "{asked_at}");
        let parameter = |name: &str| url.query_pairs().find(|(found, _)| found == name).unwrap().1.into_owned();
        let mut book = self.book();
        let code = format!("code-{}", book.codes.len() + 1);
        book.codes.insert(code.clone(), id.to_owned());
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("kiosk_code", &code)
            .append_pair("state", &parameter("state"))
            .finish();
        format!("{}?{query}", parameter("back"))
    }
}

impl Book {
    fn order_of(&self, out_trade_no: &str) -> Option<String> {
        let mut orders = self.orders.iter();
        orders.find(|(_, order)| order.request.out_trade_no == out_trade_no).map(|(reference, _)| reference.clone())
    }

    fn add_refund(&mut self, refund: Refund) -> String {
        let back_minor: i64 =
            self.refunds.values().filter(|known| known.order == refund.order).map(|known| known.amount_minor).sum();
        let order = &self.orders[&refund.order];
        assert!(back_minor + refund.amount_minor <= order.request.amount.amount_minor, "more than was paid");
        let reference = format!("kr_{}", self.refunds.len() + 1);
        self.refunds.insert(reference.clone(), refund);
        reference
    }

    fn event(&mut self, config: &Config, kind: &str, says: &[(&str, &str)]) -> Callback {
        self.events += 1;
        let id = format!("ke_{}", self.events);
        let mut fields = vec![("event", &*id), ("shop", &*config.shop), ("kind", kind)];
        fields.extend_from_slice(says);
        let sum = sum(&config.key, fields.iter().copied());
        fields.push(("sum", &*sum));
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        Callback { headers: vec![(REQUEST_ID.into(), format!("request of {id}"))], body: body.into_bytes() }
    }
}

/// The kiosk's number of an order's payment.
fn payment_of(order: &str) -> String {
    format!("kp{}", order.trim_start_matches("ko"))
}

/// A signature over the fields in the order of their names.
fn sum<'a>(key: &str, fields: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let sorted: BTreeMap<&str, &str> = fields.collect();
    let text: Vec<String> = sorted.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), text.join("&").as_bytes()))
}

/// A shop's account at the kiosk.
struct Account {
    kiosk: Arc<Kiosk>,
    config: Config,
    profile: Profile,
}

/// Opens a shop's account.
///
/// # Errors
/// If the configuration is none.
pub fn open(kiosk: Arc<Kiosk>, config: &str) -> Result<Arc<dyn Provider>> {
    let config: Config =
        serde_json::from_str(config).map_err(|error| Error::invalid("merchant account", error.to_string()))?;
    let method = |word, apps, handoff| Method { word, apps, handoff, payer_scope: None };
    let in_app = method("app", &[PayerApp::Alipay][..], HandoffKind::Invoke);
    let profile = Profile {
        identity: config.shop.clone(),
        methods: vec![
            Method { payer_scope: Some(config.app.clone()), ..in_app },
            method("checkout", &[PayerApp::Browser], HandoffKind::Redirect),
            method("code", &[PayerApp::Browser], HandoffKind::Code),
        ],
        currencies: &[Currency::Cny],
        finds_by_our_number: false,
        attach_max_bytes: 0,
        has_statements: config.has_statements,
        calendar: CALENDAR,
        domain_file: None,
        callbacks: CallbackRules {
            kept_headers: &[REQUEST_ID],
            taken: || word("thanks"),
            failed: |_, _| word("pardon"),
        },
    };
    Ok(Arc::new(Account { kiosk, config, profile }))
}

/// The kiosk looks at the word, never at the status.
fn word(word: &str) -> CallbackAnswer {
    CallbackAnswer { status: 200, content_type: "text/plain", body: word.into() }
}

fn refused(code: &str) -> ProviderError {
    ProviderError::Refused { code: code.into(), message: "says the kiosk".into() }
}

impl Account {
    /// A call: done, and answered unless the test wants otherwise.
    fn call<T>(&self, call: Call, number: &str, act: impl FnOnce(&mut Book) -> T) -> Result<T, ProviderError> {
        let mut book = self.kiosk.book();
        book.calls.push((call, number.to_owned()));
        let done = act(&mut book);
        if book.unanswered.remove(&call) { Err(ProviderError::Unknown("no answer".into())) } else { Ok(done) }
    }

    /// The kiosk's number of an order. It knows no other.
    fn own_number(trade: &TradeNumbers) -> Result<String, ProviderError> {
        trade.reference.clone().ok_or_else(|| refused("NUMBER"))
    }
}

#[async_trait]
impl Provider for Account {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn identity_url(&self, method: &Method, return_url: &str, state: &str) -> Option<String> {
        method.payer_scope.as_ref()?;
        let query = [("app", &*self.config.app), ("back", return_url), ("state", state)];
        Some(format!("{ASKS_AT}?{}", form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish()))
    }

    async fn exchange_identity(&self, _: &Method, parameters: &[(String, String)]) -> Result<Payer, ProviderError> {
        let code = parameters.iter().find(|(name, _)| name == "kiosk_code").map_or("", |(_, code)| code.as_str());
        let id = self.kiosk.book().codes.get_mut(code).map(std::mem::take).filter(|id| !id.is_empty());
        Ok(Payer { scope: self.config.app.clone(), id: id.ok_or_else(|| refused("CODE_USED"))? })
    }

    async fn create(&self, request: &PaymentRequest) -> Result<Created, ProviderError> {
        let number = &request.out_trade_no;
        let reference = self.call(Call::Create, number, |book| match book.order_of(number) {
            Some(known) if book.orders[&known].request == *request => Ok(known),
            Some(_) => Err(refused("CHANGED")),
            None => {
                let reference = format!("ko_{}", book.orders.len() + 1);
                let order = Order { request: request.clone(), closed: false, paid_at_ms: None };
                book.orders.insert(reference.clone(), order);
                Ok(reference)
            }
        })??;
        let handoff = match request.method.as_str() {
            "app" => Handoff::Invoke(Invocation {
                bridge: "KioskBridge".into(),
                function: "call".into(),
                action: "pay".into(),
                parameters: BTreeMap::from([("order".into(), reference.clone())]),
            }),
            "checkout" => Handoff::Redirect { url: format!("https://kiosk.test/pay/{reference}") },
            "code" => Handoff::Code { text: format!("kiosk:{reference}") },
            other => return Err(refused(other)),
        };
        Ok(Created { handoff, reference: Some(reference) })
    }

    fn renew(&self, handoff: Handoff, wall_ms: i64) -> Handoff {
        match handoff {
            Handoff::Invoke(mut call) => {
                call.parameters.insert("signed_ms".into(), wall_ms.to_string());
                let fields = call.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                let sum = sum(&self.config.key, fields);
                call.parameters.insert("sum".into(), sum);
                Handoff::Invoke(call)
            }
            same @ (Handoff::Redirect { .. } | Handoff::Code { .. }) => same,
        }
    }

    async fn query(&self, trade: &TradeNumbers) -> Result<TradeState, ProviderError> {
        let number = Self::own_number(trade)?;
        self.call(Call::Query, &number, |book| {
            let order = book.orders.get(&number)?;
            Some(match order.paid_at_ms {
                Some(paid_at_ms) => TradeState::Paid(Paid {
                    provider_txn_id: payment_of(&number),
                    amount: order.request.amount,
                    paid_at_ms,
                    attach: String::new(),
                }),
                None if order.closed => TradeState::Closed,
                None => TradeState::NotPaid,
            })
        })?
        .ok_or_else(|| refused("NUMBER"))
    }

    async fn close(&self, trade: &TradeNumbers) -> Result<CloseOutcome, ProviderError> {
        let number = Self::own_number(trade)?;
        self.call(Call::Close, &number, |book| {
            let order = book.orders.get_mut(&number)?;
            if order.paid_at_ms.is_some() {
                return Some(CloseOutcome::AlreadyPaid);
            }
            order.closed = true;
            Some(CloseOutcome::Closed)
        })?
        .ok_or_else(|| refused("NUMBER"))
    }

    /// Done at once. The shop's number makes a repeat harmless; nothing is found by it.
    async fn refund(&self, request: &RefundRequest) -> Result<RefundAnswer, ProviderError> {
        let payment = request.numbers.trade.provider_txn_id.clone().ok_or_else(|| refused("PAYMENT"))?;
        let ours = Some(request.numbers.out_refund_no.clone());
        let reference = self.call(Call::Refund, &payment, |book| {
            if let Some((known, refund)) = book.refunds.iter().find(|(_, refund)| refund.out_refund_no == ours) {
                return Some((known.clone(), refund.amount_minor));
            }
            let order = book.orders.keys().find(|order| payment_of(order) == payment)?.clone();
            let paid_at_ms = book.orders[&order].paid_at_ms?;
            let day = CALENDAR.day_of(paid_at_ms);
            let amount_minor = request.refund_minor;
            Some((book.add_refund(Refund { order, out_refund_no: ours, amount_minor, day }), amount_minor))
        })?;
        Ok(answer(reference.ok_or_else(|| refused("PAYMENT"))?))
    }

    async fn query_refund(&self, refund: &RefundNumbers) -> Result<RefundAnswer, ProviderError> {
        let reference = refund.reference.as_deref().unwrap_or_default();
        let known = self.call(Call::QueryRefund, reference, |book| {
            book.refunds.get(reference).map(|refund| (reference.to_owned(), refund.amount_minor))
        })?;
        Ok(known.map_or(RefundState::NotFound.into(), answer))
    }

    /// Refunds only, as the kiosk sees them: by its own numbers, and the shop's of those that the shop asked for.
    async fn statement(&self, day: i64) -> Result<Statement, ProviderError> {
        let facts = self.call(Call::Statement, &day.to_string(), |book| {
            let of_day = book.refunds.iter().filter(|(_, refund)| refund.day == day);
            of_day.map(|(reference, refund)| refund_fact(reference, refund)).collect::<Vec<_>>()
        })?;
        Ok(if facts.is_empty() { Statement::Nothing } else { Statement::Facts { facts, unread: 0 } })
    }

    fn verify_callback(&self, raw: RawCallback<'_>, _: i64) -> Result<VerifiedCallback, CallbackError> {
        let fields: BTreeMap<String, String> = form_urlencoded::parse(raw.body).into_owned().collect();
        let field = |name: &str| fields.get(name).map_or("", String::as_str);
        let signed = fields.iter().filter(|(name, _)| *name != "sum").map(|(name, value)| (&**name, &**value));
        if sum(&self.config.key, signed) != field("sum") {
            return Err(CallbackError::Signature);
        }
        let amount_minor: i64 = field("amount").parse().unwrap_or(0);
        let theirs = || ToldTrade::Theirs(field("payment").to_owned());
        let content = match field("kind") {
            _ if field("shop") != self.config.shop => CallbackContent::Foreign(field("shop").to_owned()),
            "paid" => {
                let paid = Paid {
                    provider_txn_id: payment_of(field("order")),
                    amount: Money::new(amount_minor, Currency::Cny),
                    paid_at_ms: field("paid_at").parse().unwrap_or(0),
                    attach: String::new(),
                };
                let (out_trade_no, state) = (field("our").to_owned(), TradeState::Paid(paid));
                CallbackContent::Facts(vec![Fact::Payment { out_trade_no, state }])
            }
            "refunded" => {
                let number = field("refund").to_owned();
                let told = RefundDetails {
                    trade: theirs(),
                    provider_refund_id: number.clone(),
                    amount_minor,
                    is_total: false,
                    payment: None,
                };
                let (state, told) = (RefundState::Done, Some(told));
                CallbackContent::Facts(vec![Fact::Refund { out_refund_no: number, state, told }])
            }
            "disputed" => CallbackContent::Facts(vec![Fact::Dispute(DisputeDetails {
                dispute_id: field("dispute").to_owned(),
                trade: theirs(),
                amount_minor,
                fee_minor: 0,
                state: DisputeState::Opened,
            })]),
            // The shop sells newspapers too.
            "newspaper" => CallbackContent::Irrelevant,
            other => CallbackContent::NotUnderstood(format!("kind {other:?}")),
        };
        let event_id = if field("event").is_empty() { id_of_body(raw.body) } else { field("event").to_owned() };
        Ok(VerifiedCallback { event_id, content, plaintext: String::from_utf8_lossy(raw.body).into_owned() })
    }
}

fn answer((reference, amount_minor): (String, i64)) -> RefundAnswer {
    RefundAnswer { state: RefundState::Done, reference: Some(reference), amount_minor: Some(amount_minor) }
}

fn refund_fact(reference: &str, refund: &Refund) -> Fact {
    Fact::Refund {
        out_refund_no: refund.out_refund_no.clone().unwrap_or_else(|| reference.to_owned()),
        state: RefundState::Done,
        told: Some(RefundDetails {
            trade: ToldTrade::Theirs(payment_of(&refund.order)),
            provider_refund_id: reference.to_owned(),
            amount_minor: refund.amount_minor,
            is_total: false,
            payment: None,
        }),
    }
}
