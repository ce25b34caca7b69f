//! What a notifier is told.

use crate::json::{Kind, Value};
use std::borrow::Cow;

/// Something that the agent or the operator should hear of. ABI.md#notify
pub struct Event<'a> {
    /// A ULID, the same at every attempt: the key to tell repeats by.
    pub id: Cow<'a, str>,
    /// Such as `message` or `federation.request`.
    pub kind: Cow<'a, str>,
    /// When it happened.
    pub at: Time,
    /// Which side acted, where one did: "us" or "them".
    pub by: Cow<'a, str>,
    /// A line for people written by our gateway. It holds no word of a peer's.
    pub text: Cow<'a, str>,
    /// What else belongs to the kind.
    pub data: Value<'a>,
    /// Whom it is about.
    pub peer: Value<'a>,
    /// What was sent, for messages.
    pub message: Value<'a>,
    /// What a command for our gateway begins with.
    pub command: Cow<'a, str>,
}

impl<'a> Event<'a> {
    /// Reads one entry: `{"event":{...},"peer":...,"message":...}`, or the same with the event's own
    /// members beside the others.
    fn new(v: Value<'a>, command: &Cow<'a, str>) -> Event<'a> {
        let event = v.get("event");
        let head = if event.kind() == Kind::Map { event } else { v };
        let text = v.get("text");
        Event {
            id: head.get("id").text(),
            kind: head.get("type").text(),
            at: Time::of(head.get("at")),
            by: head.get("by").text(),
            text: if text.exists() { text } else { head.get("text") }.text(),
            data: head.get("data"),
            peer: v.get("peer"),
            message: v.get("message"),
            command: command.clone(),
        }
    }

    /// The events of a notify input: a batch where there is one, else the single event.
    pub(crate) fn all(input: Value<'a>) -> Vec<Event<'a>> {
        let command = match input.get("command").text() {
            none if none.is_empty() => Cow::Borrowed("ogp"),
            c => c,
        };
        let mut all: Vec<Event> = input.get("events").elements().map(|e| Event::new(e, &command)).collect();
        if all.is_empty() {
            all.push(Event::new(input, &command));
        }
        all
    }

    /// What is named like that of the peer, such as `alias` or `fingerprint`.
    pub fn peers(&self, name: &str) -> Cow<'a, str> {
        self.peer.get(name).text()
    }
    /// What the peer calls itself, such as `displayName`.
    pub fn names(&self, name: &str) -> Cow<'a, str> {
        self.peer.get("names").get(name).text()
    }

    /// Reports whether an event is a message of one of the intents and from one of the peers, by our
    /// alias for it or its fingerprint. None of either is all.
    pub fn fits(&self, intents: &[Cow<str>], peers: &[Cow<str>]) -> bool {
        let has = |list: &[Cow<str>], s: &str| !s.is_empty() && list.iter().any(|e| e == s);
        self.kind == "message"
            && (intents.is_empty() || has(intents, &self.message.get("intent").text()))
            && (peers.is_empty() || has(peers, &self.peers("alias")) || has(peers, &self.peers("fingerprint")))
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z; zero means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

const DAY: i64 = 24 * 60 * 60 * 1000;

impl Time {
    /// Reads RFC 3339, any offset, any fraction (cut to milliseconds).
    pub fn parse(s: &str) -> Option<Time> {
        let b = s.as_bytes();
        let number = |from: usize, to: usize| -> Option<i64> {
            b.get(from..to)?.iter().try_fold(0, |n, c| if c.is_ascii_digit() { Some(n * 10 + i64::from(c - b'0')) } else { None })
        };
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let shaped = b[4] == b'-' && b[7] == b'-' && matches!(b[10], b'T' | b't') && b[13] == b':' && b[16] == b':';
        if !shaped || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let (mut at, mut ms) = (19, 0);
        if b.get(at) == Some(&b'.') {
            at += 1;
            let mut scale = 100;
            while let Some(c) = b.get(at).filter(|c| c.is_ascii_digit()) {
                ms += i64::from(c - b'0') * scale;
                scale /= 10;
                at += 1;
            }
            if at == 20 {
                return None;
            }
        }
        let offset = match b.get(at)? {
            b'Z' | b'z' if b.len() == at + 1 => 0,
            sign @ (b'+' | b'-') if b.len() == at + 6 && b[at + 3] == b':' => {
                let minutes = number(at + 1, at + 3)? * 60 + number(at + 4, at + 6)?;
                if *sign == b'-' {
                    -minutes
                } else {
                    minutes
                }
            }
            _ => return None,
        };
        Some(Time(days_from(year, month, day) * DAY + (hour * 60 + minute - offset) * 60_000 + second * 1000 + ms))
    }

    /// Reads a date as servers write it today: Sun, 06 Nov 1994 08:49:37 GMT.
    pub fn of_http(s: &str) -> Option<Time> {
        const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
        let month = MONTHS.find(s.get(8..11)?).filter(|at| at % 3 == 0)? / 3 + 1;
        if s.len() != 29 || s.get(25..)? != " GMT" {
            return None;
        }
        Time::parse(&format!("{}-{:02}-{}T{}Z", s.get(12..16)?, month, s.get(5..7)?, s.get(17..25)?))
    }

    /// An RFC 3339 string, or a number of milliseconds.
    pub fn of(v: Value) -> Time {
        v.int().map(Time).or_else(|| Time::parse(&v.text())).unwrap_or_default()
    }
}

impl std::fmt::Display for Time {
    /// RFC 3339 in UTC with milliseconds, as the wire does.
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let (z, ms) = (self.0.div_euclid(DAY) + 719_468, self.0.rem_euclid(DAY));
        let era = z.div_euclid(146_097);
        let day_of_era = z - era * 146_097;
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let mp = (5 * day_of_year + 2) / 153;
        let (day, month) = (day_of_year - (153 * mp + 2) / 5 + 1, (mp + 2) % 12 + 1);
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
        write!(f, "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", year, month, day, hour, minute, ms / 1000 % 60, ms % 1000)
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar: Howard Hinnant's days_from_civil,
/// whose years begin in March so that the leap day comes last.
fn days_from(y: i64, m: i64, d: i64) -> i64 {
    let y = if m <= 2 { y - 1 } else { y };
    let era = y.div_euclid(400);
    let year_of_era = y - era * 400;
    let day_of_year = (153 * ((m + 9) % 12) + 2) / 5 + d - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http_are_read() {
        assert_eq!(Time::of_http("Sun, 06 Nov 1994 08:49:37 GMT"), Time::parse("1994-11-06T08:49:37Z"));
        for bad in ["", "60", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET", "Sunday, 06-Nov-94 08:49:37 GMT"] {
            assert_eq!(Time::of_http(bad), None, "{}", bad);
        }
    }

    #[test]
    fn times_are_read_and_written() {
        for (s, want) in [
            ("2026-11-21T20:47:35Z", Some("2026-11-21T20:47:35.000Z")),
            ("2026-11-21t20:47:35.7309z", Some("2026-11-21T20:47:35.730Z")),
            ("2024-02-29T23:59:60+01:30", Some("2024-02-29T22:30:00.000Z")),
            ("1969-12-31T23:59:59.999Z", Some("1969-12-31T23:59:59.999Z")),
            ("2026-13-21T20:47:35Z", None),
            ("2026-11-21T20:47:35", None),
            ("2026-11-21T20:47:35.Z", None),
            ("2026-11-21 20:47:35Z", None),
            ("é026-11-21T20:47:35Z", None),
        ] {
            assert_eq!(Time::parse(s).map(|t| t.to_string()).as_deref(), want, "{}", s);
        }
    }
}
