//! Notices to the merchant: signed forms, sent until the answer is the one word.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::header::{CONTENT_TYPE, USER_AGENT};

use crate::alipay::Alipay;
use crate::alipay::account::Account;
use crate::alipay::book::{Notice, Record, Refund, Trade};
use crate::alipay::form::{self, Parameters};
use crate::alipay::requests::{fen, yuan};
use crate::clock::{china_millis, china_text};
use crate::crypto::Signer;
use crate::faults::Fault;
use crate::wechat::book::NotificationState;
use crate::wechat::callbacks::unknown;

/// Seconds between the deliveries of one notice. Source: Alipay's description of asynchronous notices.
const RETRY_GAPS_S: [u32; 7] = [240, 600, 600, 3600, 7200, 21600, 54000];
/// The whole answer that ends the deliveries.
const TAKEN: &[u8] = b"success";
/// The pause after the journal could not be written.
const JOURNAL_RETRY: Duration = Duration::from_secs(5);
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// What a notice says of a trade, or of a refund of it: each one repeats what is known of the payment.
pub(crate) fn content(account: &Account, trade: &Trade, refund: Option<&Refund>) -> Parameters {
    let order = &trade.order;
    let total = yuan(order.total_fen);
    let coupon_fen = trade.payment.as_ref().map_or(0, |payment| payment.coupon_fen);
    let mut fields = Parameters::new();
    let mut put = |name: &str, value: &str| fields.insert(name.to_owned(), value.to_owned());
    put("notify_type", "trade_status_sync");
    put("charset", "utf-8");
    put("version", "1.0");
    put("app_id", account.app_id());
    put("auth_app_id", account.app_id());
    put("seller_id", account.seller_id());
    put("buyer_id", &trade.buyer_id);
    put("out_trade_no", &order.out_trade_no);
    put("trade_no", &trade.trade_no);
    put("trade_status", trade.state.as_str());
    put("subject", &order.subject);
    put("gmt_create", &china_text(trade.created_ms));
    put("total_amount", &total);
    put("invoice_amount", &yuan(order.total_fen - coupon_fen));
    put("receipt_amount", &total);
    put("buyer_pay_amount", &yuan(order.total_fen - coupon_fen));
    put("point_amount", &yuan(coupon_fen));
    put("fund_bill_list", &format!(r#"[{{"amount":"{total}","fundChannel":"ALIPAYACCOUNT"}}]"#));
    put("passback_params", order.passback_params.as_deref().unwrap_or_default());
    put("x_new_field", "100% + 额外 & = ");
    if let Some(payment) = &trade.payment {
        put("gmt_payment", &china_text(payment.paid_ms));
    }
    if let Some(refund) = refund {
        put("refund_fee", &yuan(trade.refunded_fen()));
        put("gmt_refund", &china_millis(refund.made_ms));
        put("out_biz_no", &refund.out_request_no);
    }
    fields
}

/// A notice as it is sent; in certificate mode it names the certificate.
fn signed(fields: &Parameters, signer: &Signer, certificate: Option<&str>, now_ms: i64) -> Option<String> {
    let mut fields = fields.clone();
    fields.insert("notify_time".into(), china_text(now_ms));
    if let Some(number) = certificate {
        fields.insert("alipay_cert_sn".into(), number.into());
    }
    let sign = signer.sign(form::notice_text(&fields).as_bytes()).ok()?;
    fields.insert("sign".into(), sign);
    fields.insert("sign_type".into(), "RSA2".into());
    Some(form::encoded(&fields))
}

impl Alipay {
    /// Sends a notice in the background until it is taken.
    pub(crate) fn launch(self: &Arc<Self>, id: Option<String>) {
        let Some(id) = id else { return };
        let alipay = self.clone();
        self.tasks.spawn(async move { alipay.deliver(&id).await });
    }

    /// Has all notices of a trade sent again, as they were; how many.
    pub(crate) fn repeat_notices(self: &Arc<Self>, number: &str) -> usize {
        let again: Vec<Notice> = {
            let book = self.book();
            let told = book.trades.get(number).map(|trade| trade.notices.clone()).unwrap_or_default();
            let known = told.iter().filter_map(|id| book.notices.get(id).cloned());
            known.map(|notice| self.anew(notice)).collect()
        };
        let ids: Vec<String> = again.iter().map(|notice| notice.id.clone()).collect();
        let records = again.into_iter().map(|notice| Record::Notice(Box::new(notice))).collect();
        if self.book().commit(records).is_err() {
            return 0;
        }
        let count = ids.len();
        let alipay = self.clone();
        // One after the other, as they came about.
        self.tasks.spawn(async move {
            for id in ids {
                alipay.deliver_once(&id).await;
            }
        });
        count
    }

    fn anew(&self, notice: Notice) -> Notice {
        Notice { state: NotificationState::Pending, attempts: 0, due_ms: self.now_ms(), ..notice }
    }

    async fn deliver(&self, id: &str) {
        loop {
            let due_ms = match self.book().notices.get(id) {
                Some(notice) if notice.state == NotificationState::Pending => notice.due_ms,
                _ => return,
            };
            if !self.wait(Duration::from_millis(u64::try_from(due_ms - self.now_ms()).unwrap_or(0))).await {
                return;
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.deliver_once(id) => {}
            }
        }
    }

    /// One delivery by the schedule, whatever the faults make of it.
    async fn deliver_once(&self, id: &str) {
        let Some(mut notice) = self.book().notices.get(id).cloned() else { return };
        let (taken, sent) = self.attempt(&notice).await;
        if !taken && self.stop.is_cancelled() {
            return;
        }
        let gap_s = RETRY_GAPS_S.get(notice.attempts as usize);
        notice.attempts += 1;
        notice.sent += sent;
        match (taken, gap_s) {
            (true, _) => notice.state = NotificationState::Accepted,
            (false, Some(gap_s)) => notice.due_ms = self.now_ms() + (f64::from(*gap_s) * 1000.0 / self.speed) as i64,
            (false, None) => notice.state = NotificationState::GivenUp,
        }
        let written = self.book().commit(vec![Record::Notice(Box::new(notice))]);
        if let Err(error) = written {
            tracing::error!(%error, "the sandbox cannot write its journal");
            // The notice is still due, and is not to be sent again and again meanwhile.
            self.wait(JOURNAL_RETRY).await;
        }
    }

    /// Whether it was taken, and the requests it took.
    async fn attempt(&self, notice: &Notice) -> (bool, u32) {
        let told = |name: &str| notice.fields.get(name).map_or("", String::as_str);
        // The delivery is named by what it tells and by its turn, so that a seed strikes the same one again.
        let name =
            format!("{}:{}:{}#{}", told("trade_status"), notice.out_trade_no, told("out_biz_no"), notice.attempts);
        if self.faults.is_hit(Fault::DelayCallback, &name) && !self.wait(self.faults.delay(&name)).await {
            return (false, 0);
        }
        let is_payment = told("out_biz_no").is_empty();
        if self.faults.is_hit(Fault::DropCallback, &name)
            || is_payment && self.faults.is_hit(Fault::DropPaymentCallback, &name)
        {
            return (false, 0);
        }
        let certificate = self.account.alipay_certificate();
        if self.faults.is_hit(Fault::ForeignSignature, &name)
            && let Some(body) = signed(&notice.fields, &self.account.other_signer, certificate, self.now_ms())
            && self.send(&notice.url, &body).await
        {
            tracing::warn!(url = %notice.url, "the merchant took a notice that it had to refuse");
        }
        let (told, signer) = (self.told(notice, &name), self.account.alipay_signer());
        let Some(body) = signed(&told, signer, self.account.alipay_certificate(), self.now_ms()) else {
            return (false, 0);
        };
        let copies = if self.faults.is_hit(Fault::DuplicateCallback, &name) { self.faults.duplicates() } else { 1 };
        let answers = join_all((0..copies).map(|_| self.send(&notice.url, &body))).await;
        (answers.into_iter().any(|taken| taken), copies)
    }

    /// What the notice says, changed where a fault asks for it.
    fn told(&self, notice: &Notice, name: &str) -> Parameters {
        let mut fields = notice.fields.clone();
        let mut put = |name: &str, value: String| fields.insert(name.to_owned(), value);
        if self.faults.is_hit(Fault::WrongAppid, name) {
            put("app_id", "2021999999999999".into());
        }
        if self.faults.is_hit(Fault::WrongMchid, name) {
            put("seller_id", "2088999999999999".into());
        }
        if self.faults.is_hit(Fault::WrongAmount, name) {
            let total_fen = notice.fields.get("total_amount").and_then(|total| fen(total)).unwrap_or(0);
            put("total_amount", yuan(total_fen + 1));
        }
        if self.faults.is_hit(Fault::UnknownEvent, name) {
            put("notify_type", "trade_status_reconsidered".into());
        }
        if self.faults.is_hit(Fault::UnknownNumber, name) {
            put("out_trade_no", unknown(&notice.out_trade_no));
        }
        fields
    }

    /// Whether the merchant took it.
    async fn send(&self, url: &str, body: &str) -> bool {
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8")
            .header(USER_AGENT, "Mozilla/4.0")
            .body(body.to_owned());
        let Ok(mut answer) = request.send().await else { return false };
        let status = answer.status().as_u16();
        let mut text = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            text.extend_from_slice(&chunk);
            if text.len() > MAX_ANSWER_BYTES {
                break;
            }
        }
        status == 200 && text == TAKEN
    }
}
