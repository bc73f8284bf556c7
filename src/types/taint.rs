//! Texts that nobody is to see, and what stands in their place.

use super::Secret;

/// A shorter text would be found everywhere.
const SHORTEST: usize = 4;

/// Values that came from the environment or are secrets, each with what is
/// shown instead. It cleans what others have said: a server's answer that
/// repeats a password, the output of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taint {
    /// Longest first: one may be part of another.
    hidden: Vec<(Secret, String)>,
}

impl Taint {
    /// From now on `value` is shown as `shown`.
    pub fn hide(&mut self, value: &str, shown: &str) {
        // As it is, and as a message may quote it.
        let spellings = [
            value.to_owned(),
            value.escape_debug().to_string(),
            value.escape_default().to_string(),
            value.as_bytes().escape_ascii().to_string(),
        ];
        for spelling in spellings {
            let is_known = |(it, _): &(Secret, String)| it.expose() == spelling;
            if spelling.len() >= SHORTEST && !self.hidden.iter().any(is_known) {
                self.hidden.push((Secret::new(spelling), shown.to_owned()));
            }
        }
        self.hidden
            .sort_by_key(|(value, _)| std::cmp::Reverse(value.expose().len()));
    }

    /// Whether `value`, once it is hidden, is found in what others say. What
    /// is too short for it must not get there.
    pub const fn finds(value: &str) -> bool {
        value.is_empty() || value.len() >= SHORTEST
    }

    /// Hides all that `other` hides, too.
    pub fn join(&mut self, other: &Self) {
        for (value, shown) in &other.hidden {
            self.hide(value.expose(), shown);
        }
    }

    /// `text` without the hidden values. One that is too short to be told from
    /// what stands there by chance is not found: who sent it to somebody must
    /// not repeat what that one said.
    pub fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (value, shown) in &self.hidden {
            if text.contains(value.expose()) {
                text = text.replace(value.expose(), shown);
            }
        }
        // Whoever cuts a long text may cut a value in two.
        let end = text.trim_end_matches(['"', '\'', '.', '…', ')']).len();
        for (value, shown) in &self.hidden {
            let value = value.expose();
            let starts = (SHORTEST..value.len()).rev();
            let starts = starts.filter_map(|at| value.get(..at));
            if let Some(start) = starts.into_iter().find(|it| text[..end].ends_with(it)) {
                let at = end - start.len();
                text.replace_range(at..end, shown);
                break;
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_found_however_it_is_quoted() {
        let mut taint = Taint::default();
        taint.hide("hunter2", "***");
        taint.hide("pä\"ss\\w", "${PW}");
        taint.hide("hunter2-and-more", "${LONG}");
        taint.hide("80", "${PORT}");
        for (said, shown) in [
            (
                "-ERR invalid password 'hunter2'",
                "-ERR invalid password '***'",
            ),
            ("a hunter2-and-more b", "a ${LONG} b"),
            ("10.0.0.1:80: refused", "10.0.0.1:80: refused"),
            ("is pä\"ss\\w", "is ${PW}"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(taint.clean(said), shown);
        }
        let debug = format!("it was {:?}", "pä\"ss\\w");
        assert_eq!(taint.clean(&debug), "it was \"${PW}\"");
        let ascii = format!("it was \"{}\"", "pä\"ss\\w".as_bytes().escape_ascii());
        assert_eq!(taint.clean(&ascii), "it was \"${PW}\"");
        assert!(!format!("{taint:?}").contains("hunter"));
    }

    #[test]
    fn a_value_that_was_cut_in_two_is_hidden() {
        let mut taint = Taint::default();
        taint.hide("correct-horse", "***");
        let said = "the answer begins with \"-ERR no correct-ho\"";
        assert_eq!(taint.clean(said), "the answer begins with \"-ERR no ***\"");
    }
}
