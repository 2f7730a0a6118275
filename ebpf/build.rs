//! Tells the fast engine whether the compiler makes jumps of calls in tail position.

use std::env::var;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(tail_calls)");
    println!("cargo::rerun-if-changed=build.rs");
    let optimised = var("OPT_LEVEL").is_ok_and(|level| matches!(&*level, "2" | "3" | "s" | "z"));
    let known =
        var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64" || arch == "aarch64");
    if optimised && known {
        println!("cargo::rustc-cfg=tail_calls");
    }
}
