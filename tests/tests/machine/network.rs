//! How the network is set up: on trial, over power cuts, through tunnels.

use aios_tests::{Appliance, PATIENCE, said};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::Instant;

fn call(appliance: &Appliance, tool: &str, args: &Value) -> Result<Value> {
    appliance.json(&["tools", "call", tool, "--args", &args.to_string(), "--why", "test"])
}

/// Until the machine answers again, and says that nothing is on trial.
fn over(appliance: &Appliance) -> Result<()> {
    let begin = Instant::now();
    loop {
        match appliance.json(&["tools", "call", "net.trial"]) {
            Ok(answer) if answer["result"]["trial"].is_null() => return Ok(()),
            other => ensure!(begin.elapsed() < PATIENCE, "the trial does not end: {other:?}"),
        }
    }
}

fn mtu(appliance: &Appliance) -> Result<Option<u64>> {
    let found = appliance.json(&["tools", "call", "net.interfaces", "name=eth0"])?;
    Ok(found.pointer("/result/interfaces/0/mtu").and_then(Value::as_u64))
}

#[test]
fn a_change_that_cuts_everybody_off_undoes_itself_and_one_that_is_confirmed_outlives_the_power() -> Result<()>
{
    let appliance = Appliance::claimed()?;
    // QEMU passes connections on to the address that its DHCP server gave: with another one nobody gets in.
    let away =
        json!({ "interface": "eth0", "method": "static", "addresses": ["10.0.2.99/24"], "seconds": 10 });
    let cut_off =
        appliance.ctl(&["tools", "call", "net.configure", "--args", &away.to_string(), "--why", "test"])?;
    println!("who cut himself off heard: {}", said(&cut_off));
    over(&appliance)?;
    let log = appliance.ctl(&["logs", "--unit", "netd", "-n", "100"])?;
    ensure!(said(&log).contains("nobody confirmed it in time"), "netd does not say it: {}", said(&log));

    let before = mtu(&appliance)?;
    let smaller = json!({ "interface": "eth0", "method": "dhcp", "mtu": 1400 });
    let tried = call(&appliance, "net.configure", &smaller)?;
    ensure!(tried["summary"].as_str().is_some_and(|words| words.contains("aiosctl net confirm")), "{tried}");
    // A power cut takes back what nobody confirmed.
    let appliance = appliance.cut_power()?;
    over(&appliance)?;
    ensure!(mtu(&appliance)? == before, "the trial outlived the power: {:?}", mtu(&appliance)?);
    let tried = call(&appliance, "net.configure", &smaller)?;
    call(&appliance, "net.confirm", &json!({}))?;
    let appliance = appliance.cut_power()?;
    ensure!(mtu(&appliance)? == Some(1400), "what was confirmed is forgotten: {:?}", mtu(&appliance)?);
    appliance.json(&["undo", &tried["audit"].to_string(), "--why", "test"])?;
    call(&appliance, "net.confirm", &json!({}))?;
    ensure!(mtu(&appliance)? == before, "not taken back: {:?}", mtu(&appliance)?);

    tunnels(&appliance)
}

/// Two tunnels of this machine meet each other: keys are agreed on by the kernel's own WireGuard.
fn tunnels(appliance: &Appliance) -> Result<()> {
    let secret = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";
    let set = |name: &str, number: u8, peers: Value| -> Result<Value> {
        let addresses = [format!("10.{number}.0.1/24")];
        let port = 51_800 + u16::from(number);
        let tried = json!({ "interface": name, "addresses": addresses, "port": port, "peers": peers });
        let tried = call(appliance, "net.vpn_set", &tried)?;
        call(appliance, "net.confirm", &json!({}))?;
        Ok(tried["audit"].clone())
    };
    let list = |name: &str| -> Result<Value> {
        let found = call(appliance, "net.vpn_list", &json!({ "interface": name }))?;
        found.pointer("/result/tunnels/0").cloned().with_context(|| format!("no tunnel {name}: {found}"))
    };
    let peer = |tunnel: &Value, other: u8| {
        json!([{
            "public_key": tunnel["public_key"], "allowed": [format!("192.168.{other}.0/24")],
            "endpoint": format!("127.0.0.1:{}", 51_800 + u16::from(other)),
            "keepalive": 1, "preshared_key": secret,
        }])
    };
    let first = set("wg0", 8, json!([]))?;
    let alone = list("wg0")?;
    set("wg1", 9, peer(&alone, 8))?;
    set("wg0", 8, peer(&list("wg1")?, 9))?;
    ensure!(list("wg0")?["public_key"] == alone["public_key"], "the tunnel has another key now");
    let begin = Instant::now();
    for name in ["wg0", "wg1"] {
        loop {
            let tunnel = list(name)?;
            let peer = &tunnel["peers"][0];
            ensure!(peer["preshared_key"] == true, "no preshared key: {tunnel}");
            if peer["handshake_seconds_ago"].is_u64() && peer["received"].as_u64() > Some(0) {
                println!("{name}: {tunnel}");
                break;
            }
            ensure!(begin.elapsed() < PATIENCE, "the tunnels do not meet: {tunnel}");
        }
    }
    let routes = appliance.json(&["tools", "call", "net.routes"])?.to_string();
    ensure!(
        routes.contains("192.168.8.0/24") && routes.contains("wg1"),
        "no route into the tunnel: {routes}"
    );
    let key = appliance.ctl(&["tools", "call", "fs.read", "path=/data/netd/keys/own-wg0"])?;
    ensure!(!key.status.success(), "the private key can be read");
    let records = appliance.json(&["audit", "list"])?.to_string();
    ensure!(!records.contains(secret), "the audit chain tells the preshared key");

    call(appliance, "net.vpn_remove", &json!({ "interface": "wg1" }))?;
    call(appliance, "net.confirm", &json!({}))?;
    // The tunnel of before has no peer; what was made in between has to be taken back first.
    let undone = appliance.ctl(&["undo", &first.to_string(), "--why", "test"])?;
    ensure!(!undone.status.success() && said(&undone).contains("changed again"), "{}", said(&undone));
    ensure!(list("wg1").is_err(), "the tunnel is still there");
    Ok(())
}
