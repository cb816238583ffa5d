//! The variables of all members' pages: who the member is, and what the member may do, so that pages show only that.

use backend::access::{operations::Operation, signed_in::Member};
use std::collections::BTreeMap;
use strum::IntoEnumIterator;
use tera::Context;

/// `member`, and `may` with true or false for each operation's word.
pub(crate) fn member_context(member: &Member) -> Context {
    let actor = member.actor(None);
    let may: BTreeMap<&str, bool> =
        Operation::iter().map(|operation| (operation.as_str(), actor.may(operation))).collect();
    let mut context = Context::new();
    context.insert("member", member);
    context.insert("may", &may);
    context
}
