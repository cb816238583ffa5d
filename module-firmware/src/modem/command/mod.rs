//! Commands, their answers, and what modems say unasked.
//!
//! A command is data, so that its exchange is compiled once for all of them; atat's derive makes a type of each. Its
//! `parse` is called with each information line while its answer is awaited, and with an empty slice for the final
//! `OK`. [`atat::Error::Parse`] says "not mine": the line is then taken for something said unasked, and the answer is
//! waited for further. So an answer that comes late, or twice, is not taken for another command's.

pub mod a7670;
pub mod general;
pub mod quectel;
pub mod sim800;
pub mod socket;
pub mod urc;

use super::{
    decimal::{Decimal, decimal},
    family::{Domain, Family},
};
use atat::{AtatCmd, AtatResp, Error, InternalError};
use general::{Iccid, Registration, SimState};
use socket::{Receive, Received};

/// Longest command in bytes, with all its strings at their longest.
pub const COMMAND_BYTES: usize = 192;
/// Most numbers in a line that is looked at.
const NUMBERS_MAX: usize = 4;

/// A value of a command.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// A number, in decimal.
    Number(u16),
    /// A text, which is put in quotes: one without quotes in it.
    Text(&'a str),
}

/// What a command is answered by, before `OK` or instead of it.
#[derive(Clone, Copy)]
pub enum Expects<'a> {
    /// `OK` alone.
    Nothing,
    /// A line of just these words, no `OK` following.
    Verdict(&'static [u8]),
    /// An IPv4 address, no `OK` following.
    Address,
    /// Whether data was taken, no `OK` following.
    SendVerdict,
    /// Something with the model's name.
    Model,
    /// The state of the SIM.
    Sim,
    /// The signal.
    Signal,
    /// Where the registration in a domain stands.
    Registration(Domain),
    /// The number of the SIM card.
    Iccid,
    /// Whether the socket service runs.
    Network,
    /// Data.
    Data(Receive<'a>),
}

/// A command.
#[derive(Clone, Copy)]
pub struct Command<'a> {
    /// What follows `AT`, up to the values.
    pub name: &'a [u8],
    /// Its values, which commas part.
    pub values: &'a [Value<'a>],
    /// The longest that the answer may take, in milliseconds.
    pub longest_ms: u32,
    /// The answer.
    pub expects: Expects<'a>,
}

/// An answer.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// It was carried out.
    Done,
    /// The family that the model belongs to.
    Model(&'static Family),
    /// The state of the SIM.
    Sim(SimState),
    /// The signal: 0 to 31, 99 if not known.
    Signal(u8),
    /// Where the registration stands.
    Registration(Registration),
    /// The number of the SIM card.
    Iccid(Iccid),
    /// Whether the socket service runs.
    Network(bool),
    /// How much was read.
    Received(Received),
}

impl AtatResp for Answer {}

impl<'a> Command<'a> {
    /// One that `OK` answers.
    const fn order(name: &'a [u8], longest_ms: u32) -> Self {
        Self::asking(name, longest_ms, Expects::Nothing)
    }

    const fn asking(name: &'a [u8], longest_ms: u32, expects: Expects<'a>) -> Self {
        Self { name, values: &[], longest_ms, expects }
    }

    /// With values.
    pub const fn with(self, values: &'a [Value<'a>]) -> Self {
        Self { values, ..self }
    }

    /// Whether `OK` is the end of the answer.
    pub fn ends_with_code(&self) -> bool {
        !matches!(self.expects, Expects::Verdict(_) | Expects::Address | Expects::SendVerdict)
    }
}

impl AtatCmd for Command<'_> {
    type Response = Answer;

    /// As far as it fits.
    fn write(&self, buffer: &mut [u8]) -> usize {
        let mut written = 0;
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                if let Some(place) = buffer.get_mut(written) {
                    *place = *byte;
                    written += 1;
                }
            }
        };
        add(b"AT");
        add(self.name);
        let mut comma: &[u8] = b"";
        for value in self.values {
            add(comma);
            comma = b",";
            match value {
                Value::Number(number) => add(Decimal::new(*number).digits()),
                Value::Text(text) => {
                    add(b"\"");
                    add(text.as_bytes());
                    add(b"\"");
                }
            }
        }
        add(b"\r");
        written
    }

    fn parse(&self, answer: Result<&[u8], InternalError>) -> Result<Answer, Error> {
        let line = answer?;
        let answer = match &self.expects {
            Expects::Nothing => line.is_empty().then_some(Answer::Done),
            Expects::Verdict(words) => (line == *words).then_some(Answer::Done),
            Expects::Address => sim800::is_address(line).then_some(Answer::Done),
            Expects::SendVerdict if line == b"SEND FAIL" || line == b"CLOSED" => return Err(Error::Error),
            Expects::SendVerdict => (line == b"SEND OK").then_some(Answer::Done),
            Expects::Model => Family::of_model(line).map(Answer::Model),
            Expects::Sim => general::sim_state(line).map(Answer::Sim),
            Expects::Signal => general::signal(line).map(Answer::Signal),
            Expects::Registration(domain) => general::registration(*domain, line).map(Answer::Registration),
            Expects::Iccid => Iccid::find(line).map(Answer::Iccid),
            Expects::Network => a7670::network(line).map(Answer::Network),
            Expects::Data(receive) => return receive.take(line).map(Answer::Received),
        };
        answer.ok_or(Error::Parse)
    }
}

/// Reads the numbers that a line consists of: one at least, and no more than [`NUMBERS_MAX`].
fn numbers(text: &[u8]) -> Option<[Option<i32>; NUMBERS_MAX]> {
    let mut numbers = [None; NUMBERS_MAX];
    let mut places = numbers.iter_mut();
    for field in text.split(|byte| *byte == b',') {
        let field = field.trim_ascii();
        let number = match field.strip_prefix(b"-") {
            Some(digits) => -i32::from(decimal(digits)?),
            None => decimal(field)?.into(),
        };
        *places.next()? = Some(number);
    }
    Some(numbers)
}

/// A word, without blanks around it, nor quotes.
fn word(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii();
    text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text)
}
