//! The payment providers' side, simulated strictly: WeChat Pay, API v3, and Alipay.
//!
//! What it is: an HTTP server that makes its own keys, verifies each request as the provider does, keeps orders and
//! refunds, tells a merchant who a payer is, shows the payer a payment page, sends signed and sealed callbacks until they are accepted, and writes daily
//! bills. Only the base address and the keys differ from production, so that nothing on the product's side needs a way
//! around verification.
//!
//! What it is not: a part of the product. It shares no code with the product's payment clients, on purpose: two readings
//! of one document find each other's mistakes. It moves no money and must never run where money is meant.
//!
//! Enter at [`start`]. [`Sandbox::merchant`] is what the provider's console would hand out, [`Sandbox::faults`] asks for
//! trouble, and the other methods of [`Sandbox`] are a test's way to pay and to look.
//!
//! Invariants:
//! - A request whose signature, time or nonce does not hold changes nothing.
//! - What was answered is in the journal first (with [`Config::data_dir`]); a callback is owed from the moment its order
//!   is paid until it is accepted or its schedule ends, also over a restart.
//! - Refunds of an order never exceed what was paid for it.
//! - No lock is held over an await.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod alipay;
mod bridge;
mod calls;
mod clock;
mod controls;
pub mod crypto;
mod faults;
mod person;
mod wechat;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use poem::Server;
use poem::http::uri::Scheme;
use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub use alipay::AlipayTradeView;
pub use alipay::account::AlipayAccount;
pub use alipay::certificates::AlipayCertificates;
pub use faults::{Fault, FaultFrequency, FaultPlan, MAX_DUPLICATES};
pub use wechat::account::Merchant;
pub use wechat::book::RefundStatus;
pub use wechat::callbacks::CallbackCounts;
pub use wechat::requests::TradeKind;
pub use wechat::trades::PayError;

use alipay::Alipay;
use wechat::Provider;
use wechat::book::{Order, OrderState, Refund};

/// How long requests under way may take to end at shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// How a sandbox runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Name or address by which payers reach it, where that is not the one it listens on.
    pub public_host: Option<String>,
    /// The folder of keys, orders, refunds and callbacks owed: a second start goes on where the first stopped. `None`
    /// keeps all in memory.
    pub data_dir: Option<PathBuf>,
    /// Divides the callbacks' retry schedule and the time a refund takes: 1.0 is as in life. An order's own
    /// `time_expire`, the life of a payment link and the 5 seconds for an answer are not divided.
    pub speed: f64,
    /// Decides the names of the merchants, their apps' secrets, and which things a probable fault strikes. Keys and numbers are random.
    pub seed: u64,
}

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The speed is not a finite number above zero.
    #[error("the sandbox's speed must be a number above 0, not {0}")]
    Speed(f64),
    /// The address cannot be listened on.
    #[error("the sandbox cannot listen on {listen}: {source}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A file or folder of the data cannot be read or written.
    #[error("the sandbox cannot use {path}: {source}")]
    Data {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another sandbox has the folder.
    #[error("another sandbox uses {path}")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A file of the data is not what a sandbox wrote.
    #[error("{path}, line {line}, is not what a sandbox wrote")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The first bad line.
        line: usize,
    },
    /// The keys could not be made or read.
    #[error("the sandbox's keys cannot be used: {0}")]
    Keys(#[from] crypto::CryptoError),
    /// The client that sends callbacks could not be made.
    #[error("the sandbox's HTTP client cannot be made: {0}")]
    Client(reqwest::Error),
    /// The runtime ended a blocking task.
    #[error("the runtime is shutting down")]
    Runtime,
}

/// A running sandbox. Dropped without [`Sandbox::shutdown`], it ends all the same, only less politely.
pub struct Sandbox {
    provider: Arc<Provider>,
    alipay: Arc<Alipay>,
    local_addr: SocketAddr,
    server: JoinHandle<()>,
}

/// Where an order stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderView {
    /// The merchant's number of the order.
    pub out_trade_no: String,
    /// For whom, if the merchant made it as a service provider.
    pub sub_mchid: Option<String>,
    /// How it is to be paid.
    pub kind: TradeKind,
    /// What it costs, in fen.
    pub total_fen: i64,
    /// As the API says it: NOTPAY, SUCCESS, CLOSED or REFUND.
    pub trade_state: &'static str,
    /// The provider's number of the payment, once paid.
    pub transaction_id: Option<String>,
    /// Times the payer declined.
    pub declined: u32,
    /// Requests sent for the payment's callback, duplicates included.
    pub callbacks_sent: u32,
    /// Deliveries of that callback that were tried since it was last owed, lost ones included.
    pub deliveries: u32,
    /// Whether that callback was accepted.
    pub callback_accepted: bool,
}

/// Where a refund stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundView {
    /// The merchant's number of the refund.
    pub out_refund_no: String,
    /// The merchant's number of the order.
    pub out_trade_no: String,
    /// What goes back, in fen.
    pub refund_fen: i64,
    /// Where it stands.
    pub status: RefundStatus,
    /// Requests sent for its callbacks, duplicates included.
    pub callbacks_sent: u32,
}

/// Starts a sandbox. It takes requests when this returns.
///
/// # Errors
/// See [`StartError`].
pub async fn start(config: Config) -> Result<Sandbox, StartError> {
    if !config.speed.is_finite() || config.speed <= 0.0 {
        return Err(StartError::Speed(config.speed));
    }
    let failed = |source| StartError::Listen { listen: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let local_addr = listener.local_addr().map_err(failed)?;
    let base_url = format!("http://{}", within_machine(local_addr));
    let public_url = match &config.public_host {
        Some(host) => format!("http://{host}:{}", local_addr.port()),
        None => base_url.clone(),
    };
    let opening = tokio::task::spawn_blocking(move || {
        let provider = Provider::open(&config, base_url, public_url)?;
        let alipay = Alipay::open(&config, &provider)?;
        Ok::<_, StartError>((Arc::new(provider), Arc::new(alipay)))
    });
    let (provider, alipay) = opening.await.map_err(|_| StartError::Runtime)??;
    let stop = provider.stopping();
    let app = alipay.add_to(provider.routes());
    let server = Server::new_with_acceptor(PromptAcceptor { listener, local_addr });
    let server = tokio::spawn(async move {
        let stopped = async move { stop.cancelled().await };
        if let Err(error) = server.run_with_graceful_shutdown(app, stopped, Some(SHUTDOWN_GRACE)).await {
            tracing::error!(%error, "the sandbox's server ended");
        }
    });
    provider.resume();
    alipay.resume();
    Ok(Sandbox { provider, alipay, local_addr, server })
}

/// Where this machine reaches an address that listens everywhere.
fn within_machine(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        given @ (IpAddr::V4(_) | IpAddr::V6(_)) => given,
    };
    SocketAddr::new(ip, address.port())
}

impl Sandbox {
    /// Where the provider's API is: what stands for `https://api.mch.weixin.qq.com` and `https://api.weixin.qq.com`.
    pub fn base_url(&self) -> &str {
        &self.provider.base_url
    }

    /// Where payers find its pages: what stands for `https://open.weixin.qq.com`.
    pub fn public_url(&self) -> &str {
        &self.provider.public_url
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The merchant this sandbox serves.
    pub fn merchant(&self) -> Merchant {
        self.provider.account.merchant()
    }

    /// The merchant's app with Alipay.
    pub fn alipay(&self) -> AlipayAccount {
        self.alipay.account.handed_out(self.base_url(), self.public_url())
    }

    /// The payer pays by Alipay, as on the cashier's page: an order whose page was opened or whose code was made.
    ///
    /// # Errors
    /// See [`PayError`].
    pub fn approve_alipay(&self, out_trade_no: &str) -> Result<(), PayError> {
        self.alipay.pay(out_trade_no)
    }

    /// The payer declines, as on the cashier's page: from then on there is a trade, and it stays payable.
    ///
    /// # Errors
    /// See [`PayError`].
    pub fn decline_alipay(&self, out_trade_no: &str) -> Result<(), PayError> {
        alipay::trades::decline(&mut self.alipay.book(), out_trade_no, self.provider.now_ms())
    }

    /// Somebody gives back a part of a trade, or all of it, in Alipay's console: past the merchant's server, which is told
    /// by a notice. Gives the number that Alipay makes up for it.
    ///
    /// # Errors
    /// Says why Alipay refuses.
    pub fn refund_alipay_in_console(&self, out_trade_no: &str, refund_fen: i64) -> Result<String, String> {
        self.alipay.refund_in_console(out_trade_no, refund_fen).map_err(|error| error.sub_msg)
    }

    /// The time for refunds of a paid trade has passed: it becomes TRADE_FINISHED, and a notice tells so.
    ///
    /// # Errors
    /// Says why it cannot.
    pub fn finish_alipay(&self, out_trade_no: &str) -> Result<(), String> {
        self.alipay.finish(out_trade_no).map_err(|error| error.sub_msg)
    }

    /// One trade of Alipay's, or the offer of one.
    pub fn alipay_trade(&self, out_trade_no: &str) -> Option<AlipayTradeView> {
        self.alipay.view(out_trade_no)
    }

    /// Another merchant of the same provider, whose callbacks are foreign to the first. Its keys are made at the first
    /// call, which blocks for some tenths of a second.
    ///
    /// # Errors
    /// Those of making and writing keys.
    pub fn second_merchant(&self) -> Result<Merchant, StartError> {
        Ok(self.provider.second_account()?.merchant())
    }

    /// The trouble that is asked for.
    pub fn faults(&self) -> &FaultPlan {
        &self.provider.faults
    }

    /// Has the platform key of that name (see [`Merchant::platform_keys`]) sign from now on; false if there is none. The
    /// public key signs at first. A request that names a key in `Wechatpay-Serial` is answered with that one.
    pub fn select_signing_key(&self, name: &str) -> bool {
        self.provider.account.select_signing_key(name)
    }

    /// The domains to which OAuth sends a browser back, as an operator sets them in production. None at first, and with
    /// none any domain is taken.
    pub fn set_oauth_domains(&self, domains: &[&str]) {
        self.provider.oauth.set_domains(domains);
    }

    /// The sub-merchants for whom the merchants may sell as service providers; 1900000001 to 1900000003 at first.
    pub fn set_sub_merchants(&self, mchids: &[&str]) {
        self.provider.set_sub_merchants(mchids);
    }

    /// A new person's openid for the first merchant's app, as if that person had opened a page of the merchant's in
    /// WeChat.
    ///
    /// # Errors
    /// Says why the provider has none.
    pub fn new_openid(&self) -> Result<String, String> {
        let person = person::new_person().map_err(|error| error.to_string())?;
        self.provider.openid(&person, &self.merchant().appid).map_err(|error| error.message)
    }

    /// The payer pays an order of the first merchant, as on the payment page.
    ///
    /// # Errors
    /// See [`PayError`].
    pub fn approve(&self, out_trade_no: &str) -> Result<(), PayError> {
        self.provider.pay(&self.key(out_trade_no))
    }

    /// The payer declines, as on the payment page; the order stays payable.
    ///
    /// # Errors
    /// See [`PayError`].
    pub fn decline(&self, out_trade_no: &str) -> Result<(), PayError> {
        wechat::trades::decline(&mut self.provider.book(), &self.key(out_trade_no), self.provider.now_ms())
    }

    /// Ends a refund that is PROCESSING or ABNORMAL with SUCCESS, now; whether that changed anything.
    pub fn settle_refund(&self, out_refund_no: &str) -> bool {
        self.provider.settle(&self.key(out_refund_no), RefundStatus::Success)
    }

    /// Somebody gives back a part of an order of the first merchant's, or all of it, in the merchant's console: past the
    /// merchant's server, which is told by a callback only if `tells`. Gives the number that the provider makes up for it.
    ///
    /// # Errors
    /// Says why the provider refuses.
    pub fn refund_in_console(&self, out_trade_no: &str, refund_fen: i64, tells: bool) -> Result<String, String> {
        self.provider.refund_in_console(&self.key(out_trade_no), refund_fen, tells).map_err(|error| error.message)
    }

    /// One order of the first merchant.
    pub fn order(&self, out_trade_no: &str) -> Option<OrderView> {
        let book = self.provider.book();
        book.orders.get(&self.key(out_trade_no)).map(|order| order_view(&book, order, self.provider.now_ms()))
    }

    /// All orders, of both merchants.
    pub fn orders(&self) -> Vec<OrderView> {
        let book = self.provider.book();
        book.orders.values().map(|order| order_view(&book, order, self.provider.now_ms())).collect()
    }

    /// One refund of the first merchant.
    pub fn refund(&self, out_refund_no: &str) -> Option<RefundView> {
        let book = self.provider.book();
        book.refunds.get(&self.key(out_refund_no)).map(|refund| refund_view(&book, refund))
    }

    /// All refunds, of both merchants.
    pub fn refunds(&self) -> Vec<RefundView> {
        let book = self.provider.book();
        book.refunds.values().map(|refund| refund_view(&book, refund)).collect()
    }

    /// What became of the callbacks since the start.
    pub fn callbacks(&self) -> CallbackCounts {
        self.provider.tally.counts()
    }

    /// Stops: no more requests, no more callbacks. What is owed stays owed in [`Config::data_dir`].
    pub async fn shutdown(mut self) {
        self.provider.stop().await;
        // The server ends by itself within its grace; a connection that hangs is cut.
        match tokio::time::timeout(2 * SHUTDOWN_GRACE, &mut self.server).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the sandbox's server did not end well"),
            Err(_) => self.server.abort(),
        }
    }

    fn key(&self, number: &str) -> wechat::book::Key {
        (self.provider.account.mchid().to_owned(), number.to_owned())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.provider.stopping().cancel();
    }
}

fn order_view(book: &wechat::book::Book, order: &Order, now_ms: i64) -> OrderView {
    let notification = order.notification.as_ref().and_then(|id| book.notifications.get(id));
    let trade_state = match &order.state {
        OrderState::Paid(_) if wechat::trades::refunded_fen(book, order) > 0 => "REFUND",
        OrderState::Paid(_) => "SUCCESS",
        OrderState::NotPaid if !order.is_forgotten(now_ms) => "NOTPAY",
        OrderState::NotPaid | OrderState::Closed => "CLOSED",
    };
    OrderView {
        out_trade_no: order.request.out_trade_no.clone(),
        sub_mchid: order.sub_mchid().map(str::to_owned),
        kind: order.kind,
        total_fen: order.request.amount.total,
        trade_state,
        transaction_id: match &order.state {
            OrderState::Paid(payment) => Some(payment.transaction_id.clone()),
            OrderState::NotPaid | OrderState::Closed => None,
        },
        declined: order.declined,
        callbacks_sent: notification.map_or(0, |notification| notification.sent),
        deliveries: notification.map_or(0, |notification| notification.attempts),
        callback_accepted: notification
            .is_some_and(|notification| notification.state == wechat::book::NotificationState::Accepted),
    }
}

fn refund_view(book: &wechat::book::Book, refund: &Refund) -> RefundView {
    let sent = refund.notifications.iter().filter_map(|id| book.notifications.get(id)).map(|one| one.sent);
    RefundView {
        out_refund_no: refund.request.out_refund_no.clone(),
        out_trade_no: refund.out_trade_no.clone(),
        refund_fen: refund.request.amount.refund,
        status: refund.status,
        callbacks_sent: sent.sum(),
    }
}

/// Accepts as poem's own acceptor does, and has answers leave at once.
struct PromptAcceptor {
    listener: TcpListener,
    local_addr: SocketAddr,
}

impl Acceptor for PromptAcceptor {
    type Io = TcpStream;

    fn local_addr(&self) -> Vec<LocalAddr> {
        vec![LocalAddr(self.local_addr.into())]
    }

    async fn accept(&mut self) -> std::io::Result<(TcpStream, LocalAddr, RemoteAddr, Scheme)> {
        let (stream, remote) = self.listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream, LocalAddr(self.local_addr.into()), RemoteAddr(remote.into()), Scheme::HTTP))
    }
}
