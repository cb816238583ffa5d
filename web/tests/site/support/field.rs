//! What is outside: modules that answer commands, and a payment provider.

use async_trait::async_trait;
use backend::{
    Result,
    bus::Bus,
    flows::{operate::register_module::Provisioned, take_message},
    money::Currency,
    payments::{
        Providers,
        method::{Handoff, HandoffKind, Method, PayerApp},
        provider::{
            Calendar, CallbackAnswer, CallbackContent, CallbackError, CallbackRules, CloseOutcome, Created, DomainFile,
            Fact, Paid, PaymentRequest, Profile, Provider, ProviderError, RawCallback, RefundAnswer, RefundDetails,
            RefundNumbers, RefundRequest, RefundState, Statement, ToldTrade, TradeNumbers, TradeState,
            VerifiedCallback, id_of_body,
        },
    },
};
use fake_providers::kiosk::{self, Kiosk};
use protocol::{
    limits::PAYLOAD_MAX_BYTES,
    messages::{Ack, Action, Command, Mark, Pulse, Stage, Status, Totals},
    topics::{self, Kind},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, OnceLock},
};
use tokio::sync::watch;

/// Seals a message of a module's: topic and payload.
macro_rules! sealed {
    ($identity:expr, $kind:expr, $message:expr) => {{
        let topic = topics::topic($identity.id, $kind);
        let mut buffer = [0; PAYLOAD_MAX_BYTES];
        let key = $identity.secret.message_key($identity.id);
        let length = protocol::seal(&key, &topic, $message, &mut buffer).unwrap();
        (topic.as_str().to_owned(), buffer[..length].to_vec())
    }};
}

/// What modules do with a credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Credit {
    /// Give it, and say so.
    #[default]
    Give,
    /// Report that nothing could be given.
    Fail,
}

#[derive(Default)]
struct State {
    modules: BTreeMap<String, Arc<Provisioned>>,
    marks: BTreeMap<String, Mark>,
    coins: BTreeMap<String, u64>,
    /// Modules that do not answer.
    silent: BTreeSet<String>,
    is_down: bool,
    credit: Credit,
    provider_is_down: bool,
    /// Orders wait at the provider until this is false.
    provider_holds: watch::Sender<bool>,
    /// What the provider answers to an order, if it refuses.
    provider_refuses: bool,
    orders: Vec<PaymentRequest>,
}

/// The field.
#[derive(Default)]
pub struct Field {
    backend: OnceLock<backend::Context>,
    state: Arc<Mutex<State>>,
    pub kiosk: Arc<Kiosk>,
}

impl Field {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn attach(&self, backend: &backend::Context) {
        assert!(self.backend.set(backend.clone()).is_ok());
    }

    fn backend(&self) -> &backend::Context {
        self.backend.get().expect("attached")
    }

    /// A module stops answering.
    pub fn silence_module(&self, id: &str) {
        self.state().silent.insert(id.to_owned());
    }

    /// The broker is gone.
    pub fn disconnect_bus(&self) {
        self.state().is_down = true;
    }

    pub fn credits(&self, credit: Credit) {
        self.state().credit = credit;
    }

    pub fn take_provider_down(&self) {
        self.state().provider_is_down = true;
    }

    /// The provider takes no order until it is released.
    pub fn hold_provider(&self, holds: bool) {
        self.state().provider_holds.send_replace(holds);
    }

    /// The provider refuses every order.
    pub fn refuse_orders(&self) {
        self.state().provider_refuses = true;
    }

    pub fn last_order(&self) -> PaymentRequest {
        self.state().orders.last().expect("something was ordered").clone()
    }

    pub fn order_count(&self) -> usize {
        self.state().orders.len()
    }

    /// The body of the callback that says an order is paid.
    pub fn paid_callback(&self, order: &PaymentRequest) -> String {
        json!({
            "event_id": format!("event-{}", order.out_trade_no),
            "out_trade_no": order.out_trade_no,
            "amount_minor": order.amount.amount_minor,
            "paid_at_ms": self.backend().now_ms(),
        })
        .to_string()
    }

    /// The body of the callback that says somebody gave back a part of an order in the provider's console.
    pub fn refunded_callback(&self, order: &PaymentRequest, refunded_minor: i64) -> String {
        json!({ "out_trade_no": order.out_trade_no, "refunded_minor": refunded_minor }).to_string()
    }

    /// A module comes online.
    pub async fn connect(&self, identity: Provisioned) {
        let id = identity.id.to_string();
        self.state().modules.insert(id.clone(), Arc::new(identity));
        self.report(&id, true).await;
    }

    /// A module goes offline.
    pub async fn disconnect(&self, id: &str) {
        self.silence_module(id);
        self.report(id, false).await;
    }

    fn next_mark(&self, id: &str) -> (Arc<Provisioned>, Mark) {
        let mut state = self.state();
        let first = Mark { boot: 1, session: 1, sequence: 0 };
        let mark = state.marks.entry(id.to_owned()).or_insert(first);
        mark.sequence += 1;
        let mark = *mark;
        (state.modules[id].clone(), mark)
    }

    async fn report(&self, id: &str, online: bool) {
        self.tell(id, |status| status.online = online).await;
    }

    /// A module's next status.
    pub async fn tell(&self, id: &str, change: impl FnOnce(&mut Status)) {
        let (identity, mark) = self.next_mark(id);
        let now_ms = u64::try_from(self.backend().now_ms()).unwrap();
        let mut status = Status {
            mark,
            online: true,
            uptime_ms: 60_000,
            at_ms: Some(now_ms),
            last_command: 0,
            settings_version: 0,
            firmware: "test",
            signal_csq: Some(20),
            supply_mv: Some(12_000),
            totals: Totals::default(),
            faults: 0,
            locked: Some(false),
            learned: None,
            diagnostics: None,
        };
        change(&mut status);
        let (topic, payload) = sealed!(identity, Kind::Status, &status);
        take_message::on_message(self.backend(), &topic, &payload).await.unwrap();
    }

    /// Coins fall.
    pub async fn coins(&self, id: &str, pulses: u16) {
        let (identity, mark) = self.next_mark(id);
        let total = {
            let mut state = self.state();
            let total = state.coins.entry(id.to_owned()).or_default();
            *total += u64::from(pulses);
            *total
        };
        let pulse = Pulse {
            mark,
            uptime_ms: 61_000,
            at_ms: Some(u64::try_from(self.backend().now_ms()).unwrap()),
            pulses,
            coin_pulses_total: total,
            width_ms: 50,
            gap_ms: 100,
        };
        let (topic, payload) = sealed!(identity, Kind::Pulse, &pulse);
        take_message::on_message(self.backend(), &topic, &payload).await.unwrap();
    }
}

#[async_trait]
impl Bus for Field {
    async fn publish(&self, topic: &str, payload: Vec<u8>, _: bool, _: Option<u32>) -> Result<()> {
        let Some(id) = topic.strip_prefix("m/").and_then(|rest| rest.strip_suffix("/command")) else { return Ok(()) };
        let (identity, credit) = {
            let state = self.state();
            let Some(identity) = state.modules.get(id).filter(|_| !state.silent.contains(id)) else { return Ok(()) };
            (identity.clone(), state.credit)
        };
        let key = identity.secret.message_key(identity.id);
        let command: Command = protocol::open(&key, topic, &payload).unwrap();
        let (stage, pulses) = match (command.action, credit) {
            (Action::Credit { pulses }, Credit::Give) => (Stage::Done, Some(pulses)),
            (Action::Credit { .. }, Credit::Fail) => (Stage::Failed, Some(0)),
            _ => (Stage::Done, None),
        };
        let ack = Ack {
            command: command.id,
            sequence: command.sequence,
            stage,
            boot: 1,
            uptime_ms: 62_000,
            at_ms: Some(command.issued_ms),
            pulses,
            reason: None,
            first: None,
        };
        let (topic, payload) = sealed!(identity, Kind::Ack, &ack);
        let backend = self.backend().clone();
        tokio::spawn(async move { take_message::on_message(&backend, &topic, &payload).await.unwrap() });
        Ok(())
    }

    fn connected(&self) -> bool {
        !self.state().is_down
    }
}

impl Providers for Field {
    fn open(&self, provider: &str, config: &str) -> Result<Arc<dyn Provider>> {
        if provider == "kiosk" {
            return kiosk::open(self.kiosk.clone(), config);
        }
        const DAY_MS: i64 = 24 * 3_600_000;
        let profile = Profile {
            identity: "the one account".into(),
            methods: vec![Method {
                word: "page",
                apps: &[PayerApp::Browser],
                handoff: HandoffKind::Redirect,
                payer_scope: None,
            }],
            currencies: &Currency::ALL,
            finds_by_our_number: true,
            attach_max_bytes: 128,
            has_statements: true,
            calendar: Calendar { ahead_ms: 0, day_ms: DAY_MS, ready_after_ms: 0 },
            domain_file: Some(DomainFile { name: "MP_verify_a1B2.txt".into(), text: "a1B2".into() }),
            callbacks: CallbackRules {
                kept_headers: &[],
                taken: || CallbackAnswer { status: 204, content_type: "", body: String::new() },
                failed: CallbackAnswer::failure,
            },
        };
        Ok(Arc::new(FakeProvider { state: self.state.clone(), profile }))
    }
}

/// The provider: takes every order, pays what a callback says, refunds at once.
struct FakeProvider {
    state: Arc<Mutex<State>>,
    profile: Profile,
}

#[async_trait]
impl Provider for FakeProvider {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    async fn create(&self, request: &PaymentRequest) -> Result<Created, ProviderError> {
        let mut holds = self.state.lock().unwrap().provider_holds.subscribe();
        holds.wait_for(|holds| !holds).await.unwrap();
        let mut state = self.state.lock().unwrap();
        if state.provider_refuses {
            return Err(ProviderError::Refused { code: "NO_AUTH".into(), message: "the test says so".into() });
        }
        if state.provider_is_down {
            return Err(ProviderError::Busy("the test says so".into()));
        }
        state.orders.push(request.clone());
        let handoff = Handoff::Redirect { url: format!("https://bank.example/pay/{}", request.out_trade_no) };
        Ok(Created { handoff, reference: None })
    }

    async fn query(&self, _: &TradeNumbers) -> Result<TradeState, ProviderError> {
        Ok(TradeState::NotPaid)
    }

    async fn close(&self, _: &TradeNumbers) -> Result<CloseOutcome, ProviderError> {
        Ok(CloseOutcome::Closed)
    }

    async fn refund(&self, _: &RefundRequest) -> Result<RefundAnswer, ProviderError> {
        Ok(RefundState::Done.into())
    }

    async fn query_refund(&self, _: &RefundNumbers) -> Result<RefundAnswer, ProviderError> {
        Ok(RefundState::Done.into())
    }

    async fn statement(&self, _: i64) -> Result<Statement, ProviderError> {
        Ok(Statement::Nothing)
    }

    fn verify_callback(&self, raw: RawCallback<'_>, _: i64) -> Result<VerifiedCallback, CallbackError> {
        match raw.header("x-test-signature") {
            Some("good") => {}
            Some(_) => return Err(CallbackError::Signature),
            None => return Err(CallbackError::Header("x-test-signature")),
        }
        let plaintext = String::from_utf8_lossy(raw.body).into_owned();
        let (event_id, content) = match serde_json::from_slice::<Value>(raw.body) {
            Ok(body) => {
                let (event_id, fact) = event(&body);
                (event_id, CallbackContent::Facts(vec![fact]))
            }
            Err(error) => (id_of_body(raw.body), CallbackContent::NotUnderstood(error.to_string())),
        };
        Ok(VerifiedCallback { event_id, content, plaintext })
    }
}

fn event(body: &Value) -> (String, Fact) {
    let out_trade_no = body["out_trade_no"].as_str().unwrap().to_owned();
    if let Some(amount_minor) = body["refunded_minor"].as_i64() {
        let number = format!("console-{amount_minor}");
        let (trade, provider_refund_id) = (ToldTrade::Ours(out_trade_no), number.clone());
        let told = RefundDetails { trade, provider_refund_id, amount_minor, is_total: false, payment: None };
        let event_id = format!("event-{number}");
        return (event_id, Fact::Refund { out_refund_no: number, state: RefundState::Done, told: Some(told) });
    }
    let paid = Paid {
        provider_txn_id: format!("txn-{}", body["out_trade_no"]),
        amount: backend::money::Money::new(body["amount_minor"].as_i64().unwrap(), Currency::Cny),
        paid_at_ms: body["paid_at_ms"].as_i64().unwrap(),
        attach: String::new(),
    };
    let event_id = body["event_id"].as_str().unwrap().to_owned();
    (event_id, Fact::Payment { out_trade_no, state: TradeState::Paid(paid) })
}
