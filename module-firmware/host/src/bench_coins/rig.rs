//! The module's core on a mock clock: polled exactly when it asks to be, connected to a broker that hears everything.

use embassy_futures::block_on;
use module_firmware::{BootReport, Identity, Module, Outputs, store::Store};
use module_host::{Chip, Flash};
use protocol::{
    MessageKey, ModuleId, ModuleSecret,
    limits::PAYLOAD_MAX_BYTES,
    messages::{Action, CoinProfile, Command, ResetCause, Settings, Sync},
    seal,
};

const UNIX_MS: u64 = 1_700_000_000_000;
const LIFETIME_MS: u64 = 30_000;

/// A module, and what its outputs did.
pub struct Rig {
    module: Module,
    store: Store<Chip>,
    key: MessageKey,
    now_us: u64,
    deadline_us: u64,
    outputs: Outputs,
    coin_since_us: u64,
    ended_us: Option<u64>,
    least_gap_us: u64,
    passed: Vec<(u64, u64)>,
    credit_begun_us: Option<u64>,
}

impl Rig {
    /// A module with the built-in profile, on a line of the given kind.
    pub fn new(idle_high: bool) -> Self {
        let identity = Identity { id: ModuleId::from_bits(42), secret: ModuleSecret::new([7; 32]) };
        let chip = Chip::open(&Flash::Memory).expect("memory can always be had");
        let mut store = Store::new(chip).expect("the flash suits");
        let mut module = block_on(Module::boot(&mut store, &identity, idle_high, 0));
        // A restart, after which the first coin counts.
        module.set_boot_report(BootReport { reset_cause: Some(ResetCause::Software), ..BootReport::default() });
        let mut rig = Self {
            module,
            store,
            key: identity.secret.message_key(identity.id),
            now_us: 0,
            deadline_us: 0,
            outputs: Outputs::default(),
            coin_since_us: 0,
            ended_us: None,
            least_gap_us: u64::MAX,
            passed: vec![],
            credit_begun_us: None,
        };
        rig.module.begin_session(0);
        rig.module.on_connected();
        let echo_boot = rig.module.boots();
        rig.send(1, Action::Sync(Sync { server_ms: UNIX_MS, echo_boot, echo_uptime_ms: 0 }));
        if !idle_high {
            let profile = CoinProfile { idle_high, ..CoinProfile::default() };
            rig.send(1, Action::Settings(Settings { version: 1, profile, ..Settings::default() }));
        }
        rig
    }

    fn settle(&mut self) {
        loop {
            self.deadline_us = self.module.poll(self.now_us);
            let outputs = self.module.outputs(self.now_us);
            self.note(outputs);
            let settled = self.deadline_us > self.now_us;
            if settled && !block_on(self.module.write_next(&mut self.store, self.now_us)) && !self.speak() {
                let status_us = self.module.status_due_us().unwrap_or(u64::MAX);
                self.deadline_us = self.deadline_us.min(status_us);
                return;
            }
        }
    }

    fn note(&mut self, outputs: Outputs) {
        let (was, is) = (self.outputs, outputs);
        let begins = !(was.coin || was.credit) && (is.coin || is.credit);
        if begins && let Some(ended_us) = self.ended_us {
            self.least_gap_us = self.least_gap_us.min(self.now_us - ended_us);
        }
        if (was.coin && is.credit) || (was.credit && is.coin) {
            self.least_gap_us = 0;
        }
        if !was.coin && is.coin {
            self.coin_since_us = self.now_us;
        }
        if was.coin && !is.coin {
            self.passed.push((self.coin_since_us, self.now_us));
        }
        if !was.credit && is.credit {
            self.credit_begun_us.get_or_insert(self.now_us);
        }
        if (was.coin || was.credit) && !(is.coin || is.credit) {
            self.ended_us = Some(self.now_us);
        }
        self.outputs = outputs;
    }

    fn speak(&mut self) -> bool {
        let mut spoke = false;
        while let Some(outgoing) = self.module.outgoing(self.now_us) {
            self.module.published(outgoing.token);
            spoke = true;
        }
        spoke
    }

    /// Lets time pass.
    pub fn run_to(&mut self, until_us: u64) {
        while self.deadline_us < until_us {
            self.now_us = self.now_us.max(self.deadline_us);
            self.settle();
        }
        self.now_us = self.now_us.max(until_us);
    }

    /// An edge of the coin line.
    pub fn edge(&mut self, at_us: u64, level_high: bool) {
        self.run_to(at_us);
        self.module.on_edge(at_us, level_high);
        self.settle();
    }

    /// A credit is commanded now.
    pub fn credit(&mut self, sequence: u32, pulses: u16) {
        self.credit_begun_us = None;
        self.send(sequence, Action::Credit { pulses });
    }

    fn send(&mut self, sequence: u32, action: Action) {
        let issued_ms = UNIX_MS + self.now_us / 1000;
        let expires_ms = issued_ms + LIFETIME_MS;
        let command = Command { id: sequence.into(), sequence, issued_ms, expires_ms, action };
        let topic = self.module.command_topic().to_owned();
        let mut payload = [0; PAYLOAD_MAX_BYTES];
        let length = seal(&self.key, &topic, &command, &mut payload).expect("a command fits its payload");
        self.module.on_message(self.now_us, &topic, &payload[..length]);
        self.settle();
    }

    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Whether no coin is passing or was in the last moments.
    pub fn is_quiet(&self) -> bool {
        self.module.is_line_quiet(self.now_us)
    }

    /// When the credit commanded last began, if it did.
    pub fn take_credit_begun(&mut self) -> Option<u64> {
        self.credit_begun_us.take()
    }

    /// Coin pulses passed on: begin and end of each.
    pub fn passed(&self) -> &[(u64, u64)] {
        &self.passed
    }

    pub fn coin_pulses(&self) -> u64 {
        self.module.totals().coin_pulses
    }

    pub fn credit_pulses(&self) -> u64 {
        self.module.totals().credit_pulses
    }

    pub fn noise_edges(&self) -> u64 {
        self.module.totals().noise_edges
    }

    pub fn least_gap_us(&self) -> u64 {
        self.least_gap_us
    }
}
