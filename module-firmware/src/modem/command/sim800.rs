//! TCP of the SIM800 class (SIM800 Series AT Command Manual V1.09, chapter 8): one connection at a time, read by hand.

use super::{Command, Expects};
use crate::modem::decimal::decimal;

/// One connection at a time (8.2.1).
pub const ONE_CONNECTION: Command<'_> = Command::order(b"+CIPMUX=0", 2_000);

/// Data that came waits until it is read (8.2.26).
pub const READ_BY_HAND: Command<'_> = Command::order(b"+CIPRXGET=1", 2_000);

/// Gives the network up, with any connection (8.2.7). Answered by `SHUT OK` alone.
pub const SHUT: Command<'_> = Command::asking(b"+CIPSHUT", 65_000, Expects::Verdict(b"SHUT OK"));

/// Sets access point, user and password (8.2.9).
pub const SET_ACCESS: Command<'_> = Command::order(b"+CSTT=", 2_000);

/// Brings the wireless connection up (8.2.10).
pub const BRING_UP: Command<'_> = Command::order(b"+CIICR", 85_000);

/// Asks for the address, which has to be done before a connection (8.2.11). Answered by the address alone.
pub const ASK_ADDRESS: Command<'_> = Command::asking(b"+CIFSR", 5_000, Expects::Address);

/// Begins to connect (8.2.2): kind, host, port. After `OK` comes `CONNECT OK` or `CONNECT FAIL`.
pub const OPEN: Command<'_> = Command::order(b"+CIPSTART=", 5_000);

/// Closes at once, without waiting for the peer (8.2.6). Answered by `CLOSE OK` alone.
pub const CLOSE: Command<'_> = Command::asking(b"+CIPCLOSE=1", 5_000, Expects::Verdict(b"CLOSE OK"));

/// Whether a line is an IPv4 address.
pub(super) fn is_address(line: &[u8]) -> bool {
    let mut parts = 0;
    let in_bounds = line.split(|byte| *byte == b'.').all(|part| {
        parts += 1;
        decimal(part).is_some_and(|number| number <= 255)
    });
    in_bounds && parts == 4
}
