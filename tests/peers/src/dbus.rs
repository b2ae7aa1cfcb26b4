//! D-Bus: a method call through a real `dbus-daemon` to a service in a process of its own.

use crate::{ANSWERED, ASKED, Peer, WARM_UP, eventually, micros};
use anyhow::{Result, ensure};
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use zbus::connection::Builder;

const NAME: &str = "org.aios.Peer";
const PATH: &str = "/org/aios/Peer";

struct Echo;

#[zbus::interface(name = "org.aios.Peer")]
impl Echo {
    fn call(&self, _args: &str) -> String {
        "x".repeat(ANSWERED)
    }
}

/// Serve on the bus with this address until the process is ended.
pub(crate) async fn serve(address: &str) -> Result<()> {
    let _connection = Builder::address(address).name(NAME).serve_at(PATH, Echo).build().await?;
    std::future::pending().await
}

pub(crate) async fn measure(count: usize, folder: &Path) -> Result<Vec<f64>> {
    let socket = folder.join("bus");
    let address = format!("unix:path={}", socket.display());
    let config = folder.join("bus.conf");
    std::fs::write(&config, CONFIG.replace("ADDRESS", &address))?;
    let mut daemon = Command::new("dbus-daemon");
    let _daemon = Peer::start(daemon.arg("--nofork").arg("--config-file").arg(&config))?;
    let connection = eventually(async || Ok(Builder::address(address.as_str()).build().await?)).await?;
    let _service = Peer::serve(&["dbus", &address])?;
    let args = "x".repeat(ASKED);
    let call = async || connection.call_method(Some(NAME), PATH, Some(NAME), "Call", &(args.as_str(),)).await;
    eventually(async || Ok(call().await?)).await?;
    let mut times = Vec::with_capacity(count);
    for number in 0..WARM_UP + count {
        let begun = Instant::now();
        let answer: String = call().await?.body().deserialize()?;
        ensure!(answer.len() == ANSWERED, "{answer}");
        if number >= WARM_UP {
            times.push(micros(begun));
        }
    }
    Ok(times)
}

/// A bus for this measurement alone, on which everybody may do everything.
const CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>ADDRESS</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
    <allow user="*"/>
  </policy>
</busconfig>
"#;
