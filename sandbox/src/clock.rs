//! The only place of this crate that reads the wall clock. Times are Unix milliseconds; what goes on the wire is
//! RFC 3339 in China's time, whole seconds, as WeChat Pay writes it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, SecondsFormat, Utc};
use tokio_util::sync::CancellationToken;

const CHINA_OFFSET_S: i32 = 8 * 3600;

/// The provider's time: the machine's, put forward by so much.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    ahead_ms: AtomicI64,
}

impl Clock {
    /// Now, in Unix milliseconds.
    pub(crate) fn now_ms(&self) -> i64 {
        Utc::now().timestamp_millis() + self.ahead_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn advance(&self, time: Duration) {
        let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.ahead_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

/// Waits; false if the sandbox shuts down before.
pub(crate) async fn wait(time: Duration, stop: &CancellationToken) -> bool {
    if time.is_zero() {
        return !stop.is_cancelled();
    }
    tokio::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(time) => true,
    }
}

/// A time as WeChat Pay writes it: `2018-06-08T10:34:56+08:00`.
pub(crate) fn china_rfc3339(unix_ms: i64) -> String {
    china(unix_ms).to_rfc3339_opts(SecondsFormat::Secs, false)
}

/// The day in China as eight digits, `20180608`: a part of the provider's numbers.
pub(crate) fn china_day(unix_ms: i64) -> String {
    china(unix_ms).format("%Y%m%d").to_string()
}

/// A time as bills and Alipay write it: `2018-06-08 10:34:56`.
pub(crate) fn china_text(unix_ms: i64) -> String {
    china(unix_ms).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// A time with milliseconds, `2018-06-08 10:34:56.789`, as Alipay writes that of a refund.
pub(crate) fn china_millis(unix_ms: i64) -> String {
    china(unix_ms).format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// Reads what [`china_text`] writes, and nothing else; in Unix milliseconds.
pub(crate) fn china_moment_of(text: &str) -> Option<i64> {
    let moment = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").ok()?;
    let unix_ms = moment.and_utc().timestamp_millis().checked_sub(i64::from(CHINA_OFFSET_S) * 1000)?;
    (china_text(unix_ms) == text).then_some(unix_ms)
}

/// The first moment of a day in China, in Unix milliseconds.
pub(crate) fn china_moment(day: NaiveDate) -> Option<i64> {
    let midnight = day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis();
    midnight.checked_sub(i64::from(CHINA_OFFSET_S) * 1000)
}

fn china(unix_ms: i64) -> DateTime<FixedOffset> {
    let offset = FixedOffset::east_opt(CHINA_OFFSET_S).expect("eight hours are a valid offset");
    DateTime::from_timestamp_millis(unix_ms).unwrap_or_default().with_timezone(&offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_china_time_with_whole_seconds() {
        assert_eq!(china_rfc3339(1_528_425_296_789), "2018-06-08T10:34:56+08:00");
        assert_eq!(china_text(1_528_425_296_789), "2018-06-08 10:34:56");
        let day = NaiveDate::from_ymd_opt(2018, 6, 8).and_then(china_moment);
        assert_eq!(day.map(china_rfc3339).as_deref(), Some("2018-06-08T00:00:00+08:00"));
        assert_eq!(china_day(1_528_395_296_000), "20180608");
    }
}
