//! Service files, and what is concluded from them: which file is a template, how exposed a service is.
#![cfg_attr(feature = "link", no_main)]

use aios_fuzz::fuzz_target;
use aios_unit::{Kind, Unit, Users};
use std::path::Path;
use std::sync::LazyLock;

static USERS: LazyLock<Users> =
    LazyLock::new(|| Users::parse("root:x:0:0::/:\nweb:x:5:6::/:\n", "disk:x:7:web\n"));

fn judge(read: Result<Unit, String>) {
    match read {
        Ok(unit) => {
            let absolute = unit.exec.first().is_some_and(|program| program.starts_with('/'));
            assert!(absolute || unit.kind == Kind::Milestone);
            assert!(unit.state_directory.iter().all(|path| path.starts_with("/data")));
            assert!(aios_unit::exposure(&unit).tenths <= 100);
        }
        Err(sentence) => assert!(!sentence.contains('\n'), "{sentence}"),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    Users::parse(text, text);
    judge(aios_unit::parse(Path::new("/etc/aios/services/web.toml"), text, &USERS));
    let template = Path::new("/etc/aios/services/web@.toml");
    match aios_unit::instances(template, text) {
        Ok(names) => names
            .iter()
            .take(2)
            .for_each(|name| judge(aios_unit::parse_instance(template, text, name, &USERS))),
        Err(sentence) => assert!(!sentence.contains('\n'), "{sentence}"),
    }
});
