//! Compiles the workloads of `bench engine` for this machine, at -O2 whatever the profile is.

fn main() {
    let folder = std::path::Path::new("bench/engine");
    let mut build = cc::Build::new();
    build.opt_level(2).include(folder).warnings(true);
    for name in ["filter_scan", "page_search", "fnv", "varint"] {
        build.file(folder.join(format!("{name}.c")));
    }
    build.compile("engine_workloads");
    println!("cargo::rerun-if-changed={}", folder.display());
}
