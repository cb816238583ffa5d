//! What a test asks of either provider's side, and how they differ.

use backend::payments::wechat;
use sandbox::{AlipayCertificates, Fault, FaultFrequency, RefundStatus, Sandbox};
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    Wechat,
    Alipay,
}

/// How a trade stands, whoever has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There is none yet, as far as the merchant is told.
    NotThere,
    NotPaid,
    Paid,
    /// Ended unpaid.
    Closed,
    /// Paid, and all or a part went back.
    Returned,
}

impl Provider {
    /// The stored word.
    pub fn word(self) -> &'static str {
        match self {
            Provider::Wechat => "wechat",
            Provider::Alipay => "alipay",
        }
    }

    /// The way to pay by a code on a screen: a call makes the order.
    pub fn by_code(self) -> &'static str {
        match self {
            Provider::Wechat => "wechat.native",
            Provider::Alipay => "alipay.code",
        }
    }

    /// The way to pay by a page of the provider's.
    pub fn by_page(self) -> &'static str {
        match self {
            Provider::Wechat => "wechat.h5",
            Provider::Alipay => "alipay.wap",
        }
    }

    /// The browser of the provider's app.
    pub fn app_agent(self) -> &'static str {
        match self {
            Provider::Wechat => "Mozilla/5.0 (iPhone) MicroMessenger/8.0.40",
            Provider::Alipay => "Mozilla/5.0 (iPhone) AliApp(AP/10.5.96) AlipayClient/10.5.96",
        }
    }

    /// The sandbox's address that stands for the provider's app, which a page calls to pay.
    pub fn bridge(self) -> &'static str {
        match self {
            Provider::Wechat => "/bridge/pay",
            Provider::Alipay => "/bridge/alipay",
        }
    }

    pub fn other(self) -> Self {
        match self {
            Provider::Wechat => Provider::Alipay,
            Provider::Alipay => Provider::Wechat,
        }
    }

    /// The account as an operator enters it.
    pub fn account(self, sandbox: &Sandbox) -> String {
        match self {
            Provider::Wechat => serde_json::to_string(&wechat_account(sandbox)).unwrap(),
            Provider::Alipay => {
                let account = sandbox.alipay();
                alipay_account(sandbox, vec![account.alipay_public_key_pem])
            }
        }
    }

    /// The payer pays.
    pub fn pay(self, sandbox: &Sandbox, number: &str) -> Result<(), sandbox::PayError> {
        match self {
            Provider::Wechat => sandbox.approve(number),
            Provider::Alipay => sandbox.approve_alipay(number),
        }
    }

    /// Somebody gives money back in the provider's console. WeChat Pay tells of it only if `tells`; Alipay does always.
    pub fn refund_in_console(self, sandbox: &Sandbox, number: &str, fen: i64, tells: bool) {
        match self {
            Provider::Wechat => sandbox.refund_in_console(number, fen, tells).unwrap(),
            Provider::Alipay => sandbox.refund_alipay_in_console(number, fen).unwrap(),
        };
    }

    /// Sends again what was told of a payment.
    pub fn tell_again(self, sandbox: &Sandbox, number: &str) {
        let is_told = match self {
            Provider::Wechat => sandbox.repeat_callback(number),
            Provider::Alipay => sandbox.repeat_alipay_notices(number) > 0,
        };
        assert!(is_told, "nothing was told of {number}");
    }

    /// Requests that were sent for what is told of a payment (of Alipay's, of its refunds too), those in progress left out.
    pub fn told(self, sandbox: &Sandbox, number: &str) -> u32 {
        match self {
            Provider::Wechat => sandbox.order(number).map_or(0, |order| order.callbacks_sent),
            Provider::Alipay => sandbox.alipay_trade(number).map_or(0, |trade| trade.notices_sent),
        }
    }

    pub fn standing(self, sandbox: &Sandbox, number: &str) -> Standing {
        let state = match self {
            Provider::Wechat => sandbox.order(number).map_or("", |order| order.trade_state),
            Provider::Alipay => sandbox.alipay_trade(number).map_or("", |trade| trade.trade_status),
        };
        let returned_fen = self.returned_fen(sandbox, number);
        match state {
            "" => Standing::NotThere,
            "NOTPAY" | "WAIT_BUYER_PAY" => Standing::NotPaid,
            "SUCCESS" => Standing::Paid,
            "TRADE_SUCCESS" | "TRADE_FINISHED" if returned_fen == 0 => Standing::Paid,
            "CLOSED" => Standing::Closed,
            "TRADE_CLOSED" if returned_fen == 0 => Standing::Closed,
            "REFUND" | "TRADE_SUCCESS" | "TRADE_FINISHED" | "TRADE_CLOSED" => Standing::Returned,
            other => panic!("{other} is no state of a trade"),
        }
    }

    /// What went back of a payment.
    pub fn returned_fen(self, sandbox: &Sandbox, number: &str) -> i64 {
        match self {
            Provider::Wechat => {
                let refunds = sandbox.refunds();
                let of_order = refunds.iter().filter(|refund| refund.out_trade_no == number);
                of_order.filter(|refund| refund.status == RefundStatus::Success).map(|refund| refund.refund_fen).sum()
            }
            Provider::Alipay => sandbox.alipay_trade(number).map_or(0, |trade| trade.refunded_fen),
        }
    }

    /// Calls so far that asked for a refund.
    pub fn refund_calls(self, sandbox: &Sandbox) -> usize {
        count(
            sandbox,
            match self {
                Provider::Wechat => "POST /v3/refund/domestic/refunds",
                Provider::Alipay => "alipay.trade.refund ",
            },
        )
    }

    /// Calls so far that asked what became of a refund.
    pub fn refund_questions(self, sandbox: &Sandbox) -> usize {
        count(
            sandbox,
            match self {
                Provider::Wechat => "GET /v3/refund/domestic/refunds/",
                Provider::Alipay => "alipay.trade.fastpay.refund.query ",
            },
        )
    }

    /// Calls so far that asked what became of a payment.
    pub fn questions(self, sandbox: &Sandbox) -> usize {
        count(
            sandbox,
            match self {
                Provider::Wechat => "GET /v3/pay/transactions/out-trade-no/",
                Provider::Alipay => "alipay.trade.query ",
            },
        )
    }

    /// Calls so far that exchanged a code for a payer.
    pub fn exchanges(self, sandbox: &Sandbox) -> usize {
        count(
            sandbox,
            match self {
                Provider::Wechat => "GET /sns/oauth2/access_token",
                Provider::Alipay => "alipay.system.oauth.token ",
            },
        )
    }

    /// Calls so far that made an order.
    pub fn orders(self, sandbox: &Sandbox) -> usize {
        count(
            sandbox,
            match self {
                Provider::Wechat => "POST /v3/pay/transactions/native",
                Provider::Alipay => "alipay.trade.precreate ",
            },
        )
    }

    /// Calls so far that wanted an order closed.
    pub fn closings(self, sandbox: &Sandbox) -> usize {
        let calls = sandbox.calls();
        let is_close = |call: &&String| match self {
            Provider::Wechat => call.starts_with("POST ") && call.ends_with("/close"),
            Provider::Alipay => call.starts_with("alipay.trade.close "),
        };
        calls.iter().filter(is_close).count()
    }
}

fn count(sandbox: &Sandbox, beginning: &str) -> usize {
    sandbox.calls().iter().filter(|call| call.starts_with(beginning)).count()
}

pub fn wechat_account(sandbox: &Sandbox) -> wechat::Account {
    let merchant = sandbox.merchant();
    let key = |(id, pem)| wechat::PlatformKey { id, pem };
    wechat::Account {
        base_url: sandbox.base_url().into(),
        appid: merchant.appid,
        mchid: merchant.mchid,
        merchant_serial: merchant.merchant_serial,
        merchant_private_key_pem: merchant.merchant_private_key_pem,
        api_v3_key: merchant.api_v3_key,
        platform_keys: merchant.platform_keys.into_iter().map(key).collect(),
        app_secret: Some(merchant.app_secret),
        authorize_base_url: Some(sandbox.public_url().into()),
        ..Default::default()
    }
}

/// An account in public key mode.
pub fn alipay_account(sandbox: &Sandbox, alipay_public_keys: Vec<String>) -> String {
    let mut account = alipay_app(sandbox);
    account["alipay_public_keys"] = json!(alipay_public_keys);
    account.to_string()
}

/// An account in certificate mode, that knows these certificates of Alipay's.
pub fn alipay_certificate_account(sandbox: &Sandbox, files: &AlipayCertificates, alipay_certs_pem: &[&str]) -> String {
    let mut account = alipay_app(sandbox);
    account["app_cert_pem"] = json!(files.app_cert_pem);
    account["alipay_root_cert_pem"] = json!(files.alipay_root_cert_pem);
    account["alipay_certs_pem"] = json!(alipay_certs_pem);
    account.to_string()
}

fn alipay_app(sandbox: &Sandbox) -> Value {
    let account = sandbox.alipay();
    json!({
        "base_url": account.base_url,
        "auth_url": account.auth_url,
        "app_id": account.app_id,
        "op_app_id": account.op_app_id,
        "seller_id": account.seller_id,
        "app_private_key_pem": account.app_private_key_pem,
    })
}

/// The next time that it could, a fault strikes.
pub fn once(sandbox: &Sandbox, fault: Fault) {
    sandbox.faults().set(fault, FaultFrequency::Times(1));
}

/// A fault strikes each time, until it is cleared.
pub fn always(sandbox: &Sandbox, fault: Fault) {
    sandbox.faults().set(fault, FaultFrequency::Probability(1.0));
}
