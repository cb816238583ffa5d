//! TCP of the SIM800 class (SIM800 Series AT Command Manual V1.09, chapter 8): one connection at a time, read by hand.

use super::{Nothing, ok, verdict};
use atat::{AtatResp, Error, atat_derive::AtatCmd};

/// One connection at a time (8.2.1).
#[derive(AtatCmd)]
#[at_cmd("+CIPMUX=0", Nothing, timeout_ms = 2000, parse = ok)]
pub struct OneConnection;

/// Data that came waits until it is read (8.2.26).
#[derive(AtatCmd)]
#[at_cmd("+CIPRXGET=1", Nothing, timeout_ms = 2000, parse = ok)]
pub struct ReadByHand;

/// Gives the network up, with any connection (8.2.7). Answered by `SHUT OK` alone.
#[derive(AtatCmd)]
#[at_cmd("+CIPSHUT", Nothing, timeout_ms = 65000, response_code = false, parse = shut)]
pub struct Shut;

fn shut(line: &[u8]) -> Result<Nothing, Error> {
    verdict(b"SHUT OK", line)
}

/// Sets access point, user and password (8.2.9).
#[derive(AtatCmd)]
#[at_cmd("+CSTT", Nothing, timeout_ms = 2000, parse = ok)]
pub struct SetAccess<'a> {
    pub apn: &'a str,
    pub user: &'a str,
    pub password: &'a str,
}

/// Brings the wireless connection up (8.2.10).
#[derive(AtatCmd)]
#[at_cmd("+CIICR", Nothing, timeout_ms = 85000, parse = ok)]
pub struct BringUp;

/// Asks for the address, which has to be done before a connection (8.2.11). Answered by the address alone.
#[derive(AtatCmd)]
#[at_cmd("+CIFSR", Address, timeout_ms = 5000, response_code = false, parse = address)]
pub struct AskAddress;

/// The modem has an IPv4 address.
pub struct Address;

impl AtatResp for Address {}

fn address(line: &[u8]) -> Result<Address, Error> {
    let text = core::str::from_utf8(line).map_err(|_| Error::Parse)?;
    text.parse::<core::net::Ipv4Addr>().map(|_| Address).map_err(|_| Error::Parse)
}

/// Begins to connect (8.2.2): after `OK` comes `CONNECT OK` or `CONNECT FAIL`.
#[derive(AtatCmd)]
#[at_cmd("+CIPSTART", Nothing, timeout_ms = 5000, parse = ok)]
pub struct Open<'a> {
    pub kind: &'a str,
    pub host: &'a str,
    pub port: u16,
}

/// Closes at once, without waiting for the peer (8.2.6). Answered by `CLOSE OK` alone.
#[derive(AtatCmd)]
#[at_cmd("+CIPCLOSE=1", Nothing, timeout_ms = 5000, response_code = false, parse = closed)]
pub struct Close;

fn closed(line: &[u8]) -> Result<Nothing, Error> {
    verdict(b"CLOSE OK", line)
}
