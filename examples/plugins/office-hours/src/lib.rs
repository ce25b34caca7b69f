//! Holds messages outside of office hours for the human, and refuses large ones at any time.
//! Messages of high priority pass at any hour.

use ogp::{config, config_int, config_list, Decision, Input};
use std::cell::RefCell;

ogp::init!(check);
ogp::on_message!(decide);

/// What is configured, which stays the same while an instance lives.
struct Hours {
    open: i64, // minutes since midnight
    close: i64,
    days: [bool; 7], // from Sunday
    offset: i64,     // minutes
    max: i64,
}

thread_local! {
    static HOURS: RefCell<Option<Hours>> = RefCell::default();
}

fn check() -> Result<(), String> {
    let clock = |name: &str| minutes(&config(name).unwrap_or_default()).ok_or(format!("{} must be like \"08:30\"", name));
    let listed = config_list("days");
    let hours = Hours {
        open: clock("open")?,
        close: clock("close")?,
        days: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"].map(|day| listed.iter().any(|d| d == day)),
        offset: config_int("utc_offset_minutes").unwrap_or(0),
        max: config_int("max_bytes").unwrap_or(32768),
    };
    HOURS.with(|h| *h.borrow_mut() = Some(hours));
    Ok(())
}

fn decide(r: &Input) -> Decision {
    HOURS.with(|h| match &*h.borrow() {
        Some(hours) => judge(r, hours),
        None => Decision::hold("office_closed", "its hours are not known"),
    })
}

fn judge(r: &Input, hours: &Hours) -> Decision {
    let bytes = r.int("message.textBytes").unwrap_or(i64::MAX);
    if bytes > hours.max {
        return Decision::deny("too_big", &format!("{} bytes, at most {}", bytes, hours.max));
    }
    if r.text("message.priority") == "high" || open(&r.text("now"), hours) {
        return Decision::allow();
    }
    Decision::hold("office_closed", "outside of office hours; kept for the human")
}

/// Whether a time like 2026-11-21T20:47:35Z lies in the hours that the configuration names.
/// A time that cannot be read does not.
fn open(now: &str, hours: &Hours) -> bool {
    let number = |from: usize, to: usize| now.get(from..to).and_then(|s| s.parse::<i64>().ok());
    let (day, clock) = match (number(0, 4), number(5, 7), number(8, 10), now.get(11..16).and_then(minutes)) {
        (Some(y), Some(m), Some(d), Some(clock)) if now.ends_with('Z') => (days_from(y, m, d), clock),
        _ => return false,
    };
    let local = day * 1440 + clock + hours.offset;
    let weekday = (local.div_euclid(1440) + 4).rem_euclid(7); // 1970-01-01 was a Thursday; 0 is Sunday
    let at = local.rem_euclid(1440);
    hours.days[weekday as usize] && hours.open <= at && at < hours.close
}

/// Minutes since midnight of a clock like 08:30.
fn minutes(clock: &str) -> Option<i64> {
    let (h, m) = clock.split_once(':')?;
    let (h, m): (i64, i64) = (h.parse().ok()?, m.parse().ok()?);
    ((0..=24).contains(&h) && (0..60).contains(&m)).then(|| h * 60 + m)
}

/// Days since 1970-01-01 (Howard Hinnant's days_from_civil).
fn days_from(y: i64, m: i64, d: i64) -> i64 {
    let y = if m <= 2 { y - 1 } else { y };
    let era = y.div_euclid(400);
    let of_era = y.rem_euclid(400);
    let of_year = (153 * ((m + 9) % 12) + 2) / 5 + d - 1;
    era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468
}

#[cfg(test)]
mod tests {
    use super::*;
    const CONFIG: &str = r#"{"open":"08:00","close":"18:00","days":["mon","tue","wed","thu","fri"],"utc_offset_minutes":60,"max_bytes":1000}"#;

    fn at(now: &str, priority: &str, bytes: i64) -> String {
        assert_eq!(ogp::testing::run(ogp_init, CONFIG, "").1, 0);
        let input = format!(r#"{{"now":"{}","message":{{"priority":"{}","textBytes":{}}}}}"#, now, priority, bytes);
        let (out, status) = ogp::testing::run(ogp_message, CONFIG, &input);
        assert_eq!(status, 0);
        ogp::json_get(&out, "decision").unwrap()
    }

    #[test]
    fn hours_are_local() {
        assert_eq!(at("2026-11-20T06:59:59.999Z", "normal", 1), "hold"); // a Friday, 07:59 with +60
        assert_eq!(at("2026-11-20T07:00:00.000Z", "normal", 1), "allow");
        assert_eq!(at("2026-11-20T16:59:59.000Z", "normal", 1), "allow");
        assert_eq!(at("2026-11-20T17:00:00.000Z", "normal", 1), "hold");
        assert_eq!(at("2026-11-21T12:00:00.000Z", "normal", 1), "hold"); // Saturday
        assert_eq!(at("2026-11-22T23:30:00.000Z", "normal", 1), "hold"); // Monday 00:30 there
        assert_eq!(at("garbage", "normal", 1), "hold");
    }

    #[test]
    fn size_and_priority() {
        assert_eq!(at("2026-11-21T12:00:00.000Z", "high", 1000), "allow");
        assert_eq!(at("2026-11-20T12:00:00.000Z", "high", 1001), "deny");
    }

    #[test]
    fn configuration_is_checked() {
        let (out, status) = ogp::testing::run(ogp_init, r#"{"open":"8","close":"18:00"}"#, "");
        assert_eq!((out.as_str(), status), ("open must be like \"08:30\"", 1));
        assert_eq!(ogp::testing::run(ogp_init, CONFIG, "").1, 0);
    }
}
