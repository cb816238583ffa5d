//! Remote actions: what an operator has a module do once, and the outcome of the newest of each kind.

use crate::{
    Context, Error, Result,
    modules::command::{self, Column, CommandState, Entity},
};
use protocol::messages::{Action, Learn};
use sea_orm::{ConnectionTrait, QueryOrder, QuerySelect, prelude::*};
use serde::Serialize;

/// Something that a module is to do once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoteAction {
    /// Restart.
    Restart,
    /// Show where it is.
    Locate,
    /// Learn the coin line.
    Learn(LearnOptions),
    /// End the learning in progress.
    StopLearning,
    /// Report its diagnostics.
    Diagnose,
}

/// How a coin line is to be learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LearnOptions {
    /// Coins to sample, 10 to 50.
    pub coins: u8,
    /// Whether to test the pulses on the machine. The sense input, if the settings have one, tells the result;
    /// otherwise a person at the module's button does.
    pub confirm: bool,
    /// Pulses for which the machine gives one credit, 1 to 10; 0 means those of the smallest coin.
    pub test_pulses: u8,
}

impl RemoteAction {
    pub(crate) fn action(self) -> Result<Action> {
        let learn = |learn: Learn| match learn.is_valid() {
            true => Ok(Action::Learn(learn)),
            false => Err(Error::invalid("learn", "10 to 50 coins, and up to 10 pulses a credit")),
        };
        match self {
            RemoteAction::Restart => Ok(Action::Reboot),
            RemoteAction::Locate => Ok(Action::Locate),
            RemoteAction::Learn(LearnOptions { coins: 0, .. }) => Err(Error::invalid("learn", "10 to 50 coins")),
            RemoteAction::Learn(LearnOptions { coins, confirm, test_pulses }) => {
                learn(Learn { coins, confirm, test_pulses })
            }
            RemoteAction::StopLearning => learn(Learn { coins: 0, confirm: false, test_pulses: 0 }),
            RemoteAction::Diagnose => Ok(Action::Diagnose),
        }
    }
}

/// The newest command of a kind, for its operator.
#[derive(Debug, Clone, Serialize)]
pub struct RemoteActionView {
    /// The protocol's word for the action: `settings`, `lock`, `learn`, `reboot`, `locate`, `diagnose`.
    pub action: &'static str,
    /// Its state.
    pub state: Progress,
    /// Why it failed: the protocol's word, or empty.
    pub reason: String,
    /// When it was requested (unix milliseconds).
    pub ordered_ms: i64,
    /// When the module last acknowledged it.
    pub heard_ms: Option<i64>,
}

/// The state of something that a module was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// On its way.
    Pending,
    /// Done.
    Done,
    /// The module refused it, or could not do it.
    Failed,
    /// It did not reach the module in time.
    Expired,
}

/// What a person may request, as the protocol calls it.
const ACTIONS: [&str; 6] = ["settings", "lock", "learn", "reboot", "locate", "diagnose"];

impl RemoteActionView {
    fn of(action: &'static str, command: command::Model) -> Self {
        let state = match command.state {
            CommandState::Sent | CommandState::Received => Progress::Pending,
            CommandState::Done => Progress::Done,
            CommandState::Failed => Progress::Failed,
            // It arrived too late, was never acknowledged, or was replaced by another.
            CommandState::Expired | CommandState::Silent | CommandState::Superseded => Progress::Expired,
        };
        let (reason, ordered_ms, heard_ms) = (command.reason, command.issued_ms, command.heard_ms);
        Self { action, state, reason, ordered_ms, heard_ms }
    }
}

/// The newest command of an action that a module was sent.
pub(crate) async fn newest(db: &impl ConnectionTrait, module_id: &str, action: &str) -> Result<Option<command::Model>> {
    Ok(Entity::find()
        .filter(Column::ModuleId.eq(module_id))
        .filter(Column::Action.eq(action))
        .order_by_desc(Column::Sequence)
        .limit(1)
        .one(db)
        .await?)
}

/// The newest of each kind that a module was sent, in the order of [`ACTIONS`].
pub(crate) async fn remote_actions(ctx: &Context, module_id: &str) -> Result<Vec<RemoteActionView>> {
    let mut views = vec![];
    for action in ACTIONS {
        let newest = newest(ctx.db.read(), module_id, action).await?;
        views.extend(newest.map(|command| RemoteActionView::of(action, command)));
    }
    Ok(views)
}
