//! Families of modems, as data: a family more is a row more, and a [`Stack`] more only if it speaks other commands.

use super::decimal::decimal;

/// Whose TCP commands a family speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// CSTT, CIICR, CIFSR, CIPSTART.
    Sim800,
    /// NETOPEN, CIPOPEN.
    A7670,
    /// QICSGP, QIACT, QIOPEN.
    Quectel,
}

/// Where a registration is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// Circuit switched: GSM itself.
    Gsm,
    /// Packet data of 2G and 3G.
    Packet,
    /// Packet data of 4G.
    Eps,
}

impl Domain {
    /// What asks for it; the answer begins with the same words.
    pub(super) const fn question(self) -> &'static [u8] {
        match self {
            Self::Gsm => b"+CREG?",
            Self::Packet => b"+CGREG?",
            Self::Eps => b"+CEREG?",
        }
    }
}

/// The first line of an answer that carries data: `<name>: [<mode>,]<fields>`, and the data after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataHeader {
    /// Its name, with the colon.
    pub name: &'static [u8],
    /// The first field, where it tells this answer from others of the name.
    pub mode: Option<u16>,
    /// Which field has the number of bytes that follow, counted from 0.
    pub count_field: usize,
    /// Which field has the number of bytes left to read.
    pub left_field: Option<usize>,
    /// How many fields there are.
    pub fields: usize,
}

impl DataHeader {
    pub(super) fn field<'a>(&self, line: &'a [u8], index: usize) -> Option<&'a [u8]> {
        line.strip_prefix(self.name)?.split(|byte| *byte == b',').nth(index)
    }

    /// The number of bytes that follow this line; `None` if it is not such a header.
    pub(super) fn count(&self, line: &[u8]) -> Option<u16> {
        let fields = line.strip_prefix(self.name)?.split(|byte| *byte == b',').count();
        if fields != self.fields {
            return None;
        }
        if let Some(mode) = self.mode
            && decimal(self.field(line, 0)?) != Some(mode)
        {
            return None;
        }
        decimal(self.field(line, self.count_field)?)
    }
}

/// Times that switching a modem on and off takes, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerTimes {
    /// PWRKEY held to switch on.
    pub on_ms: u32,
    /// PWRKEY held to switch off.
    pub off_ms: u32,
    /// From the end of that to off.
    pub down_ms: u32,
    /// From switched on to answering.
    pub boot_ms: u32,
}

/// A family.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What the models' names have in them.
    pub models: &'static [&'static str],
    /// Its TCP commands.
    pub stack: Stack,
    /// The command that asks for the SIM card's number.
    pub iccid: &'static [u8],
    /// Where to ask for a registration: one of them is enough.
    pub domains: &'static [Domain],
    /// The command that sends, up to the length.
    pub send: &'static [u8],
    /// The command that reads, up to the length.
    pub receive: &'static [u8],
    /// The first line of its answer.
    pub data_header: DataHeader,
    /// Its switching times.
    pub power: PowerTimes,
}

const SINGLE_LINK_DATA: DataHeader =
    DataHeader { name: b"+CIPRXGET:", mode: Some(2), count_field: 1, left_field: Some(2), fields: 3 };

/// All families, the more particular model names first.
pub const FAMILIES: [Family; 4] = [
    // SIM800 Series AT Command Manual V1.09; SIM800 Series TCPIP Application Note V1.01; SIM800 Hardware Design V1.08
    // (PWRKEY low for 1 s to switch on, for 1.5 to 33 s to switch off).
    Family {
        name: "SIM800",
        models: &["SIM800", "SIM808", "SIM868", "SIM900", "SIM7000"],
        stack: Stack::Sim800,
        iccid: b"+CCID",
        domains: &[Domain::Packet, Domain::Eps],
        send: b"+CIPSEND=",
        receive: b"+CIPRXGET=2,",
        data_header: SINGLE_LINK_DATA,
        power: PowerTimes { on_ms: 1_200, off_ms: 1_800, down_ms: 3_000, boot_ms: 10_000 },
    },
    // A76XX Series AT Command Manual V1.09; A7600 Series TCPIP Application Note V1.00; A7670 Hardware Design V1.03
    // (PWRKEY low for 50 ms or more to switch on, for 2.5 s or more to switch off).
    Family {
        name: "A7670",
        models: &["A7670", "A7672", "A7600", "A7608", "SIM7600", "SIM7670", "SIM7672"],
        stack: Stack::A7670,
        iccid: b"+CICCID",
        domains: &[Domain::Eps, Domain::Packet],
        send: b"+CIPSEND=0,",
        receive: b"+CIPRXGET=2,0,",
        data_header: DataHeader { name: b"+CIPRXGET:", mode: Some(2), count_field: 2, left_field: Some(3), fields: 4 },
        power: PowerTimes { on_ms: 600, off_ms: 3_000, down_ms: 4_000, boot_ms: 20_000 },
    },
    // EC200U&EG915U Series TCP/IP Application Note V1.1; EC2x and EC200 hardware designs (PWRKEY low for 500 ms to 2 s
    // to switch on, for 650 ms to 3 s to switch off; the longest of the class is taken).
    Family {
        name: "Quectel",
        models: &["EC200", "EC800", "EC600", "EC2", "EG9", "EG25", "BG9", "UC20", "UC15", "M95"],
        stack: Stack::Quectel,
        iccid: b"+QCCID",
        domains: &[Domain::Eps, Domain::Packet],
        send: b"+QISEND=0,",
        receive: b"+QIRD=0,",
        data_header: DataHeader { name: b"+QIRD:", mode: None, count_field: 0, left_field: None, fields: 1 },
        power: PowerTimes { on_ms: 2_100, off_ms: 3_200, down_ms: 30_000, boot_ms: 20_000 },
    },
    // Air724 and Air780 speak the SIM800's commands (docs.openluat.com, AT command list, TCPIP).
    Family {
        name: "Air",
        models: &["Air724", "AIR724", "Air780", "AIR780", "Air700", "AIR700"],
        stack: Stack::Sim800,
        iccid: b"+ICCID",
        domains: &[Domain::Eps, Domain::Packet],
        send: b"+CIPSEND=",
        receive: b"+CIPRXGET=2,",
        data_header: SINGLE_LINK_DATA,
        power: PowerTimes { on_ms: 1_500, off_ms: 3_000, down_ms: 4_000, boot_ms: 20_000 },
    },
];

/// Times for a modem that is not known yet: long enough for all.
pub const UNKNOWN_POWER: PowerTimes = PowerTimes { on_ms: 2_100, off_ms: 3_200, down_ms: 5_000, boot_ms: 20_000 };

impl Family {
    /// The family of a model, by a line of what the modem says of itself.
    pub fn of_model(line: &[u8]) -> Option<&'static Self> {
        const ALL: &[Family] = &FAMILIES;
        ALL.iter().find(|family| family.models.iter().any(|model| contains(line, model.as_bytes())))
    }
}

fn contains(line: &[u8], word: &[u8]) -> bool {
    line.windows(word.len()).any(|window| window == word)
}
