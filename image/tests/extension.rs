//! Extension images out of a folder and out of the distribution's packages, built by the program itself.

use aios_extension::{Keys, check, read_manifest, read_seal};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn builder(cache: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aios-image"));
    command.arg("--root").arg(cache);
    command
}

fn said(output: &Output) -> String {
    [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat()
}

/// Build, and read what was built as the appliance does.
fn build(cache: &Path, recipe: &Path, out: &str) -> (PathBuf, aios_extension::Manifest, Keys) {
    let out = cache.join(out);
    let output = builder(cache).arg("extension").arg(recipe).arg("--out").arg(&out).output().expect("starts");
    assert!(output.status.success(), "{}", said(&output));
    let entries = std::fs::read_dir(&out).expect("is there").flatten();
    let file = entries
        .map(|entry| entry.path())
        .find(|p| p.extension().is_some_and(|e| e == "aiosx"))
        .expect("a file");
    let keys = Keys::read(&[&cache.join("target/cache/extension.key.pub")]);
    assert_eq!(keys.count(), 1, "the key is made once");
    let open = File::open(&file).expect("opens");
    let seal = read_seal(&open, &keys).expect("is signed");
    check(&open, &seal, |_| Ok(())).expect("is whole");
    let manifest = read_manifest(&open, &seal).expect("has a manifest");
    (file, manifest, keys)
}

/// Unpack with the file system's own checker.
fn unpack(file: &Path, to: &Path) {
    let output = Command::new("fsck.erofs").arg(format!("--extract={}", to.display())).arg(file).output();
    let output = output.expect("fsck.erofs is there");
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn the_same_folder_makes_the_same_file_and_a_wrong_recipe_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let recipe = folder.path().join("recipe");
    std::fs::create_dir_all(recipe.join("root/usr/bin")).expect("made");
    std::fs::create_dir_all(recipe.join("services")).expect("made");
    let write = |name: &str, text: &str| std::fs::write(recipe.join(name), text).expect("written");
    let toml = "name = \"hello\"\nversion = \"1.0\"\ndescription = \"d\"\nlicence = \"MIT\"\n[users]\nhello = 2003\n";
    write("extension.toml", toml);
    write("root/usr/bin/hello", "#!/bin/sh\n");
    let service =
        "description = \"d\"\nexec = [\"/usr/bin/hello\"]\nuser = \"2003\"\nroot_image = \"{image}\"\n";
    write("services/hello.toml", service);
    let (one, manifest, _) = build(folder.path(), &recipe, "one");
    let (two, ..) = build(folder.path(), &recipe, "two");
    assert_eq!(std::fs::read(&one).expect("read"), std::fs::read(&two).expect("read"));
    assert_eq!(manifest.services["hello"], service);
    assert_eq!(one.file_name().expect("a name"), "hello-1.0.aiosx");

    for (name, text, why) in [
        ("extension.toml", toml.replace("2003", "0"), "a number of its own"),
        ("extension.toml", format!("prune = [\"../../etc\"]\n{toml}"), "no path in an image"),
        ("extension.toml", format!("nonsense = 1\n{toml}"), "unknown field"),
        ("services/hello.toml", service.replace("{image}", "/"), "below"),
        ("services/hello.toml", format!("{service}[sandbox]\nwrite = [\"/data\"]\n"), "it may write below"),
    ] {
        write(name, &text);
        let out = folder.path().join("bad");
        let output = builder(folder.path())
            .arg("extension")
            .arg(&recipe)
            .arg("--out")
            .arg(out)
            .output()
            .expect("starts");
        assert!(!output.status.success() && said(&output).contains(why), "{name} {text}: {}", said(&output));
        write("extension.toml", toml);
        write("services/hello.toml", service);
    }
}

#[test]
fn nginx_comes_with_all_that_it_needs_and_takes_its_own_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("extensions/nginx");
    let (file, manifest, _) = build(folder.path(), &recipe, "out");
    println!(
        "{} {}: {} bytes",
        manifest.name,
        manifest.version,
        std::fs::metadata(&file).expect("there").len()
    );
    assert!(manifest.version.starts_with(|c: char| c.is_ascii_digit()) && manifest.users["nginx"] == 2001);
    let root = folder.path().join("root");
    unpack(&file, &root);
    for gone in ["usr/share/man", "var/lib/dpkg", "bin/sh", "usr/share/doc/nginx/changelog.Debian.gz"] {
        assert!(!root.join(gone).exists(), "{gone} is there");
    }
    assert!(root.join("usr/share/doc/nginx/copyright").exists() && root.join("etc/passwd").exists());
    // Its own loader and libraries, none of this computer's. Tests as root can say what root says: that it starts.
    let mut nginx = Command::new("chroot");
    let output = nginx.arg(&root).args(["/usr/sbin/nginx", "-V"]).output().expect("chroot is there");
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("nginx version"), "{}", said(&output));
}

#[test]
fn a_key_is_never_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("my.key");
    let make = || builder(folder.path()).arg("key").arg(&key).output().expect("starts").status.success();
    assert!(make());
    let first = std::fs::read(&key).expect("read");
    assert!(!make());
    assert_eq!(std::fs::read(&key).expect("read"), first);
}

/// A root file system as others make it, with links that would lead out of the stage, and what stands in no image.
#[test]
fn a_bundle_becomes_a_container_and_nothing_of_it_leads_out_of_its_image() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bundle, outside) = (folder.path().join("bundle"), folder.path().join("outside"));
    let rootfs = bundle.join("rootfs");
    for name in ["usr/bin", "etc", "proc", "dev", "app"] {
        std::fs::create_dir_all(rootfs.join(name)).expect("made");
    }
    std::fs::create_dir(&outside).expect("made");
    std::fs::write(outside.join("hosts"), "the builder's").expect("written");
    let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, rootfs.join(name)).expect("made");
    std::fs::copy("/bin/true", rootfs.join("usr/bin/web")).expect("copied");
    std::fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nwww:x:33:33::/:/bin/sh\n")
        .expect("written");
    std::fs::write(rootfs.join("app/page"), "hello").expect("written");
    std::fs::write(rootfs.join("dev/null"), "not one").expect("written");
    link(&outside.join("hosts"), "etc/hosts");
    link(&outside, "tmp");
    let config = |more: &str| {
        let text = format!(
            r#"{{"ociVersion": "1.0.2", "process": {{"args": ["web"], "cwd": "/app"}}, "root": {{"path": "rootfs"}},
                "linux": {{"namespaces": [{{"type": "pid"}}, {{"type": "ipc"}}, {{"type": "mount"}}, {{"type": "network"}}]}}
                {more}}}"#
        );
        std::fs::write(bundle.join("config.json"), text).expect("written");
    };
    let run = |more: &[&str]| {
        let mut builder = builder(folder.path());
        let out = folder.path().join("out");
        builder.args(["extension", "--oci"]).arg(&bundle).args(["--name", "shop"]).args(more);
        builder.arg("--out").arg(out).output().expect("starts")
    };
    config("");
    let output = run(&["--version", "2.1", "--network"]);
    assert!(output.status.success() && said(&output).contains("root.readonly"), "{}", said(&output));
    let file = folder.path().join("out/shop-2.1.aiosx");
    let keys = Keys::read(&[&folder.path().join("target/cache/extension.key.pub")]);
    let open = File::open(&file).expect("opens");
    let seal = read_seal(&open, &keys).expect("is signed");
    let manifest = read_manifest(&open, &seal).expect("has a manifest");
    assert!(manifest.container && manifest.users.len() == 1);
    let service = &manifest.units(Path::new("/data/extensions/x")).expect("are good")[0];
    assert_eq!((service.name.as_str(), service.exec.as_slice()), ("shop", &["/usr/bin/web".to_owned()][..]));
    assert!(service.sandbox.network && service.sandbox.read == [Path::new("/app")]);

    let root = folder.path().join("root");
    unpack(&file, &root);
    assert_eq!(std::fs::read_to_string(outside.join("hosts")).expect("is there"), "the builder's");
    assert!(std::fs::read_dir(&outside).expect("is there").count() == 1, "something was written outside");
    assert!(root.join("tmp").is_dir() && !root.join("tmp").is_symlink() && !root.join("dev/null").exists());
    let passwd = std::fs::read_to_string(root.join("etc/passwd")).expect("is there");
    assert!(
        passwd.contains("www:x:33") && passwd.contains("shop:x:") && !passwd.contains("/root"),
        "{passwd}"
    );
    assert!(std::fs::read_to_string(root.join("etc/hosts")).expect("is there").contains("localhost"));

    config(r#", "hooks": {"poststop": [{"path": "/bin/x"}]}"#);
    assert!(said(&run(&[])).contains("hooks.poststop"));
    std::fs::remove_dir_all(rootfs.join("etc")).expect("removed");
    link(&outside, "etc");
    config("");
    let output = run(&[]);
    assert!(!output.status.success() && said(&output).contains("/etc is a link"), "{}", said(&output));
}
