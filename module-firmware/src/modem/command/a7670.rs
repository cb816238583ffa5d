//! TCP of the A7670 class (A76XX Series AT Command Manual V1.09, chapters 5 and 15), on link 0.

use super::{Nothing, fields, ok};
use atat::{
    Error,
    atat_derive::{AtatCmd, AtatResp},
};

/// Defines the context that `NETOPEN` activates.
#[derive(AtatCmd)]
#[at_cmd("+CGDCONT", Nothing, timeout_ms = 9000, parse = ok)]
pub struct DefineContext<'a> {
    pub context: u8,
    pub kind: &'a str,
    pub apn: &'a str,
}

/// Sets password and user of a context, in this order.
#[derive(AtatCmd)]
#[at_cmd("+CGAUTH", Nothing, timeout_ms = 9000, parse = ok)]
pub struct SetAuthentication<'a> {
    pub context: u8,
    /// 1 is PAP.
    pub method: u8,
    pub password: &'a str,
    pub user: &'a str,
}

/// Data that came waits until it is read (15.2.5).
#[derive(AtatCmd)]
#[at_cmd("+CIPRXGET=1", Nothing, timeout_ms = 9000, parse = ok)]
pub struct ReadByHand;

/// Asks whether the socket service runs (15.2.1).
#[derive(AtatCmd)]
#[at_cmd("+NETOPEN?", NetworkState, timeout_ms = 9000, parse = network_state)]
pub struct AskNetwork;

/// Whether the socket service runs.
#[derive(AtatResp)]
pub struct NetworkState {
    /// 1 if so.
    pub open: u8,
}

fn network_state(line: &[u8]) -> Result<NetworkState, Error> {
    fields(b"+NETOPEN:", line)
}

/// Starts the socket service (15.2.1): after `OK` comes `+NETOPEN: <err>`.
#[derive(AtatCmd)]
#[at_cmd("+NETOPEN", Nothing, timeout_ms = 9000, parse = ok)]
pub struct OpenNetwork;

/// Stops the socket service, with any connection (15.2.2): after `OK` comes `+NETCLOSE: <err>`.
#[derive(AtatCmd)]
#[at_cmd("+NETCLOSE", Nothing, timeout_ms = 9000, parse = ok)]
pub struct CloseNetwork;

/// Begins to connect (15.2.3): after `OK` comes `+CIPOPEN: <link>,<err>`.
#[derive(AtatCmd)]
#[at_cmd("+CIPOPEN", Nothing, timeout_ms = 9000, parse = ok)]
pub struct Open<'a> {
    pub link: u8,
    pub kind: &'a str,
    pub host: &'a str,
    pub port: u16,
}

/// Closes the connection (15.2.6): after `OK` comes `+CIPCLOSE: <link>,<err>`.
#[derive(AtatCmd)]
#[at_cmd("+CIPCLOSE=0", Nothing, timeout_ms = 9000, parse = ok)]
pub struct Close;
