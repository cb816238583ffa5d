//! What every page of a member names: who it is, and what this member may do, so that pages show only that.

use backend::access::{operations::Operation, signed_in::Member};
use std::collections::BTreeMap;
use strum::IntoEnumIterator;
use tera::Context;

/// `member`, and `may` with a yes or no for the word of every operation.
pub(crate) fn member_context(member: &Member) -> Context {
    let actor = member.actor(None);
    let may: BTreeMap<&str, bool> =
        Operation::iter().map(|operation| (operation.as_str(), actor.may(operation))).collect();
    let mut context = Context::new();
    context.insert("member", member);
    context.insert("may", &may);
    context
}
