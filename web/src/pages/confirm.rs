//! Actions that cannot be undone ask for confirmation and say what will happen. Without JavaScript: the form's answer
//! is a page with the question, whose form confirms.

use crate::{failure::Failure, page::Page, pages::member_context::member_context};
use backend::access::signed_in::Member;
use poem::Response;
use serde::Serialize;
use tera::Context;

/// The form field that says that the person has confirmed.
pub(crate) const CONFIRM_FIELD: &str = "sure";

/// Whether a form says that the person has confirmed.
pub(crate) fn is_confirmed(field: &str) -> bool {
    field == "yes"
}

/// A question before something is done.
#[derive(Debug, Serialize)]
pub(crate) struct Question<'a> {
    /// `confirm-<word>-title`, `-text` and `-do` in the locales.
    pub(crate) word: &'static str,
    /// What it is about, by its name.
    pub(crate) about: &'a str,
    /// The address to which the confirmation is sent.
    pub(crate) action: &'a str,
    /// The fields sent with it.
    pub(crate) fields: &'a [(&'a str, &'a str)],
    /// Target of the cancel link.
    pub(crate) back: &'a str,
}

/// The page with the question.
pub(crate) fn ask(page: Page, member: &Member, tab: &str, question: &Question<'_>) -> Result<Response, Failure> {
    page.at(question.back.to_owned()).render("confirm.html", context(member, tab, question))
}

/// What the template names.
pub(crate) fn context(member: &Member, tab: &str, question: &Question<'_>) -> Context {
    let mut context = member_context(member);
    context.insert("tab", tab);
    context.insert("question", question);
    context.insert("sure", CONFIRM_FIELD);
    context
}
