//! The manners of providers, as data: WeChat Pay's and Alipay's. What follows from them is in `calls` and `notices`.

use backend::payments::{
    method::{HandoffKind, Method, PayerApp},
    provider::{Calendar, CallbackAnswer},
};
use fake_providers::{
    account::no_content,
    bank::PAGE,
    book::{Habits, ToldReturned},
    notice::Config,
};
use std::str::FromStr;

/// The provider's days are this long, so that a run has some, and statements of them.
const DAY_MS: i64 = 10 * 60_000;
/// A statement is to be had so long after its day, in milliseconds.
const STATEMENT_AFTER_MS: i64 = 60_000;
const CALENDAR: Calendar = Calendar { ahead_ms: 0, day_ms: DAY_MS, ready_after_ms: STATEMENT_AFTER_MS };
/// Accounts of the second manner are numbered from here on, in the order of the machines.
const ALIPAY_ACCOUNTS: usize = 100;

/// How a provider does things.
#[derive(Debug)]
pub struct Manner {
    /// The provider's word, in accounts and in the addresses of callbacks.
    pub word: &'static str,
    /// What its accounts and books do in a way of their own.
    pub habits: Habits,
    /// Refunds are told with the payment, each time by what went back of it in all, whoever gave it back. If not, each is
    /// told by itself, and those made in the console mostly not at all.
    pub tells_totals: bool,
    /// Whether trades end some time after they were paid, and are told of once more then.
    pub finishes: bool,
    /// Its ways to pay, as forms name them.
    pub ways: &'static [&'static str],
}

/// As WeChat Pay does them.
pub static WECHAT: Manner = Manner {
    word: "wechat",
    habits: Habits {
        methods: &[PAGE],
        attach_max_bytes: 128,
        taken: no_content,
        begins_with_order: true,
        refunds_at_once: false,
        has_statements: true,
        calendar: CALENDAR,
        returned: ToldReturned::Taken,
        states_own_refunds: true,
        states_empty_days: true,
    },
    tells_totals: false,
    finishes: false,
    ways: &["wechat.page"],
};

/// As Alipay does them.
pub static ALIPAY: Manner = Manner {
    word: "alipay",
    habits: Habits {
        methods: &[
            method("wap", &[PayerApp::Browser, PayerApp::Alipay], HandoffKind::Redirect),
            method("code", &[PayerApp::Browser], HandoffKind::Code),
        ],
        attach_max_bytes: 512,
        taken: success,
        begins_with_order: false,
        refunds_at_once: true,
        has_statements: false,
        calendar: CALENDAR,
        returned: ToldReturned::Whole,
        states_own_refunds: false,
        states_empty_days: false,
    },
    tells_totals: true,
    finishes: true,
    ways: &["alipay.wap", "alipay.code"],
};

const fn method(word: &'static str, apps: &'static [PayerApp], handoff: HandoffKind) -> Method {
    Method { word, apps, handoff, payer_scope: None }
}

fn success() -> CallbackAnswer {
    CallbackAnswer { status: 200, content_type: "text/plain", body: "success".into() }
}

/// Whose merchant accounts an operator has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manners {
    /// One of WeChat's manner.
    Wechat,
    /// One of Alipay's.
    Alipay,
    /// One of each.
    Both,
}

impl Manners {
    const ALL: [Manners; 3] = [Manners::Wechat, Manners::Alipay, Manners::Both];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Manners::Wechat => "wechat",
            Manners::Alipay => "alipay",
            Manners::Both => "both",
        }
    }

    /// What an operator has where nothing is said: in a sixth of the runs with two of them WeChat's alone.
    pub const BY_CHANCE: [Manners; 5] =
        [Manners::Wechat, Manners::Wechat, Manners::Alipay, Manners::Both, Manners::Both];

    /// Each of them.
    pub fn all(self) -> &'static [&'static Manner] {
        static ALL: [&Manner; 2] = [&WECHAT, &ALIPAY];
        match self {
            Manners::Wechat => &ALL[..1],
            Manners::Alipay => &ALL[1..],
            Manners::Both => &ALL,
        }
    }
}

impl FromStr for Manners {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|manners| manners.as_str() == word);
        found.ok_or_else(|| format!("{word:?} is none of wechat, alipay, both"))
    }
}

impl Manner {
    /// The manner of a provider's word.
    pub fn of_word(word: &str) -> Option<&'static Manner> {
        Manners::Both.all().iter().find(|manner| manner.word == word).copied()
    }

    /// The number of the account of this manner that takes a machine's payments.
    pub fn account(&self, machine: usize) -> usize {
        if self.habits.has_statements { machine } else { ALIPAY_ACCOUNTS + machine }
    }
}

/// The configuration of an account, by its number.
pub fn account_config(account: usize) -> Config {
    Config { merchant: account.to_string(), key: format!("key of {account}") }
}
