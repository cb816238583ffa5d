//! Coinwire's module on ST's B-L475E-IOT01A: the board layer beneath `module-firmware`, and the image.
//!
//! What it is: registers, interrupts, clock, sleep, flash, watchdog. What it is not: a place for decisions, which are all in
//! `module-firmware` and run on a host too. Everything `unsafe` in the firmware is here.
//!
//! Enter at [`facts`] for the board's pins, clocks and flash layout, at [`main`] for what runs. The same image runs on
//! the board and in QEMU (`-M b-l475e-iot01a`); [`emulated`] tells it which, once.
//!
//! Invariants:
//! - All interrupts have one priority: none interrupts another (`time` relies on it).
//! - Interrupts only move bytes and edges into bounded queues; the one loop does everything else.
//! - The watchdog is fed where the link's loop has come round, and nowhere else.
#![no_std]
#![no_main]

mod executor;
mod facts;
mod flash;
mod inputs;
mod legacy;
mod line;
mod pins;
mod ring;
mod start;
mod time;
mod uart;
mod watchdog;

use core::{convert::Infallible, pin::pin};
use cortex_m_rt::entry;
use embassy_futures::select::select;
use flash::Flash;
use module_firmware::{
    FIRMWARE, Identity, Module, console, link,
    provision::{self, Provision},
};
use protocol::{
    ModuleId, ModuleSecret,
    console::Info,
    messages::{Settings, Totals},
};
use uart::{CONSOLE, MODEM, Port};

#[entry]
fn main() -> ! {
    static mut PROVISION: Option<Provision<Flash>> = None;
    static mut MODULE: Option<Module<Flash>> = None;

    start::clocks();
    time::start();
    let before = legacy::take();
    let line = line::Line::new();
    let coin_level_high = inputs::start();
    start::serial();
    start::interrupts();
    watchdog::start();
    if let Some(who) = boot(PROVISION, MODULE, coin_level_high)
        && let (Some(provision), Some(module)) = (PROVISION.as_mut(), MODULE.as_mut())
    {
        work(provision, module, who, line);
    }
    legacy::restart();
}

struct Who {
    identity: Identity,
    id: Option<ModuleId>,
}

#[inline(never)]
fn boot(
    provision: &mut Option<Provision<Flash>>,
    module: &mut Option<Module<Flash>>,
    coin_level_high: bool,
) -> Option<Who> {
    executor::block_on(pin!(async {
        let (provision_flash, store_flash) = start::flash();
        let provision = provision.insert(Provision::new(provision_flash).ok()?);
        let identity = provision.identity().await.ok().flatten();
        let id = identity.as_ref().map(|identity| identity.id);
        let identity =
            identity.unwrap_or_else(|| Identity { id: ModuleId::from_bits(0), secret: ModuleSecret::new([0; 32]) });
        let flash = provision::adopt(store_flash, identity.id).await.ok()?;
        *module = Some(Module::boot(flash, &identity, coin_level_high, time::now_us()).await.ok()?);
        Some(Who { identity, id })
    }))
}

struct RawDial {
    may: bool,
}
impl link::Dial for RawDial {
    type Stream = Port<1024, 512>;
    type Error = Infallible;
    async fn dial(&mut self) -> Result<Self::Stream, Infallible> {
        if !self.may {
            core::future::pending::<()>().await;
        }
        Ok(Port(&MODEM))
    }
}

struct Desk;
impl console::Desk for Desk {
    fn info(&self) -> Info<'_> {
        Info {
            firmware: FIRMWARE,
            board: facts::NAME,
            id: None,
            server: None,
            uptime_ms: time::now_us() / 1000,
            boot: 0,
            connected: false,
            faults: 0,
            totals: Totals::default(),
            settings: Settings::default(),
            stack_unused_bytes: Some(start::stack_unused_bytes()),
            bad_frames: 0,
        }
    }
    async fn take_settings(&mut self, _settings: Settings) -> bool {
        false
    }
    async fn reboot(&mut self) {
        legacy::restart();
    }
}

#[inline(never)]
fn work(provision: &mut Provision<Flash>, module: &mut Module<Flash>, who: Who, line: line::Line) {
    executor::block_on(pin!(run(provision, module, who, line)));
}

async fn run(provision: &mut Provision<Flash>, module: &mut Module<Flash>, who: Who, mut line: line::Line) {
    let mut port = Port(&CONSOLE);
    let (mut desk, mut dial) = (Desk, RawDial { may: who.id.is_some() });
    let console = console::run(&mut port, provision, who.id, &mut desk);
    let link = link::run(module, &who.identity, &mut line, &mut dial, 1);
    select(console, link).await;
}
