//! Times and limits of the backend, in one place.

/// Times and limits. The defaults are the product's; tests and the simulation shorten some.
#[derive(Debug, Clone)]
pub struct Rules {
    /// How often due work is looked for.
    pub tick_ms: u64,
    /// A probe's answer serves so long.
    pub probe_fresh_ms: i64,
    /// A probe is waited for so long.
    pub probe_wait_ms: u64,
    /// A module is probed at most once in this time, answered or not, so that page views do not run up its data bill.
    pub probe_spacing_ms: i64,
    /// A payer who ordered is answered after this at the latest: with where to pay, or with a page that says what is
    /// waited for and leads on by itself.
    pub order_answer_ms: u64,
    /// The longest a payment provider may take to accept an order. After this the payer is told that it did not answer,
    /// and can choose again.
    pub order_wait_ms: u64,
    /// A payment can be made so long after the order. WeChat's H5 addresses live 5 minutes.
    pub order_lifetime_ms: i64,
    /// An attempt is closed at the provider so long after its expiry.
    pub close_after_ms: i64,
    /// A credit command lives so long.
    pub credit_lifetime_ms: i64,
    /// So long after its expiry the module is asked what became of a credit, before the money goes back.
    pub credit_grace_ms: i64,
    /// The longest a credit may take, while its module keeps saying that it is at work.
    pub credit_longest_ms: i64,
    /// A module that stayed silent about a credit is asked about it whenever it shows up again, so long after the order:
    /// longer than any step of a clock that is set.
    pub credit_memory_ms: i64,
    /// A module is given so long after our start, at least, to say what became of a credit from before.
    pub restart_answer_ms: i64,
    /// The longest that a module which is away is waited for, before the money goes back for a credit it is asked about.
    pub module_return_ms: i64,
    /// A payment that becomes known so long after it was made goes back: nobody waits for the credit any more.
    pub credit_patience_ms: i64,
    /// Commands that set something live so long.
    pub setting_lifetime_ms: i64,
    /// Settings that a module said it took are sent again no sooner than this, if it says that it has others.
    pub settings_again_ms: i64,
    /// Commands that a person waits for (restart, locate, learn, diagnose) live so long.
    pub remote_action_lifetime_ms: i64,
    /// The same remote action so soon after the last is a second click.
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
    /// Refused or closed after so many tries, a refund is put before a person.
    pub refund_tries_max: i32,
    /// First wait before a statement that could not be had is asked for again; doubled each time.
    pub statement_first_ms: i64,
    /// Longest wait before a statement is asked for again.
    pub statement_max_ms: i64,
    /// A statement, which may be long, is waited for no longer.
    pub statement_wait_ms: u64,
    /// Accounts are spread over this time, so that not all ask at once for the statement of a day.
    pub statement_spread_ms: i64,
    /// No statement is due later than so long from now: beside the waits it is that of a day which just began.
    pub statement_longest_ms: i64,
    /// A module's clock may be off by so much before it is set anew.
    pub clock_drift_max_ms: i64,
    /// Rows of due work taken at once, and pieces of work of a kind under way at most.
    pub batch_rows: u64,
    /// Of each merchant account so many questions about payments, and so many refunds, are under way at most.
    pub account_calls_max: usize,
    /// Of each merchant account so many orders are with the provider at most.
    pub account_orders_max: usize,
    /// A call to a provider is waited for no longer.
    pub provider_wait_ms: u64,
    /// A call that was given up by whoever waited, after this long, counts as one without an answer.
    pub provider_slow_ms: i64,
    /// So many calls without an answer in a row, and a merchant account's provider is left alone for a while.
    pub breaker_failures: u32,
    /// The first such while; doubled each time the next call gets no answer either.
    pub breaker_first_ms: i64,
    /// The longest such while.
    pub breaker_max_ms: i64,
    /// A session lives no longer: one that expires later was stored by a clock that ran ahead.
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

    /// Until when a module is waited for with something from before our start that was overdue at `overdue_ms`: the longer
    /// we were away (or the older the copy of the store is), the longer it may take to come back.
    pub(crate) fn waits_for_module_until_ms(&self, started_ms: i64, overdue_ms: i64) -> i64 {
        started_ms + (started_ms - overdue_ms).clamp(self.restart_answer_ms, self.module_return_ms)
    }

    /// The wait after `tries` tries: doubled each time, within bounds.
    pub(crate) fn backoff_ms(first_ms: i64, max_ms: i64, tries: i32) -> i64 {
        let doublings = u32::try_from(tries.clamp(0, 30)).unwrap_or(0);
        first_ms.saturating_mul(1 << doublings).min(max_ms)
    }
}
