//! Pins and clock that are variables, and dialling over TCP.

use crate::{machine::Machine, time};
use embedded_io_adapters::tokio_1::FromTokio;
use embedded_io_async::{ErrorType, Read, Write};
use module_firmware::{
    Outputs,
    link::{Board, Dial, Input},
};
use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
};

/// Edges that wait to be taken; a coin acceptor gives a few a second.
const INPUTS_MAX: usize = 1024;

/// The wires: everything outside of the module's board.
pub struct Wires {
    inputs: Mutex<VecDeque<Input>>,
    captured: Notify,
    machine: Mutex<Machine>,
    /// Whether the network cable is in.
    plugged: watch::Sender<bool>,
    /// Whether the acceptor gives coins back.
    inhibited: watch::Sender<bool>,
    pub changed: watch::Sender<()>,
}

impl Wires {
    pub fn new(machine: Machine) -> Arc<Self> {
        Arc::new(Self {
            inputs: Mutex::default(),
            captured: Notify::new(),
            machine: Mutex::new(machine),
            plugged: watch::Sender::new(true),
            inhibited: watch::Sender::new(false),
            changed: watch::Sender::new(()),
        })
    }

    pub fn capture(&self, input: Input) {
        let mut inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        if inputs.len() < INPUTS_MAX {
            inputs.push_back(input);
        }
        drop(inputs);
        self.captured.notify_one();
    }

    /// Edges are lost when the module is off.
    pub fn forget_inputs(&self) {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// There is power: the acceptor takes no coins until the module says otherwise.
    pub fn inhibit(&self) {
        self.inhibited.send_replace(true);
    }

    /// Waits until the acceptor takes coins.
    pub async fn uninhibited(&self) {
        // The sender is here: it cannot end before.
        let _ = self.inhibited.subscribe().wait_for(|inhibited| !inhibited).await;
    }

    pub fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn plug(&self, plugged: bool) {
        self.plugged.send_replace(plugged);
        self.changed.send_replace(());
    }

    pub fn is_plugged(&self) -> bool {
        *self.plugged.borrow()
    }
}

/// The board of a virtual module, from one power-up to the next.
pub struct HostBoard {
    wires: Arc<Wires>,
    booted_us: u64,
    outputs: Outputs,
    /// What the core was last told of the machine's sense output.
    running: bool,
}

impl HostBoard {
    pub fn new(wires: Arc<Wires>) -> Self {
        Self { wires, booted_us: time::now_us(), outputs: Outputs::default(), running: false }
    }
}

impl Board for HostBoard {
    fn now_us(&self) -> u64 {
        time::now_us() - self.booted_us
    }

    fn apply(&mut self, outputs: Outputs) {
        if outputs == self.outputs && *self.wires.inhibited.borrow() == outputs.inhibit {
            return;
        }
        self.outputs = outputs;
        self.wires
            .inhibited
            .send_if_modified(|inhibited| std::mem::replace(inhibited, outputs.inhibit) != outputs.inhibit);
        let before = self.wires.machine().pulses();
        self.wires.machine().input(outputs.coin || outputs.credit, time::now_us());
        if self.wires.machine().pulses() != before {
            self.wires.changed.send_replace(());
        }
    }

    fn take_input(&mut self) -> Option<Input> {
        let captured = self.wires.inputs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if let Some(input) = captured {
            return Some(match input {
                // Captured by the process's clock; the module counts from its boot.
                Input::Edge { at_us, level_high } => {
                    Input::Edge { at_us: at_us.saturating_sub(self.booted_us), level_high }
                }
                other @ (Input::Sense { .. }
                | Input::Button { .. }
                | Input::Health(_)
                | Input::Settings(_)
                | Input::Tell) => other,
            });
        }
        let running = time::now_us() < self.wires.machine().runs_until_us();
        (std::mem::replace(&mut self.running, running) != running).then_some(Input::Sense { running })
    }

    async fn wait(&mut self, until_us: u64) {
        let stops_us = self.wires.machine().runs_until_us().saturating_sub(self.booted_us);
        let until_us = if self.running { until_us.min(stops_us) } else { until_us };
        let wait_us = until_us.saturating_sub(self.now_us());
        // Much longer than any deadline that matters, and within what a timer can hold.
        let wait = Duration::from_micros(wait_us.min(3_600_000_000));
        tokio::select! {
            () = self.wires.captured.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

impl Drop for HostBoard {
    /// Without power no pin is active.
    fn drop(&mut self) {
        self.wires.inhibited.send_replace(false);
        self.wires.machine().input(false, time::now_us());
    }
}

/// Dials the broker over TCP, which fails while the cable is out.
pub struct TcpDial {
    pub broker: SocketAddr,
    pub wires: Arc<Wires>,
}

impl Dial for TcpDial {
    type Stream = Cable;
    type Error = io::Error;

    async fn dial(&mut self) -> Result<Cable, io::Error> {
        let mut plugged = self.wires.plugged.subscribe();
        let stream = while_plugged(&mut plugged, TcpStream::connect(self.broker)).await?;
        stream.set_nodelay(true)?;
        Ok(Cable { stream: FromTokio::new(stream), plugged })
    }
}

/// A connection that fails when the cable is pulled.
pub struct Cable {
    stream: FromTokio<TcpStream>,
    plugged: watch::Receiver<bool>,
}

/// Cancelling it cancels `work`, and nothing else.
async fn while_plugged<T>(
    plugged: &mut watch::Receiver<bool>,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    tokio::select! {
        biased;
        _ = plugged.wait_for(|plugged| !plugged) => Err(io::ErrorKind::NetworkUnreachable.into()),
        done = work => done,
    }
}

impl ErrorType for Cable {
    type Error = io::Error;
}

impl Read for Cable {
    async fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while_plugged(&mut self.plugged, self.stream.read(bytes)).await
    }
}

impl Write for Cable {
    async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while_plugged(&mut self.plugged, self.stream.write(bytes)).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        while_plugged(&mut self.plugged, self.stream.flush()).await
    }
}
