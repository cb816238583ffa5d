//! Which calls came in: a test sees whether a merchant asked before it repeated something.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Calls that are remembered; the oldest are forgotten first.
const MAX_CALLS: usize = 10_000;

/// The calls since the start, in order.
#[derive(Debug, Default)]
pub(crate) struct CallLog(Mutex<VecDeque<String>>);

impl CallLog {
    pub(crate) fn add(&self, call: String) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() >= MAX_CALLS {
            calls.pop_front();
        }
        calls.push_back(call);
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
