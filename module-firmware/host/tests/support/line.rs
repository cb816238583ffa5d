//! A serial line with the driver at its end, and its pins.
#![allow(dead_code, clippy::unwrap_used)]

// Its time driver is linked in.
use module_host as _;

use embedded_hal::digital::{ErrorType, OutputPin, PinState};
use embedded_io_adapters::tokio_1::FromTokio;
use module_firmware::modem::{self, Access, Config, Modem, Power, Timeouts};
use std::{cell::Cell, convert::Infallible, rc::Rc, time::Duration};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf, duplex, split};

/// Longest wait for anything.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes on their way on the line.
const LINE_BYTES: usize = 256;

/// A pin that counts how often it went high.
#[derive(Clone, Default)]
pub struct Pin(pub Rc<Cell<u32>>);

impl ErrorType for Pin {
    type Error = Infallible;
}

impl OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.set(self.0.get() + 1);
        Ok(())
    }
}

/// Both ends of the driver's line.
pub type Uart = (FromTokio<ReadHalf<DuplexStream>>, FromTokio<WriteHalf<DuplexStream>>);

/// The driver's end, and the modem's.
pub fn line() -> (Uart, DuplexStream) {
    let (near, far) = duplex(LINE_BYTES);
    let (reader, writer) = split(near);
    ((FromTokio::new(reader), FromTokio::new(writer)), far)
}

/// Where all tests connect to.
pub fn config(timeouts: Timeouts) -> Config<'static> {
    let access = Access { apn: "CMNET", user: "", password: "" };
    let mut config = Config::new("broker.example", 1883, access).unwrap();
    config.timeouts = timeouts;
    config
}

/// Patient enough for a dialogue that is answered at once.
pub fn dialogue_timeouts() -> Timeouts {
    Timeouts {
        answer_max_ms: 10_000,
        probe_ms: 1,
        boot_ms: Some(5_000),
        power_max_ms: 1,
        quiet_ms: 20,
        poll_ms: 20,
        registration_ms: 10_000,
        open_ms: 10_000,
        signal_ms: 3_600_000,
        data_poll_ms: 3_600_000,
        cycle_first_ms: 1,
        cycle_max_ms: 1,
    }
}

/// Runs the driver for ever.
pub async fn drive(modem: &Modem, config: &Config<'_>, uart: Uart, key: Pin) -> Infallible {
    modem::run(modem, config, uart, Power::new(key, PinState::High), 1).await
}
