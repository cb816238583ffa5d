//! Plausibility check of a module's running coin total. An increase is accepted up to what a coin acceptor can count in
//! the elapsed time. A larger jump is not accepted from one message; if a second message continues from it, counting
//! goes on from there, and nothing is booked for the jump.

use crate::{
    ids::MachineId,
    modules::{
        module::{self, ActiveModel},
        settings,
    },
};
use sea_orm::ActiveValue::Set;

/// Largest total that is ever accepted.
const TOTAL_MAX: i64 = 1_000_000_000_000;

/// Pulses that are always accepted at once: what a module may still have to report, however late its messages arrive.
const BURST_PULSES: i64 = 300;

/// How long pulses may follow each other as fast as the acceptor's profile allows.
const FAST_COUNT_MS: i64 = 60_000;

/// After that, a person inserts coins: at most this many pulses a second.
const SUSTAINED_PER_S: i64 = 5;

/// Shortest time from pulse to pulse used in the calculation, in milliseconds.
const PERIOD_MIN_MS: i64 = 20;

/// A total that was reported and not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct UnconfirmedTotal {
    total: i64,
    at_ms: i64,
}

/// What is known about a module's coins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coins {
    total: i64,
    /// When the module last reported it.
    reported_ms: Option<i64>,
    unconfirmed: Option<UnconfirmedTotal>,
    /// The machine for which it is counted.
    machine_id: Option<MachineId>,
    /// How often counting was restarted. Totals from before may occur again.
    epoch: i64,
}

/// What a message claims.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TotalReport {
    pub total: i64,
    /// Pulses of the burst that the message reports.
    pub burst: i64,
    /// Whether it is a will. A will was written when its session began, so it does not say when the total was reached.
    pub is_will: bool,
    pub machine_id: Option<MachineId>,
    /// Shortest time from pulse to pulse of this acceptor.
    pub period_ms: i64,
    pub now_ms: i64,
}

/// What becomes of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CountOutcome {
    /// This many pulses are new.
    Increase(i64),
    /// It is not believed, and nothing is booked. `first` is false if a claim was already doubted.
    Implausible {
        /// Whether to tell a person.
        first: bool,
    },
}

impl Coins {
    pub fn of(row: &module::Model) -> Self {
        let unconfirmed = row.coins_doubted.zip(row.coins_doubted_ms);
        Self {
            total: row.coin_pulses,
            reported_ms: row.coins_ms,
            unconfirmed: unconfirmed.map(|(total, at_ms)| UnconfirmedTotal { total, at_ms }),
            machine_id: row.coins_machine_id,
            epoch: row.coins_epoch,
        }
    }

    pub fn keep(self, change: &mut ActiveModel) {
        change.coin_pulses = Set(self.total);
        change.coins_ms = Set(self.reported_ms);
        change.coins_doubted = Set(self.unconfirmed.map(|unconfirmed| unconfirmed.total));
        change.coins_doubted_ms = Set(self.unconfirmed.map(|unconfirmed| unconfirmed.at_ms));
        change.coins_machine_id = Set(self.machine_id);
        change.coins_epoch = Set(self.epoch);
    }

    pub fn total(self) -> i64 {
        self.total
    }

    pub fn epoch(self) -> i64 {
        self.epoch
    }

    /// Restarts counting from the next total: the module is at another machine, has lost its memory, or a person says
    /// so.
    pub fn restart_count(self) -> Self {
        Self { machine_id: None, unconfirmed: None, ..self }
    }

    /// The memory was lost in this boot: the total starts at 0.
    pub fn restart_count_at_zero(self) -> Self {
        Self { total: 0, unconfirmed: None, epoch: self.epoch + 1, ..self }
    }

    /// Takes what a message claims.
    pub fn count(self, report: TotalReport) -> (Self, CountOutcome) {
        if report.total > TOTAL_MAX {
            return self.mark_unconfirmed(report.total.min(TOTAL_MAX + 1), report.now_ms);
        }
        let reported_ms = if report.is_will { self.reported_ms } else { Some(report.now_ms) };
        if report.machine_id.is_none() || self.machine_id != report.machine_id {
            // Pulses from before a reset are not booked. The burst in this message has just been inserted, so it is.
            let burst = report.burst.clamp(0, report.total).min(BURST_PULSES);
            let epoch = self.epoch + 1;
            let begun =
                Self { total: report.total, reported_ms, unconfirmed: None, machine_id: report.machine_id, epoch };
            return (begun, CountOutcome::Increase(burst));
        }
        let counted = |pulses| {
            (Self { total: report.total, reported_ms, unconfirmed: None, ..self }, CountOutcome::Increase(pulses))
        };
        match report.total - self.total {
            // A message that a newer one has overtaken, or a repeat.
            ..0 => (self, CountOutcome::Increase(0)),
            rise if rise <= report.plausible_rise(self.reported_ms) => counted(rise),
            _ => match self.unconfirmed {
                Some(unconfirmed)
                    if (0..=report.plausible_rise(Some(unconfirmed.at_ms)))
                        .contains(&(report.total - unconfirmed.total)) =>
                {
                    counted(report.total - unconfirmed.total)
                }
                _ => self.mark_unconfirmed(report.total, report.now_ms),
            },
        }
    }

    fn mark_unconfirmed(self, total: i64, at_ms: i64) -> (Self, CountOutcome) {
        let first = self.unconfirmed.is_none();
        (Self { unconfirmed: Some(UnconfirmedTotal { total, at_ms }), ..self }, CountOutcome::Implausible { first })
    }
}

impl TotalReport {
    /// Pulses that an acceptor can have given since then; those of a minute if it is not known since when.
    fn plausible_rise(self, since_ms: Option<i64>) -> i64 {
        let passed_ms = since_ms.map_or(FAST_COUNT_MS, |since_ms| self.now_ms.saturating_sub(since_ms).max(0));
        let brisk = passed_ms.min(FAST_COUNT_MS) / self.period_ms.max(PERIOD_MIN_MS);
        let steady = (passed_ms - FAST_COUNT_MS).max(0) / 1000;
        BURST_PULSES + brisk + steady.saturating_mul(SUSTAINED_PER_S)
    }
}

/// Shortest time from pulse to pulse, by the module's wanted settings.
pub(crate) fn period_ms(row: &module::Model) -> i64 {
    let profile = settings::wanted(row).profile;
    i64::from(profile.width_min_ms) + i64::from(profile.gap_min_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: i64 = 1_700_000_000_000;
    const KNOWN: Coins =
        Coins { total: 100, reported_ms: Some(START_MS), unconfirmed: None, machine_id: Some(MachineId(1)), epoch: 1 };

    fn report(total: i64, after_ms: i64) -> TotalReport {
        TotalReport {
            total,
            burst: 0,
            is_will: false,
            machine_id: Some(MachineId(1)),
            period_ms: 30,
            now_ms: START_MS + after_ms,
        }
    }

    #[test]
    fn a_rise_is_bounded_by_what_an_acceptor_can_do_in_the_time() {
        let hour = 3_600_000;
        for (after_ms, most) in [
            (0, 300),
            (-5_000, 300),
            (30_000, 1_300),
            (60_000, 2_300),
            (hour, 2_300 + 59 * 60 * 5),
            (24 * hour, 434_000),
        ] {
            assert_eq!(KNOWN.count(report(100 + most, after_ms)).1, CountOutcome::Increase(most), "{after_ms} ms");
            assert_eq!(
                KNOWN.count(report(101 + most, after_ms)).1,
                CountOutcome::Implausible { first: true },
                "{after_ms} ms"
            );
        }
    }

    #[test]
    fn a_jump_is_adopted_once_a_second_message_goes_on_from_it_and_nothing_of_it_is_booked() {
        let (doubting, count) = KNOWN.count(report(900_000, 1_000));
        assert_eq!((doubting.total, count), (100, CountOutcome::Implausible { first: true }));
        let (believing, count) = doubting.count(report(900_003, 2_000));
        assert_eq!((believing.total, count), (900_003, CountOutcome::Increase(3)));
        assert_eq!(believing.count(report(900_005, 3_000)).1, CountOutcome::Increase(2));
    }

    #[test]
    fn implausible_totals_change_nothing_once_and_book_nothing_when_repeated() {
        let (doubting, _) = KNOWN.count(report(900_000, 1_000));
        let (same, count) = doubting.count(report(104, 2_000));
        assert_eq!((same.total, same.unconfirmed, count), (104, None, CountOutcome::Increase(4)));
        let mut coins = KNOWN;
        for n in 1..100 {
            let (next, count) = coins.count(report(n * 1_000_000, n * 100));
            assert_eq!(count, CountOutcome::Implausible { first: n == 1 });
            coins = next;
        }
        assert_eq!(coins.total, 100);
    }

    #[test]
    fn a_total_beyond_all_bounds_is_never_adopted() {
        let mut coins = KNOWN;
        for total in [i64::MAX, i64::MAX, TOTAL_MAX + 1, i64::MAX] {
            let (next, count) = coins.count(report(total, 1_000));
            assert!(matches!(count, CountOutcome::Implausible { .. }));
            coins = next;
        }
        assert_eq!(coins.count(report(102, 2_000)).1, CountOutcome::Increase(2));
    }

    #[test]
    fn what_comes_late_or_falls_takes_nothing_back() {
        for total in [0, 99, 100] {
            let (same, count) = KNOWN.count(report(total, 1_000));
            assert_eq!((same.total, count), (100, CountOutcome::Increase(0)));
        }
    }

    #[test]
    fn a_first_total_is_a_baseline_and_its_burst_counts() {
        for coins in [
            Coins { machine_id: None, ..KNOWN },
            Coins { machine_id: Some(MachineId(2)), ..KNOWN },
            KNOWN.restart_count(),
        ] {
            let (begun, count) = coins.count(report(50_000, 1_000));
            assert_eq!(
                (begun.total, begun.machine_id, begun.epoch, count),
                (50_000, Some(MachineId(1)), 2, CountOutcome::Increase(0))
            );
            let burst = TotalReport { burst: 3, ..report(50_003, 1_000) };
            assert_eq!(coins.count(burst).1, CountOutcome::Increase(3));
            assert_eq!(begun.count(burst).1, CountOutcome::Increase(3));
            let lie = TotalReport { burst: 65_535, ..report(70_000, 1_000) };
            assert_eq!(coins.count(lie).1, CountOutcome::Increase(BURST_PULSES));
        }
    }

    #[test]
    fn a_will_says_nothing_of_when_its_total_was_so() {
        let (coins, _) = KNOWN.count(TotalReport { is_will: true, ..report(100, 3_600_000) });
        assert_eq!(coins.reported_ms, Some(START_MS));
        assert_eq!(coins.count(report(2_000, 3_601_000)).1, CountOutcome::Increase(1_900));
    }
}
