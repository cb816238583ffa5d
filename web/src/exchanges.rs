//! Exchanges of a provider's answers for who pays, each made once. Browsers come back twice with one answer, the second time
//! because the first was cut off: whoever comes second waits for the first exchange and gets what came of it. Each process
//! knows its own: where a browser comes back to two of them, the second is refused by the provider, and the page says so.

use backend::payments::method::Payer;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::OnceCell;

/// How long the outcome is kept: as long as the answer could be used.
const KEPT: Duration = Duration::from_secs(5 * 60);
/// Outcomes kept at most. Whoever comes when there are more exchanges anew, and is refused if it was the second time.
const COUNT_MAX: usize = 4_096;

type Outcome = Arc<OnceCell<Option<Payer>>>;

/// Exchanges of the last minutes, by the state that binds each to a browser.
#[derive(Default)]
pub(crate) struct Exchanges(Mutex<HashMap<String, (Instant, Outcome)>>);

impl Exchanges {
    /// What came of the exchange for a state, which is made if it was not yet. It goes on if whoever asked is gone.
    pub(crate) async fn once(
        &self,
        state: &str,
        exchange: impl Future<Output = Option<Payer>> + Send + 'static,
    ) -> Option<Payer> {
        let outcome = self.outcome(state);
        let made = tokio::spawn(async move { outcome.get_or_init(|| exchange).await.clone() });
        // Nothing if the process ends.
        made.await.ok().flatten()
    }

    fn outcome(&self, state: &str) -> Outcome {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (since, _)| since.elapsed() < KEPT);
        if let Some((_, outcome)) = known.get(state) {
            return outcome.clone();
        }
        let outcome = Outcome::default();
        if known.len() < COUNT_MAX {
            known.insert(state.to_owned(), (Instant::now(), outcome.clone()));
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn payer(id: &str) -> Option<Payer> {
        Some(Payer { scope: "app".into(), id: id.into() })
    }

    #[tokio::test]
    async fn is_made_once_for_all_who_come_with_it() {
        let (exchanges, made) = (Exchanges::default(), Arc::new(AtomicU32::new(0)));
        let come = |state: &'static str| {
            let made = made.clone();
            exchanges.once(state, async move {
                tokio::task::yield_now().await;
                made.fetch_add(1, Ordering::SeqCst);
                payer(state)
            })
        };
        assert_eq!(tokio::join!(come("a"), come("a"), come("b")), (payer("a"), payer("a"), payer("b")));
        assert_eq!((come("a").await, made.load(Ordering::SeqCst)), (payer("a"), 2));
    }

    #[tokio::test]
    async fn goes_on_when_the_first_to_come_is_gone() {
        let exchanges = Exchanges::default();
        let (release, wait) = tokio::sync::oneshot::channel::<()>();
        let mut first = Box::pin(exchanges.once("a", async move {
            let _ = wait.await;
            payer("first")
        }));
        let cut_off = tokio::time::timeout(Duration::from_millis(20), &mut first).await;
        assert!(cut_off.is_err());
        drop(first);
        let second = exchanges.once("a", async { payer("second") });
        release.send(()).unwrap();
        assert_eq!(second.await, payer("first"));
    }
}
