//! Cuts what a modem says into lines, prompts and data.
//!
//! atat's own digester does not fit here: it ends an answer at the first `OK` line wherever it stands, in the data of a
//! read too; it keeps what came unasked within an answer as part of the answer; and it calls itself for each blank line
//! of a buffer, which a modem can have as many of as it likes. This one tells each line by itself, and takes data by
//! the length that its first line tells.
//!
//! As a `Response`, an information line is given as it is and the final `OK` as an empty one. Lines said unasked are
//! not told apart here: whether a line is an answer depends on what was asked.

use super::{RECEIVE_MAX_BYTES, command::urc::Urc, decimal::decimal, family::DataHeader};
use atat::{AtatUrc, CmeError, DigestResult, Digester, InternalError};

/// Cuts lines, prompts and data.
#[derive(Debug, Default)]
pub(super) struct LineDigester {
    /// How the first line of an answer with data looks, once the family is known.
    pub(super) data_header: Option<&'static DataHeader>,
    /// Whether a `>` is a prompt now.
    pub(super) prompt_expected: bool,
}

impl LineDigester {
    /// Whether this is an answer with data.
    pub(super) fn is_data(&self, answer: &[u8]) -> bool {
        let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
        self.data_header.is_some_and(|header| header.count(line).is_some())
    }
}

impl Digester for LineDigester {
    fn digest<'a>(&mut self, buffer: &'a [u8]) -> (DigestResult<'a>, usize) {
        let blanks = buffer.iter().take_while(|byte| is_blank(**byte)).count();
        let said = buffer.get(blanks..).unwrap_or_default();
        if self.prompt_expected && said.first() == Some(&b'>') {
            return (DigestResult::Prompt(b'>'), blanks + 1);
        }
        let Some(end) = line_end(said) else { return (DigestResult::None, blanks) };
        let line = trimmed(said.get(..end).unwrap_or_default());
        let line_and_blanks = blanks + end + 1;
        if line.is_empty() {
            return (DigestResult::None, line_and_blanks);
        }
        if let Some(count) = self.data_header.and_then(|header| header.count(line)) {
            let first = leading_noise(said);
            return match data(said, end + 1, usize::from(count)) {
                Data::Whole { end } => {
                    (DigestResult::Response(Ok(said.get(first..end).unwrap_or_default())), blanks + end)
                }
                Data::Incomplete => (DigestResult::None, blanks),
                Data::Wrong => (DigestResult::Response(Err(InternalError::InvalidResponse)), buffer.len()),
            };
        }
        (DigestResult::Response(result(line)), line_and_blanks)
    }
}

fn result(line: &[u8]) -> Result<&[u8], InternalError<'_>> {
    match line {
        b"OK" => Ok(&[]),
        b"ERROR" => Err(InternalError::Error),
        _ => {
            if let Some(number) = line.strip_prefix(b"+CME ERROR:") {
                return Err(InternalError::CmeError(cme_error(decimal(number))));
            }
            if line.starts_with(b"+CMS ERROR:") {
                return Err(InternalError::Error);
            }
            Ok(line)
        }
    }
}

/// Those that make a difference here (3GPP TS 27.007, 9.2): atat's table of all takes a kilobyte.
fn cme_error(number: Option<u16>) -> CmeError {
    match number {
        Some(5) => CmeError::PhSimPin,
        Some(10) => CmeError::SimNotInserted,
        Some(11) => CmeError::SimPin,
        Some(12) => CmeError::SimPuk,
        _ => CmeError::Unknown,
    }
}

enum Data {
    /// It is all there, up to this place.
    Whole { end: usize },
    /// More is to come.
    Incomplete,
    /// What follows it shows that its length was told wrong, or that bytes were lost.
    Wrong,
}

/// Looks for so many bytes of data from `start`, and for what must follow them: the end of the line, and then `OK` or
/// something said unasked. Data is not given on before that is seen, so that a byte lost on the line is no gap in it.
fn data(said: &[u8], start: usize, count: usize) -> Data {
    if count > RECEIVE_MAX_BYTES {
        return Data::Wrong;
    }
    if count == 0 {
        return Data::Whole { end: start };
    }
    let end = start + count;
    let Some(after) = said.get(end..) else { return Data::Incomplete };
    if after.len() < 2 {
        return Data::Incomplete;
    }
    if !after.starts_with(b"\r\n") {
        return Data::Wrong;
    }
    let blanks = after.iter().take_while(|byte| is_blank(**byte)).count();
    let after = after.get(blanks..).unwrap_or_default();
    let Some(next_end) = line_end(after) else { return Data::Incomplete };
    let next = trimmed(after.get(..next_end).unwrap_or_default());
    if next == b"OK" || Urc::parse(next).is_some() { Data::Whole { end } } else { Data::Wrong }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | b' ' | 0)
}

fn line_end(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

/// Bytes at the beginning that no line begins with: a modem that starts sends some.
fn leading_noise(line: &[u8]) -> usize {
    line.iter().position(u8::is_ascii_graphic).unwrap_or(line.len())
}

/// Without noise before, and blanks after.
fn trimmed(line: &[u8]) -> &[u8] {
    line.get(leading_noise(line)..).unwrap_or_default().trim_ascii_end()
}
