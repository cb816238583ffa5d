//! Serial lines: interrupts move bytes between the hardware and two queues, the loop reads and writes these.
//!
//! When the queue of what came in is full its interrupt is switched off and nothing is dropped by us: an emulator holds
//! the sender back then, on silicon RTS does where it is wired. What the hardware drops all the same is counted.

use crate::{
    facts::{BAUD, CORE_MHZ},
    ring::Ring,
};
use core::{
    convert::Infallible,
    future::poll_fn,
    sync::atomic::{AtomicU8, AtomicU32, Ordering},
    task::Poll,
};
use embassy_sync::waitqueue::AtomicWaker;
use embedded_io_async::{ErrorType, Read, Write};
use stm32_metapac::{
    UART4, USART1, interrupt,
    usart::{Usart, regs::Icr},
};

/// The modem's line, UART4.
pub static MODEM: Uart = Uart::new(UART4, &MODEM_RECEIVED, &MODEM_TO_SEND);
/// The console's line, USART1.
pub static CONSOLE: Uart = Uart::new(USART1, &CONSOLE_RECEIVED, &CONSOLE_TO_SEND);

/// Looks at the line before its last two bytes must have left it: 16 cycles at least each, 0.18 ms needed.
const SENT_LOOKS: u32 = 1_000;

// Apart from the lines: all zero, they take nothing of flash.
static MODEM_RECEIVED: [AtomicU8; 1024] = [const { AtomicU8::new(0) }; 1024];
static MODEM_TO_SEND: [AtomicU8; 512] = [const { AtomicU8::new(0) }; 512];
static CONSOLE_RECEIVED: [AtomicU8; 128] = [const { AtomicU8::new(0) }; 128];
static CONSOLE_TO_SEND: [AtomicU8; 128] = [const { AtomicU8::new(0) }; 128];

/// A serial line with its queues. Their sizes are no part of its type: what moves bytes is compiled once.
pub struct Uart {
    registers: Usart,
    received: Ring,
    to_send: Ring,
    came: AtomicWaker,
    went: AtomicWaker,
    overruns: AtomicU32,
}

impl Uart {
    const fn new(registers: Usart, received: &'static [AtomicU8], to_send: &'static [AtomicU8]) -> Self {
        Self {
            registers,
            received: Ring::new(received),
            to_send: Ring::new(to_send),
            came: AtomicWaker::new(),
            went: AtomicWaker::new(),
            overruns: AtomicU32::new(0),
        }
    }

    /// Starts the line; its clock and pins are set up. `rts` has the hardware hold the other side back by RTS.
    pub fn start(&self, rts: bool) {
        self.registers.cr3().write(|w| w.set_rtse(rts));
        self.registers.brr().write(|w| w.set_brr(((CORE_MHZ * 1_000_000 + BAUD / 2) / BAUD) as u16));
        self.registers.cr1().write(|w| {
            w.set_ue(true);
            w.set_te(true);
            w.set_re(true);
            w.set_rxneie(true);
        });
    }

    /// Times that the hardware dropped bytes since boot.
    pub fn overruns(&self) -> u32 {
        self.overruns.load(Ordering::Relaxed)
    }

    fn on_interrupt(&self) {
        let status = self.registers.isr().read();
        if status.ore() {
            self.registers.icr().write_value({
                let mut clear = Icr(0);
                clear.set_ore(true);
                clear
            });
            self.overruns.fetch_add(1, Ordering::Relaxed);
        }
        let enabled = self.registers.cr1().read();
        if status.rxne() && enabled.rxneie() {
            if self.received.room() == 0 {
                self.registers.cr1().modify(|w| w.set_rxneie(false));
            } else {
                self.received.put(&[self.registers.rdr().read().dr() as u8]);
            }
            self.came.wake();
        }
        if status.txe() && enabled.txeie() {
            let mut byte = [0];
            if self.to_send.take(&mut byte) == 1 {
                self.registers.tdr().write(|w| w.set_dr(byte[0].into()));
            } else {
                self.registers.cr1().modify(|w| w.set_txeie(false));
            }
            self.went.wake();
        }
    }

    fn try_read(&self, bytes: &mut [u8]) -> usize {
        let count = self.received.take(bytes);
        if count > 0 {
            critical_section::with(|_| self.registers.cr1().modify(|w| w.set_rxneie(true)));
        }
        count
    }

    fn try_write(&self, bytes: &[u8]) -> usize {
        let count = self.to_send.put(bytes);
        if count > 0 {
            critical_section::with(|_| self.registers.cr1().modify(|w| w.set_txeie(true)));
        }
        count
    }

    /// Waits until everything written has left the queue, and the line: a restart would cut the last byte short.
    async fn drain(&self) {
        poll_fn(|context| {
            self.went.register(context.waker());
            if self.to_send.len() == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        for _ in 0..SENT_LOOKS {
            if self.registers.isr().read().tc() {
                break;
            }
        }
    }
}

/// The loop's end of a line. Reads and writes may be cancelled: what was not told as done was not done.
pub struct Port(pub &'static Uart);

impl ErrorType for Port {
    type Error = Infallible;
}

impl Read for Port {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        if bytes.is_empty() {
            return Ok(0);
        }
        Ok(poll_fn(|context| {
            self.0.came.register(context.waker());
            match self.0.try_read(bytes) {
                0 => Poll::Pending,
                count => Poll::Ready(count),
            }
        })
        .await)
    }
}

impl Write for Port {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        if bytes.is_empty() {
            return Ok(0);
        }
        Ok(poll_fn(|context| {
            self.0.went.register(context.waker());
            match self.0.try_write(bytes) {
                0 => Poll::Pending,
                count => Poll::Ready(count),
            }
        })
        .await)
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        self.0.drain().await;
        Ok(())
    }
}

#[interrupt]
fn USART1() {
    CONSOLE.on_interrupt();
}

#[interrupt]
fn UART4() {
    MODEM.on_interrupt();
}
