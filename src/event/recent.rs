//! The last things that happened, for people who come later. Connections are
//! not among them: those are in the log.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Event, line};

/// Events that are remembered: an incident and what led to it.
const MOST: usize = 512;

/// The last events, each with a number that grows by one.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The number of the next event; the first has 1.
    told: u64,
    lines: VecDeque<String>,
}

impl Recent {
    /// Remembers `event`, unless it is a connection's end.
    pub(super) fn note(&self, wall: Duration, event: &Event) {
        if matches!(event, Event::Connection(_)) {
            return;
        }
        let mut text = String::new();
        line::json(wall, event, &mut text);
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.told += 1;
        inner.lines.push_back(text);
        if inner.lines.len() > MOST {
            inner.lines.pop_front();
        }
    }

    /// What came after the event with number `after`, oldest first, each with
    /// its number as `seq`.
    pub(super) fn after(&self, after: u64) -> Vec<Value> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = inner.told - inner.lines.len() as u64 + 1;
        let lines = (first..).zip(&inner.lines);
        let new = lines.filter(|(seq, _)| *seq > after);
        new.filter_map(|(seq, text)| numbered(seq, text)).collect()
    }
}

fn numbered(seq: u64, text: &str) -> Option<Value> {
    let line: Value = serde_json::from_str(text).ok()?;
    let mut event = json!({ "seq": seq });
    event.as_object_mut()?.extend(line.as_object()?.clone());
    Some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(number: usize) -> Event {
        Event::Change {
            what: format!("\"{number}\"\n"),
        }
    }

    #[test]
    fn the_newest_are_remembered_and_numbered() {
        let recent = Recent::default();
        assert!(recent.after(0).is_empty());
        for number in 1..=MOST + 3 {
            recent.note(Duration::ZERO, &change(number));
        }
        let all = recent.after(0);
        assert_eq!(all.len(), MOST);
        assert_eq!(all[0]["seq"], 4, "the oldest three are forgotten");
        assert_eq!(all[0]["what"], "\"4\"\n");
        let new = recent.after(MOST as u64 + 1);
        let numbers: Vec<u64> = new.iter().filter_map(|it| it["seq"].as_u64()).collect();
        assert_eq!(numbers, [MOST as u64 + 2, MOST as u64 + 3]);
        assert!(recent.after(u64::MAX).is_empty());
    }
}
