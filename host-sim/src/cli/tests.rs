//! What command lines are taken, and for what.

use super::*;
use clap::CommandFactory;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn more_namespaces_than_an_agent_serves_are_refused() {
    let further = |count| {
        let one = NamespaceArg {
            path: "disk.img".into(),
            block_bytes: None,
        };
        check_namespaces(&vec![one; count])
    };
    assert_eq!(further(15), Ok(()));
    let sentence = "17 namespaces are more than an agent serves, which is 16";
    assert_eq!(further(16), Err(sentence.to_owned()));
}

fn demo(line: &str) -> DemoArgs {
    match parse(line).unwrap().command {
        Command::Demo(args) => args,
        other => panic!("{other:?} is not demo"),
    }
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn what_is_wrong_is_said_with_what_would_be_right() {
    for (line, remedy) in [
        (
            "host-sim serve --disk d --listen localhost",
            "127.0.0.1:7117",
        ),
        (
            "host-sim serve --disk d --listen 127.0.0.1",
            "127.0.0.1:7117",
        ),
        ("host-sim bench wire --time 0", "in no time"),
        ("host-sim bench engine --time 0s", "in no time"),
        ("host-sim bench engine --time 1", "give a unit"),
    ] {
        let said = parse(line).unwrap_err().to_string();
        assert!(said.contains(remedy), "{line}: {said}");
    }
}

#[test]
fn demo_needs_nothing() {
    let args = demo("host-sim demo");
    let orders = Dataset {
        content: Content::Orders { scale: 0.1 },
        page_bytes: 4096,
    };
    assert_eq!(args.made(), Some(orders));
    assert_eq!(
        (args.keys, args.missing, args.rtt),
        (10_000, 0, Duration::ZERO)
    );
    assert_eq!(args.cache_folder(), cache_folder());
}

#[test]
fn demo_takes_delays_and_a_database() {
    let args = demo("host-sim demo --rtt 100us --drive-latency 80us --database a.db --table t");
    assert_eq!(args.rtt, Duration::from_micros(100));
    assert_eq!(args.drive_latency, Duration::from_micros(80));
    assert_eq!((args.made(), args.table.as_deref()), (None, Some("t")));
    let args = demo("host-sim demo --dataset mixed --page-size 512 --missing 10 --cache /x");
    assert_eq!(
        args.made().unwrap().content,
        Content::Mixed { rows: MIXED_ROWS }
    );
    assert_eq!(args.cache_folder(), PathBuf::from("/x"));
}

#[test]
fn demo_refuses_what_makes_no_sense() {
    for line in [
        "host-sim demo --table t",
        "host-sim demo --database a.db --scale 1",
        "host-sim demo --page-size 1000",
        "host-sim demo --page-size 131072",
        "host-sim demo --rtt 100",
        "host-sim demo --keys 0",
        "host-sim demo --missing 101",
        "host-sim demo --concurrency 0",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn serve_and_its_namespaces() {
    let line = "host-sim serve --disk d.img --tap tap0 --block-bytes 512 \
                --namespace a.img --namespace b,c.img,block=4096";
    let Command::Serve(args) = parse(line).unwrap().command else {
        panic!("not serve")
    };
    assert_eq!((args.block_bytes, args.tap.as_deref()), (512, Some("tap0")));
    let named = |path: &str, block_bytes| NamespaceArg {
        path: path.into(),
        block_bytes,
    };
    assert_eq!(
        args.namespace,
        [named("a.img", None), named("b,c.img", Some(4096))]
    );
    for line in [
        "host-sim serve",
        "host-sim serve --disk d --block-bytes 1000",
        "host-sim serve --disk d --namespace e,block=7",
        "host-sim serve --disk d --namespace ,block=512",
        "host-sim serve --disk d --listen nowhere",
        "host-sim serve --disk d --listen 127.0.0.1:0 --tap tap0",
        "host-sim serve --disk d --tap tap0 --tap-address 10.0.0.1",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

#[test]
fn board_takes_further_namespaces() {
    let line = "host-sim board --disk a.img --namespace b.img --namespace c.img,block=512";
    let Command::Board(args) = parse(line).unwrap().command else {
        panic!("not board")
    };
    let blocks: Vec<_> = args.namespace.iter().map(|it| it.block_bytes).collect();
    assert_eq!((args.block_bytes, blocks), (4096, vec![None, Some(512)]));
}

#[test]
fn help_tells_the_exit_statuses_and_the_json_keys() {
    let mut command = Cli::command();
    let help = command.render_long_help().to_string();
    for exit in [
        Exit::Success,
        Exit::Failed,
        Exit::Mismatch,
        Exit::Interrupted,
    ] {
        assert!(
            help.contains(&format!("\n  {}", exit.status())),
            "{exit:?}\n{help}"
        );
    }
    let demo = command
        .find_subcommand_mut("demo")
        .unwrap()
        .render_long_help()
        .to_string();
    for part in [
        "expected_ratio",
        "WITHOUT ROWID",
        ".cache/outboard",
        "bytes_per_op",
    ] {
        assert!(demo.contains(part), "{part} is missing in\n{demo}");
    }
}

#[test]
fn bench_wire() {
    let Command::Bench(args) = parse("host-sim bench wire --json --time 100ms")
        .unwrap()
        .command
    else {
        panic!("not bench")
    };
    let Bench::Wire(wire) = args.bench else {
        panic!("it is another bench");
    };
    assert!(wire.output.json);
    assert_eq!(wire.time, Duration::from_millis(100));
}
