//! What flash bears and what it costs: erasures counted over a simulated run of days, and what ten years make of them;
//! reads counted over boots and writes, which take their time on a board.
#![allow(clippy::unwrap_used)]

mod support;

use embassy_futures::block_on;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use module_firmware::{Module, Outgoing, store::Store};
use protocol::{
    limits::SETTLE_DEFAULT_MS,
    messages::{Action, Command, Sync},
};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};
use support::{FlashError, UNIX_MS, identity, sealed};

/// Pages that a board sets apart for the store; docs/MODULE.md says why.
const PAGES: usize = 32;
/// The STM32L475's flash: page and word (RM0351), and erasures that a page lasts (its data sheet: 10,000).
const PAGE: usize = 2048;
const WORD: usize = 8;
const ENDURANCE: u64 = 10_000;

const DAYS_OF_TEN_YEARS: u64 = 3_653;
/// So many days are simulated; each is like the other.
const DAYS: u64 = 8;
/// Events of a day: half of them coins of two pulses, half sales of four.
const EVENTS: u64 = 500;

/// Flash that counts the erasures of each page and all reads, and is strict about writing a word once.
struct Worn {
    bytes: Vec<u8>,
    erasures: Rc<RefCell<Vec<u64>>>,
    reads: Rc<Cell<u64>>,
}

impl Worn {
    fn blank() -> Self {
        Self { bytes: vec![0xFF; PAGES * PAGE], erasures: Rc::new(RefCell::new(vec![0; PAGES])), reads: Rc::default() }
    }
}

impl ErrorType for Worn {
    type Error = FlashError;
}

impl ReadNorFlash for Worn {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        self.reads.set(self.reads.get() + 1);
        bytes.copy_from_slice(&self.bytes[offset as usize..offset as usize + bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl NorFlash for Worn {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = PAGE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        for page in from as usize / PAGE..to as usize / PAGE {
            self.bytes[page * PAGE..(page + 1) * PAGE].fill(0xFF);
            self.erasures.borrow_mut()[page] += 1;
        }
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        for (index, word) in bytes.chunks(WORD).enumerate() {
            let at = offset as usize + index * WORD;
            let blank = self.bytes[at..at + WORD].iter().all(|byte| *byte == 0xFF);
            if !blank && word.iter().any(|byte| *byte != 0) {
                return Err(FlashError::Twice);
            }
            self.bytes[at..at + WORD].copy_from_slice(word);
        }
        Ok(())
    }
}

struct Day {
    module: Module,
    store: Store<Worn>,
    now_us: u64,
    sequence: u32,
    reads: Rc<Cell<u64>>,
    /// Reads of the boot, and the most of a write.
    boot_reads: u64,
    write_reads: u64,
}

impl Day {
    fn begin(flash: Worn, sequence: u32) -> Self {
        let reads = flash.reads.clone();
        let before = reads.get();
        let mut store = Store::new(flash).unwrap();
        let module = block_on(Module::boot(&mut store, &identity(), true, 0));
        let boot_reads = reads.get() - before;
        let mut day = Self { module, store, now_us: 0, sequence, reads, boot_reads, write_reads: 0 };
        day.module.begin_session(0);
        day.module.on_connected();
        let echo_boot = day.module.boots();
        day.send(Action::Sync(Sync { server_ms: UNIX_MS, echo_boot, echo_uptime_ms: 0 }));
        day.run_ms(SETTLE_DEFAULT_MS.into());
        day
    }

    fn write(&mut self) -> bool {
        let before = self.reads.get();
        let wrote = block_on(self.module.write_next(&mut self.store, self.now_us));
        self.write_reads = self.write_reads.max(self.reads.get() - before);
        wrote
    }

    fn settle(&mut self) -> u64 {
        loop {
            let deadline_us = self.module.poll(self.now_us);
            if deadline_us <= self.now_us || self.write() {
                continue;
            }
            let Some(Outgoing { token, .. }) = self.module.outgoing(self.now_us) else {
                return deadline_us.min(self.module.status_due_us().unwrap_or(u64::MAX));
            };
            self.module.published(token);
        }
    }

    fn run_ms(&mut self, ms: u64) {
        let until_us = self.now_us + ms * 1000;
        loop {
            match self.settle() {
                deadline_us if deadline_us < until_us => self.now_us = deadline_us,
                _ => break,
            }
        }
        self.now_us = until_us;
        self.settle();
    }

    fn send(&mut self, action: Action) {
        let issued_ms = UNIX_MS + self.now_us / 1000;
        let id = u64::from(self.sequence);
        let command = Command { id, sequence: self.sequence, issued_ms, expires_ms: issued_ms + 60_000, action };
        let topic = self.module.command_topic().to_owned();
        self.module.on_message(self.now_us, &topic, &sealed(&command));
        self.settle();
    }

    /// A day passes.
    fn pass(&mut self) {
        for event in 0..EVENTS {
            if event % 2 == 0 {
                self.coin(2);
            } else {
                self.sale(4);
            }
            self.run_ms(86_400_000 / EVENTS);
        }
    }

    fn sale(&mut self, pulses: u16) {
        self.sequence += 1;
        self.send(Action::Credit { pulses });
    }

    fn coin(&mut self, pulses: u32) {
        for level_high in (0..2 * pulses).map(|edge| edge % 2 == 1) {
            self.module.on_edge(self.now_us, level_high);
            self.run_ms(50);
        }
    }
}

/// The erasures of a page in ten years, from a run of days.
fn erasures_of_ten_years() -> u64 {
    let flash = Worn::blank();
    let erasures = flash.erasures.clone();
    let mut day = Day::begin(flash, 0);
    // Blank pages are filled without an erasure: what counts begins after them.
    let mut days = 0;
    while erasures.borrow().contains(&0) {
        day.pass();
        days += 1;
    }
    let before: u64 = erasures.borrow().iter().sum();
    (0..DAYS).for_each(|_| day.pass());
    days += DAYS;
    assert_eq!(day.module.totals().coin_pulses, days * EVENTS);
    assert_eq!(day.module.totals().credit_pulses, days * EVENTS * 2);
    assert_eq!(day.module.faults(), 0);
    let (most, fewest) = (*erasures.borrow().iter().max().unwrap(), *erasures.borrow().iter().min().unwrap());
    assert!(most - fewest <= 1, "the pages take turns: {:?}", erasures.borrow());
    let all = erasures.borrow().iter().sum::<u64>() - before;
    (all * DAYS_OF_TEN_YEARS).div_ceil(DAYS * PAGES as u64)
}

#[test]
fn the_flash_lasts_for_ten_years_at_500_events_a_day() {
    let erasures = erasures_of_ten_years();
    println!("erasures of a page in ten years: {erasures} on {PAGES} pages");
    // Half of what a page lasts is left for writes that this does not foresee.
    assert!(2 * erasures <= ENDURANCE, "{erasures}");
}

/// A board takes about 0.1 ms for a read, checksums included. While it boots coins wait, and while it writes credits do.
const BOOT_READS_MAX: u64 = 12_000;
const WRITE_READS_MAX: u64 = 700;

#[test]
fn boots_and_turns_of_pages_read_each_page_a_few_times_at_most() {
    let mut day = Day::begin(Worn::blank(), 0);
    let blank = day.boot_reads;
    // The credits are never written again, and lie in the oldest pages by turns.
    (0..40).for_each(|_| {
        day.sale(2);
        day.run_ms(5_000);
    });
    let coins = |day: &mut Day| {
        (0..2_200).for_each(|_| {
            day.coin(2);
            day.run_ms(1_000);
        });
    };
    coins(&mut day);
    let (sequence, before) = (day.sequence, day.write_reads);
    let mut day = Day::begin(day.store.into_flash(), sequence);
    let full = day.boot_reads;
    coins(&mut day);
    assert!(day.store.into_flash().erasures.borrow().iter().all(|erasures| *erasures > 1), "the pages took turns");
    println!("reads of a boot: {blank} from blank pages, {full} from full ones");
    println!("reads of a write at most: {before}, and {} after the boot", day.write_reads);
    assert!(full <= BOOT_READS_MAX, "{full}");
    assert!(before.max(day.write_reads) <= WRITE_READS_MAX, "{before}, {}", day.write_reads);
}
