//! TCP of the A7670 class (A76XX Series AT Command Manual V1.09, chapters 5 and 15), on link 0.

use super::{Command, Expects};
use crate::modem::decimal::decimal;

/// Defines the context that `NETOPEN` activates: its number, its kind, the access point.
pub const DEFINE_CONTEXT: Command<'_> = Command::order(b"+CGDCONT=", 9_000);

/// Sets password and user of a context: its number, 1 for PAP, password, user, in this order.
pub const SET_AUTHENTICATION: Command<'_> = Command::order(b"+CGAUTH=", 9_000);

/// Data that came waits until it is read (15.2.5).
pub const READ_BY_HAND: Command<'_> = Command::order(b"+CIPRXGET=1", 9_000);

/// Asks whether the socket service runs (15.2.1).
pub const ASK_NETWORK: Command<'_> = Command::asking(b"+NETOPEN?", 9_000, Expects::Network);

/// Starts the socket service (15.2.1): after `OK` comes `+NETOPEN: <err>`.
pub const OPEN_NETWORK: Command<'_> = Command::order(b"+NETOPEN", 9_000);

/// Stops the socket service, with any connection (15.2.2): after `OK` comes `+NETCLOSE: <err>`.
pub const CLOSE_NETWORK: Command<'_> = Command::order(b"+NETCLOSE", 9_000);

/// Begins to connect (15.2.3): link, kind, host, port. After `OK` comes `+CIPOPEN: <link>,<err>`.
pub const OPEN: Command<'_> = Command::order(b"+CIPOPEN=", 9_000);

/// Closes the connection (15.2.6): after `OK` comes `+CIPCLOSE: <link>,<err>`.
pub const CLOSE: Command<'_> = Command::order(b"+CIPCLOSE=0", 9_000);

pub(super) fn network(line: &[u8]) -> Option<bool> {
    Some(decimal(line.strip_prefix(b"+NETOPEN:")?)? != 0)
}
