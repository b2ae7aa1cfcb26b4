//! Arguments of every tool, as any caller may send them: they are checked, their paths are named, they are made fit for
//! the audit chain. First the tool, then the text.
#![cfg_attr(feature = "link", no_main)]

use aios_fuzz::fuzz_target;
use aios_toold::{redact, tool};

fuzz_target!(|input: (u8, &str)| {
    let (number, args) = (usize::from(input.0), input.1);
    let all = tool::all();
    let tool = all[number % all.len()];
    let kept = redact::for_audit(args, tool);
    serde_json::from_str::<serde_json::Value>(&kept).expect("what is kept is JSON");
    // Both understand the same.
    assert_eq!(tool.code.check_args(args).is_ok(), tool.code.paths(args).is_ok());
});
