//! The contact for payers, as a link if possible.

/// The fewest digits of a phone number.
const PHONE_DIGITS_MIN: usize = 5;

/// The link for a contact: `tel:` for a phone number, `mailto:` for an e-mail address, `None` for other words.
pub(crate) fn href(contact: &str) -> Option<String> {
    let is_phone = contact.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | ' ' | '(' | ')'));
    let number: String = contact.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect();
    if is_phone && number.len() >= PHONE_DIGITS_MIN {
        return Some(format!("tel:{number}"));
    }
    let (name, domain) = contact.split_once('@')?;
    let is_plain = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+'))
    };
    (is_plain(name) && is_plain(domain) && domain.contains('.')).then(|| format!("mailto:{contact}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses_are_links() {
        assert_eq!(href("400-123 4567").as_deref(), Some("tel:4001234567"));
        assert_eq!(href("+86 (10) 1234-5678").as_deref(), Some("tel:+861012345678"));
        assert_eq!(href("help@sunny.example").as_deref(), Some("mailto:help@sunny.example"));
        for words in ["", "12", "WeChat: sunny", "a@b", "a@b.c?subject=x", "the kiosk at gate 4", "javascript:alert(1)"]
        {
            assert_eq!(href(words), None, "{words}");
        }
    }
}
