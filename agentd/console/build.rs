//! The pages are built by their own tool chain and put into the executable; without them there is
//! nothing to put in.

fn main() {
    println!("cargo::rerun-if-changed=web/dist");
    if !std::path::Path::new("web/dist/index.html").is_file() {
        println!("cargo::error=agentd/console/web/dist is missing; run `make web`");
    }
}
