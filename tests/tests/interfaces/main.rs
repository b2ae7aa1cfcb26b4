//! The interfaces of the tools, each asked by a program that we did not write, with the true daemons behind them.

#[allow(dead_code, unreachable_pub, reason = "a helper of tests")]
mod house;
mod people;
mod sample;

use house::{House, said_by};

#[test]
fn the_official_sdk_finds_and_calls_every_tool_over_every_way() {
    let house = House::start();
    let output = house.python("assistant.py", &[]);
    assert!(output.status.success(), "{}", said_by(&output));
    print!("{}", said_by(&output));
}

#[test]
fn the_api_is_what_its_document_says() {
    let house = House::start();
    let output = house.python("judge.py", &[]);
    assert!(output.status.success(), "{}", said_by(&output));
    print!("{}", said_by(&output));
}
