//! Signed extension images: installed, called, updated, taken back, and refused when they are not what they should be.

use crate::text;
use aios_tests::{Appliance, program, root, said};
use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Where the test puts what a person would upload.
pub(crate) const UPLOAD: &str = "upload";

/// The file that the image's tool makes of a recipe.
pub(crate) fn extension(folder: &Path, recipe: &Path, version: &str, more: &[&OsStr]) -> Result<Vec<u8>> {
    let out = folder.join("out");
    let mut builder = Command::new(program("aios-image"));
    builder.arg("--root").arg(root()).arg("extension").arg(recipe).args(["--version", version]);
    let output = builder.args(more).arg("--out").arg(&out).output()?;
    ensure!(output.status.success(), "{} was not built: {}", recipe.display(), said(&output));
    let name = recipe.file_name().unwrap_or_default().to_string_lossy();
    let file = out.join(format!("{name}-{version}.aiosx"));
    std::fs::read(&file).with_context(|| format!("{} is not there", file.display()))
}

/// The recipe of an extension that comes with the appliance.
fn recipe(name: &str) -> PathBuf {
    root().join("image/extensions").join(name)
}

/// nginx with a version and a first page of its own, signed with this key or with the builder's.
fn nginx(folder: &Path, version: &str, key: Option<&Path>) -> Result<Vec<u8>> {
    let page = folder.join(format!("page-{version}"));
    std::fs::create_dir_all(page.join("usr/share/nginx/html"))?;
    std::fs::write(page.join("usr/share/nginx/html/index.html"), format!("this is {version}\n"))?;
    let mut more = vec!["--from".as_ref(), page.as_os_str()];
    more.extend(key.iter().flat_map(|key| ["--key".as_ref(), key.as_os_str()]));
    extension(folder, &recipe("nginx"), version, &more)
}

/// An extension from its recipe as it is.
fn built(folder: &Path, name: &str) -> Result<Vec<u8>> {
    extension(folder, &recipe(name), "1.0", &[])
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
    let (one, two) = (nginx(folder.path(), "1.0", None)?, nginx(folder.path(), "2.0", None)?);
    let stranger = nginx(folder.path(), "3.0", Some(&strangers_key(folder.path())?))?;
    let other = other_architecture(folder.path())?;
    let mut tampered = two.clone();
    tampered[two.len() / 3] ^= 1;
    let caller = "description = \"Asks nginx for its first page\"\nkind = \"oneshot\"\nstart = \"manual\"\n\
                  exec = [\"/usr/bin/aios-hostile\", \"fetch\", \"127.0.0.1:80\"]\nuser = \"aios-agentd\"\n\
                  [commands.ask]\ndescription = \"Asks whom it is told to\"\narguments = \"any\"\nchanges = false\n\
                  exec = [\"/usr/bin/aios-hostile\", \"fetch\"]\n\
                  [commands.wait]\ndescription = \"Waits for ever\"\nexec = [\"/usr/bin/aios-hostile\", \"idle\"]\n";
    let kiosk = kiosk();
    let at = |name: &str| format!("{UPLOAD}/{name}.aiosx");
    let container = container(folder.path())?;
    let names = [at("one"), at("two"), at("stranger"), at("other"), at("tampered"), at("cut"), at("shop")];
    let files: [(&str, &[u8]); 9] = [
        ("config/services/kiosk.toml", kiosk.as_bytes()),
        (&names[6], &container),
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
    commands_run(&appliance)?;
    repairs(&appliance)?;
    containers_run(&appliance, &path("shop"))?;
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
    let news = call(&appliance, "pkg.updates", &[])?;
    ensure!(news["result"]["updates"].to_string().contains("\"2.0\""), "nothing is new: {news}");
    // One that says it is just as new, and is damaged, does not stand in the way.
    ensure!(
        news["result"].to_string().contains("altered or damaged"),
        "the damaged one is not told of: {news}"
    );
    let all = call(&appliance, "pkg.update_all", &[])?;
    ensure!(page(&appliance)?.contains("this is 2.0"), "not all is updated: {all}");
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

    sites(&appliance)?;

    // It outlives the plug, and comes up by itself.
    let appliance = appliance.cut_power()?;
    ensure!(page(&appliance)?.contains("this is 1.0"), "nginx is not there after a power cut");
    let exposure = appliance.json(&["tools", "call", "service.security", "name=nginx"])?;
    println!("{}", text(&exposure["summary"]));
    Ok(())
}

pub(crate) fn call(appliance: &Appliance, tool: &str, arguments: &[&str]) -> Result<serde_json::Value> {
    let words: Vec<&str> = ["tools", "call", tool].iter().chain(arguments).copied().collect();
    appliance.json(&[&words[..], &["--why", "test"]].concat())
}

/// A site is added, tested, put into force and looked at; a wrong one is refused.
fn sites(appliance: &Appliance) -> Result<()> {
    let path = "path=/data/nginx/conf.d/site.conf";
    let tested = call(appliance, "web.test", &[])?;
    ensure!(tested["result"]["good"] == true, "nginx refuses what it runs with: {tested}");
    call(appliance, "fs.mkdir", &["path=/data/nginx/conf.d"])?;
    let pem = "/data/nginx/conf.d/site.pem";
    let issue = serde_json::json!({ "names": ["site.lan"], "path": pem }).to_string();
    let issued = call(appliance, "sec.certificate_issue", &["--args", &issue])?;
    println!("{}", text(&issued["summary"]));
    let site = format!(
        "content=server {{ listen 8443 ssl; server_name site.lan; ssl_certificate {pem}; ssl_certificate_key {pem}; }}"
    );
    let written = call(appliance, "fs.write", &[path, &site])?;
    let reloaded = call(appliance, "web.reload", &[])?;
    ensure!(reloaded["result"]["taken"] == true, "nginx does not take a good site: {reloaded}");
    let sites = call(appliance, "web.vhosts", &[])?;
    ensure!(sites["result"]["servers"][0]["names"][0] == "site.lan", "not the site: {sites}");
    let status = call(appliance, "web.status", &[])?;
    ensure!(status["result"]["requests"].as_u64() >= Some(1), "nginx counts nothing: {status}");
    let pid = appliance.service("nginx")?["pid"].as_u64().context("nginx does not run")?;
    let told = call(appliance, "process.signal", &[&format!("pid={pid}"), "signal=usr1"])?;
    ensure!(appliance.service("nginx")?["pid"] == pid, "it was to open its logs again: {told}");
    let certificates = call(appliance, "web.certificates", &[])?;
    let used = &certificates["result"]["certificates"][0];
    ensure!(used["key_fits"] == true && used["problem"].is_null(), "not as it was issued: {certificates}");
    for audit in [&written["audit"], &issued["audit"]] {
        appliance.json(&["undo", &audit.to_string(), "--why", "test"])?;
    }
    call(appliance, "fs.write", &[path, "content=server { listen 8080; no_such_word; }"])?;
    let tested = call(appliance, "web.test", &[])?;
    ensure!(
        tested["result"]["findings"][0]["place"] == "/data/nginx/conf.d/site.conf:1",
        "nginx does not say where: {tested}"
    );
    let output = appliance.ctl(&["tools", "call", "web.reload", "--why", "test"])?;
    ensure!(said(&output).contains("nginx would refuse"), "a wrong site was loaded: {}", said(&output));
    call(appliance, "fs.remove", &[path])?;
    Ok(())
}

#[test]
fn a_database_is_looked_at_backed_up_restored_and_a_statement_in_it_ended() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let image = built(folder.path(), "postgresql")?;
    let file = format!("{UPLOAD}/postgresql.aiosx");
    let appliance = Appliance::boot(&[(&file, &image)], |_| {})?;
    appliance.claim()?;
    let installed = package(&appliance, "pkg.install", &format!("path=/data/{file}"))?;
    println!("{}", text(&installed["summary"]));
    let status = call(&appliance, "db.status", &[])?;
    println!("{}", text(&status["summary"]));
    ensure!(text(&status["result"]["version"]).starts_with("15."), "not the server: {status}");
    let connections = call(&appliance, "db.connections", &[])?;
    ensure!(connections["result"]["connections"].is_array(), "no connections: {connections}");
    call(&appliance, "db.slow_queries", &["seconds=0"])?;
    let none = ["pid=1", "started=2001-01-01T00:00:00.000000Z"];
    let output =
        appliance.ctl(&[&["tools", "call", "db.kill_query"][..], &none, &["--why", "test"]].concat())?;
    ensure!(said(&output).contains("no connection is served by process 1"), "{}", said(&output));

    let saved = call(&appliance, "db.backup", &["database=postgres", "name=first.dump"])?;
    println!("{}", text(&saved["summary"]));
    ensure!(saved["result"]["bytes"].as_u64() > Some(100), "an empty backup: {saved}");
    let folder = "/data/postgresql/migrations/postgres";
    call(&appliance, "fs.mkdir", &[&format!("path={folder}")])?;
    let sql = serde_json::json!({ "path": format!("{folder}/001_shop.sql"), "content": "CREATE TABLE shop (name text);" });
    call(&appliance, "fs.write", &["--args", &sql.to_string()])?;
    let migrated = call(&appliance, "db.migrate", &["database=postgres"])?;
    println!("{}", text(&migrated["summary"]));
    appliance.json(&["undo", &migrated["audit"].to_string(), "--why", "test"])?;
    let restored = call(&appliance, "db.restore", &["database=postgres", "backup=first.dump"])?;
    appliance.json(&["undo", &restored["audit"].to_string(), "--why", "test"])?;
    let gone = appliance.json(&["undo", &saved["audit"].to_string(), "--why", "test"])?;
    println!("{}", text(&gone["summary"]));
    let again = call(&appliance, "db.status", &[])?;
    ensure!(again["result"]["databases"].is_array(), "the database is gone: {again}");
    Ok(())
}

#[test]
fn a_repository_is_cloned_built_tested_and_taken_back_and_files_come_over_ssh() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (dev, sftp) = (built(folder.path(), "dev")?, built(folder.path(), "openssh")?);
    let names = ["dev.aiosx", "openssh.aiosx", "site.bundle"].map(|name| format!("{UPLOAD}/{name}"));
    let [image, other, bundle] = &names;
    let site = bundled(folder.path())?;
    let appliance = Appliance::boot(&[(image, &dev), (other, &sftp), (bundle, &site)], |_| {})?;
    appliance.claim()?;
    let call = |tool: &str, arguments: &[&str]| call(&appliance, tool, arguments);
    println!("{}", text(&call("pkg.install", &[&format!("path=/data/{image}")])?["summary"]));
    call("fs.mkdir", &["path=/data/dev/incoming"])?;
    call("fs.copy", &[&format!("from=/data/{bundle}"), "to=/data/dev/incoming/site.bundle"])?;
    let cloned = call("dev.clone", &["source=/data/dev/incoming/site.bundle"])?;
    println!("{}", text(&cloned["summary"]));
    ensure!(cloned["result"]["branch"] == "main", "another branch: {cloned}");
    // The console answers there, whose certificate no authority has signed.
    let strange = ["tools", "call", "dev.clone", "source=https://127.0.0.1/x.git", "--why", "test"];
    let strange = said(&appliance.ctl(&strange)?);
    ensure!(strange.contains("certificate"), "a stranger was not refused as one: {strange}");
    let built = call("dev.build", &["repository=site"])?;
    println!("{}", text(&built["summary"]));
    ensure!(built["result"]["passed"] == true, "it was not built: {built}");
    let output = text(&built["result"]["output"]);
    ensure!(output.contains("built in its scratch"), "what was built does not run: {built}");
    let tested = call("dev.test", &["repository=site"])?;
    println!("{}", text(&tested["summary"]));
    ensure!(tested["result"]["failures"][0] == "not ok 1 - it adds", "not what fails: {tested}");
    let status = call("dev.status", &["repository=site"])?;
    ensure!(status["result"]["files"] == serde_json::json!([]), "a test left something: {status}");
    call("dev.fetch", &["repository=site"])?;
    let branches = call("dev.branches", &["repository=site"])?;
    ensure!(branches["result"].to_string().contains("origin/fix"), "a branch is missing: {branches}");
    let merged = call("dev.merge", &["repository=site", "revision=origin/fix"])?;
    println!("{}", text(&merged["summary"]));
    let switched = call("dev.switch", &["repository=site", "branch=fix"])?;
    for audit in [&switched["audit"], &merged["audit"], &cloned["audit"]] {
        let undone = appliance.json(&["undo", &audit.to_string(), "--why", "test"])?;
        println!("{}", text(&undone["summary"]));
    }
    let gone = || {
        let none = call("dev.list", &[])?;
        ensure!(none["result"]["repositories"] == serde_json::json!([]), "it is still there: {none}");
        Ok(())
    };
    gone()?;
    call("dev.clone", &["source=/data/dev/incoming/site.bundle"])?;
    println!("{}", text(&call("dev.remove", &["repository=site"])?["summary"]));
    gone()?;

    println!("{}", text(&call("pkg.install", &[&format!("path=/data/{other}")])?["summary"]));
    let checked = call("sec.ssh_check", &[])?;
    println!("{}", text(&checked["summary"]));
    Ok(())
}

/// A repository in one file, as a person would upload it: its build runs what it has made, its test tries to get out and fails.
fn bundled(folder: &Path) -> Result<Vec<u8>> {
    const MAKEFILE: &str = "all:\n\t@cp program made && ./made\n\
        test:\n\t@if echo x >/data/dev/site/escaped; then echo 'it got out'; exit 0; fi\n\
        \t@if git ls-remote https://127.0.0.1/; then echo 'it got out'; exit 0; fi\n\t@echo 'not ok 1 - it adds'; exit 1\n";
    let site = folder.join("site");
    std::fs::create_dir(&site)?;
    std::fs::write(site.join("Makefile"), MAKEFILE)?;
    std::fs::write(site.join("program"), "#!/bin/sh\necho built in its scratch\n")?;
    std::fs::set_permissions(site.join("program"), std::fs::Permissions::from_mode(0o755))?;
    let commit = ["-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "--quiet", "-m"];
    for words in [
        &["init", "--quiet", "--initial-branch", "main"][..],
        &["add", "--all"],
        &[&commit[..], &["first"]].concat(),
        &["switch", "--quiet", "--create", "fix"],
        &[&commit[..], &["second", "--allow-empty"]].concat(),
        &["switch", "--quiet", "main"],
        &["bundle", "create", "--quiet", "../site.bundle", "HEAD", "main", "fix"],
    ] {
        let output = Command::new("git").args(words).current_dir(&site).output()?;
        ensure!(output.status.success(), "git {words:?}: {}", said(&output));
    }
    Ok(std::fs::read(folder.join("site.bundle"))?)
}

/// A recipe for another machine: everything is right but the processor.
fn other_architecture(folder: &Path) -> Result<Vec<u8>> {
    let recipe = folder.join("other");
    std::fs::create_dir_all(&recipe)?;
    let text = "name = \"other\"\nversion = \"1\"\ndescription = \"d\"\nlicence = \"MIT\"\narchitecture = \"riscv64\"\n";
    std::fs::write(recipe.join("extension.toml"), text)?;
    extension(folder, &recipe, "1", &[])
}

/// A bundle with one static program, as a container.
pub(crate) fn container(folder: &Path) -> Result<Vec<u8>> {
    let bundle = folder.join("bundle");
    std::fs::create_dir_all(bundle.join("rootfs/usr/bin"))?;
    std::fs::copy(program("aios-hostile"), bundle.join("rootfs/usr/bin/shop"))?;
    let config = serde_json::json!({
        "ociVersion": "1.2.0",
        "process": { "args": ["shop", "idle"], "cwd": "/", "env": ["MODE=test"] },
        "root": { "path": "rootfs", "readonly": true },
        "linux": {
            "resources": { "memory": { "limit": 33_554_432 }, "pids": { "limit": 8 } },
            "namespaces": [{ "type": "pid" }, { "type": "ipc" }, { "type": "mount" }, { "type": "network" }]
        }
    });
    std::fs::write(bundle.join("config.json"), config.to_string())?;
    let mut builder = Command::new(program("aios-image"));
    builder.arg("--root").arg(root()).arg("extension").arg("--oci").arg(&bundle);
    let output = builder.args(["--name", "shop", "--out"]).arg(folder.join("out")).output()?;
    ensure!(output.status.success(), "not built: {}", said(&output));
    Ok(std::fs::read(folder.join("out/shop-1.aiosx"))?)
}

/// What a service file declares can be run, and nothing else.
fn commands_run(appliance: &Appliance) -> Result<()> {
    let call = |tool: &str, arguments: &[&str]| {
        appliance.json(&[&["tools", "call", tool], arguments, &["--why", "test"]].concat())
    };
    let listed = call("run.list", &["service=caller"])?["result"]["commands"].to_string();
    ensure!(listed.contains("\"ask\"") && listed.contains("\"wait\""), "not what is declared: {listed}");
    let nginx = r#"{"service":"caller","command":"ask","arguments":["127.0.0.1:80"]}"#;
    let asked = call("run.look", &["--args", nginx])?;
    ensure!(text(&asked["result"]["output"]).contains("this is 1.0"), "it did not ask: {asked}");
    ensure!(asked["result"]["exit"] == 0, "it did not end well: {asked}");
    let more = r#"{"service":"caller","command":"wait","arguments":["x"]}"#;
    for (tool, arguments, why) in [
        ("run.look", r#"{"service":"caller","command":"wait"}"#, "may change something"),
        ("run.command", r#"{"service":"caller","command":"sh"}"#, "no command sh"),
        ("run.command", more, "takes no arguments"),
    ] {
        let output = appliance.ctl(&["tools", "call", tool, "--args", arguments, "--why", "test"])?;
        let refused = !output.status.success() && said(&output).contains(why);
        ensure!(refused, "{tool} {arguments} was not refused for {why:?}: {}", said(&output));
    }
    let spawned = call("process.spawn", &["service=caller", "command=wait"])?;
    let number = format!("number={}", spawned["result"]["number"]);
    let running = || -> Result<usize> {
        Ok(call("run.list", &[])?["result"]["running"].as_array().map_or(0, Vec::len))
    };
    ensure!(running()? == 1, "it does not run: {spawned}");
    call("run.stop", &[&number])?;
    for _ in 0..60 {
        if running()? == 0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    anyhow::bail!("it runs after it was stopped")
}

/// A small web service with a cache, an environment and something to fall back on, and what repairs each.
fn kiosk() -> String {
    let mut file = "description = \"Shows a page and remembers it\"\n\
        exec = [\"/usr/bin/aios-hostile\", \"shop\", \"serve\", \"8088\"]\nuser = \"aios-agentd\"\n\
        state_directory = \"/data/kiosk\"\nworking_directory = \"/data/kiosk\"\n"
        .to_owned();
    for name in ["clear-cache", "regenerate-env", "lose-env", "switch-to-fallback", "switch-back"] {
        file += &format!(
            "[commands.{name}]\ndescription = \"{name}\"\nexec = [\"/usr/bin/aios-hostile\", \"shop\", \"{name}\"]\n"
        );
    }
    file
}

/// What a service declares to repair it is done by name, and nothing else.
fn repairs(appliance: &Appliance) -> Result<()> {
    let shows = |page: &str| -> Result<()> {
        let ask = r#"{"service":"caller","command":"ask","arguments":["127.0.0.1:8088"]}"#;
        let asked = appliance.json(&["tools", "call", "run.look", "--args", ask, "--why", "test"])?;
        let output = text(&asked["result"]["output"]);
        ensure!(output.trim().ends_with(page), "not {page:?}: {output}");
        Ok(())
    };
    let repair = |action: &str| -> Result<()> {
        let arguments = ["name=kiosk".to_owned(), format!("action={action}")];
        let call = ["tools", "call", "service.repair", &arguments[0], &arguments[1], "--why", "test"];
        let done = appliance.json(&call)?;
        ensure!(done["result"]["service"]["state"] == "running", "not as expected: {done}");
        Ok(())
    };
    shows("nobody knows the goods, from main")?;
    repair("regenerate_env")?;
    shows("nobody knows the goods, from main")?;
    repair("clear_cache")?;
    shows("goods are cheap, from main")?;
    repair("switch_to_fallback")?;
    repair("clear_cache")?;
    shows("goods are cheap, from fallback")?;
    let lose = r#"{"service":"kiosk","command":"lose-env"}"#;
    appliance.json(&["tools", "call", "run.command", "--args", lose, "--why", "test"])?;
    repair("switch_back")?;
    repair("regenerate_env")?;
    repair("clear_cache")?;
    shows("goods are cheap, from main")?;
    // One that declares nothing of the kind, and one that is not there.
    let refused = |name: &str, why: &str| -> Result<()> {
        let arguments = [format!("name={name}"), "action=switch_back".to_owned()];
        let call = ["tools", "call", "service.repair", &arguments[0], &arguments[1], "--why", "test"];
        let output = appliance.ctl(&call)?;
        ensure!(!output.status.success() && said(&output).contains(why), "{name}: {}", said(&output));
        Ok(())
    };
    refused("nginx", "no command switch-back; it has: test")?;
    refused("nobody", "nobody")
}

/// A container is an extension that runs as a service, and is taken back like one.
fn containers_run(appliance: &Appliance, path: &str) -> Result<()> {
    package(appliance, "pkg.install", path)?;
    let call = |tool: &str| package(appliance, tool, "name=shop");
    let listed = appliance.json(&["tools", "call", "container.list"])?;
    ensure!(text(&listed["summary"]) == "shop 1 is running", "not as expected: {listed}");
    let stats = call("container.stats")?;
    ensure!(stats["result"]["memory_limit_bytes"] == 32 << 20, "another limit: {stats}");
    ensure!(stats["result"]["processes"] == 1, "other processes: {stats}");
    let stopped = call("container.stop")?;
    ensure!(appliance.service("shop")?["pid"].is_null(), "it runs after it was stopped");
    appliance.json(&["undo", &stopped["audit"].to_string(), "--why", "test"])?;
    let before = appliance.service("shop")?["pid"].clone();
    call("container.restart")?;
    ensure!(appliance.service("shop")?["pid"] != before, "it was not restarted");
    call("container.logs")?;
    refused(appliance, "container.stop", "name=nginx", "there is no container nginx")?;
    let removed = call("container.remove")?;
    appliance.json(&["undo", &removed["audit"].to_string(), "--why", "test"])?;
    ensure!(text(&appliance.service("shop")?["state"]) == "running", "the removal was not taken back");
    appliance.json(&["tools", "call", "container.cleanup", "--why", "test"])?;
    call("container.remove").map(drop)
}
