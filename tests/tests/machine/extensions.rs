//! Signed extension images: installed, called, updated, taken back, and refused when they are not what they should be.

use crate::text;
use aios_tests::{Appliance, program, root, said};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Where the test puts what a person would upload.
const UPLOAD: &str = "upload";

/// nginx from its recipe, with a version and a first page of its own, signed with this key or with the builder's.
fn nginx(folder: &Path, version: &str, key: Option<&Path>, more: &[&str]) -> Result<Vec<u8>> {
    let page = folder.join(format!("page-{version}"));
    std::fs::create_dir_all(page.join("usr/share/nginx/html"))?;
    std::fs::write(page.join("usr/share/nginx/html/index.html"), format!("this is {version}\n"))?;
    let out = folder.join("out");
    let mut builder = Command::new(program("aios-image"));
    builder.arg("--root").arg(root()).arg("extension").arg(root().join("image/extensions/nginx"));
    builder.args(["--version", version]).args(more).arg("--from").arg(page).arg("--out").arg(&out);
    if let Some(key) = key {
        builder.arg("--key").arg(key);
    }
    let output = builder.output()?;
    ensure!(output.status.success(), "nginx {version} was not built: {}", said(&output));
    let file = out.join(format!("nginx-{version}.aiosx"));
    std::fs::read(&file).with_context(|| format!("{} is not there", file.display()))
}

fn strangers_key(folder: &Path) -> Result<PathBuf> {
    let key = folder.join("stranger.key");
    let output = Command::new(program("aios-image")).arg("key").arg(&key).output()?;
    ensure!(output.status.success(), "no key: {}", said(&output));
    Ok(key)
}

/// The page that nginx serves inside the machine.
fn page(appliance: &Appliance) -> Result<String> {
    let lines = || -> Result<Vec<String>> {
        let log = said(&appliance.ctl(&["logs", "--unit", "caller", "--grep", "answers", "-n", "100"])?);
        Ok(log.lines().filter(|line| line.contains("answers")).map(str::to_owned).collect())
    };
    let before = lines()?.len();
    appliance.json(&["tools", "call", "service.restart", "name=caller", "--why", "test"])?;
    // Its line comes to the log on a way of its own.
    for _ in 0..60 {
        if let Some(newest) = lines()?.get(before..).and_then(<[String]>::last) {
            return Ok(newest.clone());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    anyhow::bail!("the caller said nothing")
}

fn package(appliance: &Appliance, tool: &str, argument: &str) -> Result<serde_json::Value> {
    appliance.json(&["tools", "call", tool, argument, "--why", "test"])
}

fn refused(appliance: &Appliance, tool: &str, argument: &str, why: &str) -> Result<()> {
    let output = appliance.ctl(&["tools", "call", tool, argument, "--why", "test"])?;
    ensure!(!output.status.success(), "{tool} {argument} was done: {}", said(&output));
    ensure!(
        said(&output).contains(why),
        "{tool} {argument} was refused for another reason than {why:?}: {}",
        said(&output)
    );
    Ok(())
}

#[test]
fn an_extension_is_installed_called_updated_rolled_back_and_removed_and_a_bad_one_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (one, two) = (nginx(folder.path(), "1.0", None, &[])?, nginx(folder.path(), "2.0", None, &[])?);
    let stranger = nginx(folder.path(), "3.0", Some(&strangers_key(folder.path())?), &[])?;
    let other = other_architecture(folder.path())?;
    let mut tampered = two.clone();
    tampered[two.len() / 3] ^= 1;
    let caller = "description = \"Asks nginx for its first page\"\nkind = \"oneshot\"\nstart = \"manual\"\n\
                  exec = [\"/usr/bin/aios-hostile\", \"fetch\", \"127.0.0.1:80\"]\nuser = \"aios-agentd\"\n";
    let at = |name: &str| format!("{UPLOAD}/{name}.aiosx");
    let names = [at("one"), at("two"), at("stranger"), at("other"), at("tampered"), at("cut")];
    let files: [(&str, &[u8]); 7] = [
        (&names[0], &one),
        (&names[1], &two),
        (&names[2], &stranger),
        (&names[3], &other),
        (&names[4], &tampered),
        (&names[5], &two[..two.len() / 2]),
        ("config/services/caller.toml", caller.as_bytes()),
    ];
    let appliance = Appliance::boot(&files, |_| {})?;
    appliance.claim()?;
    let path = |name: &str| format!("path=/data/{UPLOAD}/{name}.aiosx");

    let found = appliance.json(&["tools", "call", "pkg.search", &format!("directory=/data/{UPLOAD}")])?;
    let listed = found["result"].to_string();
    ensure!(listed.contains("\"2.0\"") && !listed.contains("\"3.0\""), "not what is there: {found}");
    for (name, why) in [
        ("stranger", "not signed by anyone"),
        ("other", "is for riscv64"),
        ("tampered", "altered or damaged"),
        ("cut", "only a part"),
    ] {
        refused(&appliance, "pkg.install", &path(name), why)?;
    }

    let installed = package(&appliance, "pkg.install", &path("one"))?;
    println!("{}", text(&installed["summary"]));
    ensure!(page(&appliance)?.contains("this is 1.0"), "nginx 1.0 does not answer: {}", page(&appliance)?);
    refused(&appliance, "pkg.install", &path("two"), "pkg.update replaces it")?;
    refused(&appliance, "pkg.update", &path("tampered"), "altered or damaged")?;
    // Only the tools of packages write there.
    refused(&appliance, "fs.remove", "path=/data/extensions/nginx.json", "belongs to the appliance")?;

    let updated = package(&appliance, "pkg.update", &path("two"))?;
    ensure!(page(&appliance)?.contains("this is 2.0"), "nginx 2.0 does not answer: {}", page(&appliance)?);
    refused(&appliance, "pkg.update", &path("one"), "is older than the installed 2.0")?;
    appliance.json(&["undo", &updated["audit"].to_string(), "--why", "test"])?;
    ensure!(
        page(&appliance)?.contains("this is 1.0"),
        "the update was not taken back: {}",
        page(&appliance)?
    );
    package(&appliance, "pkg.update", &path("two"))?;
    package(&appliance, "pkg.rollback", "name=nginx")?;
    ensure!(page(&appliance)?.contains("this is 1.0"), "no rollback: {}", page(&appliance)?);
    let good = appliance.json(&["tools", "call", "pkg.verify"])?;
    ensure!(good["result"]["good"] == true, "what was installed is not what was signed: {good}");

    let removed = package(&appliance, "pkg.remove", "name=nginx")?;
    // It ends in its own time, and init forgets it then.
    let runs = || appliance.service("nginx").is_ok_and(|left| !left["pid"].is_null());
    for _ in 0..60 {
        if !runs() {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    ensure!(!runs(), "nginx runs after its removal");
    appliance.json(&["undo", &removed["audit"].to_string(), "--why", "test"])?;
    ensure!(
        page(&appliance)?.contains("this is 1.0"),
        "the removal was not taken back: {}",
        page(&appliance)?
    );

    // It outlives the plug, and comes up by itself.
    let appliance = appliance.cut_power()?;
    ensure!(page(&appliance)?.contains("this is 1.0"), "nginx is not there after a power cut");
    let exposure = appliance.json(&["tools", "call", "service.security", "name=nginx"])?;
    println!("{}", text(&exposure["summary"]));
    Ok(())
}

/// A recipe for another machine: everything is right but the processor.
fn other_architecture(folder: &Path) -> Result<Vec<u8>> {
    let recipe = folder.join("other");
    std::fs::create_dir_all(&recipe)?;
    let text = "name = \"other\"\nversion = \"1\"\ndescription = \"d\"\nlicence = \"MIT\"\narchitecture = \"riscv64\"\n";
    std::fs::write(recipe.join("extension.toml"), text)?;
    let out = folder.join("out");
    let output = Command::new(program("aios-image"))
        .arg("--root")
        .arg(root())
        .arg("extension")
        .arg(&recipe)
        .arg("--out")
        .arg(&out)
        .output()?;
    ensure!(output.status.success(), "not built: {}", said(&output));
    Ok(std::fs::read(out.join("other-1.aiosx"))?)
}
