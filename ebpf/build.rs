//! Tells the fast engine whether the compiler makes jumps of calls in tail position.

use std::env::var;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(tail_calls)");
    println!("cargo::rerun-if-changed=build.rs");
    let optimised = var("OPT_LEVEL").is_ok_and(|level| matches!(&*level, "2" | "3" | "s" | "z"));
    let known =
        var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64" || arch == "aarch64");
    // What checks more, or counts what is run, may have something left to do behind a call.
    let plain = var("CARGO_CFG_DEBUG_ASSERTIONS").is_err() && var("CARGO_CFG_SANITIZE").is_err();
    if optimised && known && plain {
        println!("cargo::rustc-cfg=tail_calls");
    }
}
