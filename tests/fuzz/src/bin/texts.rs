//! Texts that people and other programs wrote: settings of nginx and sshd, keys, limits, policies, answers of git. First which.
#![cfg_attr(feature = "link", no_main)]

use aios_fuzz::fuzz_target;
use aios_toold::FOREIGN;

fuzz_target!(|bytes: &[u8]| {
    let Some((which, text)) = bytes.split_first() else { return };
    let (_, parse) = FOREIGN[usize::from(*which) % FOREIGN.len()];
    parse(text);
});
