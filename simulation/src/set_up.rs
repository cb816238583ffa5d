//! How a run begins: who is there, and what is planned to happen and to fail.

use crate::{
    Mutation,
    chance::Chance,
    consumer_pool::Consumer,
    machine::Machine,
    operators::system,
    provider::manner::{Manner, Manners, WECHAT, account_config},
    server::CLOCK_STEPS_MS,
    world::{COIN_MINOR, Event, World},
};
use backend::{
    flows::{
        operate::{
            machine::{self, NewMachine},
            merchant,
            operator::{self, NewOperator},
            register_module,
        },
        take_message,
    },
    machines::{fleet, shapes::PriceChange},
    money::Currency,
    zones::Zone,
};
use module_firmware::Identity;
use protocol::{
    limits::PAYLOAD_MAX_BYTES,
    messages::{Mark, Status, Totals},
    topics::{self, Kind},
};

impl World {
    /// Operators (one gives partly served money back in part), merchant accounts, modules, machines, prices.
    pub async fn set_up(&mut self, seed: u64, chance: &mut Chance) -> anyhow::Result<()> {
        let backend = self.server.start();
        let mut manners = Chance::new(seed, "manners");
        for index in 0..self.options.modules {
            let operator = NewOperator {
                slug: format!("operator-{index}"),
                name: format!("Operator {index}"),
                currency: Currency::Cny,
                time_zone: Zone::default_for(Currency::Cny),
                refund_remainder: index % 2 == 1,
            };
            let operator_id = operator::add_operator(&backend, &system(), operator).await?;
            let by_chance = manners.pick(&Manners::BY_CHANCE);
            let has = self.options.manners.unwrap_or(by_chance).all();
            let mut account_tokens = vec![];
            for manner in has {
                let config = serde_json::to_string(&account_config(manner.account(index)))?;
                let token =
                    merchant::set_merchant_account(&backend, &system(), operator_id, manner.word, &config).await?;
                account_tokens.push(token);
            }
            let new = register_module::provision_module(&backend, &system(), None).await?;
            let price =
                |pulses: i32, amount_minor| PriceChange { label: format!("{pulses} rides"), amount_minor, pulses };
            let machine = NewMachine {
                operator_id,
                module: Some(new.id),
                name: format!("Machine {index}"),
                site: "Hall".into(),
                coin_value_minor: COIN_MINOR,
                prices: vec![price(1, 100), price(3, 250), price(10, 700)],
            };
            let (machine_id, code) = machine::add_machine(&backend, &system(), machine).await?;
            let prices = fleet::machine(&backend, &system(), machine_id).await?.prices;
            self.consumer_pool.register_machine(code, new.id, prices, has);
            self.checker.register_machine(operator_id, machine_id, account_tokens);
            let drift_ppm = i64::try_from(chance.between(0..=2 * self.fault_rates.drift_max_ppm.unsigned_abs()))?;
            let identity = Identity { id: new.id, secret: new.secret };
            commission(&backend, &identity).await?;
            let writes = Chance::new(seed, &format!("flash {index}"));
            let mut machine = Machine::new(identity, drift_ppm - self.fault_rates.drift_max_ppm, writes);
            machine.gives_twice = self.options.mutation == Some(Mutation::CreditsTwice);
            machine.misses_first = self.options.mutation == Some(Mutation::PulsesLost);
            self.machines.push(machine);
        }
        Ok(())
    }

    pub fn plan_all(&mut self, chance: &mut Chance) {
        let busy_us = self.options.busy_ms * 1000;
        for machine in 0..self.options.modules {
            self.plan(chance.between(0..=3_000_000), Event::Power { machine });
            for _ in 0..self.fault_rates.cuts {
                let powered = u64::MAX;
                self.plan(chance.between(0..=busy_us), Event::Cut { machine, powered });
            }
        }
        for machine in 0..self.options.modules {
            for _ in 0..self.fault_rates.timer_jumps {
                let by_us = chance.between(1_000_000..=120_000_000);
                self.plan(chance.between(0..=busy_us), Event::TimerJumps { machine, by_us });
            }
            for _ in 0..self.fault_rates.locks {
                let at_us = chance.between(0..=busy_us);
                self.plan(at_us, Event::Lock { machine, locked: true });
                self.plan(at_us + chance.between(0..=60_000_000), Event::Lock { machine, locked: false });
            }
        }
        for _ in 0..self.options.coins {
            let machine = self.consumer_pool.pick_machine();
            self.plan(chance.between(0..=busy_us), Event::Coin { machine });
        }
        for index in 0..self.options.consumers {
            let consumer = Consumer::new(&mut self.consumer_pool);
            self.consumer_pool.consumers.push(consumer);
            self.plan(chance.between(10_000_000..=busy_us), Event::Consumer(index));
        }
        for _ in 0..self.fault_rates.server_restarts {
            self.plan(chance.between(0..=busy_us), Event::ServerDown);
        }
        for _ in 0..self.fault_rates.clock_jumps {
            let by_ms = chance.pick(&[-60_000, -5_000, 5_000, 60_000, 600_000]);
            self.plan(chance.between(0..=busy_us), Event::ClockJumps { by_ms });
        }
        self.plan(busy_us, Event::StopFaults);
    }

    /// Outages of the provider, and steps of the server's wall clock.
    pub fn plan_waits(&mut self, chance: &mut Chance) {
        let busy_us = self.options.busy_ms * 1000;
        self.plan_outages(chance, &WECHAT);
        for _ in 0..self.fault_rates.clock_steps {
            let by_ms = chance.pick(&CLOCK_STEPS_MS);
            self.plan(chance.between(0..=busy_us), Event::ClockJumps { by_ms });
        }
    }

    pub fn plan_outages(&mut self, chance: &mut Chance, manner: &Manner) {
        let busy_us = self.options.busy_ms * 1000;
        for machine in 0..self.options.modules {
            for _ in 0..self.fault_rates.outages {
                let (account, for_us) = (manner.account(machine), chance.between(1_000_000..=180_000_000));
                self.plan(chance.between(0..=busy_us), Event::Outage { account, for_us });
            }
        }
    }
}

/// The installer starts a new module once, before coins fall: the server knows its total of 0 from then on.
async fn commission(backend: &backend::Context, identity: &Identity) -> anyhow::Result<()> {
    let status = Status {
        mark: Mark { boot: 0, session: 0, sequence: 0 },
        online: false,
        uptime_ms: 0,
        at_ms: None,
        last_command: 0,
        settings_version: 0,
        firmware: "",
        signal_csq: None,
        supply_mv: None,
        totals: Totals::default(),
        faults: 0,
        locked: None,
        learned: None,
        diagnostics: None,
    };
    let topic = topics::topic(identity.id, Kind::Status);
    let mut payload = [0; PAYLOAD_MAX_BYTES];
    let length = protocol::seal(&identity.secret.message_key(identity.id), &topic, &status, &mut payload)
        .map_err(|error| anyhow::anyhow!("a status does not fit: {error:?}"))?;
    Ok(take_message::on_message(backend, &topic, &payload[..length]).await?)
}
