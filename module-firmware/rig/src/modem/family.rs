//! Where the three families differ in words and times. What a command does is in a file for each.

use super::core::Socket;

/// A family of modems with commands of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// SIM800 class: 2G, one connection, CSTT/CIICR/CIPSTART. SIM800 Series AT Command Manual V1.09, chapter 8.
    Sim800,
    /// A7670 class: LTE, NETOPEN/CIPOPEN. A76XX Series AT Command Manual V1.09, TCP/IP chapter.
    A7670,
    /// Quectel class: QICSGP/QIACT/QIOPEN. EC200U & EG915U Series TCP/IP Application Note V1.1.
    Quectel,
}

impl Family {
    /// All of them.
    pub const ALL: [Family; 3] = [Family::Sim800, Family::A7670, Family::Quectel];

    /// Milliseconds the power key must be held to switch on, and off. SIM800 Hardware Design V1.08, 4.2; A7670 Hardware
    /// Design V1.02, 3.2; EC200U Hardware Design V1.0, 3.7.
    pub(super) fn key_ms(self) -> (u64, u64) {
        match self {
            Family::Sim800 => (1000, 1000),
            Family::A7670 => (50, 2500),
            Family::Quectel => (500, 650),
        }
    }

    pub(super) fn model(self) -> &'static str {
        match self {
            Family::Sim800 => "SIM800 R14.18",
            Family::A7670 => "A7670E-FASE",
            Family::Quectel => "EC200U",
        }
    }

    pub(super) fn maker(self) -> &'static str {
        match self {
            Family::Sim800 => "SIMCOM_Ltd",
            Family::A7670 => "SIMCOM INCORPORATED",
            Family::Quectel => "Quectel",
        }
    }

    /// Said when it is ready.
    pub(super) fn ready_words(self) -> &'static [&'static str] {
        match self {
            Family::Sim800 => &["+CFUN: 1", "+CPIN: READY", "Call Ready", "SMS Ready"],
            Family::A7670 => &["*ATREADY: 1", "+CPIN: READY", "SMS DONE", "PB DONE"],
            Family::Quectel => &["RDY", "+CPIN: READY", "+QIND: SMS DONE", "+QIND: PB DONE"],
        }
    }

    pub(super) fn power_down_word(self) -> Option<&'static str> {
        match self {
            Family::Sim800 => Some("NORMAL POWER DOWN"),
            Family::A7670 => None,
            Family::Quectel => Some("POWERED DOWN"),
        }
    }

    /// What asks for data. A7670's has no blank behind it.
    pub(super) fn prompt(self) -> &'static [u8] {
        match self {
            Family::Sim800 | Family::Quectel => b"\r\n> ",
            Family::A7670 => b"\r\n>",
        }
    }

    /// Data was taken. That is not the server's acceptance.
    pub(super) fn sent(self, count: usize) -> Vec<String> {
        match self {
            Family::Sim800 | Family::Quectel => vec!["SEND OK".into()],
            Family::A7670 => vec!["OK".into(), format!("+CIPSEND: 0,{count},{count}")],
        }
    }

    pub(super) fn send_failed(self) -> &'static str {
        match self {
            Family::Sim800 | Family::Quectel => "SEND FAIL",
            Family::A7670 => "+CIPERROR: 4",
        }
    }

    /// How a dial went.
    pub(super) fn dialled(self, ok: bool) -> &'static [&'static str] {
        match (self, ok) {
            (Family::Sim800, true) => &["CONNECT OK"],
            (Family::Sim800, false) => &["STATE: TCP CLOSED", "CONNECT FAIL"],
            (Family::A7670, true) => &["+CIPOPEN: 0,0"],
            (Family::A7670, false) => &["+CIPOPEN: 0,10"],
            (Family::Quectel, true) => &["+QIOPEN: 0,0"],
            (Family::Quectel, false) => &["+QIOPEN: 0,566"],
        }
    }

    /// Quectel keeps a socket that failed to open until QICLOSE (application note, 2.1.4).
    pub(super) fn socket_after_failure(self) -> Socket {
        match self {
            Family::Sim800 | Family::Quectel => Socket::Closed,
            Family::A7670 => Socket::Idle,
        }
    }

    pub(super) fn closed_word(self) -> &'static str {
        match self {
            Family::Sim800 => "CLOSED",
            Family::A7670 => "+IPCLOSE: 0,1",
            Family::Quectel => "+QIURC: \"closed\",0",
        }
    }

    pub(super) fn bearer_lost(self) -> &'static str {
        match self {
            Family::Sim800 => "+PDP: DEACT",
            Family::A7670 => "+CIPEVENT: NETWORK CLOSED UNEXPECTEDLY",
            Family::Quectel => "+QIURC: \"pdpdeact\",1",
        }
    }

    pub(super) fn data_word(self) -> &'static str {
        match self {
            Family::Sim800 => "+CIPRXGET: 1",
            Family::A7670 => "+CIPRXGET: 1,0",
            Family::Quectel => "+QIURC: \"recv\",0",
        }
    }

    /// Quectel's access mode is chosen with QIOPEN; the others push data unless told otherwise.
    pub(super) fn buffers_by_nature(self) -> bool {
        self == Family::Quectel
    }

    /// Data that comes unasked, where it is not buffered.
    pub(super) fn pushed(self, bytes: &[u8]) -> Vec<u8> {
        let head = match self {
            Family::Sim800 => String::new(),
            Family::A7670 => format!("\r\nRECV FROM:0.0.0.0:0\r\n+IPD{}\r\n", bytes.len()),
            Family::Quectel => format!("\r\n+QIURC: \"recv\",0,{}\r\n", bytes.len()),
        };
        [head.as_bytes(), bytes].concat()
    }
}
