//! Time zones: an operator's day, week and month begin at midnight where it is, summer time included.
//!
//! The zones of the IANA database are compiled in, so that every server counts alike, whatever its system has.

use crate::{Error, Result, money::Currency};
use jiff::{Timestamp, ToSpan, tz::TimeZone};

/// How many similar zones an error about an unknown zone names.
const SUGGESTIONS: usize = 5;

/// Zones of common offsets that are not whole hours and know no summer time, by minutes.
const PARTS_OF_HOURS: [(i32, &str); 7] = [
    (210, "Asia/Tehran"),
    (270, "Asia/Kabul"),
    (330, "Asia/Kolkata"),
    (345, "Asia/Kathmandu"),
    (390, "Asia/Yangon"),
    (570, "Australia/Darwin"),
    (-570, "Pacific/Marquesas"),
];

/// A time zone by its IANA name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// The period over which takings are summed: always the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// Since midnight.
    Day,
    /// Since Monday's midnight.
    Week,
    /// Since the first of the month.
    Month,
}

impl Zone {
    /// Reads an IANA name like `Europe/Berlin`. The error names similar zones.
    ///
    /// # Errors
    /// `Invalid` as said.
    pub fn parse(name: &str) -> Result<Self> {
        // The database accepts names in any case; we store its own spelling.
        let found = TimeZone::get(name.trim()).ok().filter(|zone| zone.iana_name().is_some() && !zone.is_unknown());
        found.map(Self).ok_or_else(|| Error::invalid("time zone", unknown(name.trim())))
    }

    /// The zone of an operator that was set up with an offset in minutes, before there were zones: one in its
    /// currency's area that has this offset in winter, else one without summer time. `None` if there is no such zone.
    pub fn of_offset(utc_offset_min: i32, currency: Currency) -> Option<Self> {
        let name = match (utc_offset_min, currency) {
            (480, Currency::Cny) => "Asia/Shanghai".to_owned(),
            (0, Currency::Eur) => "Europe/Lisbon".to_owned(),
            (60, Currency::Eur) => "Europe/Berlin".to_owned(),
            (120, Currency::Eur) => "Europe/Athens".to_owned(),
            (0, Currency::Cny) => "Etc/UTC".to_owned(),
            // These names have the opposite sign: Etc/GMT-8 is eight hours before UTC.
            (offset, _) if offset % 60 == 0 => format!("Etc/GMT{:+}", -(offset / 60)),
            (offset, _) => PARTS_OF_HOURS.iter().find(|(minutes, _)| *minutes == offset)?.1.to_owned(),
        };
        Self::parse(&name).ok()
    }

    /// The zone of an operator that chose none.
    pub fn default_for(currency: Currency) -> Self {
        let name = match currency {
            Currency::Cny => "Asia/Shanghai",
            Currency::Eur => "Europe/Berlin",
            Currency::Jpy => "Asia/Tokyo",
            Currency::Kwd => "Asia/Kuwait",
        };
        Self::parse(name).expect("the database has the zone, as a test shows")
    }

    /// The IANA name.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("Etc/UTC")
    }

    /// When the period that `at_ms` lies in began (unix milliseconds).
    pub fn start_ms(&self, period: Period, at_ms: i64) -> i64 {
        let start = || {
            let today = Timestamp::from_millisecond(at_ms)?.to_zoned_datetime(self.0.clone());
            let first = match period {
                Period::Day => today,
                Period::Week => today.checked_sub(i64::from(today.weekday().to_monday_zero_offset()).days())?,
                Period::Month => today.first_of_month()?,
            };
            // Where summer time begins at midnight, that day has no midnight; it begins with its first existing moment.
            Ok::<_, jiff::Error>(first.start_of_day()?.timestamp().as_millisecond())
        };
        // A time beyond the calendar has no day; nothing was sold then.
        start().unwrap_or(at_ms)
    }

    /// A local time in the zone, to the minute, with the zone's abbreviation.
    pub fn text(&self, at_ms: i64) -> Option<String> {
        let time = Timestamp::from_millisecond(at_ms).ok()?.to_zoned_datetime(self.0.clone());
        Some(time.strftime("%Y-%m-%d %H:%M %Z").to_string())
    }
}

/// The error text for a name that is not a zone.
fn unknown(name: &str) -> String {
    let mut known: Vec<(usize, String)> =
        jiff::tz::db().available().map(|zone| (distance(name, zone.as_str()), zone.as_str().to_owned())).collect();
    known.sort();
    let near: Vec<String> = known.into_iter().take(SUGGESTIONS).map(|(_, zone)| zone).collect();
    let name: String = name.chars().take(64).collect();
    format!("{name:?} is no time zone of the IANA database; did you mean {}?", near.join(", "))
}

/// How different a name is from a zone's. Only the part after the last slash counts, because people write a city.
fn distance(name: &str, zone: &str) -> usize {
    let (name, zone) = (name.to_lowercase().replace(' ', "_"), zone.to_lowercase());
    if name.is_empty() {
        return usize::MAX;
    }
    let city = |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned();
    let within = if zone.contains(&city(&name)) { 0 } else { 2 };
    edit_distance(&name, &zone).min(edit_distance(&city(&name), &city(&zone))) + within
}

/// Characters to insert, remove or change to make one text of another (Levenshtein).
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn zone(name: &str) -> Zone {
        Zone::parse(name).unwrap()
    }

    #[test]
    fn a_day_has_23_24_or_25_hours() {
        let berlin = zone("Europe/Berlin");
        for (noon, start, hours) in [
            ("2026-07-15T10:00:00Z", "2026-07-14T22:00:00Z", 24),
            ("2026-01-15T11:00:00Z", "2026-01-14T23:00:00Z", 24),
            ("2026-03-29T10:00:00Z", "2026-03-28T23:00:00Z", 23),
            ("2026-10-25T11:00:00Z", "2026-10-24T22:00:00Z", 25),
        ] {
            let start_ms = berlin.start_ms(Period::Day, ms(noon));
            assert_eq!(start_ms, ms(start), "{noon}");
            let next_ms = start_ms + hours * HOUR_MS;
            assert_eq!(berlin.start_ms(Period::Day, next_ms - 1), start_ms, "{noon}: its last moment");
            assert_eq!(berlin.start_ms(Period::Day, next_ms), next_ms, "{noon}: the next day's first");
        }
    }

    #[test]
    fn a_day_whose_midnight_does_not_exist_begins_with_its_first_moment() {
        // Cairo's summer time began at midnight: 24 April 2026 begins at 01:00.
        let start_ms = zone("Africa/Cairo").start_ms(Period::Day, ms("2026-04-24T12:00:00Z"));
        assert_eq!(start_ms, ms("2026-04-23T22:00:00Z"));
        // And Havana's ends after it: 1 November 2026 has its first hour twice.
        let havana = zone("America/Havana");
        for within in ["2026-11-01T04:30:00Z", "2026-11-01T05:30:00Z", "2026-11-01T20:00:00Z"] {
            assert_eq!(havana.start_ms(Period::Day, ms(within)), ms("2026-11-01T04:00:00Z"), "{within}");
        }
        // Samoa had no 30 December 2011 at all.
        let apia = zone("Pacific/Apia");
        assert_eq!(apia.start_ms(Period::Day, ms("2011-12-30T10:00:00Z")), ms("2011-12-30T10:00:00Z"));
        assert_eq!(apia.start_ms(Period::Day, ms("2011-12-30T09:59:59Z")), ms("2011-12-29T10:00:00Z"));
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first_whatever_the_clock_did_meanwhile() {
        let berlin = zone("Europe/Berlin");
        let sunday_of_the_change = ms("2026-03-29T20:00:00Z");
        assert_eq!(berlin.start_ms(Period::Week, sunday_of_the_change), ms("2026-03-22T23:00:00Z"));
        assert_eq!(berlin.start_ms(Period::Month, sunday_of_the_change), ms("2026-02-28T23:00:00Z"));
        assert_eq!(berlin.start_ms(Period::Month, ms("2026-10-31T22:00:00Z")), ms("2026-09-30T22:00:00Z"));
        assert_eq!(berlin.start_ms(Period::Week, ms("2026-07-13T00:00:00Z")), ms("2026-07-12T22:00:00Z"));
        assert_eq!(berlin.start_ms(Period::Day, i64::MAX), i64::MAX, "beyond the calendar");
    }

    #[test]
    fn an_offset_from_before_there_were_zones_becomes_one() {
        for (offset_min, currency, name) in [
            (480, Currency::Cny, "Asia/Shanghai"),
            (60, Currency::Eur, "Europe/Berlin"),
            (120, Currency::Eur, "Europe/Athens"),
            (0, Currency::Eur, "Europe/Lisbon"),
            (0, Currency::Cny, "Etc/UTC"),
            (60, Currency::Cny, "Etc/GMT-1"),
            (-300, Currency::Eur, "Etc/GMT+5"),
            (840, Currency::Eur, "Etc/GMT-14"),
            (330, Currency::Eur, "Asia/Kolkata"),
        ] {
            let zone = Zone::of_offset(offset_min, currency).unwrap();
            assert_eq!(zone.name(), name);
            let winter = ms("2026-01-15T12:00:00Z");
            let start_ms = (winter + i64::from(offset_min) * 60_000).div_euclid(24 * HOUR_MS) * 24 * HOUR_MS;
            assert_eq!(zone.start_ms(Period::Day, winter), start_ms - i64::from(offset_min) * 60_000, "{name}");
        }
        assert_eq!(Zone::of_offset(37, Currency::Eur), None);
        assert_eq!(Zone::of_offset(15 * 60, Currency::Eur), None);
        assert_eq!(Zone::default_for(Currency::Eur).name(), "Europe/Berlin");
        assert_eq!(Zone::default_for(Currency::Cny).name(), "Asia/Shanghai");
    }

    #[test]
    fn a_name_that_is_no_zone_gets_suggestions() {
        assert_eq!(zone(" europe/berlin ").name(), "Europe/Berlin");
        for (wrong, meant) in [
            ("Berlin", "Europe/Berlin"),
            ("Europe/Berln", "Europe/Berlin"),
            ("Asia/Beijing", "Asia/"),
            ("new york", "America/New_York"),
            ("", "?"),
            (&"x".repeat(10_000), "?"),
            ("../../etc/passwd", "?"),
        ] {
            let Err(Error::Invalid { field: "time zone", message }) = Zone::parse(wrong) else { panic!("{wrong}") };
            assert!(message.contains(meant), "{wrong}: {message}");
            assert!(message.len() < 400, "{message}");
        }
    }

    #[test]
    fn times_are_written_as_in_the_zone() {
        let at_ms = ms("2026-07-15T10:00:30Z");
        assert_eq!(zone("Europe/Berlin").text(at_ms).unwrap(), "2026-07-15 12:00 CEST");
        assert_eq!(zone("Asia/Shanghai").text(at_ms).unwrap(), "2026-07-15 18:00 CST");
        assert_eq!(zone("Etc/UTC").text(at_ms).unwrap(), "2026-07-15 10:00 UTC");
    }
}
