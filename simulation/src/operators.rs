//! Operators: at any time they choose other settings for a module, restart it, make it blink, or ask for its
//! diagnostics.

use crate::{
    chance::Chance,
    world::{Checked, Event, World},
};
use backend::{
    access::actor::Actor,
    flows::operate::module::{self, SettingsChange},
    machines::remote,
    modules::{ModuleSettings, RemoteAction},
};
use protocol::messages::CoinProfile;

/// Who acts where no member does.
pub(crate) fn system() -> Actor {
    Actor::system("the simulation")
}

/// Something that an operator orders.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// Other settings.
    Settings(ModuleSettings),
    /// Something to be done once.
    RemoteAction(RemoteAction),
}

impl Order {
    fn of(chance: &mut Chance) -> Self {
        match chance.between(0..=5) {
            0 => Order::RemoteAction(RemoteAction::Restart),
            1 => Order::RemoteAction(RemoteAction::Locate),
            2 => Order::RemoteAction(RemoteAction::Diagnose),
            // The acceptor's pulses stay as they are, and so do the bounds on them; prices give 10 pulses at most.
            _ => Order::Settings(ModuleSettings {
                profile: CoinProfile {
                    credit_width_ms: chance.pick(&[30, 50, 120]),
                    credit_gap_ms: chance.pick(&[30, 50, 200]),
                    ..CoinProfile::default()
                },
                credit_pulses_max: chance.pick(&[10, 50, 200]),
                credit_pulses_per_minute_max: chance.pick(&[200, 600]),
                status_period_s: chance.pick(&[60, 600, 1800]),
                ..ModuleSettings::default()
            }),
        }
    }
}

impl World {
    /// Plans what operators will order: in half of the seeds nothing.
    pub fn plan_orders(&mut self, chance: &mut Chance) {
        let busy_us = self.options.busy_ms * 1000;
        let orders = chance.pick(&[0, 0, 2, 6]);
        for machine in 0..self.options.modules {
            for _ in 0..orders {
                self.plan(chance.between(0..=busy_us), Event::Order { machine, order: Order::of(chance) });
            }
        }
    }

    /// An operator orders something, if the server is there to be asked.
    pub async fn order_of(&mut self, machine: usize, order: Order) -> Checked {
        let Some(backend) = self.server.reach().filter(|_| !self.disk.is_failing()) else { return Ok(()) };
        let now_us = self.time.now_us();
        self.trace.note(now_us, format_args!("operator: module {machine}: {order:?}"));
        let machine_id = self.checker.machine_id(machine);
        match order {
            Order::RemoteAction(remote_action) => {
                module::order_remote_action(&backend, &system(), machine_id, remote_action).await?
            }
            Order::Settings(settings) => {
                let module = remote::remote(&backend, &system(), machine_id).await?.row.module;
                let since_version = module.map_or(0, |module| module.settings_wanted);
                let change = SettingsChange { since_version, settings };
                module::set_settings(&backend, &system(), machine_id, change).await?;
                self.machines[machine].settings_ordered = Some(settings);
            }
        }
        Ok(())
    }
}
