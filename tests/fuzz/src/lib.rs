//! What several targets share.

/// One of the parsers with which PID 1 reads foreign bytes.
pub fn foreign(name: &str) -> fn(&[u8]) {
    let known = aios_init::FOREIGN.iter().find(|(known, _)| *known == name);
    known.unwrap_or_else(|| panic!("init has no parser {name}")).1
}
