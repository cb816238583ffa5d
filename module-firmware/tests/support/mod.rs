//! A bench for the core: mock time exact to the microsecond, a flash that can be cut, fail or be cloned, a machine
//! that counts pulses.
#![allow(dead_code)]

pub mod acceptor;

use embassy_futures::block_on;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};
use module_firmware::{BootReport, Identity, Module, Outgoing, Outputs, module::SENSE_SETTLE_US, store::Store};
use protocol::{
    ModuleId, ModuleSecret,
    messages::{Ack, Action, Command, Diagnostics, Learn, Learned, Pulse, ResetCause, Settings, Status, Sync},
    open, seal,
    topics::{Kind, topic},
};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

pub const PAGE: usize = 1024;
pub const UNIX_MS: u64 = 1_700_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlashError {
    Cut,
    Refused,
    Bounds,
    Twice,
}

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

/// NOR flash in memory, strict as the STM32L4's: between erasures a word is written once, and then only to zeros (RM0351,
/// PROGERR). `cut_after` lets so many more
/// word writes and page erasures happen, then tears one and fails for ever.
#[derive(Debug, Clone)]
pub struct Flash {
    pub bytes: Vec<u8>,
    written: Vec<bool>,
    pub cut_after: Option<u64>,
    /// So many operations are refused, and do nothing.
    pub refuse: Rc<Cell<u32>>,
    pub operations: u64,
    pub erasures: u64,
    /// Where it keeps what each operation would have left behind, had power gone in its middle.
    torn: Option<Rc<RefCell<Vec<Flash>>>>,
}

impl Flash {
    pub const WORD: usize = 8;

    pub fn blank(pages: usize) -> Self {
        Self {
            bytes: vec![0xFF; pages * PAGE],
            written: vec![false; pages * PAGE / Self::WORD],
            cut_after: None,
            refuse: Rc::default(),
            operations: 0,
            erasures: 0,
            torn: None,
        }
    }

    /// Puts bytes there, as if they had been written.
    pub fn place(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        for (index, word) in bytes.chunks(Self::WORD).enumerate() {
            self.written[at / Self::WORD + index] = word.iter().any(|byte| *byte != 0xFF);
        }
    }

    /// From now on keeps what a power cut in each operation would leave.
    pub fn keep_torn(&mut self) -> Rc<RefCell<Vec<Flash>>> {
        self.torn.insert(Rc::default()).clone()
    }

    /// Keeps a copy with the bytes that a torn operation changes.
    fn tear(&self, at: usize, bytes: &[u8], written: bool) {
        let Some(torn) = &self.torn else { return };
        let mut copy = Self { torn: None, ..self.clone() };
        copy.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        copy.written[at / Self::WORD..(at + bytes.len()).div_ceil(Self::WORD)].fill(written);
        torn.borrow_mut().push(copy);
    }

    /// Power is back.
    pub fn mend(mut self) -> Self {
        self.cut_after = None;
        self
    }

    fn operate(&mut self) -> Result<bool, FlashError> {
        self.operations += 1;
        if let Some(left) = self.refuse.get().checked_sub(1) {
            self.refuse.set(left);
            return Err(FlashError::Refused);
        }
        match self.cut_after.as_mut() {
            Some(0) => Err(FlashError::Cut),
            Some(1) => {
                self.cut_after = Some(0);
                Ok(false)
            }
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None => Ok(true),
        }
    }
}

impl ErrorType for Flash {
    type Error = FlashError;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        let start = offset as usize;
        bytes.copy_from_slice(self.bytes.get(start..start + bytes.len()).ok_or(FlashError::Bounds)?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = Self::WORD;
    const ERASE_SIZE: usize = PAGE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        for page in (from as usize / PAGE)..(to as usize / PAGE) {
            self.tear(page * PAGE, &[0xFF; PAGE / 2], false);
            let whole = self.operate()?;
            let end = if whole { PAGE } else { PAGE / 2 };
            self.bytes[page * PAGE..page * PAGE + end].fill(0xFF);
            let words = PAGE / Self::WORD;
            self.written[page * words..page * words + end / Self::WORD].fill(false);
            self.erasures += 1;
            if !whole {
                return Err(FlashError::Cut);
            }
        }
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let start = offset as usize;
        if !start.is_multiple_of(Self::WORD) || !bytes.len().is_multiple_of(Self::WORD) {
            return Err(FlashError::Bounds);
        }
        for (index, word) in bytes.chunks(Self::WORD).enumerate() {
            let at = start + index * Self::WORD;
            self.tear(at, &word[..3], true);
            let whole = self.operate()?;
            let again = std::mem::replace(&mut self.written[at / Self::WORD], true);
            if again && word.iter().any(|byte| *byte != 0) {
                return Err(FlashError::Twice);
            }
            // A torn word has some of its bits.
            let keep = if whole { Self::WORD } else { 3 };
            self.bytes[at..at + keep].copy_from_slice(&word[..keep]);
            if !whole {
                return Err(FlashError::Cut);
            }
        }
        Ok(())
    }
}

pub fn identity() -> Identity {
    Identity { id: ModuleId::from_bits(42), secret: ModuleSecret::new([7; 32]) }
}

/// A message the module published, read as the server would.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Status {
        online: bool,
        boot: u32,
        session: u32,
        sequence: u32,
        faults: u32,
        coins: u64,
        credits: u64,
        locked: bool,
        learned: Option<Learned>,
        diagnostics: Option<Diagnostics>,
    },
    Pulse(Pulse),
    Ack(Ack),
}

pub fn read(kind: Kind, payload: &[u8]) -> Said {
    let identity = identity();
    let key = identity.secret.message_key(identity.id);
    let topic = topic(identity.id, kind);
    match kind {
        Kind::Status => {
            let status: Status = open(&key, &topic, payload).unwrap();
            Said::Status {
                online: status.online,
                boot: status.mark.boot,
                session: status.mark.session,
                sequence: status.mark.sequence,
                faults: status.faults,
                coins: status.totals.coin_pulses,
                credits: status.totals.credit_pulses,
                locked: status.locked.unwrap(),
                learned: status.learned,
                diagnostics: status.diagnostics,
            }
        }
        Kind::Pulse => Said::Pulse(open(&key, &topic, payload).unwrap()),
        Kind::Ack => Said::Ack(open(&key, &topic, payload).unwrap()),
        Kind::Command => panic!("a module publishes no commands"),
    }
}

pub fn sealed(command: &Command) -> Vec<u8> {
    let identity = identity();
    let key = identity.secret.message_key(identity.id);
    let mut buffer = [0; 256];
    let length = seal(&key, &topic(identity.id, Kind::Command), command, &mut buffer).unwrap();
    buffer[..length].to_vec()
}

/// A change of an output, with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub at_us: u64,
    pub outputs: Outputs,
}

/// A powered module on the bench.
pub struct Bench {
    pub module: Module,
    pub store: Store<Flash>,
    pub now_us: u64,
    pub outputs: Outputs,
    pub changes: Vec<Change>,
    pub said: Vec<Said>,
    /// The link takes messages and acknowledges them at once.
    pub online: bool,
}

impl Bench {
    /// Power comes: boots at uptime 0 with the coin line at rest, which has to settle.
    pub fn boot(flash: Flash) -> Self {
        Self::boot_with(flash, true)
    }

    /// Power comes, with the coin line at the given level.
    pub fn boot_with(flash: Flash, level_high: bool) -> Self {
        Self::boot_after(flash, level_high, BootReport::default())
    }

    /// Restarts while the supply stays: the first coin counts.
    pub fn restart(flash: Flash) -> Self {
        Self::restart_with(flash, true)
    }

    /// The same with the coin line at the given level.
    pub fn restart_with(flash: Flash, level_high: bool) -> Self {
        let report = BootReport { reset_cause: Some(ResetCause::Software), ..BootReport::default() };
        Self::boot_after(flash, level_high, report)
    }

    /// Boots at uptime 0, with what the board knows of why.
    pub fn boot_after(flash: Flash, level_high: bool, report: BootReport) -> Self {
        let mut store = Store::new(flash).unwrap();
        let mut module = block_on(Module::boot(&mut store, &identity(), level_high, 0));
        module.set_boot_report(report);
        let outputs = Outputs::default();
        let mut bench = Self { module, store, now_us: 0, outputs, changes: vec![], said: vec![], online: false };
        bench.settle();
        bench
    }

    /// Restarts, connects and sets the clock to [`UNIX_MS`] at uptime 0: coins count at once.
    pub fn ready(flash: Flash) -> Self {
        Self::ready_at(flash, UNIX_MS)
    }

    pub fn ready_at(flash: Flash, unix_ms: u64) -> Self {
        let mut bench = Self::restart(flash);
        bench.connect();
        bench.sync_at(unix_ms);
        bench.said.clear();
        bench
    }

    /// As [`Bench::ready`], with the coin line low.
    pub fn ready_low(flash: Flash) -> Self {
        let mut bench = Self::restart_with(flash, false);
        bench.connect();
        bench.sync_at(UNIX_MS);
        bench.said.clear();
        bench
    }

    pub fn connect(&mut self) {
        self.module.begin_session(self.now_us);
        self.module.on_connected();
        self.online = true;
        self.settle();
    }

    pub fn disconnect(&mut self) {
        self.online = false;
        self.module.on_disconnected();
    }

    pub fn sync_at(&mut self, unix_ms: u64) {
        let uptime_ms = self.now_us / 1000;
        let action =
            Action::Sync(Sync { server_ms: unix_ms, echo_boot: self.module.boots(), echo_uptime_ms: uptime_ms });
        self.send(&Command { id: 1, sequence: 0, issued_ms: unix_ms, expires_ms: unix_ms, action });
    }

    /// Polls until nothing more is to do at this moment.
    pub fn settle(&mut self) -> u64 {
        for _ in 0..10_000 {
            let deadline_us = self.module.poll(self.now_us);
            let outputs = self.module.outputs(self.now_us);
            if outputs != self.outputs {
                assert!(!(outputs.coin && outputs.credit), "two pulses at once");
                self.outputs = outputs;
                self.changes.push(Change { at_us: self.now_us, outputs });
            }
            if deadline_us > self.now_us {
                if block_on(self.module.write_next(&mut self.store, self.now_us)) || (self.online && self.speak()) {
                    continue;
                }
                return deadline_us.min(self.module.status_due_us().unwrap_or(u64::MAX));
            }
        }
        panic!("polling does not come to rest");
    }

    fn speak(&mut self) -> bool {
        let mut spoke = false;
        while let Some(Outgoing { token, kind, payload, .. }) = self.module.outgoing(self.now_us) {
            self.said.push(read(kind, &payload));
            self.module.published(token);
            spoke = true;
        }
        spoke
    }

    /// Lets time pass to `until_us`, polling exactly when asked to.
    pub fn run_to(&mut self, until_us: u64) {
        loop {
            let deadline_us = self.settle();
            if deadline_us >= until_us {
                break;
            }
            self.now_us = deadline_us;
        }
        self.now_us = self.now_us.max(until_us);
        self.settle();
    }

    pub fn run_ms(&mut self, ms: u64) {
        self.run_to(self.now_us + ms * 1000);
    }

    pub fn edge(&mut self, level_high: bool) {
        self.module.on_edge(self.now_us, level_high);
        self.settle();
    }

    /// The machine says that it runs, or no longer, and stands by it.
    pub fn sense(&mut self, running: bool) {
        self.module.on_sense(self.now_us, running);
        self.run_to(self.now_us + SENSE_SETTLE_US);
    }

    /// Coin pulses of the given width and gap, normally open contact.
    pub fn coins(&mut self, pulses: u32, width_ms: u64, gap_ms: u64) {
        for _ in 0..pulses {
            self.edge(false);
            self.run_ms(width_ms);
            self.edge(true);
            self.run_ms(gap_ms);
        }
    }

    pub fn send(&mut self, command: &Command) {
        self.send_bytes(&sealed(command));
    }

    pub fn send_bytes(&mut self, payload: &[u8]) {
        let topic = self.module.command_topic().to_owned();
        self.module.on_message(self.now_us, &topic, payload);
        self.settle();
    }

    pub fn unix_ms(&self) -> u64 {
        self.module.unix_ms(self.now_us).unwrap()
    }

    /// A command issued now with a minute to live.
    pub fn command(&self, sequence: u32, action: Action) -> Command {
        let issued_ms = self.module.unix_ms(self.now_us).unwrap_or(UNIX_MS);
        Command { id: 1000 + u64::from(sequence), sequence, issued_ms, expires_ms: issued_ms + 60_000, action }
    }

    pub fn credit(&mut self, sequence: u32, pulses: u16) {
        let command = self.command(sequence, Action::Credit { pulses });
        self.send(&command);
    }

    pub fn settings(&mut self, sequence: u32, settings: Settings) {
        let command = self.command(sequence, Action::Settings(settings));
        self.send(&command);
    }

    /// Presses the button for the given time, and lets a while pass.
    pub fn press_ms(&mut self, ms: u64) {
        self.module.on_button(self.now_us, true);
        self.run_ms(ms);
        self.module.on_button(self.now_us, false);
        self.run_ms(100);
    }

    pub fn learn(&mut self, sequence: u32, coins: u8, confirm: bool) {
        let command = self.command(sequence, Action::Learn(Learn { coins, confirm, test_pulses: 0 }));
        self.send(&command);
    }

    /// What the newest status that told of learning said.
    pub fn learned(&self) -> Option<Learned> {
        self.said.iter().rev().find_map(|said| if let Said::Status { learned, .. } = said { *learned } else { None })
    }

    pub fn acks(&self) -> Vec<Ack> {
        self.said.iter().filter_map(|said| if let Said::Ack(ack) = said { Some(*ack) } else { None }).collect()
    }

    pub fn last_ack(&self) -> Ack {
        *self.acks().last().expect("an ack was said")
    }

    pub fn pulses(&self) -> Vec<Pulse> {
        self.said.iter().filter_map(|said| if let Said::Pulse(pulse) = said { Some(*pulse) } else { None }).collect()
    }

    /// Begin and end of each pulse on an output so far.
    pub fn train(&self, of: fn(&Outputs) -> bool) -> Vec<(u64, u64)> {
        let mut train = vec![];
        let mut begun = None;
        for change in &self.changes {
            match (begun, of(&change.outputs)) {
                (None, true) => begun = Some(change.at_us),
                (Some(from_us), false) => {
                    train.push((from_us, change.at_us));
                    begun = None;
                }
                _ => {}
            }
        }
        train
    }

    pub fn credit_train(&self) -> Vec<(u64, u64)> {
        self.train(|outputs| outputs.credit)
    }

    pub fn coin_train(&self) -> Vec<(u64, u64)> {
        self.train(|outputs| outputs.coin)
    }

    /// Power goes.
    pub fn cut(self) -> Flash {
        self.store.into_flash().mend()
    }
}
