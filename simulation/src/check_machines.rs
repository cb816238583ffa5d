//! The checkers' view of machines: coins, credits and settings, held against what the module and the server say.

use crate::{
    check::hold,
    machine::Machine,
    store::LedgerRow,
    world::{COIN_MINOR, Checked, Violation},
};
use backend::ids::MachineId;

/// A module works by what its operator chose last, under the version that the server thinks of.
pub(crate) fn check_settings(machine: &Machine, wanted: i64) -> Checked {
    let Some(ordered) = machine.settings_ordered else { return Ok(()) };
    let Some(module) = machine.module.as_ref() else { return Err(Violation("at rest without power".into())) };
    let has = module.settings();
    hold!(i64::from(has.version) == wanted, "settings {wanted} are wanted, the module has {}", has.version);
    let has = (has.profile, has.credit_pulses_max, has.status_period_s);
    let ordered = (ordered.profile, ordered.credit_pulses_max, ordered.status_period_s);
    hold!(has == ordered, "settings: {ordered:?} were ordered, the module has {has:?}");
    Ok(())
}

pub(crate) fn booked_coins_minor(ledger: &[LedgerRow], machine_id: MachineId) -> i64 {
    let of_machine = |line: &&LedgerRow| line.kind == "coins" && line.machine_id == Some(machine_id);
    ledger.iter().filter(of_machine).map(|line| line.amount_minor).sum()
}

/// Each coin is counted once, by the module and by the server, but for the one in doubt at each power cut.
pub(crate) fn check_coins(machine: &Machine, server_pulses: i64, cash_minor: i64) -> Checked {
    let coins = machine.coins;
    let (total, server) = (machine.coin_total(), u64::try_from(server_pulses).unwrap_or(0));
    hold!(
        total <= coins.fallen && total + coins.lost + coins.doubtful >= coins.fallen,
        "coins: the module counted {total}: {coins:?}"
    );
    // A total that was told and then lost with the power is known to the server alone.
    hold!(
        (total..=total + coins.lost).contains(&server) && server <= coins.fallen,
        "coins: the module counted {total}, the server {server}: {coins:?}"
    );
    hold!(cash_minor == server_pulses * COIN_MINOR, "coins: {server} counted, {cash_minor} booked");
    Ok(())
}

/// The module's own total of credit pulses is what the machine got, but for the one in doubt at each power cut.
pub(crate) fn check_credit_total(machine: &Machine) -> Checked {
    let Some(module) = machine.module.as_ref() else { return Err(Violation("at rest without power".into())) };
    let (told, given) = (module.totals().credit_pulses, machine.credit_pulses());
    let cuts = u64::try_from(machine.pulse_trains.iter().filter(|train| train.cut).count()).unwrap_or(u64::MAX);
    hold!((told..=told + cuts).contains(&given), "credits: the module counted {told} pulses, the machine {given}");
    Ok(())
}
