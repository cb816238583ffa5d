//! A person ends a connection at the broker. The broker holds the connections; that it was done is recorded here.

use crate::{
    Context, Result,
    access::{
        actor::Actor,
        audit::{self, Change},
        operations::Operation,
    },
    ids::OperatorId,
};
use serde::Serialize;
use serde_json::json;

/// A connection that a person ends.
#[derive(Debug, Clone, Serialize)]
pub struct EndedConnection<'a> {
    /// The client id it gave.
    #[serde(skip)]
    pub client_id: &'a str,
    /// Whose it is: `module`, `integrator`, `member`, `manufacturer` or `backend`.
    pub kind: &'a str,
    /// The machine's name, or the short name of the operator or the manufacturer; empty if it has none.
    pub name: &'a str,
    /// Where it comes from.
    pub peer: &'a str,
}

/// Records that a person asks for a connection to be ended, before it is: what cannot be recorded is not done. It may have
/// ended by itself meanwhile.
///
/// # Errors
///
/// `NotFound` if the operator is another one; `Forbidden`, `Store`.
pub async fn record_end(ctx: &Context, actor: &Actor, operator: OperatorId, ended: EndedConnection<'_>) -> Result<()> {
    let permit = actor.permit(Operation::EndConnection, operator, "operator")?;
    let ended = &ended;
    ctx.db
        .write(|txn| async move {
            audit::record(ctx, &txn, permit, ("connection", ended.client_id), Change::from(json!(ended))).await
        })
        .await
}
