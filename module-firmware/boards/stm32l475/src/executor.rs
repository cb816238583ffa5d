//! One task, and sleep while it has nothing to do.

use core::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, RawWaker, RawWakerVTable, Waker},
};
use cortex_m::asm;

static WOKEN: AtomicBool = AtomicBool::new(true);

static VTABLE: RawWakerVTable = RawWakerVTable::new(|_| RAW_WAKER, |_| wake(), |_| wake(), |_| {});
const RAW_WAKER: RawWaker = RawWaker::new(core::ptr::null(), &VTABLE);

/// Has the task polled again. Every waker does this.
pub fn wake() {
    WOKEN.store(true, Ordering::Release);
}

/// Runs the task to its end, where it is: it may be large, and is not moved. The processor sleeps (WFI, Sleep mode) whenever it waits.
pub fn block_on<T>(mut task: Pin<&mut impl Future<Output = T>>) -> T {
    // SAFETY: the table's functions use no data, and may be called from anywhere at any time.
    let waker = unsafe { Waker::from_raw(RAW_WAKER) };
    let mut context = Context::from_waker(&waker);
    loop {
        WOKEN.store(false, Ordering::Release);
        if let Poll::Ready(value) = task.as_mut().poll(&mut context) {
            return value;
        }
        // With interrupts off, so that none comes between the look and the sleep: a pending one ends the sleep, and runs
        // after the section.
        critical_section::with(|_| {
            if !WOKEN.load(Ordering::Acquire) {
                asm::dsb();
                asm::wfi();
            }
        });
    }
}
