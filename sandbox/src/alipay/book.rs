//! What Alipay knows: persons, trades with their refunds, and the notices it owes. Kept in memory, and written ahead to a journal of
//! JSON lines, as WeChat's book is; that one's lock is the folder's.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::StartError;
use crate::alipay::form::Parameters;
use crate::alipay::requests::Order;
use crate::wechat::book::{NotificationState, create_private};

/// Trades one sandbox holds at most.
pub(crate) const MAX_TRADES: usize = 1_000_000;

/// One trade, or the offer of one that a payer has not taken up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Trade {
    pub(crate) order: Order,
    /// What leads to its page, and when each was made.
    pub(crate) codes: Vec<(String, i64)>,
    pub(crate) trade_no: String,
    pub(crate) buyer_id: String,
    pub(crate) created_ms: i64,
    pub(crate) state: State,
    pub(crate) payment: Option<Payment>,
    pub(crate) refunds: Vec<Refund>,
    /// Times the payer declined.
    pub(crate) declined: u32,
    /// The notices that told of it.
    pub(crate) notices: Vec<String>,
}

impl Trade {
    pub(crate) fn refunded_fen(&self) -> i64 {
        self.refunds.iter().map(|refund| refund.fen).sum()
    }

    /// Where it stands, now.
    pub(crate) fn state(&self, now_ms: i64) -> State {
        match self.state {
            State::Waiting if now_ms >= self.order.expires_ms => State::Closed,
            state @ (State::Offered | State::Waiting | State::Success | State::Closed | State::Finished) => state,
        }
    }

    /// Whether Alipay says that there is one: not before the payer has scanned or signed in.
    pub(crate) fn exists(&self) -> bool {
        self.state != State::Offered
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    /// A page was opened or a code was made; it is no trade yet.
    Offered,
    Waiting,
    Success,
    /// Not paid, or refunded whole.
    Closed,
    Finished,
}

impl State {
    /// As the gateway writes it; nothing for what is no trade.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Offered => "",
            Self::Waiting => "WAIT_BUYER_PAY",
            Self::Success => "TRADE_SUCCESS",
            Self::Closed => "TRADE_CLOSED",
            Self::Finished => "TRADE_FINISHED",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Payment {
    pub(crate) paid_ms: i64,
    /// What a coupon paid of the total.
    pub(crate) coupon_fen: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Refund {
    pub(crate) out_request_no: String,
    pub(crate) fen: i64,
    pub(crate) made_ms: i64,
}

/// A person who has an account with Alipay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Buyer {
    /// Whose browser it is, by its cookie.
    pub(crate) person: String,
    /// The number of the account.
    pub(crate) user_id: String,
    /// What the app calls the person.
    pub(crate) open_id: String,
}

/// One notice that is owed, or was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Notice {
    pub(crate) id: String,
    pub(crate) out_trade_no: String,
    pub(crate) url: String,
    /// What it says; its time and signature are made when it is sent.
    pub(crate) fields: Parameters,
    /// Deliveries tried by the retry schedule, those that a fault lost included.
    pub(crate) attempts: u32,
    /// Requests sent, duplicates included.
    pub(crate) sent: u32,
    pub(crate) due_ms: i64,
    pub(crate) state: NotificationState,
}

/// One line of the journal: the whole new value of one thing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Record {
    Trade(Box<Trade>),
    Notice(Box<Notice>),
    Person(Box<Buyer>),
}

/// All of it, and its journal if there is one.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// By the merchant's number.
    pub(crate) trades: BTreeMap<String, Trade>,
    pub(crate) notices: BTreeMap<String, Notice>,
    /// By their browsers' cookies.
    pub(crate) persons: BTreeMap<String, Buyer>,
    /// Where a code leads.
    codes: BTreeMap<String, String>,
    journal: Option<(File, u64)>,
}

impl Book {
    /// Opens the book in `dir`, or one that ends with the process. Blocking.
    pub(crate) fn open(dir: Option<&Path>) -> Result<Self, StartError> {
        let mut book = Self::default();
        let Some(path) = dir.map(|dir| dir.join("alipay-journal.jsonl")) else { return Ok(book) };
        let failed = |source| StartError::Data { path: path.clone(), source };
        if path.exists() {
            let text = std::fs::read(&path).map_err(failed)?;
            for (line, number) in text.split_inclusive(|byte| *byte == b'\n').zip(1..) {
                match serde_json::from_slice(line) {
                    Ok(record) => book.apply(record),
                    // Only the last line can be torn: nothing was answered for it.
                    Err(_) if !line.ends_with(b"\n") => break,
                    Err(_) => return Err(StartError::Malformed { path, line: number }),
                }
            }
        }
        let part = path.with_extension("part");
        let trades = book.trades.values().map(|trade| Record::Trade(Box::new(trade.clone())));
        let notices = book.notices.values().map(|notice| Record::Notice(Box::new(notice.clone())));
        let persons = book.persons.values().map(|person| Record::Person(Box::new(person.clone())));
        let lines = lines(&persons.chain(trades).chain(notices).collect::<Vec<_>>()).map_err(failed)?;
        let mut file = create_private(&part).map_err(failed)?;
        file.write_all(&lines).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&part, &path).map_err(failed)?;
        let file = OpenOptions::new().append(true).open(&path).map_err(failed)?;
        book.journal = Some((file, lines.len() as u64));
        Ok(book)
    }

    /// Takes the records over, written first.
    pub(crate) fn commit(&mut self, records: Vec<Record>) -> std::io::Result<()> {
        if let Some((file, length)) = &mut self.journal {
            let lines = lines(&records)?;
            if let Err(error) = file.write_all(&lines) {
                // Half a line would spoil all that follow it.
                file.set_len(*length)?;
                return Err(error);
            }
            *length += lines.len() as u64;
        }
        for record in records {
            self.apply(record);
        }
        Ok(())
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Trade(trade) => {
                let number = trade.order.out_trade_no.clone();
                self.codes.extend(trade.codes.iter().map(|(code, _)| (code.clone(), number.clone())));
                self.trades.insert(number, *trade);
            }
            Record::Notice(notice) => {
                self.notices.insert(notice.id.clone(), *notice);
            }
            Record::Person(person) => {
                self.persons.insert(person.person.clone(), *person);
            }
        }
    }

    /// The trade that a code leads to, and when the code was made.
    pub(crate) fn trade_of_code(&self, code: &str) -> Option<(&Trade, i64)> {
        let trade = self.trades.get(self.codes.get(code)?)?;
        let (_, made_ms) = trade.codes.iter().find(|(known, _)| known == code)?;
        Some((trade, *made_ms))
    }
}

fn lines(records: &[Record]) -> std::io::Result<Vec<u8>> {
    let mut lines = Vec::with_capacity(2048);
    for record in records {
        serde_json::to_writer(&mut lines, record)?;
        lines.push(b'\n');
    }
    Ok(lines)
}
