//! Bringing the processor up.

use crate::{
    boot_record,
    facts::{
        CONSOLE_AF, CONSOLE_RX, CONSOLE_TX, EMULATED_STORE_PAGES, MODEM_AF, MODEM_RTS, MODEM_RX, MODEM_TX,
        PROVISION_PAGE, PROVISION_PAGES, STORE_PAGE, STORE_PAGES,
    },
    flash::Flash,
    uart::{CONSOLE, MODEM},
};
use cortex_m::peripheral::NVIC;
use stm32_metapac::{DBGMCU, FLASH, Interrupt, RCC, rcc::vals::Sw};

/// Whether this is an emulator, which has no flash that can be written and no ADC: there the identity of the chip reads
/// zero.
pub fn emulated() -> bool {
    DBGMCU.idcode().read().dev_id() == 0
}

/// Core and buses on HSI16, and a clock for all that is used.
pub fn clocks() {
    RCC.cr().modify(|w| w.set_hsion(true));
    while !RCC.cr().read().hsirdy() {}
    RCC.cfgr().modify(|w| w.set_sw(Sw::HSI));
    while RCC.cfgr().read().sws() != Sw::HSI {}
    FLASH.acr().modify(|w| {
        w.set_prften(true);
        w.set_icen(true);
        w.set_dcen(true);
    });
    RCC.ahb2enr().modify(|w| {
        w.set_gpioaen(true);
        w.set_gpioben(true);
        w.set_gpiocen(true);
    });
    RCC.apb1enr1().modify(|w| w.set_uart4en(true));
    RCC.apb2enr().modify(|w| {
        w.set_syscfgen(true);
        w.set_usart1en(true);
    });
}

/// Both serial lines.
pub fn serial() {
    CONSOLE_TX.alternate(CONSOLE_AF, false);
    CONSOLE_RX.alternate(CONSOLE_AF, true);
    MODEM_TX.alternate(MODEM_AF, false);
    MODEM_RX.alternate(MODEM_AF, true);
    MODEM_RTS.alternate(MODEM_AF, false);
    CONSOLE.start(false);
    MODEM.start(!emulated());
}

/// Lets the interrupts come.
pub fn interrupts() {
    let used = [Interrupt::EXTI0, Interrupt::EXTI9_5, Interrupt::EXTI15_10, Interrupt::USART1, Interrupt::UART4];
    for interrupt in used {
        // SAFETY: no critical section is relied on before this; what the handlers use is set up.
        unsafe { NVIC::unmask(interrupt) };
    }
}

/// The pages for identity and server, and those for settings, totals and journal. To be called once.
pub fn flash() -> (Flash, Flash) {
    if emulated() {
        let formatted = boot_record::is_formatted();
        let provision = Flash::in_sram2(0, PROVISION_PAGES, formatted);
        (provision, Flash::in_sram2(PROVISION_PAGES, EMULATED_STORE_PAGES, formatted))
    } else {
        (Flash::on_chip(PROVISION_PAGE, PROVISION_PAGES), Flash::on_chip(STORE_PAGE, STORE_PAGES))
    }
}

unsafe extern "C" {
    static _stack_end: u32;
    static _stack_start: u32;
}

/// Bytes of the stack that were never used: it was painted before the start.
pub fn stack_unused_bytes() -> u32 {
    let (end, start) = (&raw const _stack_end, &raw const _stack_start);
    let mut unused = end;
    // SAFETY: between the two lies the stack, all of it memory; what is used of it is at the other end, and is only read.
    while unused < start && unsafe { unused.read_volatile() } == cortex_m_rt::STACK_PAINT_VALUE {
        unused = unused.wrapping_add(1);
    }
    (unused as u32).wrapping_sub(end as u32)
}
