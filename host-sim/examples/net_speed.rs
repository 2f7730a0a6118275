//! Our stack against plain smoltcp and the kernel: `cargo run --release --example net_speed`.
//!
//! Rounds alternate between the competitors, because machines drift; medians are printed.

use std::time::Duration;

use host_sim::bench::{rivals, stacks};

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5);
    let time = Duration::from_millis(200);
    println!("64-byte requests, 4 KiB replies, thousands a second; median of {rounds} rounds");
    println!("depth  idle    net   bare  net/bare  net/idle-0");
    for depth in [1, 32, 128] {
        let mut quiet = 0.0;
        for idle in [0, 256, 1000] {
            let mut net = Vec::new();
            let mut bare = Vec::new();
            for _ in 0..rounds {
                net.push(stacks::sharded_net(depth, idle, time) / 1e3);
                bare.push(rivals::bare_smoltcp(depth, idle, time) / 1e3);
            }
            let (net, bare) = (median(net), median(bare));
            if idle == 0 {
                quiet = net;
            }
            let (to_bare, to_quiet) = (net / bare, net / quiet);
            println!("{depth:5} {idle:5} {net:6.0} {bare:6.0} {to_bare:9.2} {to_quiet:11.2}");
        }
    }
    println!("depth  kernel sockets  relay  relay/kernel");
    for depth in [1, 32, 128] {
        let mut kernel = Vec::new();
        let mut relay = Vec::new();
        for _ in 0..rounds {
            kernel.push(rivals::kernel_sockets(depth, time).expect("kernel sockets") / 1e3);
            relay.push(stacks::relayed(depth, time).expect("a relay") / 1e3);
        }
        let (kernel, relay) = (median(kernel), median(relay));
        println!(
            "{depth:5} {kernel:15.0} {relay:6.0} {:13.2}",
            relay / kernel
        );
    }
}
