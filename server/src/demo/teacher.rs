//! Plays the person at a virtual machine while its module learns the coin line: starts learning with the module's
//! button if nobody did, inserts the coins, and presses the button once for each test credit that the machine gives.

use super::state::system;
use anyhow::{Context, Result, bail};
use backend::{ids::MachineId, machines, modules::LearningResultView};
use module_host::{BUTTON_LONG, Snapshot, TRIAL_CREDITS, VirtualModule};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use web::DemoLearning;

/// How often the person checks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long to wait for a module to begin, or to take a coin.
const ANSWER_MAX: Duration = Duration::from_secs(8);
/// Longer than any learning, even if each pair of widths and gaps has to be tried.
const LEARNING_MAX: Duration = Duration::from_secs(300);
/// How long a press is, and the pause after it.
const PRESS: Duration = Duration::from_millis(300);
/// Longer than the press that starts learning.
const LONG_PRESS: Duration = BUTTON_LONG.saturating_add(Duration::from_millis(500));

/// A machine of the demo as its operator looks at it.
pub struct LearningWatch {
    backend: backend::Context,
    machine_id: MachineId,
}

impl LearningWatch {
    /// The view of the machine with this scan code.
    pub async fn of(backend: &backend::Context, code: &str) -> Result<Self> {
        let row = machines::list::find_machine(backend, &system(), code).await?;
        Ok(Self { backend: backend.clone(), machine_id: row.machine_id })
    }

    /// What its module reports about its last learning.
    async fn last(&self) -> Result<Option<LearningResultView>> {
        Ok(machines::remote::remote(&self.backend, &system(), self.machine_id).await?.learning_result)
    }

    async fn running(&self) -> Result<Option<LearningResultView>> {
        Ok(self.last().await?.filter(|learning| !learning.ended))
    }

    /// Waits until learning in progress has reached this state.
    async fn until(&self, is_so_far: impl Fn(&LearningResultView) -> bool) -> Result<LearningResultView> {
        loop {
            if let Some(learning) = self.running().await?.filter(&is_so_far) {
                return Ok(learning);
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Plays that person until learning is over; `tell` gets its progress.
pub async fn teach(module: &VirtualModule, watch: &LearningWatch, tell: impl Fn(DemoLearning)) -> Result<()> {
    timeout(LEARNING_MAX, play(module, watch, tell)).await.context("the learning did not end")?
}

async fn play(module: &VirtualModule, watch: &LearningWatch, tell: impl Fn(DemoLearning)) -> Result<()> {
    let told = |learning: &LearningResultView| tell(shown(learning));
    let begun = match watch.running().await? {
        Some(learning) => learning,
        None => {
            module.press_button(LONG_PRESS).await;
            timeout(ANSWER_MAX, watch.until(|_| true)).await.context("the module did not begin to learn")??
        }
    };
    told(&begun);
    let mut trial = Trial { before: module.snapshot(), tried: begun.test_pulses };
    let mut coin_due = Instant::now();
    let mut coins = None;
    loop {
        let learning = watch.last().await?.context("the module's learning is gone")?;
        told(&learning);
        if learning.ended {
            return Ok(());
        }
        match learning.stage {
            // A coin that is not reported within a while was not taken; the next one is inserted anyway.
            "sampling" if coins != Some(learning.coins) || Instant::now() >= coin_due => {
                coins = Some(learning.coins);
                module.insert_coin(1).await;
                coin_due = Instant::now() + ANSWER_MAX;
                sleep(LOOK_EVERY).await;
                trial.before = module.snapshot();
            }
            "confirming" if trial.is_credited(module.snapshot(), learning.test_pulses) => {
                for _ in 0..TRIAL_CREDITS {
                    module.press_button(PRESS).await;
                    sleep(PRESS).await;
                }
            }
            "quiet" | "sampling" | "confirming" => {}
            unknown => bail!("the module reports an unknown step: {unknown}"),
        }
        sleep(LOOK_EVERY).await;
    }
}

fn shown(learning: &LearningResultView) -> DemoLearning {
    DemoLearning {
        stage: learning.stage,
        ended: learning.ended,
        coins: learning.coins,
        coins_asked: learning.coins_asked,
    }
}

/// The test bursts that a module gives to its machine, one after another.
struct Trial {
    /// The machine before the burst.
    before: Snapshot,
    /// Test pulses of the bursts before it.
    tried: u16,
}

impl Trial {
    /// Whether a burst is over and the machine took all of it. `test_pulses` are those of all bursts up to now.
    fn is_credited(&mut self, now: Snapshot, test_pulses: u16) -> bool {
        let asked = u64::from(test_pulses - self.tried.min(test_pulses));
        let taken = now.machine_pulses - self.before.machine_pulses;
        let refused = now.machine_refused - self.before.machine_refused;
        if asked == 0 || taken + refused < asked {
            return false;
        }
        *self = Self { before: now, tried: test_pulses };
        refused == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_counts_once_it_is_over_and_whole() {
        let machine =
            |machine_pulses, machine_refused| Snapshot { on: true, plugged: true, machine_pulses, machine_refused };
        let mut trial = Trial { before: machine(10, 0), tried: 0 };
        assert!(!trial.is_credited(machine(12, 0), 0), "told later than given");
        assert!(!trial.is_credited(machine(12, 0), 3));
        assert!(trial.is_credited(machine(13, 0), 3));
        assert!(!trial.is_credited(machine(13, 0), 3), "once");
        assert!(!trial.is_credited(machine(15, 1), 6), "one was not taken");
        assert!(trial.is_credited(machine(18, 1), 9), "the next burst");
    }
}
