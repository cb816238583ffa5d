//! A virtual module: the firmware as a task, with switches outside.

use crate::{
    board::{HostBoard, TcpDial, Wires},
    flash::{Chip, Flash},
    machine::Machine,
    time,
};
use anyhow::{Context, Result};
use module_firmware::{
    BUTTON_LONG_US, BootReport, Identity, Module,
    link::{self, Input},
    store::Store,
};
use protocol::{ModuleId, ModuleSecret, messages::ResetCause};
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::task::LocalPoolHandle;

/// The acceptor's pulses: width and gap.
const COIN_WIDTH: Duration = Duration::from_millis(50);
const COIN_GAP: Duration = Duration::from_millis(50);
/// A press of the button at least this long starts or ends learning.
pub const BUTTON_LONG: Duration = Duration::from_micros(BUTTON_LONG_US);
/// A module whose flash cannot work is tried again this much later.
const BOOT_PAUSE: Duration = Duration::from_secs(5);

/// Modules' own threads: a module's loop stays on one, as it does on its board.
static THREADS: LazyLock<LocalPoolHandle> =
    LazyLock::new(|| LocalPoolHandle::new(std::thread::available_parallelism().map_or(1, usize::from)));

/// What a virtual module is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its id.
    pub id: ModuleId,
    /// Its secret.
    pub secret: ModuleSecret,
    /// Where the broker is.
    pub broker: SocketAddr,
    /// Where its flash is kept; the machine's count is kept beside a file.
    pub flash: Flash,
    /// Spreads its waits.
    pub seed: u64,
}

/// A module and its machine at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Whether it has power.
    pub on: bool,
    /// Whether its network cable is in.
    pub plugged: bool,
    /// Pulses that the machine counted, coins and credits together.
    pub machine_pulses: u64,
    /// Pulses that the machine did not take: too short, or too close.
    pub machine_refused: u64,
}

/// A virtual module wired to a virtual machine.
pub struct VirtualModule {
    config: Config,
    chip: Chip,
    wires: Arc<Wires>,
    power: Mutex<Option<JoinHandle<()>>>,
    acceptor: tokio::sync::Mutex<()>,
}

impl VirtualModule {
    /// Makes a module and switches it on.
    ///
    /// # Errors
    ///
    /// If its flash's file cannot be used.
    pub async fn start(config: Config) -> Result<Self> {
        let count = match &config.flash {
            Flash::Memory => None,
            Flash::File(path) => Some(beside(path)),
        };
        let chip = Chip::open(&config.flash).context("the virtual module's flash file")?;
        let machine = Machine::open(count).context("the virtual machine's count")?;
        let module =
            Self { config, chip, wires: Wires::new(machine), power: Mutex::new(None), acceptor: Default::default() };
        module.power_on().await;
        Ok(module)
    }

    /// Its id.
    pub fn id(&self) -> ModuleId {
        self.config.id
    }

    /// Switches it on. Nothing happens if it is on.
    pub async fn power_on(&self) {
        let mut power = self.power.lock().unwrap_or_else(PoisonError::into_inner);
        if power.is_none() {
            self.wires.forget_inputs();
            self.wires.inhibit();
            let (config, chip, wires) = (self.config.clone(), self.chip.clone(), self.wires.clone());
            *power = Some(THREADS.spawn_pinned(|| live(config, chip, wires)));
            drop(power);
            self.wires.changed.send_replace(());
        }
    }

    /// Cuts its power, whatever it is doing. Nothing happens if it is off.
    pub async fn power_off(&self) {
        let task = self.power.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
            self.wires.changed.send_replace(());
        }
    }

    /// Whether it has power.
    pub fn is_on(&self) -> bool {
        self.power.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Pulls its network cable: the connection is gone, and none can be made.
    pub fn unplug(&self) {
        self.wires.plug(false);
    }

    /// Puts its network cable back.
    pub fn replug(&self) {
        self.wires.plug(true);
    }

    /// Drops a coin worth so many pulses, again and again while the acceptor is inhibited and gives it back; resolves when
    /// the acceptor has given the pulses.
    pub async fn insert_coin(&self, pulses: u16) {
        // One slot: a second coin waits behind the first.
        let _slot = self.acceptor.lock().await;
        self.wires.uninhibited().await;
        // The acceptor keeps its times however late this task runs: each edge is captured with the time it was due at.
        let (begun, begun_us) = (Instant::now(), time::now_us());
        let mut due = Duration::ZERO;
        let mut edge = async |level_high: bool, then: Duration| {
            let at_us = begun_us + u64::try_from(due.as_micros()).unwrap_or(u64::MAX);
            self.wires.capture(Input::Edge { at_us, level_high });
            due += then;
            sleep_until(begun + due).await;
        };
        for _ in 0..pulses {
            edge(false, COIN_WIDTH).await;
            edge(true, COIN_GAP).await;
        }
    }

    /// Presses the module's button for so long.
    pub async fn press_button(&self, held: Duration) {
        self.wires.capture(Input::Button { pressed: true });
        sleep(held).await;
        self.wires.capture(Input::Button { pressed: false });
    }

    /// Makes the machine take pulses without starting (true), or work normally again. It has an effect only if the
    /// module's settings have `sense` on.
    pub fn set_faulty(&self, faulty: bool) {
        self.wires.machine().set_faulty(faulty);
    }

    /// Pulses that the machine counted, coins and credits together, since it was new.
    pub fn machine_pulses(&self) -> u64 {
        self.wires.machine().pulses()
    }

    /// How it is now.
    pub fn snapshot(&self) -> Snapshot {
        let machine = self.wires.machine();
        Snapshot {
            on: self.is_on(),
            plugged: self.wires.is_plugged(),
            machine_pulses: machine.pulses(),
            machine_refused: machine.refused(),
        }
    }

    /// Notifies when power, cable or the machine's count changed; then read [`VirtualModule::snapshot`].
    pub fn watch(&self) -> watch::Receiver<()> {
        self.wires.changed.subscribe()
    }

    /// Switches it off permanently.
    pub async fn shutdown(self) {
        self.power_off().await;
    }
}

impl Drop for VirtualModule {
    fn drop(&mut self) {
        if let Some(task) = self.power.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

fn beside(path: &std::path::Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".machine");
    name.into()
}

/// Runs the module from power-up to power-up, since it restarts on command.
async fn live(config: Config, chip: Chip, wires: Arc<Wires>) {
    let identity = Identity { id: config.id, secret: config.secret };
    let mut report = BootReport { reset_cause: Some(ResetCause::PowerOn), ..BootReport::default() };
    loop {
        let mut board = HostBoard::new(wires.clone());
        let mut dial = TcpDial { broker: config.broker, wires: wires.clone() };
        let mut store = match Store::new(chip.clone()) {
            Ok(store) => store,
            Err(error) => {
                tracing::error!(module = %identity.id, %error, "a virtual module cannot start");
                tokio::time::sleep(BOOT_PAUSE).await;
                continue;
            }
        };
        let mut module = Module::boot(&mut store, &identity, true, 0).await;
        module.set_boot_report(report);
        link::run(&mut module, &mut store, &identity, &mut board, &mut dial, config.seed).await;
        report.reset_cause = Some(ResetCause::Software);
    }
}
