//! Decimal numbers, as modems read and write them.

/// A number's decimal digits.
pub struct Decimal {
    digits: [u8; 5],
    first: usize,
}

impl Decimal {
    pub fn new(mut number: u16) -> Self {
        let mut decimal = Self { digits: [b'0'; 5], first: 5 };
        while decimal.first == 5 || number > 0 {
            decimal.first -= 1;
            decimal.digits[decimal.first] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        decimal
    }

    pub fn digits(&self) -> &[u8] {
        &self.digits[self.first..]
    }
}

/// Reads an unsigned decimal that is all of `text` but blanks around it.
pub fn decimal(text: &[u8]) -> Option<u16> {
    let text = text.trim_ascii();
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u16, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}
