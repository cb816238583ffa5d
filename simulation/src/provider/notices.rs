//! What providers tell merchants of, and how often.

use super::{Intent, ProviderBooks, manner::Manner};
use fake_providers::notice::{Callback, Notice, What};

/// The key of an account that nobody has.
const FORGERS_KEY: &str = "guessed";
/// Of so many of a hundred things a provider that tells totals tells again, as of another event.
const TOLD_TWICE: u32 = 10;
/// Of so many of a hundred things it tells something nobody knows yet, beside.
const NOVELTIES: u32 = 2;

/// A callback on its way to a merchant.
#[derive(Debug, Clone)]
pub struct Message {
    /// Whose it is: that says to which address it goes, and what it is to be answered.
    pub manner: &'static Manner,
    /// The merchant account's token, as in the notify address.
    pub account_token: String,
    /// The attempt that it is about.
    pub out_trade_no: String,
    /// What is told, signed.
    pub callback: Callback,
}

impl ProviderBooks {
    /// Plans to tell the merchant of a trade about one of its numbers.
    pub(super) fn notify(&mut self, out_trade_no: &str, number: &str, what: What) {
        let Some(trade) = self.trades.get(out_trade_no) else { return };
        if trade.manner.tells_totals {
            if self.tells.percent(TOLD_TWICE) {
                self.notify_once(out_trade_no, number, what.clone());
            }
            if self.tells.percent(NOVELTIES) {
                self.notify_once(out_trade_no, number, What::Novelty);
            }
        }
        self.notify_once(out_trade_no, number, what);
    }

    fn notify_once(&mut self, out_trade_no: &str, number: &str, what: What) {
        let Some(trade) = self.trades.get(out_trade_no) else { return };
        let (merchant, number) = (trade.config.merchant.clone(), number.to_owned());
        let notice = Notice { event: self.book.next_event(), merchant, number, what };
        let callback = notice.signed(&trade.config.key);
        let (manner, account_token, out_trade_no) =
            (trade.manner, trade.account_token.clone(), out_trade_no.to_owned());
        self.intents.push(Intent::Notify(Message { manner, account_token, out_trade_no, callback }));
    }

    /// Tells of a trade as it is now: paid, and how much of it went back if anything did.
    pub(super) fn tell_trade(&mut self, out_trade_no: &str) {
        let Some(paid) = self.book.paid(out_trade_no).cloned() else { return };
        let last_refund = self.trades.get(out_trade_no).and_then(|trade| trade.last_refund.clone());
        let what = match last_refund {
            Some(number) => What::returned(paid, &number, self.book.returned_minor(Some(out_trade_no))),
            None => What::paid(paid),
        };
        self.notify(out_trade_no, out_trade_no, what);
    }

    /// A message was lost for good: the provider gave up.
    pub fn gave_up(&mut self, message: &Message) {
        if let Some(trade) = self.trades.get_mut(&message.out_trade_no) {
            trade.is_untold = true;
        }
    }

    /// A forged callback that claims an attempt was paid.
    pub fn forged(&mut self, out_trade_no: &str) -> Option<Message> {
        let trade = self.trades.get(out_trade_no)?;
        let (txn, paid_at_ms) = (format!("T{out_trade_no}"), self.time.true_ms());
        let what = What::Paid { txn, amount_minor: trade.asked_minor, paid_at_ms, attach: String::new() };
        let (event, merchant) = ("E1000000".into(), trade.config.merchant.clone());
        let notice = Notice { event, merchant, number: out_trade_no.to_owned(), what };
        let (account_token, callback) = (trade.account_token.clone(), notice.signed(FORGERS_KEY));
        Some(Message { manner: trade.manner, account_token, out_trade_no: out_trade_no.to_owned(), callback })
    }
}
