//! The mark of an order: what is needed to rebuild it, in the order itself. The provider stores it and returns it with
//! the payment, so that a payment of an order that the store has lost (restored from a backup) is still recognised as
//! ours.

use crate::{clock::text_of, ids::SaleToken, money::Currency};
use aws_lc_rs::hmac;

/// The version of the mark's format.
const FORM: &str = "1";

/// Characters of a mark's code, five bits each.
const TAG_CHARS: usize = 16;

/// The key that marks are made with; derived from the secret key.
pub(crate) struct AttachmentKey(hmac::Key);

impl AttachmentKey {
    pub fn new(secret_key: &[u8; 32]) -> Self {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret_key), b"coinwire order mark 1");
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// Binds a mark to the payment's number, so that it is not valid for another payment.
    fn tag(&self, out_trade_no: &str, fields: &str) -> String {
        let tag = hmac::sign(&self.0, format!("{out_trade_no}\0{fields}").as_bytes());
        text_of(&tag.as_ref()[..TAG_CHARS])
    }
}

/// What a mark says about its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderAttachment {
    pub module_id: String,
    /// The machine's scan code.
    pub code: String,
    /// The sale's token.
    pub token: SaleToken,
    pub pulses: i32,
    pub amount_minor: i64,
    pub currency: Currency,
    /// The sequence by which the module knows the credit.
    pub sequence: i64,
    /// When the order was made (unix seconds).
    pub created_s: i64,
}

impl OrderAttachment {
    /// The mark, about 100 ASCII characters; every provider accepts at least 128.
    pub fn write(&self, key: &AttachmentKey, out_trade_no: &str) -> String {
        let Self { module_id, code, token, pulses, amount_minor, currency, sequence, created_s } = self;
        let currency = currency.code();
        let fields =
            format!("{FORM}.{module_id}.{code}.{token}.{pulses}.{amount_minor}.{currency}.{sequence}.{created_s}");
        let tag = key.tag(out_trade_no, &fields);
        format!("{fields}.{tag}")
    }

    /// Reads the mark of a payment; `None` if it is not one of ours.
    pub fn read(key: &AttachmentKey, out_trade_no: &str, text: &str) -> Option<Self> {
        let (fields, tag) = text.rsplit_once('.')?;
        let expected = key.tag(out_trade_no, fields);
        aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_bytes(), tag.as_bytes()).ok()?;
        let mut fields = fields.split('.');
        let mut next = || fields.next();
        if next()? != FORM {
            return None;
        }
        let attachment = Self {
            module_id: next()?.to_owned(),
            code: next()?.to_owned(),
            token: SaleToken(next()?.to_owned()),
            pulses: next()?.parse().ok()?,
            amount_minor: next()?.parse().ok()?,
            currency: Currency::parse(next()?)?,
            sequence: next()?.parse().ok()?,
            created_s: next()?.parse().ok()?,
        };
        fields.next().is_none().then_some(attachment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment() -> OrderAttachment {
        OrderAttachment {
            module_id: "0123456789".into(),
            code: "ABCDEFGH".into(),
            token: SaleToken("ABCDEFGHJKMNPQRSTVWX".into()),
            pulses: 200,
            amount_minor: 1_000_000,
            currency: Currency::Cny,
            sequence: u32::MAX.into(),
            created_s: 1_796_000_000,
        }
    }

    #[test]
    fn a_mark_comes_back_with_its_own_payment_and_key_only() {
        let key = AttachmentKey::new(&[7; 32]);
        let text = attachment().write(&key, "S1");
        assert!(text.len() <= 128, "{} characters", text.len());
        assert_eq!(OrderAttachment::read(&key, "S1", &text), Some(attachment()));
        assert_eq!(OrderAttachment::read(&key, "S2", &text), None);
        assert_eq!(OrderAttachment::read(&AttachmentKey::new(&[8; 32]), "S1", &text), None);
        assert_eq!(OrderAttachment::read(&key, "S1", &text.replace(".200.", ".199.")), None);
        for foreign in ["", ".", "1.2.3", "table 7", &text[..text.len() - 1]] {
            assert_eq!(OrderAttachment::read(&key, "S1", foreign), None, "{foreign:?}");
        }
    }
}
