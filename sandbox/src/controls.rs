//! What a test makes the providers do beside the faults: time passes, what was told is told again, a refund bounces, keys
//! change, somebody new comes.

use std::time::Duration;

use crate::wechat::book::RefundStatus;
use crate::{AlipayCertificates, Sandbox, StartError, alipay, person};

impl Sandbox {
    /// Puts the providers' clock forward. What waits for a time of day or for an expiry finds it there at once; callbacks
    /// and refunds under way keep their pace.
    pub fn advance(&self, time: Duration) {
        self.provider.clock.advance(time);
    }

    /// The calls that came in, the oldest first: `POST /v3/refund/domestic/refunds`, `GET /sns/oauth2/access_token`, and of
    /// Alipay's the method with its content, `alipay.trade.close {..}`. Of a long run the last 10,000.
    pub fn calls(&self) -> Vec<String> {
        self.provider.calls.all()
    }

    /// Sends the callback of an order's payment again, as it was; false if there was none.
    pub fn repeat_callback(&self, out_trade_no: &str) -> bool {
        self.provider.repeat_callback(&self.key(out_trade_no))
    }

    /// Sends all notices of a trade again, in their order; how many.
    pub fn repeat_alipay_notices(&self, out_trade_no: &str) -> usize {
        self.alipay.repeat_notices(out_trade_no)
    }

    /// A refund that was SUCCESS comes back from the payer's bank: it is ABNORMAL, and told to be. Whether it was SUCCESS.
    pub fn bounce_refund(&self, out_refund_no: &str) -> bool {
        self.provider.bounce(&self.key(out_refund_no), RefundStatus::Abnormal)
    }

    /// Ends a refund that is PROCESSING with CLOSED, now; whether that changed anything.
    pub fn close_refund(&self, out_refund_no: &str) -> bool {
        self.provider.settle(&self.key(out_refund_no), RefundStatus::Closed)
    }

    /// A new person's account with Alipay, as if that person had opened a page of the merchant's in the app: the number of
    /// the account and the open id.
    ///
    /// # Errors
    /// Says why Alipay has none.
    pub fn new_alipay_buyer(&self) -> Result<(String, String), String> {
        let person = person::new_person().map_err(|error| error.to_string())?;
        let buyer = alipay::buyer(&mut self.alipay.book(), &person).map_err(|error| error.sub_msg)?;
        Ok((buyer.user_id, buyer.open_id))
    }

    /// The domains to which Alipay sends a browser back that says who its payer is, as the app's callback address sets them.
    /// None at first, and with none any domain is taken.
    pub fn set_alipay_oauth_domains(&self, domains: &[&str]) {
        self.alipay.identity.domains.set(domains);
    }

    /// Whether the app is told a payer's open id, as newer apps are, in place of the number of the payer's account.
    pub fn tell_alipay_open_ids(&self, is_so: bool) {
        self.alipay.identity.tell_open_ids(is_so);
    }

    /// The public key, in PEM, with which Alipay will sign after [`Sandbox::switch_alipay_key`]. It is made at the first
    /// call, which blocks for some tenths of a second, and lasts as long as this sandbox.
    ///
    /// # Errors
    /// Those of making a key.
    pub fn next_alipay_key(&self) -> Result<String, StartError> {
        Ok(self.alipay.account.next_public_key_pem()?)
    }

    /// Puts the app into certificate mode, for as long as this sandbox runs: calls must name the app's certificate and the
    /// roots, and answers and notices name Alipay's. Gives the files. The first call blocks for some tenths of a second.
    ///
    /// # Errors
    /// Those of making keys and certificates.
    pub fn enter_alipay_certificate_mode(&self) -> Result<AlipayCertificates, StartError> {
        Ok(self.alipay.account.enter_certificate_mode()?)
    }

    /// Has Alipay sign with its next key from now on.
    ///
    /// # Errors
    /// Those of making a key.
    pub fn switch_alipay_key(&self) -> Result<(), StartError> {
        Ok(self.alipay.account.switch_key()?)
    }
}
