//! The form of a module's settings: showing them, and reading what was typed.

use backend::{machines::RemoteView, modules::ModuleSettings};
use protocol::{
    limits::{CREDIT_PULSES_MAX, CREDIT_PULSES_PER_MINUTE_MAX, KEEPALIVE_S, SETTLE_MS},
    messages::CoinProfile,
};
use serde::{Deserialize, Serialize};

/// Settings as they are typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SettingsForm {
    /// The wanted version when the form was made.
    pub(crate) version: i64,
    idle_high: bool,
    width_min_ms: String,
    width_max_ms: String,
    gap_min_ms: String,
    burst_end_ms: String,
    credit_width_ms: String,
    credit_gap_ms: String,
    credit_pulses_max: String,
    credit_pulses_per_minute_max: String,
    status_period_s: String,
    keepalive_s: String,
    settle_ms: String,
    /// A checkbox that is not ticked is not sent.
    #[serde(default)]
    sense: bool,
}

/// Fields that belong together: `settings-<name>` in the locales.
#[derive(Debug, Serialize)]
pub(crate) struct Group<'a> {
    name: &'static str,
    fields: Vec<Field<'a>>,
}

/// A number: `setting-<name>` in the locales.
#[derive(Debug, Serialize)]
struct Field<'a> {
    name: &'static str,
    value: &'a str,
    min: u16,
    max: u16,
    /// `ms`, `s`, or nothing.
    unit: &'static str,
    /// Whether the refusal is about it.
    wrong: bool,
}

impl SettingsForm {
    /// The form with the wanted settings.
    pub(crate) fn of(view: &RemoteView) -> Self {
        let settings = &view.settings;
        let profile = &settings.profile;
        Self {
            version: view.row.module.as_ref().map_or(0, |module| module.settings_wanted),
            idle_high: profile.idle_high,
            width_min_ms: profile.width_min_ms.to_string(),
            width_max_ms: profile.width_max_ms.to_string(),
            gap_min_ms: profile.gap_min_ms.to_string(),
            burst_end_ms: profile.burst_end_ms.to_string(),
            credit_width_ms: profile.credit_width_ms.to_string(),
            credit_gap_ms: profile.credit_gap_ms.to_string(),
            credit_pulses_max: settings.credit_pulses_max.to_string(),
            credit_pulses_per_minute_max: settings.credit_pulses_per_minute_max.to_string(),
            status_period_s: settings.status_period_s.to_string(),
            keepalive_s: settings.keepalive_s.to_string(),
            settle_ms: settings.settle_ms.to_string(),
            sense: settings.sense,
        }
    }

    /// The settings that were typed, or the word for the field that is not a number.
    pub(crate) fn parse(&self) -> Result<ModuleSettings, &'static str> {
        let number = |text: &str, word| text.trim().parse::<u16>().map_err(|_| word);
        Ok(ModuleSettings {
            profile: CoinProfile {
                idle_high: self.idle_high,
                width_min_ms: number(&self.width_min_ms, "widths")?,
                width_max_ms: number(&self.width_max_ms, "widths")?,
                gap_min_ms: number(&self.gap_min_ms, "gaps")?,
                burst_end_ms: number(&self.burst_end_ms, "gaps")?,
                credit_width_ms: number(&self.credit_width_ms, "credit")?,
                credit_gap_ms: number(&self.credit_gap_ms, "credit")?,
            },
            credit_pulses_max: number(&self.credit_pulses_max, "pulses-max")?,
            credit_pulses_per_minute_max: number(&self.credit_pulses_per_minute_max, "per-minute")?,
            status_period_s: number(&self.status_period_s, "status-period")?,
            keepalive_s: number(&self.keepalive_s, "keepalive")?,
            settle_ms: number(&self.settle_ms, "settle")?,
            sense: self.sense,
        })
    }

    /// The fields as they are shown; `refusal` is the word for what was refused.
    pub(crate) fn groups(&self, refusal: Option<&str>) -> [Group<'_>; 4] {
        let about = |words: &[&str]| refusal.is_some_and(|refusal| words.contains(&refusal));
        let time =
            |name, value, words: &[&str]| Field { name, value, min: 1, max: 2000, unit: "ms", wrong: about(words) };
        let seconds = |name, value, (min, max), word| Field { name, value, min, max, unit: "s", wrong: about(&[word]) };
        let pulses =
            |name, value, max, words: &[&str]| Field { name, value, min: 1, max, unit: "", wrong: about(words) };
        let settle = Field {
            name: "settle_ms",
            value: &self.settle_ms,
            min: *SETTLE_MS.start(),
            max: *SETTLE_MS.end(),
            unit: "ms",
            wrong: about(&["settle"]),
        };
        [
            Group {
                name: "coins",
                fields: vec![
                    time("width_min_ms", &self.width_min_ms, &["widths"]),
                    time("width_max_ms", &self.width_max_ms, &["widths"]),
                    time("gap_min_ms", &self.gap_min_ms, &["gaps"]),
                    time("burst_end_ms", &self.burst_end_ms, &["gaps"]),
                    settle,
                ],
            },
            Group {
                name: "credit",
                fields: vec![
                    time("credit_width_ms", &self.credit_width_ms, &["credit"]),
                    time("credit_gap_ms", &self.credit_gap_ms, &["credit"]),
                ],
            },
            Group {
                name: "caps",
                fields: vec![
                    pulses(
                        "credit_pulses_max",
                        &self.credit_pulses_max,
                        CREDIT_PULSES_MAX,
                        &["pulses-max", "price-pulses"],
                    ),
                    pulses(
                        "credit_pulses_per_minute_max",
                        &self.credit_pulses_per_minute_max,
                        CREDIT_PULSES_PER_MINUTE_MAX,
                        &["per-minute"],
                    ),
                ],
            },
            Group {
                name: "reports",
                fields: vec![
                    seconds("status_period_s", &self.status_period_s, (10, 43_200), "status-period"),
                    seconds("keepalive_s", &self.keepalive_s, (*KEEPALIVE_S.start(), *KEEPALIVE_S.end()), "keepalive"),
                ],
            },
        ]
    }
}
