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
    Sim(SimSaid),
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
    DataWaits(DataWaits),
    // The connection, A76XX (TCPIP Application Note V1.00, 4.2, and the later parts of answers).
    #[at_urc("+IPCLOSE")]
    LinkClosed,
    #[at_urc("+CIPEVENT")]
    NetworkClosed,
    #[at_urc("+NETOPEN")]
    NetworkOpened(Verdict),
    #[at_urc("+NETCLOSE")]
    NetworkStopped,
    #[at_urc("+CIPOPEN")]
    LinkOpened(LinkVerdict),
    #[at_urc("+CIPCLOSE")]
    LinkClosedHere,
    #[at_urc("+CIPSEND")]
    Sent(Sent),
    #[at_urc("+IP ERROR")]
    IpError(IpError),
    #[at_urc("+CIPERROR")]
    CipError,
    // The connection, Quectel (2.5, and the later part of an answer).
    #[at_urc("+QIOPEN")]
    SocketOpened(LinkVerdict),
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

/// The state of the SIM.
#[derive(Clone, Debug, AtatResp)]
pub struct SimSaid {
    pub state: String<24>,
}

/// What a `+CIPRXGET` is about.
#[derive(Clone, Debug, AtatResp)]
pub struct DataWaits {
    /// 1: data waits.
    pub mode: u8,
    pub _first: Option<u16>,
    pub _second: Option<u16>,
    pub _third: Option<u16>,
}

/// A result; 0 is success.
#[derive(Clone, Debug, AtatResp)]
pub struct Verdict {
    pub error: u16,
}

/// A result of a connection; 0 is success.
#[derive(Clone, Debug, AtatResp)]
pub struct LinkVerdict {
    pub _link: u8,
    pub error: u16,
}

/// How much was sent.
#[derive(Clone, Debug, AtatResp)]
pub struct Sent {
    pub _link: u8,
    pub asked: u16,
    /// -1 if the connection is gone.
    pub taken: i32,
}

/// What happened to a socket.
#[derive(Clone, Debug, AtatResp)]
pub struct SocketSaid {
    pub event: String<16>,
    pub _socket: Option<u8>,
    pub _length: Option<u16>,
}

/// Why a command fails, in words or as a number (A76XX V1.09, 15.3.1).
#[derive(Clone, Debug, AtatResp)]
pub struct IpError {
    pub what: String<48>,
}
