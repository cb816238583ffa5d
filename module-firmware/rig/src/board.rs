//! The board as its installer sees it: pins by name, a console, a modem plugged in, power that can be cut.
//!
//! Facts of the board (pins, lines, memory) are those of `module-firmware/boards/stm32l475/src/facts.rs`.

use crate::{
    modem::Modem,
    pulses::{Pulse, pulses},
    qemu::{Lines, Machine, Qemu, Serial},
};
use anyhow::{Context, Result};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What it is in QEMU.
const MACHINE: Machine = Machine { name: "b-l475e-iot01a", watched: GPIO_B };
const GPIO_B: &str = "/machine/soc/gpiob";
const GPIO_C: &str = "/machine/soc/gpioc";
/// Output levels of port A, which cannot be watched besides port B and is looked at.
const GPIO_A_ODR: u32 = 0x4800_0014;
const LOOK: Duration = Duration::from_millis(10);

const COIN: u8 = 0;
const SENSE: u8 = 8;
const BUTTON: u8 = 13;
const MODEM_RESET: u8 = 3;
const MODEM_POWER_KEY: u8 = 4;

/// SRAM2: the emulated flash pages, and what one boot tells the next.
pub const MEMORY_START: u32 = 0x1000_0000;
/// Its size.
pub const MEMORY_BYTES: usize = 32 * 1024;

/// An output that is watched. All are high while active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Output {
    /// Coin pulses to the machine.
    Coin = 1,
    /// Credit pulses to the machine.
    Credit = 2,
    /// Coins shall not be accepted.
    Inhibit = 9,
    /// The light.
    Light = 14,
}

/// A board with power.
pub struct Board {
    image: PathBuf,
    power: Option<Powered>,
    /// The modem on its UART.
    pub modem: Arc<Modem>,
}

struct Powered {
    qemu: Arc<Mutex<Qemu>>,
    console: Option<Serial>,
    _keys: Keys,
}

impl Board {
    /// Powers up a board whose flash is blank (erased, or never written: as `memory` says).
    pub fn start(image: &Path, modem: Modem, memory: Option<&[u8]>) -> Result<Self> {
        let mut board = Self { image: image.into(), power: None, modem: Arc::new(modem) };
        board.power_up(memory)?;
        Ok(board)
    }

    /// Gives it power; `memory` is what its flash holds, from the first page on.
    pub fn power_up(&mut self, memory: Option<&[u8]>) -> Result<()> {
        let (mut qemu, Lines { console, modem }) = Qemu::start(MACHINE, &self.image)?;
        if let Some(memory) = memory {
            qemu.qtest.write(MEMORY_START, memory)?;
        }
        let (reader, writer) = modem;
        self.modem.connect(reader, writer);
        qemu.go()?;
        let qemu = Arc::new(Mutex::new(qemu));
        let keys = Keys::watch(qemu.clone(), self.modem.clone());
        self.power = Some(Powered { qemu, console: Some(console), _keys: keys });
        Ok(())
    }

    /// Lets it stand still, between two instructions: what its pins did until then can be looked at.
    pub fn stop(&self) -> Result<()> {
        let mut qemu = self.qemu()?;
        qemu.stop()?;
        // Answered behind all edges.
        qemu.qtest.read_u32(GPIO_A_ODR).map(drop)
    }

    /// Cuts its power and its modem's, between two instructions, and gives what its flash holds then.
    pub fn cut_power(&mut self) -> Result<Vec<u8>> {
        let powered = self.power.take().context("it has no power")?;
        let memory = {
            let mut qemu = lock(&powered.qemu);
            qemu.stop()?;
            qemu.qtest.read(MEMORY_START, MEMORY_BYTES)?
        };
        self.modem.with(crate::modem::Core::cut_power);
        drop(powered);
        Ok(memory)
    }

    /// Presses its reset button.
    pub fn reset(&self) -> Result<()> {
        self.qemu()?.reset()
    }

    /// The emulator.
    pub fn qemu(&self) -> Result<MutexGuard<'_, Qemu>> {
        Ok(lock(&self.power.as_ref().context("it has no power")?.qemu))
    }

    /// Takes the console's line, once.
    pub fn console(&mut self) -> Result<Serial> {
        self.power.as_mut().and_then(|powered| powered.console.take()).context("the console is taken")
    }

    /// Puts a level on the coin acceptor's line.
    pub fn coin_line(&self, high: bool) -> Result<()> {
        self.qemu()?.qtest.set_pin(GPIO_B, COIN, high)
    }

    /// A coin: so many pulses, the line high at rest. Blocks until they are over.
    pub fn coin(&self, pulses: u32, width: Duration, gap: Duration) -> Result<()> {
        for number in 0..pulses {
            if number > 0 {
                thread::sleep(gap);
            }
            self.coin_line(false)?;
            thread::sleep(width);
            self.coin_line(true)?;
        }
        Ok(())
    }

    /// The machine says that it runs, or no longer.
    pub fn machine_runs(&self, runs: bool) -> Result<()> {
        self.qemu()?.qtest.set_pin(GPIO_B, SENSE, !runs)
    }

    /// The button is pressed, or let go.
    pub fn button(&self, pressed: bool) -> Result<()> {
        self.qemu()?.qtest.set_pin(GPIO_C, BUTTON, !pressed)
    }

    /// The pulses an output has given since this board got power.
    pub fn pulses(&self, output: Output) -> Result<Vec<Pulse>> {
        let edges = self.qemu()?.qtest.edges().since(0);
        Ok(pulses(&edges, output as u8, true))
    }

    /// Those that began after a time.
    pub fn pulses_since(&self, output: Output, begin: Instant) -> Result<Vec<Pulse>> {
        Ok(self.pulses(output)?.into_iter().filter(|pulse| pulse.at >= begin).collect())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}

/// Watches the modem's keys for the modem.
struct Keys {
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Keys {
    fn watch(qemu: Arc<Mutex<Qemu>>, modem: Arc<Modem>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        let watch = move || {
            let mut before = 0;
            while !ends.load(Ordering::Relaxed) {
                let Ok(levels) = lock(&qemu).qtest.read_u32(GPIO_A_ODR) else { return };
                let changed = |pin: u8| ((levels ^ before) >> pin & 1 == 1).then_some(levels >> pin & 1 == 1);
                if let Some(pressed) = changed(MODEM_POWER_KEY) {
                    modem.with(|core| core.power_key(pressed));
                }
                if let Some(held) = changed(MODEM_RESET) {
                    modem.with(|core| core.reset_line(held));
                }
                before = levels;
                thread::sleep(LOOK);
            }
        };
        let thread = thread::Builder::new().name("keys".into()).spawn(watch).ok();
        Self { over, thread }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
