//! Alipay: what `openapi.alipay.com` does for a merchant's app, and the pages that a payer sees.

pub(crate) mod account;
pub(crate) mod book;
mod bridge;
pub(crate) mod certificates;
mod errors;
mod form;
mod gateway;
mod identity;
mod notices;
mod page;
mod requests;
pub(crate) mod trades;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use poem::{Route, endpoint::make};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::calls::CallLog;
use crate::clock::{self, Clock, china_day};
use crate::crypto::{DIGITS, random_text};
use crate::faults::{Fault, FaultPlan};
use crate::wechat::book::NotificationState;
use crate::wechat::trades::{PayError, Paying};
use crate::wechat::{Provider, callbacks};
use crate::{Config, StartError};
use account::Account;
use book::{Book, Refund, Trade};
use errors::ApiError;
use form::Parameters;
use identity::Identity;
pub(crate) use identity::buyer;
use requests::{RefundRequest, yuan};

/// Where a trade stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlipayTradeView {
    /// The merchant's number.
    pub out_trade_no: String,
    /// Alipay's number.
    pub trade_no: String,
    /// What it costs, in fen.
    pub total_fen: i64,
    /// What went back, in fen.
    pub refunded_fen: i64,
    /// As the gateway says it: WAIT_BUYER_PAY, TRADE_SUCCESS, TRADE_CLOSED or TRADE_FINISHED; nothing before there is one.
    pub trade_status: &'static str,
    /// Times the payer declined.
    pub declined: u32,
    /// Requests sent for its notices, duplicates included.
    pub notices_sent: u32,
    /// Deliveries of its notices that were tried since they were last owed, lost ones included.
    pub deliveries: u32,
    /// Notices that were taken.
    pub notices_taken: u32,
}

/// All that the gateway, the pages and the notices share.
pub(crate) struct Alipay {
    pub(crate) account: Account,
    pub(crate) identity: Identity,
    faults: Arc<FaultPlan>,
    book: Mutex<Book>,
    speed: f64,
    client: reqwest::Client,
    tasks: TaskTracker,
    stop: CancellationToken,
    clock: Arc<Clock>,
    calls: Arc<CallLog>,
}

impl Alipay {
    /// Loads or makes the keys and the book, and runs beside `provider`, which has locked the folder. Blocking.
    pub(crate) fn open(config: &Config, provider: &Provider) -> Result<Self, StartError> {
        let dir = config.data_dir.as_deref();
        Ok(Self {
            account: Account::load_or_create(dir, config.seed)?,
            identity: Identity::default(),
            faults: provider.faults.clone(),
            book: Mutex::new(Book::open(dir)?),
            speed: config.speed,
            client: callbacks::client()?,
            tasks: provider.tasks(),
            stop: provider.stopping(),
            clock: provider.clock.clone(),
            calls: provider.calls.clone(),
        })
    }

    /// Adds Alipay's addresses.
    pub(crate) fn add_to(self: &Arc<Self>, routes: Route) -> Route {
        let [gateway, cashier, scan, console, authorize, bridge] = [(); 6].map(|()| self.clone());
        routes
            .at("/gateway.do", make(move |request| gateway::answer(gateway.clone(), request)))
            .at("/oauth2/publicAppAuthorize.htm", make(move |request| identity::authorize(authorize.clone(), request)))
            .at("/bridge/alipay.js", poem::get(bridge::script))
            .at("/bridge/alipay", make(move |request| bridge::answer(bridge.clone(), request)))
            .at("/alipay/cashier", make(move |request| page::decide(cashier.clone(), request)))
            .at("/alipay/scan", make(move |request| page::scan(scan.clone(), request)))
            .at("/alipay/console", make(move |request| page::console(console.clone(), request)))
    }

    /// The books, for as short a time as it takes; never held over an await.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        // Every change is committed whole or not at all, so a panic elsewhere leaves the book right.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now, in Unix milliseconds.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn content(&self, trade: &Trade, refund: Option<&Refund>) -> Parameters {
        notices::content(&self.account, trade, refund)
    }

    /// The payer pays; the notice leaves.
    pub(crate) fn pay(self: &Arc<Self>, number: &str) -> Result<(), PayError> {
        let total_fen = self.book().trades.get(number).ok_or(PayError::NotFound)?.order.total_fen;
        let coupon = total_fen > 1 && self.faults.is_hit(Fault::Coupon, number);
        let coupon_fen = if coupon { (total_fen / 5).max(1) } else { 0 };
        let content = |trade: &Trade, refund: Option<&Refund>| self.content(trade, refund);
        let is_over = self.book().trades.get(number).is_some_and(|trade| trade.is_over_unpaid(self.now_ms()));
        let paying = Paying {
            coupon_fen,
            less_fen: i64::from(total_fen > 1 && self.faults.is_hit(Fault::PaidLess, number)),
            is_taken_all_the_same: is_over && self.faults.is_hit(Fault::PaidAfterClose, number),
        };
        let owed = trades::pay(&mut self.book(), number, paying, &content, self.now_ms())?;
        self.launch(owed);
        Ok(())
    }

    /// Somebody gives money back in the console; the number that Alipay makes up for it.
    pub(crate) fn refund_in_console(self: &Arc<Self>, number: &str, fen: i64) -> Result<String, ApiError> {
        let digits = random_text(DIGITS, 20).map_err(|_| ApiError::system())?;
        let made_up = format!("{}{digits}", china_day(self.now_ms()));
        let request = RefundRequest {
            out_trade_no: Some(number.to_owned()),
            trade_no: None,
            refund_amount: yuan(fen),
            out_request_no: Some(made_up.clone()),
            refund_reason: None,
        };
        let content = |trade: &Trade, refund: Option<&Refund>| self.content(trade, refund);
        let refunded = trades::refund(&mut self.book(), &request, &|_| false, &content, self.now_ms())?;
        self.launch(refunded.notice);
        Ok(made_up)
    }

    /// The time for refunds has passed; the notice leaves.
    pub(crate) fn finish(self: &Arc<Self>, number: &str) -> Result<(), ApiError> {
        let content = |trade: &Trade, refund: Option<&Refund>| self.content(trade, refund);
        let owed = trades::finish(&mut self.book(), number, &content, self.now_ms())?;
        self.launch(owed);
        Ok(())
    }

    pub(crate) fn view(&self, number: &str) -> Option<AlipayTradeView> {
        let book = self.book();
        let trade = book.trades.get(number)?;
        let notices = || trade.notices.iter().filter_map(|id| book.notices.get(id));
        let taken = notices().filter(|notice| notice.state == NotificationState::Accepted).count();
        Some(AlipayTradeView {
            out_trade_no: number.to_owned(),
            trade_no: trade.trade_no.clone(),
            total_fen: trade.order.total_fen,
            refunded_fen: trade.refunded_fen(),
            trade_status: trade.state(self.now_ms()).as_str(),
            declined: trade.declined,
            notices_sent: notices().map(|notice| notice.sent).sum(),
            deliveries: notices().map(|notice| notice.attempts).sum(),
            notices_taken: u32::try_from(taken).unwrap_or(u32::MAX),
        })
    }

    /// Waits; false if the sandbox shuts down before.
    async fn wait(&self, time: Duration) -> bool {
        clock::wait(time, &self.stop).await
    }

    /// Takes up the notices that an earlier run owed.
    pub(crate) fn resume(self: &Arc<Self>) {
        let owed: Vec<String> = {
            let book = self.book();
            let pending = book.notices.values().filter(|notice| notice.state == NotificationState::Pending);
            pending.map(|notice| notice.id.clone()).collect()
        };
        owed.into_iter().for_each(|id| self.launch(Some(id)));
    }
}
