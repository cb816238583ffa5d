//! Times and limits of the backend, in one place.

/// Times and limits. The defaults are those of the product; tests and the simulation shorten some.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How often due work is looked for.
    pub tick_ms: u64,
    /// How long a probe's answer is valid.
    pub probe_fresh_ms: i64,
    /// How long to wait for a probe's answer.
    pub probe_wait_ms: u64,
    /// A module is probed at most once in this time, answered or not, so that page views do not run up its data bill.
    pub probe_spacing_ms: i64,
    /// The longest a payer waits for the answer to an order: either where to pay, or a page that says what is waited
    /// for and continues by itself.
    pub order_answer_ms: u64,
    /// The longest a payment provider may take to accept an order. After this the payer is told that it did not answer,
    /// and can choose again.
    pub order_wait_ms: u64,
    /// How long the provider is asked about an order that its payer leaves for another, in milliseconds.
    pub leave_wait_ms: u64,
    /// How long after the order a payment can be made. WeChat's H5 addresses live 5 minutes.
    pub order_lifetime_ms: i64,
    /// How long after its expiry an attempt is closed at the provider.
    pub close_after_ms: i64,
    /// How long a credit command lives.
    pub credit_lifetime_ms: i64,
    /// How long after its expiry the module is still asked what became of a credit, before the payment is refunded.
    pub credit_grace_ms: i64,
    /// The longest a credit may take, while its module keeps saying that it is at work.
    pub credit_longest_ms: i64,
    /// How long after the order a module that did not answer about a credit is still asked when it is heard from again.
    /// Longer than any step of a clock that is set.
    pub credit_memory_ms: i64,
    /// The least time after our start that a module is given to say what became of a credit from before the start.
    pub restart_answer_ms: i64,
    /// The longest wait for an absent module that is asked about a credit, before the payment is refunded.
    pub module_return_ms: i64,
    /// A payment that becomes known later than this after it was made is refunded: nobody waits for the credit any
    /// more.
    pub credit_patience_ms: i64,
    /// How long commands live that set something.
    pub setting_lifetime_ms: i64,
    /// The least time before settings that a module acknowledged are sent again, if its status then reports others.
    pub settings_again_ms: i64,
    /// How long commands live that a person waits for (restart, locate, learn, diagnose).
    pub remote_action_lifetime_ms: i64,
    /// The same remote action within this time of the last one is taken as a second click.
    pub remote_action_spacing_ms: i64,
    /// First wait before a command is sent again; doubled each time.
    pub resend_first_ms: i64,
    /// Longest wait before a command is sent again.
    pub resend_max_ms: i64,
    /// First wait before a provider is asked what became of an attempt.
    pub poll_first_ms: i64,
    /// While somebody looks at an unpaid sale, the provider is asked this often.
    pub poll_watched_ms: i64,
    /// Longest wait before a provider is asked again.
    pub poll_max_ms: i64,
    /// First wait before a refund is tried again; doubled each time.
    pub refund_first_ms: i64,
    /// Longest wait before a refund is tried again.
    pub refund_max_ms: i64,
    /// After so many tries that were refused, a refund is shown to a person.
    pub refund_tries_max: i32,
    /// After so many numbers that the provider closed, a refund is shown to a person.
    pub refund_numbers_max: i32,
    /// First wait before a statement that was not available is asked for again; doubled each time.
    pub statement_first_ms: i64,
    /// Longest wait before a statement is asked for again.
    pub statement_max_ms: i64,
    /// Longest wait for a statement's download, which may be large.
    pub statement_wait_ms: u64,
    /// Accounts are spread over this time, so that they do not all ask for the statement of a day at once.
    pub statement_spread_ms: i64,
    /// The longest time until a statement is due, apart from the waits above: that of a day which just began.
    pub statement_longest_ms: i64,
    /// A module's clock is set again when it is off by more than this.
    pub clock_drift_max_ms: i64,
    /// How many rows of due work are taken at once, and how many pieces of work of one kind are under way at most.
    pub batch_rows: u64,
    /// How many questions about payments, and how many refunds, are under way for each merchant account at most.
    pub account_calls_max: usize,
    /// How many orders of each merchant account are with the provider at most.
    pub account_orders_max: usize,
    /// Longest wait for a provider's answer to a call.
    pub provider_wait_ms: u64,
    /// If the caller gives up after waiting at least this long, the call counts as unanswered.
    pub provider_slow_ms: i64,
    /// After this many unanswered calls in a row, the provider is not called for this merchant account for a while.
    pub breaker_failures: u32,
    /// The first such pause; doubled each time the next call is not answered either.
    pub breaker_first_ms: i64,
    /// The longest such pause.
    pub breaker_max_ms: i64,
    /// Longest life of a session. A session that expires later than this was stored by a clock that ran ahead.
    pub session_longest_ms: i64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            tick_ms: 200,
            probe_fresh_ms: 10_000,
            probe_wait_ms: 2_000,
            probe_spacing_ms: 1_500,
            order_answer_ms: 150,
            order_wait_ms: 10_000,
            leave_wait_ms: 5_000,
            order_lifetime_ms: 5 * 60_000,
            close_after_ms: 30_000,
            credit_lifetime_ms: 20_000,
            credit_grace_ms: 10_000,
            credit_longest_ms: 10 * 60_000,
            credit_memory_ms: 180 * 24 * 3_600_000,
            restart_answer_ms: 30_000,
            module_return_ms: 10 * 60_000,
            credit_patience_ms: 120_000,
            setting_lifetime_ms: 24 * 3_600_000,
            settings_again_ms: 60_000,
            remote_action_lifetime_ms: 120_000,
            remote_action_spacing_ms: 5_000,
            resend_first_ms: 1_000,
            resend_max_ms: 8_000,
            poll_first_ms: 3_000,
            poll_watched_ms: 2_500,
            poll_max_ms: 60_000,
            refund_first_ms: 1_000,
            refund_max_ms: 600_000,
            refund_tries_max: 12,
            refund_numbers_max: 5,
            statement_first_ms: 5 * 60_000,
            statement_max_ms: 3_600_000,
            statement_wait_ms: 150_000,
            statement_spread_ms: 1_800_000,
            statement_longest_ms: 3 * 24 * 3_600_000,
            clock_drift_max_ms: 2_000,
            batch_rows: 256,
            account_calls_max: 8,
            account_orders_max: 64,
            provider_wait_ms: 15_000,
            provider_slow_ms: 3_000,
            breaker_failures: 4,
            breaker_first_ms: 2_000,
            breaker_max_ms: 60_000,
            session_longest_ms: 24 * 3_600_000,
        }
    }
}

impl Rules {
    /// How much of a job is in progress at most.
    pub(crate) fn work_max(&self) -> usize {
        usize::try_from(self.batch_rows).unwrap_or(usize::MAX)
    }

    /// Until when to wait for a module with something from before our start that was overdue at `overdue_ms`. The
    /// longer we were away (or the older the restored copy of the store is), the longer the module may take to come
    /// back.
    pub(crate) fn waits_for_module_until_ms(&self, started_ms: i64, overdue_ms: i64) -> i64 {
        started_ms + (started_ms - overdue_ms).clamp(self.restart_answer_ms, self.module_return_ms)
    }

    /// The wait after `tries` tries: doubled each time, within bounds.
    pub(crate) fn backoff_ms(first_ms: i64, max_ms: i64, tries: i32) -> i64 {
        let doublings = u32::try_from(tries.clamp(0, 30)).unwrap_or(0);
        first_ms.saturating_mul(1 << doublings).min(max_ms)
    }
}
