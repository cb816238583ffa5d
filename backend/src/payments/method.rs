//! Ways to pay, as data: in which apps each works, what it needs before an order, and how the payer gets from us to the
//! provider.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The app in which a payer sees our page. This is a hint from the browser, never proven, and used only to choose
/// methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PayerApp {
    /// Inside WeChat.
    Wechat,
    /// Inside Alipay.
    Alipay,
    /// In a normal browser.
    Browser,
}

/// How a method hands the payer over to the provider, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HandoffKind {
    /// Our page calls the app that shows it.
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
    /// Set if the provider must say who pays before an order is possible: the scope in which that identity is valid
    /// (for example the id of an app).
    pub payer_scope: Option<String>,
}

/// Who pays, as the provider identifies that person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payer {
    /// The scope in which the id is valid: that of the method for which it was asked.
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
        /// The text of the code.
        text: String,
    },
}

impl Handoff {
    /// The form in which it is stored.
    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// A call of the app that shows our page: `window[bridge][function](action, parameters, done)`, after the page has got
/// the event `<bridge>Ready`. The app's answer proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// The object that the app provides.
    pub bridge: String,
    /// Its function.
    pub function: String,
    /// The action.
    pub action: String,
    /// The action's parameters.
    pub parameters: BTreeMap<String, String>,
}
