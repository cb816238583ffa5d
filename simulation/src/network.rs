//! The network between server and modules, broker included: messages are lost, repeated, late and overtaken;
//! connections break, and the broker publishes the will that it holds.

use crate::{
    machine::Link,
    world::{Checked, Event, World},
};
use backend::flows::take_message;
use module_firmware::Outgoing;
use protocol::{
    messages::{Ack, Command, Pulse, Status},
    open,
    topics::{self, Kind},
};

/// Time of a message on its way, in microseconds.
const WAY_US: std::ops::RangeInclusive<u64> = 5_000..=60_000;
/// The broker misses a module at the latest after this long, in microseconds.
const MISSED_MAX_US: u64 = 60_000_000;
/// A module tries to connect again after this long at least, in microseconds.
const RETRY_MIN_US: u64 = 200_000;
/// One in so many attempts to connect succeeds at the broker and fails at the module, in percent.
const HALF_CONNECTED: u32 = 10;

impl World {
    fn way_us(&mut self) -> u64 {
        let way_us = self.net.between(WAY_US);
        if self.net.percent(self.fault_rates.delay) {
            return way_us + self.net.between(0..=self.fault_rates.delay_max_ms) * 1000;
        }
        way_us
    }

    /// Plans the copies of a message that arrive: mostly one.
    fn plan_copies(&mut self, event: Event) {
        if self.net.percent(self.fault_rates.duplicate) {
            let way_us = self.way_us();
            self.plan_in(way_us, event.clone());
        }
        if !self.net.percent(self.fault_rates.loss) {
            let way_us = self.way_us();
            self.plan_in(way_us, event);
        }
    }

    /// Takes what the backend published, and puts it on its way.
    pub fn send_commands(&mut self) {
        for (topic, payload) in self.server.take_published() {
            let Some((module, Kind::Command)) = topics::parse(&topic) else { continue };
            let Some(machine) = self.machines.iter().position(|machine| machine.identity.id == module) else {
                continue;
            };
            self.note_message("command to", machine, Kind::Command, &payload);
            self.plan_copies(Event::ToModule { machine, payload });
        }
    }

    /// A command arrives if there is a connection, even another one than it was sent to.
    pub async fn module_hears(&mut self, machine: usize, payload: &[u8]) -> Checked {
        let now_us = self.time.now_us();
        let uptime_us = self.machines[machine].uptime_us(now_us);
        if self.machines[machine].link == Link::Down {
            return Ok(());
        }
        let Some(module) = self.machines[machine].module.as_mut() else { return Ok(()) };
        let topic = module.command_topic().to_owned();
        module.on_message(uptime_us, &topic, payload);
        self.poll(machine).await
    }

    /// Polls a module, and sends its messages.
    pub async fn poll(&mut self, machine: usize) -> Checked {
        let now_us = self.time.now_us();
        let polled = self.machines[machine].poll(now_us).await?;
        if polled.cut {
            self.trace.note(now_us, format_args!("module {machine}: power goes in a write to flash"));
            self.lose_power(machine);
            return Ok(());
        }
        for outgoing in polled.said {
            self.publish(machine, outgoing);
        }
        if polled.credit_began {
            let command = self.machines[machine].pulse_trains.last().map_or(0, |train| train.command);
            self.trace.note(now_us, format_args!("module {machine}: begins to give credit {command:x}"));
            self.maybe_cut_in_credit(machine);
        }
        if polled.restart {
            self.lose_power(machine);
            return Ok(());
        }
        if let Some(due_us) = polled.due_us {
            self.machines[machine].polls += 1;
            let polls = self.machines[machine].polls;
            self.plan(due_us, Event::Poll { machine, polls });
        }
        Ok(())
    }

    fn publish(&mut self, machine: usize, outgoing: Outgoing) {
        let Link::Up(link) = self.machines[machine].link else { return };
        let payload = outgoing.payload.to_vec();
        self.note_message("message of", machine, outgoing.kind, &payload);
        let topic = topics::topic(self.machines[machine].identity.id, outgoing.kind).to_string();
        if self.net.percent(self.fault_rates.link_break) {
            let after_us = self.net.between(0..=5_000_000);
            self.plan_in(after_us, Event::LinkBreaks { machine, link });
            // The module cannot know whether the broker got it.
            if self.net.percent(50) {
                return;
            }
        } else {
            let way_us = self.net.between(WAY_US);
            self.plan_in(way_us, Event::Acknowledged { machine, link, token: outgoing.token });
        }
        self.pass_on(machine, topic, payload, outgoing.kind);
    }

    /// The broker has a module's message, and keeps it if it is a status: in the order in which it comes, whatever becomes of
    /// it on the way to the server.
    fn pass_on(&mut self, machine: usize, topic: String, payload: Vec<u8>, kind: Kind) {
        if kind == Kind::Status {
            self.retained.insert(machine, (topic.clone(), payload.clone()));
        }
        self.plan_copies(Event::ToServer { machine, topic, payload });
    }

    /// The server receives a module's message from the broker.
    pub async fn server_hears(&mut self, machine: usize, topic: String, payload: Vec<u8>) -> Checked {
        let Some(backend) = self.server.reach() else { return Ok(()) };
        self.note_message("server hears", machine, topics::parse(&topic).map_or(Kind::Ack, |(_, kind)| kind), &payload);
        let outcome = take_message::on_message(&backend, &topic, &payload).await;
        self.unless_disk_fails(outcome).map(|_| ())
    }

    pub async fn acknowledged(&mut self, machine: usize, link: u64, token: module_firmware::Token) -> Checked {
        if self.machines[machine].link != Link::Up(link) {
            return Ok(());
        }
        if let Some(module) = self.machines[machine].module.as_mut() {
            module.published(token);
        }
        self.poll(machine).await
    }

    pub fn link_breaks(&mut self, machine: usize, link: u64) {
        if self.machines[machine].link != Link::Up(link) {
            return;
        }
        let now_us = self.time.now_us();
        self.trace.note(now_us, format_args!("module {machine}: the connection breaks"));
        self.machines[machine].link = Link::Down;
        if let Some(module) = self.machines[machine].module.as_mut() {
            module.on_disconnected();
        }
        self.miss(machine);
        self.plan_retry(machine);
    }

    fn plan_retry(&mut self, machine: usize) {
        let down_max_us = (self.fault_rates.link_down_max_ms * 1000).max(RETRY_MIN_US);
        let after_us = self.net.between(RETRY_MIN_US..=down_max_us);
        let powered = self.machines[machine].powered;
        self.plan_in(after_us, Event::Reconnect { machine, powered });
    }

    /// The broker will notice that a module is gone.
    pub fn miss(&mut self, machine: usize) {
        let Some((link, _)) = self.machines[machine].will else { return };
        let after_us = self.net.between(0..=MISSED_MAX_US);
        self.plan_in(after_us, Event::Missed { machine, link });
    }

    /// The broker publishes the will of a connection, unless it did.
    pub fn missed(&mut self, machine: usize, link: u64) {
        if self.machines[machine].link == Link::Up(link) {
            return;
        }
        if let Some((_, payload)) = self.machines[machine].will.take_if(|(of, _)| *of == link) {
            let now_us = self.time.now_us();
            self.trace.note(now_us, format_args!("module {machine}: the broker publishes its will"));
            let topic = topics::topic(self.machines[machine].identity.id, Kind::Status).to_string();
            self.pass_on(machine, topic, payload, Kind::Status);
        }
    }

    /// A module with power and without a connection tries to connect.
    pub async fn try_reconnect(&mut self, machine: usize, powered: u64) -> Checked {
        let now_us = self.time.now_us();
        let at = &self.machines[machine];
        if at.powered != powered || at.link != Link::Down || at.module.is_none() {
            return Ok(());
        }
        // A new connection replaces an older one, and the broker thereby notices that the older one is gone.
        if let Some((link, _)) = self.machines[machine].will {
            self.missed(machine, link);
        }
        self.links += 1;
        let link = self.links;
        let half = self.faults_stopped_us.is_none() && self.net.percent(HALF_CONNECTED);
        let uptime_us = self.machines[machine].uptime_us(now_us);
        let Some(module) = self.machines[machine].module.as_mut() else { return Ok(()) };
        let will = module.begin_session(uptime_us);
        if !half {
            module.on_connected();
        }
        self.machines[machine].will = Some((link, will.to_vec()));
        if half {
            self.trace.note(now_us, format_args!("module {machine}: half a connection"));
            self.miss(machine);
            self.plan_retry(machine);
            return Ok(());
        }
        self.trace.note(now_us, format_args!("module {machine}: connected"));
        self.machines[machine].link = Link::Up(link);
        self.poll(machine).await
    }

    fn note_message(&mut self, what: &str, machine: usize, kind: Kind, payload: &[u8]) {
        let now_us = self.time.now_us();
        let tag = payload.last_chunk::<4>().copied().unwrap_or_default();
        self.trace.note(now_us, format_args!("{what} {machine}: {} {:08x}", kind.as_str(), u32::from_be_bytes(tag)));
        let identity = &self.machines[machine].identity;
        self.trace.detail(|| {
            let key = identity.secret.message_key(identity.id);
            let topic = topics::topic(identity.id, kind);
            match kind {
                Kind::Status => format!("{:?}", open::<Status>(&key, &topic, payload)),
                Kind::Pulse => format!("{:?}", open::<Pulse>(&key, &topic, payload)),
                Kind::Ack => format!("{:?}", open::<Ack>(&key, &topic, payload)),
                Kind::Command => format!("{:?}", open::<Command>(&key, &topic, payload)),
            }
        });
    }
}
