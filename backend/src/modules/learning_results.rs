//! Learning results: what a module learned about its coin line, as its statuses report, and the operator's decision
//! about it.
//!
//! A profile that a module stored is in force there until it gets other settings. Accepting the profile puts it into
//! the wanted settings; for the module only the version changes. Discarding it sends the wanted settings again.

use crate::{
    Context, Result,
    modules::learning_result::{ActiveModel, Entity, Model, Verdict},
};
use protocol::{
    ModuleId,
    messages::{CoinProfile, LearnStage, Learned, Spread},
};
use sea_orm::{ActiveValue::Set, ConnectionTrait, DatabaseTransaction, prelude::*};
use serde::Serialize;

/// What a module learned, for its operator.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LearningResultView {
    /// When it was first reported (unix milliseconds); identifies the result when the operator decides about it.
    pub heard_ms: i64,
    /// `quiet`, `sampling`, `confirming`, `stored`, `failed`, or `unknown` for one of a later version.
    pub stage: &'static str,
    /// Whether it is over.
    pub ended: bool,
    /// Whether the module's button began it.
    pub by_button: bool,
    /// Coins sampled so far.
    pub coins: u8,
    /// Coins to sample.
    pub coins_asked: u8,
    /// The protocol's word for why it failed.
    pub failure: Option<&'static str>,
    /// The profile derived.
    pub profile: Option<CoinProfile>,
    /// Widths of pulses in milliseconds: least, median, greatest.
    pub widths_ms: Option<[u16; 3]>,
    /// Gaps between the pulses of a coin in milliseconds.
    pub gaps_ms: Option<[u16; 3]>,
    /// Pulses per coin.
    pub coin_pulses: Option<[u16; 3]>,
    /// The longest bounce in microseconds.
    pub bounce_us: u16,
    /// Edges while the line should have been at rest.
    pub noise_edges: u16,
    /// Pulses given as a test.
    pub test_pulses: u16,
    /// Whether the machine was seen to credit.
    pub confirmed: Option<bool>,
    /// The operator's decision: `open`, `accepted`, `discarded`.
    pub verdict: Verdict,
    /// Whether it can be accepted now.
    pub acceptable: bool,
}

pub(crate) fn learned(learning_result: &Model) -> Option<Learned> {
    minicbor::decode(&learning_result.body).ok()
}

pub(crate) fn ends(stage: LearnStage) -> bool {
    match stage {
        LearnStage::Stored | LearnStage::Failed => true,
        LearnStage::Quiet | LearnStage::Sampling | LearnStage::Confirming | LearnStage::Unknown(_) => false,
    }
}

/// Whether the module has finished.
pub(crate) fn has_ended(learning_result: &Model) -> bool {
    learned(learning_result).is_some_and(|learned| ends(learned.stage))
}

/// Whether the module uses it, and the operator has not decided about it.
pub(crate) fn is_in_force(learning_result: &Model) -> bool {
    learning_result.verdict == Verdict::Open
        && learned(learning_result).is_some_and(|learned| learned.stage == LearnStage::Stored)
}

/// The profile that can be accepted: learning is over and has one.
pub(crate) fn acceptable(learned: &Learned) -> Option<CoinProfile> {
    learned.profile.filter(|profile| ends(learned.stage) && profile.is_valid())
}

pub(crate) async fn of_module(db: &impl ConnectionTrait, module_id: &str) -> Result<Option<Model>> {
    Ok(Entity::find_by_id(module_id).one(db).await?)
}

impl LearningResultView {
    fn of(learning_result: Model) -> Option<Self> {
        let learned = learned(&learning_result)?;
        let spread = |spread: Spread| [spread.min, spread.median, spread.max];
        Some(Self {
            heard_ms: learning_result.heard_ms,
            stage: learned.stage.as_str(),
            ended: ends(learned.stage),
            by_button: learned.command == 0,
            coins: learned.coins,
            coins_asked: learned.coins_asked,
            failure: learned.failure.map(|failure| failure.as_str()),
            profile: learned.profile,
            widths_ms: learned.widths_ms.map(spread),
            gaps_ms: learned.gaps_ms.map(spread),
            coin_pulses: learned.coin_pulses.map(spread),
            bounce_us: learned.bounce_us,
            noise_edges: learned.noise_edges,
            test_pulses: learned.test_pulses,
            confirmed: learned.confirmed,
            acceptable: learning_result.verdict == Verdict::Open && acceptable(&learned).is_some(),
            verdict: learning_result.verdict,
        })
    }
}

/// Stores the learning result that a module reports (its row is locked). Repeats change nothing: it is reported
/// until acknowledged, and with every diagnosis.
pub(crate) async fn store_learning_result(
    ctx: &Context,
    txn: &DatabaseTransaction,
    module: ModuleId,
    learned: &Learned,
) -> Result<()> {
    let body = minicbor::to_vec(learned).expect("encoding into memory cannot fail");
    let known = of_module(txn, module.as_str()).await?;
    if known.as_ref().is_some_and(|known| known.body == body) {
        return Ok(());
    }
    let row = ActiveModel {
        module_id: Set(module.to_string()),
        body: Set(body),
        verdict: Set(Verdict::Open),
        heard_ms: Set(ctx.wall_ms()),
    };
    match known {
        Some(_) => {
            row.update_without_returning(txn).await?;
        }
        None => {
            Entity::insert(row).exec_without_returning(txn).await?;
        }
    }
    Ok(())
}

/// What a module last learned.
pub(crate) async fn learning_result(ctx: &Context, module_id: &str) -> Result<Option<LearningResultView>> {
    Ok(of_module(ctx.db.read(), module_id).await?.and_then(LearningResultView::of))
}

/// Decides about an open learning result, if there is one that is over.
pub(crate) async fn set_learning_verdict(txn: &DatabaseTransaction, module_id: &str, judged: Verdict) -> Result<()> {
    let learning_result = of_module(txn, module_id).await?;
    let Some(learning_result) = learning_result
        .filter(|learning_result| learning_result.verdict == Verdict::Open && has_ended(learning_result))
    else {
        return Ok(());
    };
    let mut change: ActiveModel = learning_result.into();
    change.verdict = Set(judged);
    change.update_without_returning(txn).await?;
    Ok(())
}
