//! Snapshots that anybody may have written: as they come from a disk, and unpacked, with a tar that is altered anywhere.
#![cfg_attr(feature = "link", no_main)]

use aios_fuzz::fuzz_target;
use aios_toold::snapshot::read::{Item, Take, about, read, read_unpacked};
use std::io::Read;

/// What is shown lies below the paths that the snapshot says it holds.
#[derive(Default)]
struct Seen(Vec<String>);

impl Take for Seen {
    fn about(&mut self, about: &aios_toold::snapshot::About) -> Result<(), aios_abi::CallError> {
        self.0 = about.paths.clone();
        Ok(())
    }

    fn item(&mut self, item: &Item, _content: &mut dyn Read) -> Result<(), aios_abi::CallError> {
        assert!(self.0.iter().any(|root| item.path.starts_with(root)), "{}", item.path.display());
        assert!(item.path.components().all(|part| part.as_os_str() != ".."), "{}", item.path.display());
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let _ = about(bytes);
    let _ = read(bytes, &mut Seen::default());
    let _ = read_unpacked(bytes, &mut Seen::default());
});
