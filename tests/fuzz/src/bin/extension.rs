//! Extension images as somebody uploads them: the seal at their end, the manifest before it, lists of keys, versions.
#![cfg_attr(feature = "link", no_main)]

use aios_extension::{Keys, Manifest, SEAL, Seal};
use aios_fuzz::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some((_, end)) = bytes.split_last_chunk::<SEAL>()
        && let Some(seal) = Seal::parse(end)
    {
        assert_eq!(&seal.to_bytes(), end);
        // Nobody here has a private key.
        let _ = seal.is_signed();
    }
    Keys::default().add(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Manifest::parse(text) {
        Ok(manifest) => {
            let again = manifest.text().expect("is written");
            assert_eq!(Manifest::parse(&again).as_ref(), Ok(&manifest));
            assert!(!manifest.version.contains('/') && !manifest.name.contains(['/', '.']));
        }
        Err(why) => assert!(!why.contains('\n'), "{why}"),
    }
    if let Some((one, other)) = text.split_once('\n') {
        assert_eq!(aios_extension::compare(one, other), aios_extension::compare(other, one).reverse());
    }
});
