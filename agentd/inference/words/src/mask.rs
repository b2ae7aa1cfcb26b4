//! Names, paths and numbers say what a tool is to work on, not which tool it is.
//!
//! `cat /etc/hostname` is near to everything about host names until the path is any path. Each such
//! word is replaced by one of its kind before a sentence is embedded, in questions and examples alike.

use crate::Words;
use std::net::IpAddr;

/// The sentence with one path, address, host name and number for all.
pub fn mask(sentence: &str) -> String {
    let mut masked = String::new();
    for word in Words::of(sentence).words {
        masked.push_str(kind(&word.core).unwrap_or(&word.core));
        masked.push_str(&word.gap);
    }
    masked
}

/// What stands for a word of its kind; nothing for an ordinary word.
fn kind(word: &str) -> Option<&'static str> {
    let is_label =
        |label: &str| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_');
    if word.starts_with('/') {
        Some("/path/file")
    } else if word.parse::<IpAddr>().is_ok() {
        Some("10.0.0.1")
    } else if word.chars().all(|c| c.is_ascii_digit()) {
        Some("5")
    } else if word.contains('.') && word.split('.').all(is_label) {
        Some("example.org")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_paths_and_numbers_are_masked() {
        assert_eq!(mask("what is in '/etc/hosts'?"), "what is in '/path/file");
        assert_eq!(mask("resolve gateway.lan and ping 10.1.2.3"), "resolve example.org and ping 10.0.0.1");
        assert_eq!(mask("is port 443, or ::1 open?"), "is port 5, or 10.0.0.1 open");
        assert_eq!(mask("restart netd ..."), "restart netd");
        assert_eq!(mask("?!"), "");
    }
}
