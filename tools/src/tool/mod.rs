//! The tools: one file each, `tool/<family>/<verb>.rs`, found by `build.rs`.
//!
//! A file declares a `TOOL`: what it is called, what it may do, how people ask for it and the function
//! that does it. Schema, authorisation, audit, dry run and undo follow from that declaration.

use crate::declaration::Declaration;
use aios_abi::tool::ToolInfo;
use std::sync::LazyLock;

include!(concat!(env!("OUT_DIR"), "/tools.rs"));

static BY_NUMBER: LazyLock<Vec<&'static Declaration>> = LazyLock::new(|| {
    let mut tools = TABLE.to_vec();
    tools.sort_by_key(|tool| tool.number);
    tools
});

/// All tools, by number.
pub fn all() -> &'static [&'static Declaration] {
    &BY_NUMBER
}

/// The tools as every interface needs them; schemas are made once.
pub fn infos() -> &'static [ToolInfo] {
    static INFOS: LazyLock<Vec<ToolInfo>> =
        LazyLock::new(|| BY_NUMBER.iter().map(|tool| tool.info()).collect());
    &INFOS
}

/// The tool with this wire number.
pub fn by_number(number: u16) -> Option<&'static Declaration> {
    /// Place by place; the numbers leave few gaps.
    static PLACES: LazyLock<Vec<Option<&'static Declaration>>> = LazyLock::new(|| {
        let last = BY_NUMBER.last().map_or(0, |tool| tool.number);
        let mut places = vec![None; usize::from(last) + 1];
        BY_NUMBER.iter().for_each(|tool| places[usize::from(tool.number)] = Some(*tool));
        places
    });
    PLACES.get(usize::from(number)).copied().flatten()
}

/// The tool with this name.
pub fn by_name(name: &str) -> Option<&'static Declaration> {
    BY_NUMBER.iter().copied().find(|tool| tool.name == name)
}

/// Version of the image: `VERSION_ID` of os-release(5), or of this program where there is none.
pub fn image_version() -> String {
    let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_ID="))
        .map_or(env!("CARGO_PKG_VERSION"), |version| version.trim_matches('"'))
        .to_owned()
}
