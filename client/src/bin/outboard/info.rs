//! `outboard info`.

use crate::Agent;
use crate::failure::Failure;
use crate::output::{Output, bytes_in_words, duration_in_words, grouped};
use client::Info;
use serde_json::{Value, json};

pub(crate) fn run(client: &mut Agent, output: &mut Output) -> Result<(), Failure> {
    let info = client.info()?;
    if output.is_json() {
        return output.json(&to_json(&info));
    }
    let limits = info.limits;
    let rows = [
        ("agent", info.agent.clone()),
        ("board", info.board.clone()),
        ("up", duration_in_words(info.uptime_us)),
        (
            "drive",
            format!(
                "{} (serial {}, firmware {})",
                info.model, info.serial, info.firmware
            ),
        ),
        ("drive epoch", info.drive_epoch.to_string()),
        ("largest read", bytes_in_words(limits.io_bytes.into())),
        ("largest program", bytes_in_words(limits.image_bytes.into())),
        (
            "scratch of a call",
            bytes_in_words(limits.scratch_bytes.into()),
        ),
        (
            "budget of a call",
            format!(
                "{} instructions, {} reads",
                grouped(limits.instruction_budget),
                grouped(limits.read_budget.into())
            ),
        ),
        (
            "at a time",
            format!(
                "{} connections, {} requests on each, {} objects, {} programs, {} instances",
                limits.connections,
                limits.credits,
                limits.objects,
                limits.programs,
                limits.instances
            ),
        ),
    ];
    output.table(
        &["", ""],
        rows.map(|(name, value)| vec![name.to_owned(), value]),
    )?;
    output.line("")?;
    let namespaces = info.namespaces.iter().map(|namespace| {
        let bytes = namespace
            .blocks
            .saturating_mul(namespace.block_bytes.into());
        vec![
            namespace.id.to_string(),
            bytes_in_words(bytes),
            grouped(namespace.blocks),
            namespace.block_bytes.to_string(),
        ]
    });
    output.table(
        &[">NAMESPACE", ">SIZE", ">BLOCKS", ">BLOCK BYTES"],
        namespaces,
    )
}

fn to_json(info: &Info) -> Value {
    let limits = info.limits;
    let namespaces: Vec<Value> = info
        .namespaces
        .iter()
        .map(|n| json!({ "id": n.id, "blocks": n.blocks, "block_bytes": n.block_bytes }))
        .collect();
    json!({
        "agent": info.agent,
        "board": info.board,
        "uptime_us": info.uptime_us,
        "drive": { "model": info.model, "serial": info.serial, "firmware": info.firmware },
        "drive_epoch": info.drive_epoch,
        "namespaces": namespaces,
        "limits": {
            "connections": limits.connections,
            "credits": limits.credits,
            "credit_bytes": limits.credit_bytes,
            "io_bytes": limits.io_bytes,
            "image_bytes": limits.image_bytes,
            "programs": limits.programs,
            "instances": limits.instances,
            "objects": limits.objects,
            "scratch_bytes": limits.scratch_bytes,
            "instruction_budget": limits.instruction_budget,
            "read_budget": limits.read_budget,
        },
    })
}
