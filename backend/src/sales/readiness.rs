//! Whether money can be taken for a machine now.

use serde::Serialize;

/// Whether a machine can take money, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// The module answered a probe within the last seconds.
    Ready,
    /// Not connected.
    Offline,
    /// Connected as far as known, but the probe was not answered in time.
    NoAnswer,
    /// The module reports a fault that stops credits.
    Fault,
    /// Locked by the operator.
    Locked,
    /// Too many credits wait in the module.
    Busy,
    /// Taken off sale, has no module, no price or no merchant account.
    Closed,
    /// Permanently out of service.
    Retired,
    /// The operator's payment provider does not answer.
    ProviderSilent,
    /// It can be paid for, but not in the app that shows the page.
    OtherApp,
}

impl Readiness {
    /// The word for it, as in templates and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Readiness::Ready => "ready",
            Readiness::Offline => "offline",
            Readiness::NoAnswer => "no_answer",
            Readiness::Fault => "fault",
            Readiness::Locked => "locked",
            Readiness::Busy => "busy",
            Readiness::Closed => "closed",
            Readiness::ProviderSilent => "provider_silent",
            Readiness::OtherApp => "other_app",
            Readiness::Retired => "retired",
        }
    }

    /// What it means, in words for a log or a command line.
    pub fn words(self) -> &'static str {
        match self {
            Readiness::Ready => "it is ready",
            Readiness::Offline => "its module is not connected",
            Readiness::NoAnswer => "its module did not answer in time",
            Readiness::Fault => "its module reports a fault",
            Readiness::Locked => "the operator has locked it",
            Readiness::Busy => "its module is still busy with earlier credits",
            Readiness::Closed => "it is not on sale",
            Readiness::ProviderSilent => "its payment provider does not answer",
            Readiness::OtherApp => "it takes no payment in this app",
            Readiness::Retired => "it is out of service for good",
        }
    }
}
