//! A coin line that never stands still: the outputs are set all the same.
#![allow(clippy::unwrap_used)]

#[path = "support/nowhere.rs"]
mod nowhere;

// Its time driver is linked in.
use module_host as _;

use embassy_time::Instant;
use module_firmware::{
    Identity, Module, Outputs,
    link::{self, Board, INPUTS_MAX, Input},
    store::Store,
};
use module_host::{Chip, Flash};
use nowhere::Nowhere;
use protocol::{ModuleId, ModuleSecret};
use std::{cell::Cell, future::pending, time::Duration};
use tokio::{sync::Notify, time::timeout};

const EDGES: usize = 20_000;

/// A board whose next edge is always there already.
#[derive(Default)]
struct Flooded {
    edges: Cell<usize>,
    /// Taken since the outputs were set, now and at most.
    taken: Cell<usize>,
    most: Cell<usize>,
    over: Notify,
}

impl Board for &Flooded {
    fn now_us(&self) -> u64 {
        Instant::now().as_micros()
    }

    fn apply(&mut self, _outputs: Outputs) {
        self.most.set(self.most.get().max(self.taken.replace(0)));
    }

    fn take_input(&mut self) -> Option<Input> {
        let edges = self.edges.get() + 1;
        if edges > EDGES {
            return None;
        }
        self.edges.set(edges);
        self.taken.set(self.taken.get() + 1);
        Some(Input::Edge { at_us: self.now_us(), level_high: edges.is_multiple_of(2) })
    }

    async fn wait(&mut self, _until_us: u64) {
        if self.edges.get() == EDGES {
            self.over.notify_one();
            pending::<()>().await;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn outputs_do_not_wait_for_a_line_to_stand_still() {
    let identity = Identity { id: ModuleId::from_bits(1), secret: ModuleSecret::new([1; 32]) };
    let mut store = Store::new(Chip::open(&Flash::Memory).unwrap()).unwrap();
    let mut module = Module::boot(&mut store, &identity, true, Instant::now().as_micros()).await;
    let flooded = Flooded::default();
    let (mut board, mut dial) = (&flooded, Nowhere);
    tokio::select! {
        ended = link::run(&mut module, &mut store, &identity, &mut board, &mut dial, 1) => panic!("{ended:?}"),
        over = timeout(Duration::from_secs(30), flooded.over.notified()) => over.expect("the flood ends"),
    }
    assert_eq!(flooded.most.get(), INPUTS_MAX);
}
