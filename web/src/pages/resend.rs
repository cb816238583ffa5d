//! The answer to a form whose token has expired, or whose session changed while it was open: it shows what was typed,
//! and one press sends it. Passwords are never kept, and actions that need confirmation ask again.

use crate::{
    failure::Failure,
    guard::form_token::ExpiredForm,
    navigation::page_of,
    page::Page,
    pages::{confirm::CONFIRM_FIELD, member_context::member_context},
};
use backend::access::signed_in::Member;
use poem::{Response, http::StatusCode};
use serde::Serialize;
use tera::Context;

/// The checkbox that confirms a form.
const CONFIRMED: &str = "confirmed";

/// A field that is sent again unseen.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Field<'a> {
    name: &'a str,
    value: &'a str,
    /// The key of the text that names it, if people typed it.
    label: Option<String>,
}

/// The page, in the operator's pages if a member is signed in.
pub(crate) fn answer(page: &Page, member: Option<&Member>, expired_form: &ExpiredForm) -> Result<Response, Failure> {
    let back = page_of(&page.look.here).unwrap_or_else(|| "/".into());
    let context = context(member, &page.look.here, &back, expired_form);
    let template = if member.is_some() { "operator_resend.html" } else { "resend.html" };
    page.clone().at(back).render_as(StatusCode::FORBIDDEN, template, context)
}

/// The template's variables.
pub(crate) fn context(member: Option<&Member>, action: &str, back: &str, expired_form: &ExpiredForm) -> Context {
    let mut context = member.map(member_context).unwrap_or_default();
    if member.is_some() {
        context.insert("tab", "");
    }
    context.insert("action", action);
    context.insert("back", back);
    context.insert("fields", &fields(expired_form));
    context
}

fn fields(expired_form: &ExpiredForm) -> Vec<Field<'_>> {
    let is_kept = |name: &str| {
        ![crate::guard::form_token::FIELD, CONFIRM_FIELD, CONFIRMED].contains(&name) && !name.contains("password")
    };
    expired_form
        .fields
        .iter()
        .filter(|(name, _)| is_kept(name))
        .map(|(name, value)| Field { name, value, label: label(name) })
        .collect()
}

/// The text that names a field which people type into.
fn label(name: &str) -> Option<String> {
    let key = match name {
        "label" | "amount" | "pulses" => format!("price-{name}"),
        "coins" => "learn-coins".into(),
        "test_pulses" => "learn-test-pulses".into(),
        "width_min_ms"
        | "width_max_ms"
        | "gap_min_ms"
        | "burst_end_ms"
        | "credit_width_ms"
        | "credit_gap_ms"
        | "credit_pulses_max"
        | "credit_pulses_per_minute_max"
        | "status_period_s"
        | "keepalive_s"
        | "settle_ms" => {
            format!("setting-{name}")
        }
        _ => return None,
    };
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_was_typed_but_no_password_no_token_and_no_answer_to_a_question() {
        let typed = [
            ("csrf", "T"),
            ("label", "A <b>"),
            ("password", "x"),
            ("new_password", "y"),
            ("sure", "yes"),
            ("confirmed", "true"),
            ("on", ""),
        ];
        let expired_form = ExpiredForm { fields: typed.map(|(name, value)| (name.into(), value.into())).into() };
        let kept: Vec<(&str, bool)> =
            fields(&expired_form).into_iter().map(|field| (field.name, field.label.is_some())).collect();
        assert_eq!(kept, [("label", true), ("on", false)]);
    }
}
