//! The time driver behind `embassy-time`: SysTick without a tick. It runs down to the next alarm (a second at the
//! longest), and is only touched again when something earlier is asked for.
//!
//! There is one task, so there is one alarm, the earliest asked for: a task that is woken asks again for what is still to
//! come.
//!
//! All interrupts have the same priority and do not interrupt each other: nobody reads the clock between the counter's
//! wrap and its booking here.

use crate::{executor, facts::CORE_MHZ};
use core::{cell::Cell, task::Waker};
use cortex_m::peripheral::{SCB, SYST};
use cortex_m_rt::exception;
use critical_section::{CriticalSection, Mutex};
use embassy_time_driver::Driver;

/// Cycles of the longest run: the counter has 24 bits.
const RUN_MAX: u32 = 1 << 24;
/// Cycles of the shortest run: what setting it up takes, and some more.
const RUN_MIN: u64 = 64;
/// How often to look whether the counter took up its new value: silicon does within two cycles, an emulator after some
/// thousand.
const RELOAD_LOOKS: usize = 100_000;
const ENABLE_WITH_INTERRUPT_FROM_CORE_CLOCK: u32 = 0b111;

#[derive(Clone, Copy)]
struct Clock {
    /// Cycles from boot to the beginning of the counter's present run.
    run_began: u64,
    /// Cycles of the present run; every next one has [`RUN_MAX`].
    run: u32,
    alarm_us: u64,
}

static CLOCK: Mutex<Cell<Clock>> = Mutex::new(Cell::new(Clock { run_began: 0, run: RUN_MAX, alarm_us: u64::MAX }));

fn syst() -> &'static cortex_m::peripheral::syst::RegisterBlock {
    // SAFETY: the registers are always there; only this file uses them, and writes them in critical sections only.
    unsafe { &*SYST::PTR }
}

/// Starts the clock.
pub fn start() {
    critical_section::with(|_| {
        // SAFETY: any value may be written; interrupts are off, so that the handler sees a whole set-up.
        unsafe {
            syst().rvr.write(RUN_MAX - 1);
            syst().cvr.write(0);
            syst().csr.write(ENABLE_WITH_INTERRUPT_FROM_CORE_CLOCK);
        }
        await_reload();
    });
}

/// Until then the counter reads zero, which is otherwise its end.
fn await_reload() {
    for _ in 0..RELOAD_LOOKS {
        if SYST::get_current() != 0 {
            return;
        }
    }
}

/// Microseconds since the clock was started.
pub fn now_us() -> u64 {
    critical_section::with(|cs| cycles(cs) / u64::from(CORE_MHZ))
}

fn cycles(cs: CriticalSection<'_>) -> u64 {
    let clock = CLOCK.borrow(cs).get();
    let left = SYST::get_current();
    if SCB::is_pendst_pending() {
        // The run is over and not booked yet. At zero the next one has not begun.
        let passed = match SYST::get_current() {
            0 => 0,
            left => RUN_MAX - left,
        };
        return clock.run_began + u64::from(clock.run) + u64::from(passed);
    }
    clock.run_began + u64::from(clock.run.saturating_sub(left))
}

/// Sees to it that the present run ends when the alarm is due, or earlier.
fn arrange(cs: CriticalSection<'_>) {
    let cell = CLOCK.borrow(cs);
    let clock = cell.get();
    if clock.alarm_us == u64::MAX {
        return;
    }
    let due = clock.alarm_us.saturating_mul(u64::from(CORE_MHZ));
    let now = cycles(cs);
    let run = due.saturating_sub(now).max(RUN_MIN);
    let run_ends = clock.run_began + u64::from(clock.run);
    if run >= u64::from(RUN_MAX) || (now < run_ends && now + run >= run_ends) {
        return;
    }
    let run = run as u32;
    // SAFETY: the value has 24 bits; interrupts are off.
    unsafe {
        syst().rvr.write(run - 1);
        syst().cvr.write(0);
    }
    // What wrapped meanwhile is in `now`.
    SCB::clear_pendst();
    await_reload();
    // A handler that comes late, a page of flash being erased, must not miss a second wrap: the next run is the longest.
    // SAFETY: as above.
    unsafe { syst().rvr.write(RUN_MAX - 1) };
    cell.set(Clock { run_began: now, run, ..clock });
}

#[exception]
fn SysTick() {
    critical_section::with(|cs| {
        let cell = CLOCK.borrow(cs);
        let mut clock = cell.get();
        clock.run_began += u64::from(clock.run);
        clock.run = RUN_MAX;
        cell.set(clock);
        if cycles(cs) >= clock.alarm_us.saturating_mul(u64::from(CORE_MHZ)) {
            cell.set(Clock { alarm_us: u64::MAX, ..clock });
            executor::wake();
        } else {
            arrange(cs);
        }
    });
}

struct SysTickDriver;

impl Driver for SysTickDriver {
    fn now(&self) -> u64 {
        now_us()
    }

    fn schedule_wake(&self, at: u64, _waker: &Waker) {
        critical_section::with(|cs| {
            let cell = CLOCK.borrow(cs);
            let clock = cell.get();
            if at < clock.alarm_us {
                cell.set(Clock { alarm_us: at, ..clock });
                arrange(cs);
            }
        });
    }
}

embassy_time_driver::time_driver_impl!(static DRIVER: SysTickDriver = SysTickDriver);
