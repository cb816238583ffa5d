//! Ways to pay, as data: where each works, what it needs before an order, and how the payer gets from us to the provider.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a payer looks at our page. A hint by the browser, never proven: only the choice of methods goes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PayerApp {
    /// Inside WeChat.
    Wechat,
    /// Inside Alipay.
    Alipay,
    /// In a browser of its own.
    Browser,
}

/// How a method hands the payer over to the provider, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HandoffKind {
    /// The app that shows our page is called by it.
    Invoke,
    /// The browser goes to the provider's page.
    Redirect,
    /// A code is shown, to be scanned with a phone.
    Code,
}

/// A way to pay that a merchant account offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// The provider's word for it, such as `h5`. Stored with attempts and choices.
    pub word: &'static str,
    /// Where it works.
    pub apps: &'static [PayerApp],
    /// How the payer is handed over.
    pub handoff: HandoffKind,
    /// Set if the provider must say who pays before there can be an order: within what such an identity is valid (the id of
    /// an app, say).
    pub payer_scope: Option<String>,
}

/// Who pays, as a provider calls that person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payer {
    /// Within what the id is valid: that of the method it was asked for.
    pub scope: String,
    /// The provider's id of the person.
    pub id: String,
}

/// How the payer gets to the provider. Stored with the attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Handoff {
    /// The page calls the app that shows it.
    Invoke(Invocation),
    /// The browser is sent to this address.
    Redirect {
        /// An absolute https (or, in a sandbox, http) address.
        url: String,
    },
    /// The page shows this text as a code.
    Code {
        /// What the code says.
        text: String,
    },
}

impl Handoff {
    /// It as it is stored.
    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// A call of the app that shows our page: `window[bridge][function](action, parameters, done)`, once the page was told of
/// the event `<bridge>Ready`. What it answers proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// The object by which the app is reached.
    pub bridge: String,
    /// Its function.
    pub function: String,
    /// What it is to do.
    pub action: String,
    /// With what.
    pub parameters: BTreeMap<String, String>,
}
