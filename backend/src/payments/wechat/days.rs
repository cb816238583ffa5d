//! The provider's days, and when their bills are ready.

/// The provider's calendar is China's, which is so far ahead.
const CHINA_AHEAD_MS: i64 = 8 * 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;
/// The bill of a day is ready at 10 in the morning of the next.
const BILL_READY_MS: i64 = 10 * 3_600_000;

/// The day in China, from 1970.
pub(super) fn day_of(at_ms: i64) -> i64 {
    (at_ms + CHINA_AHEAD_MS).div_euclid(DAY_MS)
}

/// When the bill of a day is ready.
pub(super) fn ready_ms(day: i64) -> i64 {
    (day + 1) * DAY_MS - CHINA_AHEAD_MS + BILL_READY_MS
}
