//! What the console says on the serial line when it is ready.

/// What a machine said when its console became ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// SHA-256 of the console's certificate, as pairs of hexadecimal digits with colons.
    pub fingerprint: String,
    /// Whether somebody owns the machine already.
    pub claim: Claim,
}

impl Ready {
    /// The claim code of a machine that nobody owns.
    pub fn claim_code(&self) -> Option<&str> {
        match &self.claim {
            Claim::Code(code) => Some(code),
            Claim::Claimed => None,
        }
    }
}

/// Whether somebody owns the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Nobody does: whoever has this code may claim it.
    Code(String),
    /// Somebody does.
    Claimed,
}

/// Puts the console's three lines together, whatever the kernel says in between.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    ready: bool,
    fingerprint: Option<String>,
}

impl Scanner {
    /// Take in one line; the last of the three completes the answer.
    pub(crate) fn line(&mut self, line: &str) -> Option<Ready> {
        let (_, said) = line.split_once("aios: ")?;
        let said = said.trim();
        if said.starts_with("console ready ") {
            *self = Self { ready: true, fingerprint: None };
        } else if let Some(fingerprint) = said.strip_prefix("certificate sha256 ") {
            self.fingerprint = Some(fingerprint.to_owned());
        } else {
            let claim = match said.strip_prefix("claim code ") {
                Some(code) => Claim::Code(code.to_owned()),
                None if said == "claimed" => Claim::Claimed,
                None => return None,
            };
            if std::mem::take(&mut self.ready) {
                return Some(Ready { fingerprint: self.fingerprint.take()?, claim });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Vec<Ready> {
        let mut scanner = Scanner::default();
        text.lines().filter_map(|line| scanner.line(line)).collect()
    }

    #[test]
    fn the_three_lines_count_and_what_is_between_them_does_not() {
        let found = scan(
            "[    1.0] aios: console is started\naios: console ready https://10.0.2.15/\n[ 2.0] random: noise\n\
             aios: certificate sha256 AA:BB\naios: inferd is ready after 10 ms\naios: claim code ABCD-EFGH-IJKL\n",
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].fingerprint, "AA:BB");
        assert_eq!(found[0].claim_code(), Some("ABCD-EFGH-IJKL"));
    }

    #[test]
    fn each_start_of_the_console_is_told_once() {
        let start = "aios: console ready https://x/\naios: certificate sha256 AA\naios: claimed\n";
        let found = scan(&format!("{start}aios: claimed\naios: claim code LATE\n{start}"));
        assert_eq!(found.iter().map(|r| &r.claim).collect::<Vec<_>>(), [&Claim::Claimed, &Claim::Claimed]);
    }
}
