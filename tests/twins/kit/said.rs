//! What `dig` or `kdig` says of an answer.

use std::net::SocketAddr;
use std::process::Command;

use super::pair::NAME;

/// An answer, as the tool prints it.
pub struct Said {
    pub text: String,
    status: String,
    flags: String,
    pub answer: Vec<String>,
    pub authority: Vec<String>,
    pub additional: Vec<String>,
}

impl Said {
    pub fn ask(server: SocketAddr, question: &str) -> Self {
        let question = question.replace("NAME", NAME);
        let mut words = question.split(' ');
        let program = words.next().unwrap();
        let done = Command::new(program)
            .args([format!("@{}", server.ip()), "-p".to_owned()])
            .arg(server.port().to_string())
            .args([
                "+time=2",
                if program == "dig" {
                    "+tries=1"
                } else {
                    "+retry=0"
                },
            ])
            .args(words)
            .output()
            .unwrap_or_else(|error| panic!("no {program} ({error}); install it"));
        let said = [done.stdout, done.stderr].concat();
        Self::read(String::from_utf8_lossy(&said).into_owned())
    }

    fn read(text: String) -> Self {
        let after = |mark: &str| text.split(mark).nth(1).unwrap_or_default();
        let is_end = |it: char| it == ',' || it == ';';
        let status = after("status: ").split(is_end).next().unwrap_or_default();
        let header = text
            .lines()
            .find(|it| it.to_lowercase().starts_with(";; flags:"));
        let flags = header.and_then(|it| it.get(9..)?.split(';').next());
        let section = |name: &str| {
            let lines = after(&format!(";; {name} SECTION:\n")).lines();
            let lines = lines.take_while(|it| !it.is_empty());
            let tidy = |it: &str| it.split_whitespace().collect::<Vec<_>>().join(" ");
            lines.map(tidy).collect()
        };
        Self {
            status: status.to_owned(),
            flags: flags.unwrap_or_default().to_owned(),
            answer: section("ANSWER"),
            authority: section("AUTHORITY"),
            additional: section("ADDITIONAL"),
            text,
        }
    }

    pub fn is(&self, status: &str) -> bool {
        self.status == status
    }

    pub fn has(&self, flag: &str) -> bool {
        self.flags.split(' ').any(|it| it == flag)
    }

    fn has_soa(&self) -> bool {
        self.answer.is_empty() && self.authority.len() == 1 && self.authority[0].contains(" SOA ")
    }

    pub fn is_nodata(&self) -> bool {
        self.is("NOERROR") && self.has("aa") && self.has_soa()
    }

    pub fn is_nxdomain(&self) -> bool {
        self.is("NXDOMAIN") && self.has("aa") && self.has_soa()
    }

    pub fn is_refused(&self) -> bool {
        self.is("REFUSED") && !self.has("aa") && self.answer.is_empty()
    }

    pub fn is_not_implemented(&self) -> bool {
        self.is("NOTIMP") && self.answer.is_empty()
    }
}
