//! Our stack against plain smoltcp and the kernel: `cargo run --release --example net_speed`.
//!
//! An argument sets the number of rounds. Everything runs once in each round, because machines
//! drift; medians are printed, of rates and of the ratios within a round.

use std::time::Duration;

use host_sim::bench::{rivals, stacks};

const TIME: Duration = Duration::from_millis(100);
const DEPTHS: [usize; 3] = [1, 32, 128];
const IDLE: [usize; 3] = [0, 256, 1000];

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What one round found for one number of idle connections.
struct Row {
    net: f64,
    bare: f64,
    /// Our rate beside no idle connections, in the same round.
    quiet: f64,
}

fn round(depth: usize) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for idle in IDLE {
        let net = stacks::sharded_net(depth, idle, TIME) / 1e3;
        let bare = rivals::bare_smoltcp(depth, idle, TIME) / 1e3;
        let quiet = rows.first().map_or(net, |row| row.net);
        rows.push(Row { net, bare, quiet });
    }
    rows
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(9);
    println!("64-byte requests, 4 KiB replies, thousands a second; medians of {rounds} rounds");
    println!("depth  idle    net   bare  net/bare  net/idle-0");
    for depth in DEPTHS {
        let found: Vec<_> = (0..rounds).map(|_| round(depth)).collect();
        for (at, idle) in IDLE.into_iter().enumerate() {
            let of = |value: fn(&Row) -> f64| median(found.iter().map(|rows| value(&rows[at])));
            let (net, bare) = (of(|row| row.net), of(|row| row.bare));
            let (to_bare, to_quiet) = (of(|row| row.net / row.bare), of(|row| row.net / row.quiet));
            println!("{depth:5} {idle:5} {net:6.0} {bare:6.0} {to_bare:9.2} {to_quiet:11.2}");
        }
    }
    println!("depth  kernel sockets  relay  relay/kernel");
    for depth in DEPTHS {
        let found: Vec<_> = (0..rounds)
            .map(|_| {
                let kernel = rivals::kernel_sockets(depth, TIME).expect("kernel sockets");
                let relay = stacks::relayed(depth, TIME).expect("a relay");
                (kernel / 1e3, relay / 1e3)
            })
            .collect();
        let kernel = median(found.iter().map(|(kernel, _)| *kernel));
        let relay = median(found.iter().map(|(_, relay)| *relay));
        let ratio = median(found.iter().map(|(kernel, relay)| relay / kernel));
        println!("{depth:5} {kernel:15.0} {relay:6.0} {ratio:13.2}");
    }
}
