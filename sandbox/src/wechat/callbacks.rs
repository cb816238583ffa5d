//! Callbacks to the merchant: signed and encrypted, sent until they are accepted or the schedule ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use serde_json::{Value, json};

use crate::StartError;
use crate::clock::china_rfc3339;
use crate::crypto::{self, AEAD_NONCE_LEN, ALPHANUMERIC, CryptoError};
use crate::faults::{Fault, hash};
use crate::wechat::Provider;
use crate::wechat::account::Account;
use crate::wechat::answers;
use crate::wechat::book::{Key, Notification, NotificationState, Order, OrderState, Record};

/// Seconds between the deliveries of one callback, until it is answered 200 or 204. Source: the callback rules of
/// API v3.
const RETRY_GAPS_S: [u32; 15] = [15, 15, 30, 180, 600, 1200, 1800, 1800, 1800, 3600, 10800, 10800, 10800, 21600, 21600];
/// How long the merchant has for its answer; the speed does not divide it.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The pause after the journal could not be written.
const JOURNAL_RETRY: Duration = Duration::from_secs(5);
/// The most of an answer's body that is read, so that its connection can be used again.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const IDLE_CONNECTIONS: usize = 256;
/// How old the time of a stale copy is: twice what a merchant may accept.
const STALE_S: i64 = 600;
/// One callback in so many comes with empty associated data.
const EMPTY_AAD_ONE_IN: u64 = 4;

/// What became of the callbacks since the start.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    sent: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    unreachable: AtomicU64,
    dropped: AtomicU64,
    decoys_sent: AtomicU64,
    decoys_accepted: AtomicU64,
}

/// What became of the callbacks since the start. Requests are counted, duplicates each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallbackCounts {
    /// Real callbacks sent.
    pub sent: u64,
    /// Of those, answered 200 or 204.
    pub accepted: u64,
    /// Of those, answered anything else.
    pub refused: u64,
    /// Of those, not answered, or not within 5 seconds.
    pub unreachable: u64,
    /// Deliveries lost by [`Fault::DropCallback`]; they are not among the sent.
    pub dropped: u64,
    /// Foreign, stale and probing callbacks sent; they are not among the sent.
    pub decoys_sent: u64,
    /// Of those, answered 200 or 204: each one is a fault of the merchant's.
    pub decoys_accepted: u64,
}

impl Tally {
    pub(crate) fn counts(&self) -> CallbackCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CallbackCounts {
            sent: read(&self.sent),
            accepted: read(&self.accepted),
            refused: read(&self.refused),
            unreachable: read(&self.unreachable),
            dropped: read(&self.dropped),
            decoys_sent: read(&self.decoys_sent),
            decoys_accepted: read(&self.decoys_accepted),
        }
    }
}

/// A callback, ready to go.
struct OutgoingCallback {
    headers: HeaderMap,
    body: Vec<u8>,
}

/// In what a decoy differs from the callback it precedes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seal {
    Genuine,
    Foreign,
    Stale,
    Probe,
}

/// The client that carries callbacks out. It keeps connections and sends at once.
pub(crate) fn client() -> Result<reqwest::Client, StartError> {
    let builder = || {
        reqwest::Client::builder()
            .tcp_nodelay(true)
            .http1_only()
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(ANSWER_WITHIN)
    };
    // A machine without root certificates can still be called back over plain HTTP.
    builder().build().or_else(|_| builder().tls_certs_only([]).build()).map_err(StartError::Client)
}

impl Provider {
    /// Sends a callback in the background until it is accepted.
    pub(crate) fn launch(self: &Arc<Self>, id: String) {
        let provider = self.clone();
        self.tasks.spawn(async move { provider.deliver(&id).await });
    }

    /// Has the callback of a payment sent again, as it was; false if there was none.
    pub(crate) fn repeat_callback(self: &Arc<Self>, key: &Key) -> bool {
        let repeated = {
            let mut book = self.book();
            let order = book.orders.get(key).cloned();
            let Some(Order { state: OrderState::Paid(payment), notification: Some(id), .. }) = &order else {
                return false;
            };
            let (Some(order), Some(known)) = (&order, book.notifications.get(id).cloned()) else { return false };
            let again = Notification {
                plaintext: answers::payment_notice(order, payment).to_string(),
                state: NotificationState::Pending,
                attempts: 0,
                due_ms: self.now_ms(),
                ..known
            };
            book.commit(vec![Record::Notification(Box::new(again))]).is_ok().then(|| id.clone())
        };
        let is_repeated = repeated.is_some();
        repeated.into_iter().for_each(|id| self.launch(id));
        is_repeated
    }

    async fn deliver(self: &Arc<Self>, id: &str) {
        loop {
            let due_ms = match self.book().notifications.get(id) {
                Some(notification) if notification.state == NotificationState::Pending => notification.due_ms,
                _ => return,
            };
            if !self.wait_until(due_ms).await {
                return;
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.deliver_once(id) => {}
            }
        }
    }

    /// One delivery by the schedule, whatever the faults make of it.
    pub(crate) async fn deliver_once(self: &Arc<Self>, id: &str) {
        let Some(mut notification) = self.book().notifications.get(id).cloned() else { return };
        if notification.state != NotificationState::Pending {
            return;
        }
        let (accepted, sent) = self.attempt(&notification).await;
        if !accepted && self.stop.is_cancelled() {
            return;
        }
        let gap_s = RETRY_GAPS_S.get(notification.attempts as usize);
        notification.attempts += 1;
        notification.sent += sent;
        match (accepted, gap_s) {
            (true, _) => notification.state = NotificationState::Accepted,
            (false, Some(gap_s)) => {
                notification.due_ms = self.now_ms() + self.scaled_ms(f64::from(*gap_s) * 1000.0);
            }
            (false, None) => notification.state = NotificationState::GivenUp,
        }
        if notification.state != NotificationState::Pending {
            notification.plaintext = String::new();
        }
        let written = self.book().commit(vec![Record::Notification(Box::new(notification))]);
        if let Err(error) = written {
            tracing::error!(%error, "the sandbox cannot write its journal");
            // The callback is still due, and is not to be sent again and again meanwhile.
            self.wait(JOURNAL_RETRY).await;
        }
    }

    /// Whether it was accepted, and the requests it took.
    async fn attempt(self: &Arc<Self>, notification: &Notification) -> (bool, u32) {
        // The delivery is named by what it tells and by its turn, so that a seed strikes the same one again.
        let name = format!("{}:{}#{}", notification.event_type, notification.subject, notification.attempts);
        if self.faults.is_hit(Fault::DelayCallback, &name) && !self.wait(self.faults.delay(&name)).await {
            return (false, 0);
        }
        let Some(account) = self.account_of(&notification.mchid) else { return (false, 0) };
        if self.faults.is_hit(Fault::KeyRotation, &name) {
            account.rotate_signing_key();
        }
        let is_payment = notification.original_type == "transaction";
        if self.faults.is_hit(Fault::DropCallback, &name)
            || is_payment && self.faults.is_hit(Fault::DropPaymentCallback, &name)
        {
            self.tally.dropped.fetch_add(1, Ordering::Relaxed);
            return (false, 0);
        }
        for (fault, seal) in [
            (Fault::ForeignSignature, Seal::Foreign),
            (Fault::StaleTimestamp, Seal::Stale),
            (Fault::SignatureProbe, Seal::Probe),
        ] {
            if self.faults.is_hit(fault, &name) {
                self.send_decoy(notification, account, seal).await;
            }
        }
        let plaintext = self.callback_content(notification, &name);
        let mut told = notification.clone();
        if self.faults.is_hit(Fault::UnknownEvent, &name) {
            "TRANSACTION.RECONSIDERED".clone_into(&mut told.event_type);
        }
        let outgoing = match write(&told, account, &plaintext, Seal::Genuine, self.now_ms()) {
            Ok(outgoing) => outgoing,
            Err(error) => {
                tracing::error!(%error, "a callback could not be made");
                return (false, 0);
            }
        };
        let copies = if self.faults.is_hit(Fault::DuplicateCallback, &name) { self.faults.duplicates() } else { 1 };
        let answers = join_all((0..copies).map(|_| self.send(&notification.url, &outgoing))).await;
        self.tally.sent.fetch_add(u64::from(copies), Ordering::Relaxed);
        for answer in &answers {
            let counter = match answer {
                Some(status) if is_acceptance(*status) => &self.tally.accepted,
                Some(_) => &self.tally.refused,
                None => &self.tally.unreachable,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        (answers.into_iter().flatten().any(is_acceptance), copies)
    }

    /// The callback's content, changed where a fault asks for it.
    fn callback_content(&self, notification: &Notification, name: &str) -> String {
        let struck =
            [Fault::WrongAppid, Fault::WrongMchid, Fault::WrongAmount, Fault::WrongCurrency, Fault::UnknownNumber]
                .map(|fault| self.faults.is_hit(fault, name));
        if struck == [false; 5] {
            return notification.plaintext.clone();
        }
        let [wrong_appid, wrong_mchid, wrong_amount, wrong_currency, unknown_number] = struck;
        let Ok(mut told) = serde_json::from_str::<Value>(&notification.plaintext) else {
            return notification.plaintext.clone();
        };
        if wrong_appid {
            put(&mut told, "appid", "wx0000000000000bad");
        }
        if wrong_mchid {
            put(&mut told, "mchid", "1999999999");
        }
        if wrong_amount {
            let total = told["amount"]["total"].as_i64().unwrap_or(0);
            told["amount"]["total"] = json!(total + 1);
        }
        if wrong_currency {
            told["amount"]["currency"] = json!("HKD");
        }
        if unknown_number {
            told["out_trade_no"] = json!(unknown(&notification.subject));
        }
        told.to_string()
    }

    async fn send_decoy(self: &Arc<Self>, notification: &Notification, account: &Account, seal: Seal) {
        let outgoing = if seal == Seal::Foreign {
            // Making another merchant's keys takes a while, the first time.
            let provider = self.clone();
            let made = tokio::task::spawn_blocking(move || provider.second_account().map(|_| ())).await;
            match (made, self.second_account.get()) {
                (Ok(Ok(())), Some(foreign)) => {
                    write(notification, foreign, &foreign_plaintext(notification, foreign), seal, self.now_ms())
                }
                _ => return,
            }
        } else {
            write(notification, account, &notification.plaintext, seal, self.now_ms())
        };
        let Ok(outgoing) = outgoing else { return };
        self.tally.decoys_sent.fetch_add(1, Ordering::Relaxed);
        if self.send(&notification.url, &outgoing).await.is_some_and(is_acceptance) {
            self.tally.decoys_accepted.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(url = %notification.url, "the merchant accepted a callback that it had to refuse");
        }
    }

    /// The status of the merchant's answer, if one came in time.
    async fn send(&self, url: &str, outgoing: &OutgoingCallback) -> Option<u16> {
        let _permit = self.in_flight.acquire().await.ok()?;
        let request = self.client.post(url).headers(outgoing.headers.clone()).body(outgoing.body.clone());
        let mut answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        let mut read = 0;
        while let Ok(Some(chunk)) = answer.chunk().await {
            read += chunk.len();
            if read > MAX_ANSWER_BYTES {
                break;
            }
        }
        Some(status)
    }
}

fn is_acceptance(status: u16) -> bool {
    status == 200 || status == 204
}

/// Puts another name into a callback's content, under that of the service provider's field where it has one.
fn put(told: &mut Value, field: &str, name: &str) {
    let of_provider = format!("sp_{field}");
    let field = if told.get("sp_mchid").is_some() { of_provider.as_str() } else { field };
    told[field] = json!(name);
}

/// A number that the merchant gave to nothing, as long as the one it stands for.
pub(crate) fn unknown(number: &str) -> String {
    number.chars().rev().collect()
}

fn foreign_plaintext(notification: &Notification, foreign: &Account) -> String {
    match serde_json::from_str::<Value>(&notification.plaintext) {
        Ok(mut told) => {
            put(&mut told, "mchid", foreign.mchid());
            put(&mut told, "appid", foreign.appid());
            told.to_string()
        }
        Err(_) => notification.plaintext.clone(),
    }
}

/// Seals and signs a callback in the name of `account`'s provider side.
fn write(
    notification: &Notification,
    account: &Account,
    plaintext: &str,
    seal: Seal,
    now_ms: i64,
) -> Result<OutgoingCallback, CryptoError> {
    let empty_aad = hash(0, &notification.id).is_multiple_of(EMPTY_AAD_ONE_IN);
    let aad = if empty_aad { "" } else { notification.original_type.as_str() };
    let nonce = crypto::random_text(ALPHANUMERIC, AEAD_NONCE_LEN)?;
    let body = json!({
        "id": notification.id,
        "create_time": china_rfc3339(notification.created_ms),
        "resource_type": "encrypt-resource",
        "event_type": notification.event_type,
        "summary": notification.summary,
        "resource": {
            "original_type": notification.original_type,
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": crypto::seal(account.api_v3_key(), &nonce, aad, plaintext.as_bytes())?,
            "associated_data": aad,
            "nonce": nonce,
        },
    })
    .to_string();
    let age_s = if seal == Seal::Stale { STALE_S } else { 0 };
    let timestamp = (now_ms / 1000 - age_s).to_string();
    let nonce = crypto::random_text(ALPHANUMERIC, 32)?;
    let (serial, signer) = account.signing_key();
    let mut signature = signer.sign(format!("{timestamp}\n{nonce}\n{body}\n").as_bytes())?;
    if seal == Seal::Probe {
        signature = format!("WECHATPAY/SIGNTEST/{signature}");
    }
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static("Mozilla/4.0"));
    headers.insert("wechatpay-signature-type", HeaderValue::from_static("WECHATPAY2-SHA256-RSA2048"));
    for (name, value) in [
        ("wechatpay-timestamp", timestamp.as_str()),
        ("wechatpay-nonce", &nonce),
        ("wechatpay-signature", &signature),
        ("wechatpay-serial", serial),
    ] {
        let value = HeaderValue::from_str(value).map_err(|_| CryptoError::System("a header's value"))?;
        headers.insert(name, value);
    }
    Ok(OutgoingCallback { headers, body: body.into_bytes() })
}
