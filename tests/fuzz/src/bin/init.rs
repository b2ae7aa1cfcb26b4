//! What PID 1 reads: service files, the kernel's command line, messages of services.
//!
//! init is a program without a library, so its sources are compiled in here.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../../../init/src/cmdline.rs"]
mod cmdline;
#[path = "../../../../init/src/notify.rs"]
mod notify;
#[path = "../../../../init/src/supervisor/mod.rs"]
mod supervisor;
#[path = "../../../../init/src/unit/mod.rs"]
mod unit;

use libfuzzer_sys::fuzz_target;
use std::path::Path;
use std::sync::LazyLock;

static USERS: LazyLock<unit::Users> =
    LazyLock::new(|| unit::Users::parse("root:x:0:0::/:\nweb:x:5:6::/:\n", "disk:x:7:web\n"));

fuzz_target!(|bytes: &[u8]| {
    let message = notify::parse(1, bytes);
    assert!(message.status.is_none_or(|status| !status.contains(char::is_control)));
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    assert!(cmdline::parse(text).faults.iter().all(|fault| !fault.contains('\n')));
    unit::Users::parse(text, text);
    match unit::parse(Path::new("/etc/aios/services/web.toml"), text, &USERS) {
        Ok(unit) => assert!(unit.exec[0].starts_with('/')),
        Err(sentence) => assert!(!sentence.contains('\n'), "{sentence}"),
    }
});
