//! What the provider knows: orders, refunds, the callbacks it owes, and who its users are to each app. Kept in memory, and written ahead to a journal of
//! JSON lines, so that a second start on the same folder goes on where the first stopped, however that one ended.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::StartError;
use crate::wechat::requests::{CreateRequest, RefundRequest, SubMerchant, TradeKind};

/// Orders one sandbox holds at most.
pub(crate) const MAX_ORDERS: usize = 5_000_000;
/// Openids one sandbox holds at most.
pub(crate) const MAX_OPENIDS: usize = 1_000_000;

/// A merchant's number and a number of the merchant's own: what orders and refunds are known by.
pub(crate) type Key = (String, String);

/// One order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) kind: TradeKind,
    pub(crate) request: CreateRequest,
    /// For whom, if the merchant made it as a service provider.
    #[serde(default)]
    pub(crate) sub: Option<SubMerchant>,
    pub(crate) prepay_id: String,
    pub(crate) prepay_made_ms: i64,
    /// The prepay numbers before that one that can still be used, oldest first, and when they were made.
    #[serde(default)]
    pub(crate) earlier_prepays: Vec<(String, i64)>,
    pub(crate) created_ms: i64,
    pub(crate) expires_ms: i64,
    pub(crate) state: OrderState,
    /// Times the payer declined on the payment page.
    pub(crate) declined: u32,
    /// The merchant's numbers of all refunds of this order.
    pub(crate) refunds: Vec<String>,
    /// The callback that told of the payment.
    pub(crate) notification: Option<String>,
}

impl Order {
    pub(crate) fn key(&self) -> Key {
        (self.request.mchid.clone(), self.request.out_trade_no.clone())
    }

    pub(crate) fn sub_mchid(&self) -> Option<&str> {
        self.sub.as_ref().map(|sub| sub.mchid.as_str())
    }

    /// Who gets the money, as the payer is shown.
    pub(crate) fn payee(&self) -> &str {
        self.sub_mchid().unwrap_or(&self.request.mchid)
    }

    /// All prepay numbers that lead to it, and when they were made.
    pub(crate) fn prepays(&self) -> impl Iterator<Item = (&str, i64)> {
        let earlier = self.earlier_prepays.iter().map(|(prepay_id, made_ms)| (prepay_id.as_str(), *made_ms));
        earlier.chain([(self.prepay_id.as_str(), self.prepay_made_ms)])
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OrderState {
    NotPaid,
    Closed,
    Paid(Payment),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payment {
    pub(crate) transaction_id: String,
    pub(crate) paid_ms: i64,
    /// What a coupon paid of the total.
    pub(crate) coupon_fen: i64,
    pub(crate) openid: String,
}

/// One refund.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Refund {
    pub(crate) mchid: String,
    pub(crate) out_trade_no: String,
    pub(crate) transaction_id: String,
    pub(crate) request: RefundRequest,
    pub(crate) refund_id: String,
    pub(crate) created_ms: i64,
    /// When it leaves PROCESSING, and for what.
    pub(crate) settles_ms: i64,
    pub(crate) outcome: RefundStatus,
    pub(crate) status: RefundStatus,
    pub(crate) settled_ms: Option<i64>,
    /// What of it goes back to the payer; the rest goes back to the coupon.
    pub(crate) payer_refund_fen: i64,
    /// The callbacks that told of it.
    pub(crate) notifications: Vec<String>,
}

impl Refund {
    pub(crate) fn key(&self) -> Key {
        (self.mchid.clone(), self.request.out_refund_no.clone())
    }
}

/// Where a refund stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefundStatus {
    /// Accepted; the money is on its way.
    Processing,
    /// The payer has the money.
    Success,
    /// Ended without moving money; a new number may try again.
    Closed,
    /// The money left the merchant and could not reach the payer.
    Abnormal,
}

impl RefundStatus {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Processing => "PROCESSING",
            Self::Success => "SUCCESS",
            Self::Closed => "CLOSED",
            Self::Abnormal => "ABNORMAL",
        }
    }
}

/// One callback that is owed, or was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Notification {
    pub(crate) id: String,
    pub(crate) mchid: String,
    /// The merchant's number of the order or refund it tells of.
    pub(crate) subject: String,
    pub(crate) event_type: String,
    pub(crate) summary: String,
    pub(crate) original_type: String,
    pub(crate) url: String,
    /// What is sealed into it; emptied when the callback is done with.
    pub(crate) plaintext: String,
    pub(crate) created_ms: i64,
    /// Deliveries tried by the retry schedule, those that a fault lost included.
    pub(crate) attempts: u32,
    /// Requests sent, duplicates included.
    pub(crate) sent: u32,
    pub(crate) due_ms: i64,
    pub(crate) state: NotificationState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NotificationState {
    Pending,
    Accepted,
    GivenUp,
}

/// What one user is called towards one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Openid {
    pub(crate) openid: String,
    pub(crate) appid: String,
    /// Who it is: what the browser's cookie holds.
    pub(crate) person: String,
}

/// One line of the journal: the whole new value of one thing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Record {
    Order(Box<Order>),
    Refund(Box<Refund>),
    Notification(Box<Notification>),
    Openid(Box<Openid>),
}

/// All of it, and its journal if there is one.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) orders: BTreeMap<Key, Order>,
    pub(crate) refunds: BTreeMap<Key, Refund>,
    pub(crate) notifications: BTreeMap<String, Notification>,
    /// By openid.
    openids: BTreeMap<String, Openid>,
    /// What a person's openid is for an app: by both.
    openids_of_people: BTreeMap<(String, String), String>,
    /// Where a prepay number leads.
    prepays: BTreeMap<String, Key>,
    /// Where a transaction number leads.
    transactions: BTreeMap<String, Key>,
    journal: Option<Journal>,
}

#[derive(Debug)]
struct Journal {
    file: File,
    length: u64,
    /// Held, not read: one sandbox per folder.
    _lock: File,
}

impl Book {
    /// A book that ends with the process.
    pub(crate) fn in_memory() -> Self {
        Self::default()
    }

    /// Opens the book in `dir`, which must exist, and shortens its journal. Blocking.
    pub(crate) fn open(dir: &Path) -> Result<Self, StartError> {
        let path = dir.join("wechat-journal.jsonl");
        let failed = |path: &PathBuf| {
            let path = path.clone();
            move |source| StartError::Data { path, source }
        };
        let lock_path = dir.join("wechat-journal.lock");
        let lock = create_private(&lock_path).map_err(failed(&lock_path))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StartError::InUse { path: dir.to_path_buf() },
            TryLockError::Error(source) => StartError::Data { path: lock_path, source },
        })?;
        let mut book = Self::default();
        if path.exists() {
            let file = File::open(&path).map_err(failed(&path))?;
            book.replay(file, &path)?;
        }
        let part = path.with_extension("part");
        book.write_whole(&part).map_err(failed(&part))?;
        std::fs::rename(&part, &path).map_err(failed(&path))?;
        let file = OpenOptions::new().append(true).open(&path).map_err(failed(&path))?;
        let length = file.metadata().map_err(failed(&path))?.len();
        book.journal = Some(Journal { file, length, _lock: lock });
        Ok(book)
    }

    fn replay(&mut self, file: File, path: &Path) -> Result<(), StartError> {
        let failed = |source| StartError::Data { path: path.to_path_buf(), source };
        let mut lines = BufReader::new(file);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if lines.read_until(b'\n', &mut line).map_err(failed)? == 0 {
                break;
            }
            match serde_json::from_slice(&line) {
                Ok(record) => self.apply(record),
                // Only the last line can be torn: nothing was answered for it.
                Err(_) if !line.ends_with(b"\n") => break,
                Err(_) => return Err(StartError::Malformed { path: path.to_path_buf(), line: number }),
            }
        }
        Ok(())
    }

    fn write_whole(&self, path: &Path) -> std::io::Result<()> {
        let mut file = BufWriter::new(create_private(path)?);
        let orders = self.orders.values().map(|order| Record::Order(Box::new(order.clone())));
        let refunds = self.refunds.values().map(|refund| Record::Refund(Box::new(refund.clone())));
        let notifications = self.notifications.values().map(|one| Record::Notification(Box::new(one.clone())));
        let openids = self.openids.values().map(|one| Record::Openid(Box::new(one.clone())));
        for record in orders.chain(refunds).chain(notifications).chain(openids) {
            serde_json::to_writer(&mut file, &record)?;
            file.write_all(b"\n")?;
        }
        file.into_inner()?.sync_all()
    }

    /// Takes the records over, written first. They are in the system's hands then: a killed process loses none, a power
    /// cut may lose the last ones.
    pub(crate) fn commit(&mut self, records: Vec<Record>) -> std::io::Result<()> {
        if let Some(journal) = &mut self.journal {
            let mut lines = Vec::with_capacity(2048);
            for record in &records {
                serde_json::to_writer(&mut lines, record)?;
                lines.push(b'\n');
            }
            if let Err(error) = journal.file.write_all(&lines) {
                // Half a line would spoil all that follow it.
                journal.file.set_len(journal.length)?;
                return Err(error);
            }
            journal.length += lines.len() as u64;
        }
        for record in records {
            self.apply(record);
        }
        Ok(())
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Order(order) => {
                let key = order.key();
                if let Some(earlier) = self.orders.get(&key) {
                    for (prepay_id, _) in earlier.prepays() {
                        self.prepays.remove(prepay_id);
                    }
                }
                self.prepays.extend(order.prepays().map(|(prepay_id, _)| (prepay_id.to_owned(), key.clone())));
                if let OrderState::Paid(payment) = &order.state {
                    self.transactions.insert(payment.transaction_id.clone(), key.clone());
                }
                self.orders.insert(key, *order);
            }
            Record::Refund(refund) => {
                self.refunds.insert(refund.key(), *refund);
            }
            Record::Notification(notification) => {
                self.notifications.insert(notification.id.clone(), *notification);
            }
            Record::Openid(one) => {
                self.openids_of_people.insert((one.person.clone(), one.appid.clone()), one.openid.clone());
                self.openids.insert(one.openid.clone(), *one);
            }
        }
    }

    pub(crate) fn order_of_prepay(&self, prepay_id: &str) -> Option<&Order> {
        self.orders.get(self.prepays.get(prepay_id)?)
    }

    /// Who that is, if this provider gave out the openid.
    pub(crate) fn openid(&self, openid: &str) -> Option<&Openid> {
        self.openids.get(openid)
    }

    /// What a person is called towards an app, if the person was there before.
    pub(crate) fn openid_of(&self, person: &str, appid: &str) -> Option<&str> {
        self.openids_of_people.get(&(person.to_owned(), appid.to_owned())).map(String::as_str)
    }

    pub(crate) fn openid_count(&self) -> usize {
        self.openids.len()
    }

    pub(crate) fn order_of_transaction(&self, transaction_id: &str) -> Option<&Order> {
        self.orders.get(self.transactions.get(transaction_id)?)
    }
}

/// Makes a file that only its owner may read, empty.
pub(crate) fn create_private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
