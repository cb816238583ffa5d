//! The wanted settings of a module. `flows/change_settings` sends them to it.
//!
//! Wanted settings are stored with a version that counts up, and a change queues one command. What a module has in
//! force is known by the version in its status. If that differs from the wanted version, the settings are sent again,
//! whether the command expired while the module was away or its flash was lost. If the module's version is higher (it
//! was set up with another database, or ours was restored from a copy), ours get a new version above it, so that one
//! version never has two contents. If nothing was ever chosen here, the module keeps what it has.

use crate::{
    Context, Error, Result,
    modules::{
        command::{self, CommandState},
        module,
        remote_actions::newest,
    },
};
use protocol::{
    limits::{CREDIT_PULSES_MAX, CREDIT_PULSES_PER_MINUTE_MAX, KEEPALIVE_S, SETTLE_MS},
    messages::{CoinProfile, Settings},
};
use serde::Serialize;

/// The protocol's word for the action.
pub(crate) const SETTINGS: &str = "settings";

/// The settings that an operator chooses for a module. Times are in milliseconds unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ModuleSettings {
    /// How the coin line behaves.
    #[serde(flatten)]
    pub profile: CoinProfile,
    /// Most pulses of one credit.
    pub credit_pulses_max: u16,
    /// Most credit pulses within any minute.
    pub credit_pulses_per_minute_max: u16,
    /// Longest time between statuses, in seconds.
    pub status_period_s: u16,
    /// Seconds of silence after which the module sends the broker a sign of life.
    pub keepalive_s: u16,
    /// For this long after power-on, pulses on the coin line are not counted.
    pub settle_ms: u16,
    /// Whether a sense input says that the machine runs.
    pub sense: bool,
}

impl Default for ModuleSettings {
    /// The settings built into the firmware.
    fn default() -> Self {
        Self::of(&Settings::default())
    }
}

impl ModuleSettings {
    fn of(settings: &Settings) -> Self {
        Self {
            profile: settings.profile,
            credit_pulses_max: settings.credit_pulses_max,
            credit_pulses_per_minute_max: settings.credit_pulses_per_minute(),
            status_period_s: settings.status_period_s,
            keepalive_s: settings.keepalive(),
            settle_ms: settings.settle(),
            sense: settings.sense,
        }
    }

    pub(crate) fn on_wire(self, version: u32) -> Settings {
        Settings {
            version,
            profile: self.profile,
            credit_pulses_max: self.credit_pulses_max,
            status_period_s: self.status_period_s,
            keepalive_s: self.keepalive_s,
            settle_ms: self.settle_ms,
            sense: self.sense,
            credit_pulses_per_minute_max: self.credit_pulses_per_minute_max,
        }
    }

    /// Whether a module would accept them; an error names the field. `price_pulses_max` is the most pulses that a price
    /// gives.
    pub(crate) fn check(self, price_pulses_max: i32) -> Result<()> {
        let profile = &self.profile;
        let time = |ms: u16| (1..=2000).contains(&ms);
        let times = [
            ("width_min_ms", profile.width_min_ms),
            ("width_max_ms", profile.width_max_ms),
            ("gap_min_ms", profile.gap_min_ms),
            ("burst_end_ms", profile.burst_end_ms),
            ("credit_width_ms", profile.credit_width_ms),
            ("credit_gap_ms", profile.credit_gap_ms),
        ];
        if let Some((field, _)) = times.into_iter().find(|(_, ms)| !time(*ms)) {
            return Err(Error::invalid(field, "must be from 1 to 2,000 ms"));
        }
        if profile.width_min_ms >= profile.width_max_ms {
            return Err(Error::invalid("width_max_ms", "must be above the least width"));
        }
        if profile.gap_min_ms >= profile.burst_end_ms {
            return Err(Error::invalid("burst_end_ms", "must be above the least gap"));
        }
        if !(1..=CREDIT_PULSES_MAX).contains(&self.credit_pulses_max) {
            return Err(Error::invalid("credit_pulses_max", "must be from 1 to 200"));
        }
        // Such a sale would be paid, refused by the module and refunded, each time.
        if i32::from(self.credit_pulses_max) < price_pulses_max {
            return Err(Error::invalid("price_pulses", "a price of this machine gives more pulses"));
        }
        if !(self.credit_pulses_max..=CREDIT_PULSES_PER_MINUTE_MAX).contains(&self.credit_pulses_per_minute_max) {
            let message = "must be from the most pulses of one credit to 6,000";
            return Err(Error::invalid("credit_pulses_per_minute_max", message));
        }
        if !(10..=43_200).contains(&self.status_period_s) {
            return Err(Error::invalid("status_period_s", "must be from 10 to 43,200 s"));
        }
        if !KEEPALIVE_S.contains(&self.keepalive_s) {
            return Err(Error::invalid("keepalive_s", "must be from 30 to 270 s"));
        }
        if !SETTLE_MS.contains(&self.settle_ms) {
            return Err(Error::invalid("settle_ms", "must be from 100 to 30,000 ms"));
        }
        if !self.on_wire(1).is_valid() {
            return Err(Error::invalid("settings", "are not accepted by any module"));
        }
        Ok(())
    }
}

/// The wanted settings of a module; the built-in ones if none were ever chosen here.
pub(crate) fn wanted(module: &module::Model) -> ModuleSettings {
    let stored = module.settings_body.as_deref().and_then(|body| minicbor::decode::<Settings>(body).ok());
    ModuleSettings::of(&stored.unwrap_or_default())
}

/// The state of a module's settings, as a word for the page.
pub(crate) fn settings_status(module: &module::Model, newest: Option<&command::Model>) -> &'static str {
    match (module.settings_wanted, module.settings_version) {
        (0, 0) => "built_in",
        (0, _) => "foreign",
        (wanted, reported) if wanted == reported => "in_force",
        _ if newest.is_some_and(|newest| newest.state == CommandState::Failed) => "failed",
        _ => "waiting",
    }
}

/// The newest settings command of a module.
pub(crate) async fn newest_settings(ctx: &Context, module_id: &str) -> Result<Option<command::Model>> {
    newest(ctx.db.read(), module_id, SETTINGS).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_the_check_is_what_a_module_takes() {
        let good = ModuleSettings::default();
        good.check(0).unwrap();
        let edges = [
            0, 1, 2, 9, 10, 15, 29, 30, 49, 50, 51, 99, 100, 200, 201, 270, 271, 299, 300, 301, 2000, 2001, 6000, 6001,
            30_000, 30_001, 43_200, 43_201,
        ];
        let fields: [fn(&mut ModuleSettings) -> &mut u16; 11] = [
            |s| &mut s.profile.width_min_ms,
            |s| &mut s.profile.width_max_ms,
            |s| &mut s.profile.gap_min_ms,
            |s| &mut s.profile.burst_end_ms,
            |s| &mut s.profile.credit_width_ms,
            |s| &mut s.profile.credit_gap_ms,
            |s| &mut s.credit_pulses_max,
            |s| &mut s.credit_pulses_per_minute_max,
            |s| &mut s.status_period_s,
            |s| &mut s.keepalive_s,
            |s| &mut s.settle_ms,
        ];
        for (index, field) in fields.into_iter().enumerate() {
            for value in edges {
                let mut settings = good;
                *field(&mut settings) = value;
                // On the wire, 0 means the default for some fields; on a page the real value is entered.
                let said =
                    settings.credit_pulses_per_minute_max > 0 && settings.keepalive_s > 0 && settings.settle_ms > 0;
                let valid = settings.on_wire(1).is_valid() && said;
                assert_eq!(settings.check(0).is_ok(), valid, "field {index} = {value}");
            }
        }
        assert!(ModuleSettings { credit_pulses_max: 9, ..good }.check(10).is_err());
    }
}
