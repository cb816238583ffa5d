//! TCP of the Quectel class (EC200U&EG915U Series TCP/IP Application Note V1.1, chapter 2.4), on context 1, socket 0.

use super::Command;

/// Sets access point, user and password (2.4.2): context, 1 for IPv4, access point, user, password, and 1 for PAP or 0
/// for none.
pub const SET_ACCESS: Command<'_> = Command::order(b"+QICSGP=", 2_000);

/// Activates the context (2.4.3).
pub const ACTIVATE: Command<'_> = Command::order(b"+QIACT=1", 150_000);

/// Deactivates the context, with any connection (2.4.4).
pub const DEACTIVATE: Command<'_> = Command::order(b"+QIDEACT=1", 40_000);

/// Begins to connect (2.4.7): context, socket, kind, host, port, own port (0: the modem chooses), and 0 for data that
/// waits until it is read. After `OK` comes `+QIOPEN: <socket>,<err>`.
pub const OPEN: Command<'_> = Command::order(b"+QIOPEN=", 5_000);

/// Closes the connection (2.4.8); without a time of its own it takes 10 s at most.
pub const CLOSE: Command<'_> = Command::order(b"+QICLOSE=0", 12_000);
