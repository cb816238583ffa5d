//! WeChat Pay, API v3: what `api.mch.weixin.qq.com` does for a merchant, what `open.weixin.qq.com` and
//! `api.weixin.qq.com` say of who a payer is, and the payment page that a payer sees.

pub(crate) mod account;
mod answers;
mod api;
mod authorization;
mod bill;
pub(crate) mod book;
mod bridge;
pub(crate) mod callbacks;
mod console;
mod errors;
mod oauth;
pub(crate) mod page;
mod partner;
pub(crate) mod requests;
pub(crate) mod trades;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use poem::{Route, endpoint::make};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::calls::CallLog;
use crate::clock::{self, Clock};
use crate::faults::{Fault, FaultPlan};
use crate::{Config, StartError};
use account::Account;
use authorization::Nonces;
use book::{Book, Key, NotificationState, RefundStatus};
use callbacks::Tally;
use oauth::Oauth;
use trades::PayError;

/// How long a refund is PROCESSING, before the speed divides it.
const REFUND_SETTLES_MS: f64 = 3_000.0;
/// The sub-merchants at first.
const SUB_MERCHANTS: [&str; 3] = ["1900000001", "1900000002", "1900000003"];
/// Callbacks on their way at once.
const MAX_CALLBACKS_IN_FLIGHT: usize = 256;

/// The provider: all that the endpoints, the page and the callbacks share.
pub(crate) struct Provider {
    pub(crate) base_url: String,
    /// Where payers find the pages.
    pub(crate) public_url: String,
    pub(crate) faults: Arc<FaultPlan>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) calls: Arc<CallLog>,
    pub(crate) account: Account,
    pub(crate) tally: Tally,
    /// Made when it is first needed: its keys take as long as all the rest of a start.
    second_account: OnceLock<Account>,
    making_second_account: Mutex<()>,
    data_dir: Option<PathBuf>,
    seed: u64,
    speed: f64,
    book: Mutex<Book>,
    nonces: Nonces,
    pub(crate) oauth: Oauth,
    /// The sub-merchants for whom every merchant here may sell, as a service provider.
    sub_merchants: Mutex<Vec<String>>,
    client: reqwest::Client,
    in_flight: Semaphore,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Provider {
    /// Loads or makes the keys and the book. Blocking.
    pub(crate) fn open(config: &Config, base_url: String, public_url: String) -> Result<Self, StartError> {
        let dir = config.data_dir.as_deref();
        if let Some(dir) = dir {
            let failed = |source| StartError::Data { path: dir.to_path_buf(), source };
            std::fs::create_dir_all(dir).map_err(failed)?;
        }
        let book = dir.map_or_else(|| Ok(Book::in_memory()), Book::open)?;
        let account = Account::load_or_create(dir, config.seed, 0)?;
        let second_account = OnceLock::new();
        if dir.is_some_and(|dir| Account::is_in(dir, 1)) {
            let _ = second_account.set(Account::load_or_create(dir, config.seed, 1)?);
        }
        Ok(Self {
            base_url,
            public_url,
            faults: Arc::new(FaultPlan::new(config.seed)),
            clock: Arc::default(),
            calls: Arc::default(),
            account,
            tally: Tally::default(),
            second_account,
            making_second_account: Mutex::new(()),
            data_dir: config.data_dir.clone(),
            seed: config.seed,
            speed: config.speed,
            book: Mutex::new(book),
            nonces: Nonces::default(),
            oauth: Oauth::default(),
            sub_merchants: Mutex::new(SUB_MERCHANTS.map(str::to_owned).to_vec()),
            client: callbacks::client()?,
            in_flight: Semaphore::new(MAX_CALLBACKS_IN_FLIGHT),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    /// The provider's addresses.
    pub(crate) fn routes(self: &Arc<Self>) -> Route {
        let api = self.clone();
        let page = self.clone();
        let console = self.clone();
        let (bridge, scan) = (self.clone(), self.clone());
        let (authorize, exchange) = (self.clone(), self.clone());
        Route::new()
            .at("/v3/*path", make(move |request| api::answer(api.clone(), request)))
            .at("/h5/pay", make(move |request| page::answer(page.clone(), request)))
            .at("/connect/oauth2/authorize", make(move |request| oauth::authorize(authorize.clone(), request)))
            .at("/sns/oauth2/access_token", make(move |request| oauth::exchange(exchange.clone(), request)))
            .at("/native/scan", make(move |request| page::scan(scan.clone(), request)))
            .at("/bridge/wechat.js", poem::get(bridge::script))
            .at("/bridge/pay", make(move |request| bridge::answer(bridge.clone(), request)))
            .at("/console", make(move |request| console::answer(console.clone(), request)))
            .at("/", poem::get(page::about))
    }

    /// Now, in Unix milliseconds.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The books, for as short a time as it takes; never held over an await.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        // Every change is committed whole or not at all, so a panic elsewhere leaves the book right.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The other merchant, made if need be. Blocking, the first time.
    pub(crate) fn second_account(&self) -> Result<&Account, StartError> {
        // One at a time: two would write different keys to the same file.
        let _making = self.making_second_account.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = self.second_account.get() {
            return Ok(account);
        }
        let account = Account::load_or_create(self.data_dir.as_deref(), self.seed, 1)?;
        Ok(self.second_account.get_or_init(|| account))
    }

    pub(crate) fn account_of(&self, mchid: &str) -> Option<&Account> {
        [Some(&self.account), self.second_account.get()].into_iter().flatten().find(|account| account.mchid() == mchid)
    }

    pub(crate) fn set_sub_merchants(&self, mchids: &[&str]) {
        let mut known = self.sub_merchants.lock().unwrap_or_else(PoisonError::into_inner);
        *known = mchids.iter().map(|&mchid| mchid.to_owned()).collect();
    }

    /// Refuses a sub-merchant that no service provider here sells for.
    pub(crate) fn check_sub_merchant(&self, mchid: &str) -> Result<(), errors::ApiError> {
        let known = self.sub_merchants.lock().unwrap_or_else(PoisonError::into_inner);
        if known.iter().any(|one| one == mchid) { Ok(()) } else { Err(errors::ApiError::no_auth()) }
    }

    pub(crate) fn account_of_app(&self, appid: &str) -> Option<&Account> {
        [Some(&self.account), self.second_account.get()].into_iter().flatten().find(|account| account.appid() == appid)
    }

    /// What a person is called towards an app: made up the first time, and kept.
    pub(crate) fn openid(&self, person: &str, appid: &str) -> Result<String, errors::ApiError> {
        trades::openid(&mut self.book(), person, appid)
    }

    /// The payer pays; the callback leaves.
    pub(crate) fn pay(self: &Arc<Self>, key: &Key) -> Result<(), PayError> {
        let id = self.record_payment(key)?;
        self.launch(id);
        Ok(())
    }

    /// The payer pays; the id of the callback that is now owed.
    fn record_payment(&self, key: &Key) -> Result<String, PayError> {
        let total_fen = self.book().orders.get(key).ok_or(PayError::NotFound)?.request.amount.total;
        let coupon = total_fen > 1 && self.faults.is_hit(Fault::Coupon, &key.1);
        let coupon_fen = if coupon { (total_fen / 5).max(1) } else { 0 };
        let is_over = self.book().orders.get(key).is_some_and(|order| order.is_closed(self.now_ms()));
        let paying = trades::Paying {
            coupon_fen,
            less_fen: i64::from(total_fen > 1 && self.faults.is_hit(Fault::PaidLess, &key.1)),
            is_taken_all_the_same: is_over && self.faults.is_hit(Fault::PaidAfterClose, &key.1),
        };
        trades::pay(&mut self.book(), key, paying, self.now_ms())
    }

    /// Milliseconds of the provider's slow business, at the speed of this sandbox.
    fn scaled_ms(&self, milliseconds: f64) -> i64 {
        (milliseconds / self.speed) as i64
    }

    /// Somebody gives money back in the console; the refund's number.
    pub(crate) fn refund_in_console(
        self: &Arc<Self>,
        key: &Key,
        refund_fen: i64,
        tells: bool,
    ) -> Result<String, errors::ApiError> {
        let now_ms = self.now_ms();
        let settles_ms = now_ms + self.scaled_ms(REFUND_SETTLES_MS);
        let plan = trades::RefundPlan { not_enough: false, outcome: RefundStatus::Success, settles_ms };
        let refund = trades::refund_in_console(&mut self.book(), key, refund_fen, tells, plan, now_ms)?;
        self.settle_later(refund.key(), refund.settles_ms, refund.outcome);
        Ok(refund.request.out_refund_no)
    }

    /// Ends a refund when its time has come, and tells of it.
    fn settle_later(self: &Arc<Self>, key: Key, settles_ms: i64, outcome: RefundStatus) {
        let provider = self.clone();
        self.tasks.spawn(async move {
            if provider.wait_until(settles_ms).await {
                provider.settle(&key, outcome);
            }
        });
    }

    /// Ends a refund now, and tells of it; whether anything changed.
    pub(crate) fn settle(self: &Arc<Self>, key: &Key, outcome: RefundStatus) -> bool {
        let before = self.book().refunds.get(key).map(|refund| refund.status);
        let settled = trades::settle(&mut self.book(), key, outcome, self.now_ms());
        match settled {
            Ok(owed) => {
                if let Some(id) = owed {
                    self.launch(id);
                }
                before != self.book().refunds.get(key).map(|refund| refund.status)
            }
            Err(error) => {
                tracing::error!(refund = %key.1, message = %error.message, "a refund could not be settled");
                false
            }
        }
    }

    /// A refund that had gone through comes back; whether it had.
    pub(crate) fn bounce(self: &Arc<Self>, key: &Key, outcome: RefundStatus) -> bool {
        let bounced = trades::bounce(&mut self.book(), key, outcome, self.now_ms());
        let owed = bounced.inspect_err(|error| {
            tracing::error!(refund = %key.1, message = %error.message, "a refund could not be changed");
        });
        let Ok(Some(owed)) = owed else { return false };
        if let Some(id) = owed {
            self.launch(id);
        }
        true
    }

    /// Waits for a time; false if the sandbox shuts down before.
    async fn wait_until(&self, unix_ms: i64) -> bool {
        let wait_ms = u64::try_from(unix_ms - self.now_ms()).unwrap_or(0);
        self.wait(Duration::from_millis(wait_ms)).await
    }

    async fn wait(&self, time: Duration) -> bool {
        clock::wait(time, &self.stop).await
    }

    /// Takes up what an earlier run left: callbacks owed and refunds under way.
    pub(crate) fn resume(self: &Arc<Self>) {
        let (owed, under_way) = {
            let book = self.book();
            let owed: Vec<_> = book
                .notifications
                .values()
                .filter(|notification| notification.state == NotificationState::Pending)
                .map(|notification| notification.id.clone())
                .collect();
            let under_way: Vec<_> = book
                .refunds
                .values()
                .filter(|refund| refund.status == RefundStatus::Processing)
                .map(|refund| (refund.key(), refund.settles_ms, refund.outcome))
                .collect();
            (owed, under_way)
        };
        owed.into_iter().for_each(|id| self.launch(id));
        for (key, settles_ms, outcome) in under_way {
            self.settle_later(key, settles_ms, outcome);
        }
    }

    /// Ends all that runs in the background; what is owed stays owed.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// What runs in the background until [`Provider::stop`].
    pub(crate) fn tasks(&self) -> TaskTracker {
        self.tasks.clone()
    }

    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }
}
