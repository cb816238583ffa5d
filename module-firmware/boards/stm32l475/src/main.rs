//! Coinwire's module on ST's B-L475E-IOT01A: the board layer beneath `module-firmware`, and the image.
//!
//! What it is: registers, interrupts, clock, sleep, flash, watchdog. What it is not: a place for decisions, which are all in
//! `module-firmware` and run on a host too. Everything `unsafe` in the firmware is here.
//!
//! Enter at [`facts`] for the board's pins, clocks and flash layout, at [`main`] for what runs. The same image runs on
//! the board and in QEMU (`-M b-l475e-iot01a`); [`start::emulated`] tells it which.
//!
//! Invariants:
//! - All interrupts have one priority: none interrupts another (`time` relies on it).
//! - Interrupts only move bytes and edges into bounded queues; the one loop does everything else.
//! - The watchdog is fed where the link's loop has come round, and nowhere else.
#![no_std]
#![no_main]

mod boot_record;
mod executor;
mod facts;
mod flash;
mod inputs;
mod line;
mod pins;
mod ring;
mod start;
mod supply;
mod time;
mod uart;
mod watchdog;

use core::{convert::Infallible, future::pending, mem::MaybeUninit, pin::pin};
use cortex_m_rt::entry;
use embassy_futures::select::select3;
use embedded_hal::digital::PinState;
use facts::{MODEM_POWER_KEY, MODEM_RESET};
use flash::Flash;
use module_firmware::{
    Identity, Module,
    console::{self, ConsoleMailbox},
    link::{self, Dial},
    modem::{self, Access, Modem, ModemDial, ModemStream, Power},
    provision::{self, Provision, ServerAddress},
    store::Store,
};
use protocol::{ModuleId, ModuleSecret};
use uart::{CONSOLE, MODEM, Port};

/// What lives as long as the boot, and is too large for the stack.
struct Parts {
    provision: Provision<Flash>,
    module: Module,
    store: Store<Flash>,
    identity: Identity,
    /// Whether somebody gave it that identity.
    provisioned: bool,
    server: Option<ServerAddress>,
}

#[entry]
fn main() -> ! {
    static mut PARTS: MaybeUninit<Parts> = MaybeUninit::uninit();

    start::clocks();
    time::start();
    let before = boot_record::take();
    line::rest();
    let coin_level_high = inputs::start();
    // The core takes up the line from here: a coin that comes while flash is read waits among the captured edges.
    let began_us = time::now_us();
    start::serial();
    start::interrupts();
    watchdog::start();
    if let Some(parts) = boot(PARTS, coin_level_high, began_us) {
        parts.module.set_boot_report(before);
        work(parts);
    }
    boot_record::restart();
}

/// Takes up what flash has. A frame of its own: what it needs of the stack is free again for the work.
#[inline(never)]
fn boot(parts: &mut MaybeUninit<Parts>, coin_level_high: bool, began_us: u64) -> Option<&mut Parts> {
    executor::block_on(pin!(async {
        let (provision, store) = start::flash();
        let mut provision = Provision::new(provision).ok()?;
        let known = provision.identity().await;
        let readable = known.is_ok();
        let known = known.ok().flatten();
        let server = provision.server().await.ok().flatten();
        let provisioned = known.is_some();
        // A module without an identity runs without the network: it passes coins on, learns, and waits for the console.
        let identity = known.unwrap_or_else(unprovisioned);
        let mut store = Store::new(store).ok()?;
        // If the identity cannot be read, its data is not erased.
        if readable {
            provision::adopt(&mut store, identity.id).await;
        }
        let module = Module::boot(&mut store, &identity, coin_level_high, began_us).await;
        Some(parts.write(Parts { provision, module, store, identity, provisioned, server }))
    }))
}

fn unprovisioned() -> Identity {
    Identity { id: ModuleId::from_bits(0), secret: ModuleSecret::new([0; 32]) }
}

/// Runs until a restart is asked for.
#[inline(never)]
fn work(parts: &mut Parts) {
    let Parts { provision, module, store, identity, provisioned, server } = parts;
    let (mailbox, modem) = (&ConsoleMailbox::new(), &Modem::new());
    let id = provisioned.then_some(identity.id);
    let seed = seed(identity, module.boots());
    let server = server.as_ref().filter(|_| *provisioned);
    let mut line = line::Line::new(mailbox, modem);
    let mut dial = BoardDial(server.map(|_| ModemDial::new(modem)));
    let mut port = Port(&CONSOLE);
    executor::block_on(pin!(async {
        select3(
            link::run(module, store, identity, &mut line, &mut dial, seed),
            run_modem(modem, server, seed),
            console::run(&mut port, provision, id, mailbox),
        )
        .await;
    }));
}

/// Spreads the waits of many modules: differs by module and boot.
fn seed(identity: &Identity, boots: u32) -> u64 {
    let id = identity.id.as_str().bytes().fold(0_u64, |bits, c| bits.wrapping_mul(31).wrapping_add(c.into()));
    id ^ u64::from(boots) << 40
}

/// Runs the modem, if there is a server to reach.
async fn run_modem(modem: &Modem, server: Option<&ServerAddress>, seed: u64) -> Infallible {
    let config = server.and_then(|server| {
        let access = Access { apn: &server.apn, user: &server.user, password: &server.password };
        modem::Config::new(&server.host, server.port, access).ok()
    });
    // What the modem's driver refuses, the console has refused before.
    let Some(config) = config else { return pending().await };
    MODEM_POWER_KEY.output_low();
    MODEM_RESET.output_low();
    let power = Power::with_reset(MODEM_POWER_KEY, PinState::High, MODEM_RESET, PinState::High);
    modem::run(modem, &config, (Port(&MODEM), Port(&MODEM)), power, seed).await
}

/// Dials through the modem, or not at all while there is no server to reach.
struct BoardDial<'a>(Option<ModemDial<'a>>);

impl<'a> Dial for BoardDial<'a> {
    type Stream = ModemStream<'a>;
    type Error = <ModemDial<'a> as Dial>::Error;

    async fn dial(&mut self) -> Result<ModemStream<'a>, Self::Error> {
        match &mut self.0 {
            Some(dial) => dial.dial().await,
            None => pending().await,
        }
    }
}
