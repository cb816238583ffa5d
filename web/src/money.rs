//! How amounts are written on pages, and read from forms.

use backend::money::{Currency, Money, PaidMoney};

/// The sign before an amount. A plain yen sign would be read as yuan.
fn sign(currency: Currency) -> &'static str {
    match currency {
        Currency::Cny => "¥",
        Currency::Eur => "€",
        Currency::Jpy => "JP¥",
        Currency::Kwd => "KD ",
    }
}

/// An amount for people: `¥1.05`, `-€0.05`. In an unknown currency, only the provider's number can be shown.
pub(crate) fn text(paid: &PaidMoney) -> String {
    match paid.known() {
        Some(money) => {
            let decimal = money.decimal();
            match decimal.strip_prefix('-') {
                Some(positive) => format!("-{}{positive}", sign(money.currency)),
                None => format!("{}{decimal}", sign(money.currency)),
            }
        }
        None => format!("{} {}", paid.currency, paid.amount_minor),
    }
}

/// Reads an amount as people write it: with a point or a comma, and at most as many decimals as the currency has.
pub(crate) fn parse(text: &str, currency: Currency) -> Option<Money> {
    let text = text.trim();
    let (whole, decimals) = text.split_once(['.', ',']).unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let places = usize::try_from(currency.decimals()).ok()?;
    let has_decimals = text.len() > whole.len();
    if !digits(whole) || !digits(decimals) || (has_decimals && decimals.len() > places) {
        return None;
    }
    let part: i64 = if places == 0 { 0 } else { format!("{decimals:0<places$}").parse().ok()? };
    let amount_minor = whole.parse::<i64>().ok()?.checked_mul(10i64.pow(currency.decimals()))?.checked_add(part)?;
    Some(Money::new(amount_minor, currency))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_sign_in_front_and_the_currencys_decimals() {
        let written = |amount_minor, currency: &str| text(&PaidMoney { amount_minor, currency: currency.into() });
        assert_eq!(written(105, "CNY"), "¥1.05");
        assert_eq!(written(-5, "EUR"), "-€0.05");
        assert_eq!(written(300, "JPY"), "JP¥300");
        assert_eq!(written(1050, "KWD"), "KD 1.050");
        assert_eq!(written(7, "XYZ"), "XYZ 7");
    }

    #[test]
    fn reads_amounts_as_people_write_them() {
        for (text, minor) in [("12", 1200), ("12.5", 1250), ("12,50", 1250), (" 0.01 ", 1), ("007", 700)] {
            assert_eq!(parse(text, Currency::Cny), Some(Money::new(minor, Currency::Cny)), "{text}");
        }
        for wrong in ["", ".", "1.", ".5", "1.234", "-1", "+1", "1e3", "¥1", "1.2.3", "99999999999999999999", "１"] {
            assert_eq!(parse(wrong, Currency::Cny), None, "{wrong}");
        }
        assert_eq!(parse("300", Currency::Jpy), Some(Money::new(300, Currency::Jpy)));
        assert_eq!(parse("300.5", Currency::Jpy), None);
        assert_eq!(parse("1.05", Currency::Kwd), Some(Money::new(1050, Currency::Kwd)));
        assert_eq!(parse("1.0505", Currency::Kwd), None);
    }
}
