//! What modems say unasked, all families together: no two mean different things by the same words.

use super::{numbers, word};
use atat::AtatUrc;

/// What something said unasked means, or the later part of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urc {
    /// The modem starts, or what was set up is gone for another reason.
    Restarted,
    /// It stops, and does not start by itself.
    Stopped,
    /// It stops because its supply is low.
    StoppedBySupply,
    /// Its supply is low.
    SupplyLow,
    /// The result of opening a connection.
    Opened(bool),
    /// The connection is gone.
    Closed,
    /// The network is gone.
    NetworkLost,
    /// Data waits.
    DataWaits,
    /// The result of opening the network.
    NetworkOpened(bool),
    /// The network was given up.
    NetworkStopped,
    /// Whether what was sent was taken whole.
    Sent(bool),
    /// There is no data to read.
    NoData,
    /// Nothing of interest.
    Nothing,
}

/// What follows the words.
#[derive(Clone, Copy)]
enum Rest {
    /// Nothing, or nothing that is looked at.
    Any(Urc),
    /// `NOT READY`: the SIM is gone, or the modem restarts.
    Sim,
    /// `1` (SIM800), `1,<link>` (A76XX): data waits.
    DataWaits,
    /// `<err>`.
    NetworkError,
    /// `<link>,<err>`.
    OpenError,
    /// `<link>,<asked>,<taken>`; -1 taken if the connection is gone.
    Taken,
    /// `<why>`, in words or as a number (A76XX 15.3.1).
    IpError,
    /// `"<event>",<socket>,..`.
    Socket,
}

use Rest::Any;

#[rustfmt::skip]
const TABLE: &[(&str, Rest)] = &[
    // The modem started. SIM800 V1.09 page 352 (`RDY`), A76XX V1.09 (`*ATREADY: 1`), Quectel (`RDY`, `APP RDY`).
    ("RDY", Any(Urc::Restarted)),
    ("APP RDY", Any(Urc::Restarted)),
    ("*ATREADY", Any(Urc::Restarted)),
    // The modem stops.
    ("NORMAL POWER DOWN", Any(Urc::Stopped)),
    ("POWERED DOWN", Any(Urc::Stopped)),
    ("UNDER-VOLTAGE POWER DOWN", Any(Urc::StoppedBySupply)),
    ("UNDER-VOLTAGE WARNING POWER DOWN", Any(Urc::StoppedBySupply)),
    ("OVER-VOLTAGE POWER DOWN", Any(Urc::Stopped)),
    ("OVER-VOLTAGE WARNING POWER DOWN", Any(Urc::Stopped)),
    // The supply. SIM800 and A76XX spell it in both ways.
    ("UNDER-VOLTAGE WARNNING", Any(Urc::SupplyLow)),
    ("UNDER-VOLTAGE WARNING", Any(Urc::SupplyLow)),
    ("OVER-VOLTAGE WARNNING", Any(Urc::Nothing)),
    ("OVER-VOLTAGE WARNING", Any(Urc::Nothing)),
    ("+CPIN", Rest::Sim),
    // The connection, SIM800.
    ("CONNECT OK", Any(Urc::Opened(true))),
    ("CONNECT FAIL", Any(Urc::Opened(false))),
    ("ALREADY CONNECT", Any(Urc::Opened(false))),
    ("STATE", Any(Urc::Nothing)),
    ("CLOSED", Any(Urc::Closed)),
    ("+PDP", Any(Urc::NetworkLost)),
    ("+CIPRXGET", Rest::DataWaits),
    // The connection, A76XX (TCPIP Application Note V1.00, 4.2, and the later parts of answers).
    ("+IPCLOSE", Any(Urc::Closed)),
    ("+CIPEVENT", Any(Urc::NetworkLost)),
    ("+NETOPEN", Rest::NetworkError),
    ("+NETCLOSE", Any(Urc::NetworkStopped)),
    ("+CIPOPEN", Rest::OpenError),
    ("+CIPCLOSE", Any(Urc::Closed)),
    ("+CIPSEND", Rest::Taken),
    ("+IP ERROR", Rest::IpError),
    ("+CIPERROR", Any(Urc::Nothing)),
    // The connection, Quectel (2.5, and the later part of an answer).
    ("+QIOPEN", Rest::OpenError),
    ("+QIURC", Rest::Socket),
    // Said at power-up and now and then, and of no interest.
    ("Call Ready", Any(Urc::Nothing)),
    ("SMS Ready", Any(Urc::Nothing)),
    ("SMS DONE", Any(Urc::Nothing)),
    ("PB DONE", Any(Urc::Nothing)),
    ("+CFUN", Any(Urc::Nothing)),
    ("+QIND", Any(Urc::Nothing)),
    ("+CREG", Any(Urc::Nothing)),
    ("+CGREG", Any(Urc::Nothing)),
    ("+CEREG", Any(Urc::Nothing)),
    ("+CGEV", Any(Urc::Nothing)),
    ("+CTZV", Any(Urc::Nothing)),
    ("*PSUTTZ", Any(Urc::Nothing)),
    ("DST", Any(Urc::Nothing)),
    ("RING", Any(Urc::Nothing)),
];

impl AtatUrc for Urc {
    fn parse(line: &[u8]) -> Option<Self> {
        let end = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (words, rest) = line.split_at(end);
        let rest = rest.strip_prefix(b":").unwrap_or_default();
        let (_, kind) = TABLE.iter().find(|(known, _)| known.as_bytes() == words)?;
        let meant = |urc: Urc, meant: bool| if meant { urc } else { Urc::Nothing };
        Some(match kind {
            Any(urc) => *urc,
            Rest::Sim => meant(Urc::Restarted, word(rest).starts_with(b"NOT")),
            Rest::IpError => meant(Urc::NoData, matches!(word(rest), b"No data" | b"22")),
            Rest::DataWaits => meant(Urc::DataWaits, numbers(rest)?[0] == Some(1)),
            Rest::NetworkError => Urc::NetworkOpened(numbers(rest)?[0] == Some(0)),
            Rest::OpenError => Urc::Opened(numbers(rest)?[1] == Some(0)),
            Rest::Taken => {
                let [_, asked, taken, _] = numbers(rest)?;
                Urc::Sent(taken.is_some() && asked == taken)
            }
            Rest::Socket => match word(rest.split(|byte| *byte == b',').next()?) {
                b"recv" => Urc::DataWaits,
                b"closed" => Urc::Closed,
                b"pdpdeact" => Urc::NetworkLost,
                _ => Urc::Nothing,
            },
        })
    }
}
