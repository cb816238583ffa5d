//! Flash that takes its time: coins go on to the machine meanwhile, and all of them are counted.
#![allow(clippy::unwrap_used)]

#[path = "support/nowhere.rs"]
mod nowhere;

use embassy_time::Instant;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use module_firmware::{
    Identity, Module, Outputs,
    link::{self, Board, Input},
    store::{Key, Store, VALUE_MAX_BYTES},
};
use module_host::{Chip, Flash};
use nowhere::Nowhere;
use protocol::{ModuleId, ModuleSecret, console::Info, messages::Settings};
use std::{cell::RefCell, collections::VecDeque, time::Duration};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

/// Longest wait for anything that must not wait for flash.
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// A chip that writes and erases only while it may.
struct Slow {
    chip: Chip,
    may: watch::Receiver<bool>,
    stuck: watch::Sender<bool>,
}

impl Slow {
    async fn wait(&mut self) {
        self.stuck.send_replace(true);
        self.may.wait_for(|may| *may).await.unwrap();
        self.stuck.send_replace(false);
    }
}

impl ErrorType for Slow {
    type Error = <Chip as ErrorType>::Error;
}

impl ReadNorFlash for Slow {
    const READ_SIZE: usize = Chip::READ_SIZE;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.chip.read(offset, bytes).await
    }

    fn capacity(&self) -> usize {
        self.chip.capacity()
    }
}

impl NorFlash for Slow {
    const WRITE_SIZE: usize = Chip::WRITE_SIZE;
    const ERASE_SIZE: usize = Chip::ERASE_SIZE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.wait().await;
        self.chip.erase(from, to).await
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.wait().await;
        self.chip.write(offset, bytes).await
    }
}

/// Wires in, pins out.
struct Pins {
    inputs: RefCell<VecDeque<Input>>,
    captured: Notify,
    outputs: watch::Sender<Outputs>,
    told: RefCell<Option<Settings>>,
}

impl Pins {
    fn new() -> Self {
        let (inputs, told) = (RefCell::default(), RefCell::default());
        // No coin is taken before the module says so.
        let outputs = watch::Sender::new(Outputs { inhibit: true, ..Outputs::default() });
        Self { inputs, captured: Notify::new(), outputs, told }
    }

    fn edge(&self, level_high: bool) {
        let at_us = Instant::now().as_micros();
        self.inputs.borrow_mut().push_back(Input::Edge { at_us, level_high });
        self.captured.notify_one();
    }

    /// A coin of one pulse: the machine sees it begin and end.
    async fn coin(&self) {
        let mut outputs = self.outputs.subscribe();
        let accepts = outputs.wait_for(|outputs| !outputs.inhibit);
        timeout(WAIT_TIMEOUT, accepts).await.expect("coins are never accepted").unwrap();
        for active in [true, false] {
            self.edge(!active);
            let mut outputs = self.outputs.subscribe();
            let passed = outputs.wait_for(|outputs| outputs.coin == active);
            timeout(WAIT_TIMEOUT, passed).await.expect("the coin waits").unwrap();
            sleep(Duration::from_millis(60)).await;
        }
    }
}

impl Board for &Pins {
    fn now_us(&self) -> u64 {
        Instant::now().as_micros()
    }

    fn apply(&mut self, outputs: Outputs) {
        self.outputs.send_replace(outputs);
    }

    fn take_input(&mut self) -> Option<Input> {
        self.inputs.borrow_mut().pop_front()
    }

    fn tell(&mut self, info: &Info<'static>) {
        self.told.replace(Some(info.settings));
    }

    async fn wait(&mut self, until_us: u64) {
        let wait_us = until_us.saturating_sub(self.now_us()).min(1_000_000);
        let _ = timeout(Duration::from_micros(wait_us), self.captured.notified()).await;
    }
}

async fn coins_in(chip: &Chip) -> u64 {
    let mut value = [0; VALUE_MAX_BYTES];
    let found = Store::new(chip.clone()).unwrap().read(Key::Coins, &mut value).await.unwrap();
    found.map_or(0, |_| u64::from_le_bytes(value[..8].try_into().unwrap()))
}

#[tokio::test(flavor = "current_thread")]
async fn coins_wait_for_no_write() {
    let identity = Identity { id: ModuleId::from_bits(1), secret: ModuleSecret::new([1; 32]) };
    let (may, stuck) = (watch::Sender::new(true), watch::Sender::new(false));
    let chip = Chip::open(&Flash::Memory).unwrap();
    let flash = Slow { chip: chip.clone(), may: may.subscribe(), stuck: stuck.clone() };
    let mut store = Store::new(flash).unwrap();
    let pins = Pins::new();
    let mut module = Module::boot(&mut store, &identity, true, Instant::now().as_micros()).await;
    let visit = async {
        may.send_replace(false);
        pins.coin().await;
        let mut writing = stuck.subscribe();
        timeout(WAIT_TIMEOUT, writing.wait_for(|stuck| *stuck)).await.expect("the coin is written").unwrap();
        for _ in 0..5 {
            pins.coin().await;
        }
        assert!(*stuck.borrow(), "all of that while flash was at the first");
        assert_eq!(coins_in(&chip).await, 0);
        may.send_replace(true);
        let written = async {
            while coins_in(&chip).await < 6 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(WAIT_TIMEOUT, written).await.expect("the coins are written");
    };
    let (mut board, mut dial) = (&pins, Nowhere);
    tokio::select! {
        ended = link::run(&mut module, &mut store, &identity, &mut board, &mut dial, 1) => panic!("{ended:?}"),
        () = visit => {}
    }
    assert_eq!((module.totals().coin_pulses, module.faults()), (6, 0));
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_told_waits_for_settings_given_before() {
    let identity = Identity { id: ModuleId::from_bits(1), secret: ModuleSecret::new([1; 32]) };
    let (may, stuck) = (watch::Sender::new(true), watch::Sender::new(false));
    let flash = Slow { chip: Chip::open(&Flash::Memory).unwrap(), may: may.subscribe(), stuck: stuck.clone() };
    let mut store = Store::new(flash).unwrap();
    let pins = Pins::new();
    let mut module = Module::boot(&mut store, &identity, true, Instant::now().as_micros()).await;
    let mut settings = Settings { version: 1, ..Settings::default() };
    settings.profile.credit_width_ms = 99;
    let visit = async {
        may.send_replace(false);
        pins.inputs.borrow_mut().extend([Input::Settings(settings), Input::Tell]);
        pins.captured.notify_one();
        let mut writing = stuck.subscribe();
        timeout(WAIT_TIMEOUT, writing.wait_for(|stuck| *stuck)).await.expect("they are written").unwrap();
        // The loop comes round meanwhile.
        pins.coin().await;
        assert_eq!(*pins.told.borrow(), None);
        may.send_replace(true);
        let told = async {
            while pins.told.borrow().is_none() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(WAIT_TIMEOUT, told).await.expect("it is told");
        assert_eq!(*pins.told.borrow(), Some(settings));
    };
    let (mut board, mut dial) = (&pins, Nowhere);
    tokio::select! {
        ended = link::run(&mut module, &mut store, &identity, &mut board, &mut dial, 1) => panic!("{ended:?}"),
        () = visit => {}
    }
}
