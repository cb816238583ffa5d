//! TCP of the Quectel class (EC200U&EG915U Series TCP/IP Application Note V1.1, chapter 2.4), on context 1, socket 0.

use super::{Nothing, ok};
use atat::atat_derive::AtatCmd;

/// Sets access point, user and password (2.4.2).
#[derive(AtatCmd)]
#[at_cmd("+QICSGP", Nothing, timeout_ms = 2000, parse = ok)]
pub struct SetAccess<'a> {
    pub context: u8,
    /// 1 is IPv4.
    pub kind: u8,
    pub apn: &'a str,
    pub user: &'a str,
    pub password: &'a str,
    /// 0 is none, 1 PAP.
    pub authentication: u8,
}

/// Activates the context (2.4.3).
#[derive(AtatCmd)]
#[at_cmd("+QIACT=1", Nothing, timeout_ms = 150000, parse = ok)]
pub struct Activate;

/// Deactivates the context, with any connection (2.4.4).
#[derive(AtatCmd)]
#[at_cmd("+QIDEACT=1", Nothing, timeout_ms = 40000, parse = ok)]
pub struct Deactivate;

/// Begins to connect (2.4.7): after `OK` comes `+QIOPEN: <socket>,<err>`.
#[derive(AtatCmd)]
#[at_cmd("+QIOPEN", Nothing, timeout_ms = 5000, parse = ok)]
pub struct Open<'a> {
    pub context: u8,
    pub socket: u8,
    pub kind: &'a str,
    pub host: &'a str,
    pub port: u16,
    /// 0: the modem chooses.
    pub local_port: u16,
    /// 0: data that came waits until it is read.
    pub access_mode: u8,
}

/// Closes the connection (2.4.8); without a time of its own it takes 10 s at most.
#[derive(AtatCmd)]
#[at_cmd("+QICLOSE=0", Nothing, timeout_ms = 12000, parse = ok)]
pub struct Close;
