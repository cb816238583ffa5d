//! What modems say unasked, all families together: no two mean different things by the same words.

use atat::{
    atat_derive::{AtatResp, AtatUrc},
    heapless::String,
};

/// Something said unasked, or the later part of an answer.
#[derive(Clone, Debug, AtatUrc)]
pub enum Urc {
    // The modem started. SIM800 V1.09 page 352 (`RDY`), A76XX V1.09 (`*ATREADY: 1`), Quectel (`RDY`, `APP RDY`).
    #[at_urc("RDY")]
    Ready,
    #[at_urc("APP RDY")]
    ApplicationReady,
    #[at_urc("*ATREADY")]
    AtReady,
    // The modem stops.
    #[at_urc("NORMAL POWER DOWN")]
    PowerDown,
    #[at_urc("POWERED DOWN")]
    PoweredDown,
    #[at_urc("UNDER-VOLTAGE POWER DOWN")]
    UnderVoltageDown,
    #[at_urc("UNDER-VOLTAGE WARNING POWER DOWN")]
    UnderVoltageWarningDown,
    #[at_urc("OVER-VOLTAGE POWER DOWN")]
    OverVoltageDown,
    #[at_urc("OVER-VOLTAGE WARNING POWER DOWN")]
    OverVoltageWarningDown,
    // The supply. SIM800 and A76XX spell it in both ways.
    #[at_urc("UNDER-VOLTAGE WARNNING")]
    UnderVoltageWarnning,
    #[at_urc("UNDER-VOLTAGE WARNING")]
    UnderVoltageWarning,
    #[at_urc("OVER-VOLTAGE WARNNING")]
    OverVoltageWarnning,
    #[at_urc("OVER-VOLTAGE WARNING")]
    OverVoltageWarning,
    /// `+CPIN: NOT READY`: the SIM is gone, or the modem restarts.
    #[at_urc("+CPIN")]
    Sim(Words),
    // The connection, SIM800.
    #[at_urc("CONNECT OK")]
    Connected,
    #[at_urc("CONNECT FAIL")]
    ConnectFailed,
    #[at_urc("ALREADY CONNECT")]
    AlreadyConnected,
    #[at_urc("STATE")]
    ConnectState,
    #[at_urc("CLOSED")]
    Closed,
    #[at_urc("+PDP")]
    ContextLost,
    /// `+CIPRXGET: 1` (SIM800), `+CIPRXGET: 1,<link>` (A76XX): data waits.
    #[at_urc("+CIPRXGET")]
    DataWaits(Numbers),
    // The connection, A76XX (TCPIP Application Note V1.00, 4.2, and the later parts of answers).
    #[at_urc("+IPCLOSE")]
    LinkClosed,
    #[at_urc("+CIPEVENT")]
    NetworkClosed,
    /// `+NETOPEN: <err>`.
    #[at_urc("+NETOPEN")]
    NetworkOpened(Numbers),
    #[at_urc("+NETCLOSE")]
    NetworkStopped,
    /// `+CIPOPEN: <link>,<err>`.
    #[at_urc("+CIPOPEN")]
    LinkOpened(Numbers),
    #[at_urc("+CIPCLOSE")]
    LinkClosedHere,
    /// `+CIPSEND: <link>,<asked>,<taken>`; -1 taken if the connection is gone.
    #[at_urc("+CIPSEND")]
    Sent(Numbers),
    /// `+IP ERROR: <why>`, in words or as a number (15.3.1).
    #[at_urc("+IP ERROR")]
    IpError(Words),
    #[at_urc("+CIPERROR")]
    CipError,
    // The connection, Quectel (2.5, and the later part of an answer).
    /// `+QIOPEN: <socket>,<err>`.
    #[at_urc("+QIOPEN")]
    SocketOpened(Numbers),
    #[at_urc("+QIURC")]
    Socket(SocketSaid),
    // Said at power-up and now and then, and of no interest.
    #[at_urc("Call Ready")]
    CallReady,
    #[at_urc("SMS Ready")]
    SmsReady,
    #[at_urc("SMS DONE")]
    SmsDone,
    #[at_urc("PB DONE")]
    PhonebookDone,
    #[at_urc("+CFUN")]
    Functionality,
    #[at_urc("+QIND")]
    Indication,
    #[at_urc("+CREG")]
    Registered,
    #[at_urc("+CGREG")]
    PacketRegistered,
    #[at_urc("+CEREG")]
    EpsRegistered,
    #[at_urc("+CGEV")]
    PacketEvent,
    #[at_urc("+CTZV")]
    TimeZone,
    #[at_urc("*PSUTTZ")]
    NetworkTime,
    #[at_urc("DST")]
    DaylightSaving,
    #[at_urc("RING")]
    Ring,
}

/// Numbers, whatever they mean: one type, since each takes its place in flash.
#[derive(Clone, Debug, AtatResp)]
pub struct Numbers {
    pub first: i32,
    pub second: Option<i32>,
    pub third: Option<i32>,
    pub _fourth: Option<i32>,
}

/// Words, up to the end of the line.
#[derive(Clone, Debug, AtatResp)]
pub struct Words {
    pub text: String<48>,
}

/// What happened to a socket.
#[derive(Clone, Debug, AtatResp)]
pub struct SocketSaid {
    pub event: String<16>,
    pub _socket: Option<u8>,
    pub _length: Option<u16>,
}
