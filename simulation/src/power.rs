//! Power: it goes at any time, in the middle of a credit, and in the middle of a write to flash.

use crate::{
    Mutation,
    flash::Flash,
    world::{Checked, Event, Violation, World},
};

/// Longest time without power, in microseconds.
const OFF_MAX_US: u64 = 60_000_000;
/// Shortest, in microseconds.
const OFF_MIN_US: u64 = 300_000;
/// A credit of 10 pulses takes a second; power goes within this time of its first pulse, in microseconds.
const CUT_IN_CREDIT_MAX_US: u64 = 1_200_000;
/// Operations of flash until a cut that was planned for one.
const CUT_OPERATIONS_MAX: u64 = 60;
/// Power goes in one of the first writes after a boot this often, in percent, where power goes at all.
const CUT_AFTER_BOOT: u32 = 15;

impl World {
    /// Power goes, if it is still the same time with power (or the plan is for any).
    pub fn cut(&mut self, machine: usize, powered: u64) {
        let at = &self.machines[machine];
        if at.module.is_none() || self.faults_stopped_us.is_some() || (powered != u64::MAX && at.powered != powered) {
            return;
        }
        let now_us = self.time.now_us();
        self.trace.note(now_us, format_args!("module {machine}: power goes"));
        self.lose_power(machine);
    }

    pub fn lose_power(&mut self, machine: usize) {
        self.machines[machine].cut(&mut self.power);
        self.miss(machine);
        let after_us = self.power.between(OFF_MIN_US..=OFF_MAX_US);
        self.plan_in(after_us, Event::Power { machine });
    }

    /// A credit is being given: perhaps power goes now, at some time or at some write.
    pub fn maybe_cut_in_credit(&mut self, machine: usize) {
        if !self.power.percent(self.fault_rates.cut_in_credit) {
            return;
        }
        if self.power.percent(50) {
            self.machines[machine].flash.cut_soon(CUT_OPERATIONS_MAX, &mut self.power);
        } else {
            let powered = self.machines[machine].powered;
            let after_us = self.power.between(0..=CUT_IN_CREDIT_MAX_US);
            self.plan_in(after_us, Event::Cut { machine, powered });
        }
    }

    pub async fn give_power(&mut self, machine: usize) -> Checked {
        if self.machines[machine].module.is_some() {
            return Ok(());
        }
        let now_us = self.time.now_us();
        if self.options.mutation == Some(Mutation::ForgetsJournal) {
            self.machines[machine].flash = Flash::blank();
        }
        if self.fault_rates.cuts > 0 && self.power.percent(CUT_AFTER_BOOT) {
            self.machines[machine].flash.cut_soon(CUT_OPERATIONS_MAX, &mut self.power);
        }
        self.machines[machine].boot(now_us).await?;
        if self.machines[machine].module.is_none() {
            self.trace.note(now_us, format_args!("module {machine}: power goes while it starts"));
            self.machines[machine].flash.mend();
            let after_us = self.power.between(OFF_MIN_US..=OFF_MAX_US);
            self.plan_in(after_us, Event::Power { machine });
            return Ok(());
        }
        self.trace.note(now_us, format_args!("module {machine}: starts"));
        let powered = self.machines[machine].powered;
        let after_us = self.power.between(500_000..=8_000_000);
        self.plan_in(after_us, Event::Reconnect { machine, powered });
        self.poll(machine).await
    }

    pub async fn timer_jumps(&mut self, machine: usize, by_us: u64) -> Checked {
        let now_us = self.time.now_us();
        if self.machines[machine].jump_ahead(now_us, by_us) {
            self.trace.note(now_us, format_args!("module {machine}: its timer jumps by {by_us} us"));
        }
        self.poll(machine).await
    }

    /// A coin falls: one to three pulses, if the acceptor has power and is not busy with the last coin.
    pub fn coin_falls(&mut self, machine: usize) -> Checked {
        let now_us = self.time.now_us();
        let at = &self.machines[machine];
        if at.module.is_none() || at.is_inhibited() || now_us < at.coin_busy_until_us {
            return Ok(());
        }
        at.check_relayed(now_us).map_err(Violation)?;
        let powered = at.powered;
        let pulses = self.power.between(1..=3);
        self.trace.note(now_us, format_args!("module {machine}: a coin of {pulses} falls"));
        let mut at_us = now_us;
        for _ in 0..pulses {
            at_us = self.plan_coin_pulse(machine, powered, at_us, true);
            if self.options.mutation == Some(Mutation::CoinsTwice) {
                at_us = self.plan_coin_pulse(machine, powered, at_us, false);
            }
        }
        self.machines[machine].coin_busy_until_us = at_us;
        Ok(())
    }

    fn plan_coin_pulse(&mut self, machine: usize, powered: u64, at_us: u64, real: bool) -> u64 {
        let end_us = at_us + self.power.between(35_000..=60_000);
        self.plan(at_us, Event::CoinEdge { machine, powered, active: true, real });
        self.plan(end_us, Event::CoinEdge { machine, powered, active: false, real });
        if real {
            self.plan(end_us + crate::machine::COIN_SEEN_AFTER_US, Event::CoinSeen { machine, powered });
        }
        end_us + self.power.between(60_000..=150_000)
    }

    pub async fn coin_edge(&mut self, machine: usize, powered: u64, active: bool, real: bool) -> Checked {
        if self.machines[machine].powered != powered {
            return Ok(());
        }
        let now_us = self.time.now_us();
        self.machines[machine].coin_edge(now_us, active, real);
        self.poll(machine).await
    }

    pub fn coin_seen(&mut self, machine: usize, powered: u64) -> Checked {
        let at = &mut self.machines[machine];
        if at.powered != powered {
            return Ok(());
        }
        Ok(at.coin_seen()?)
    }
}
