//! `outboard call`.

use crate::Agent;
use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::output::{Output, grouped, hex, hex_dump};
use crate::programs;
use crate::size::{self, Range};
use client::{Budgets, CallOutcome, Program};
use serde_json::json;

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// The bytes as they are
    Raw,
    /// A dump in hexadecimal
    Hex,
    /// Text, with what is no UTF-8 replaced
    Text,
}

#[derive(clap::Args)]
pub(crate) struct Call {
    /// The program's name or id.
    #[arg(value_name = "NAME|ID")]
    program: String,
    /// What the program may touch, its object 0, then 1 …; without length, to the namespace's end.
    #[arg(short = 'b', long = "object", value_parser = size::range)]
    #[arg(value_name = "NAMESPACE[:OFFSET[:LENGTH]]")]
    objects: Vec<Range>,
    #[command(flatten)]
    arguments: Arguments,
    /// Instructions it may spend; the agent's default if not given.
    #[arg(long, value_name = "NUMBER", value_parser = size::number)]
    #[arg(default_value = "0", hide_default_value = true)]
    instructions: u64,
    /// Reads it may make; the agent's default if not given.
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 0,
        hide_default_value = true
    )]
    reads: u32,
    /// How to print the reply; hex to a terminal and raw elsewhere if not given.
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
    /// Say on the standard error what the call cost.
    #[arg(long)]
    cost: bool,
}

impl Call {
    pub(crate) fn run(&self, client: &mut Agent, output: &mut Output) -> Result<(), Failure> {
        let args = self.arguments.bytes()?;
        let program = programs::find(client, &self.program)?;
        self.check(&program, &args)?;
        let mut objects = Vec::new();
        for range in &self.objects {
            objects.push(client.open(range.namespace, range.offset, range.length)?.id);
        }
        let budgets = Budgets {
            instructions: self.instructions,
            reads: self.reads,
        };
        let instance = client.attach(program.id, &objects, budgets)?;
        let outcome = client.call(instance, &args);
        // Or who unloads the program right after us could find it in use.
        let detached = client.detach(instance);
        self.print(&outcome?, output)?;
        Ok(detached?)
    }

    fn check(&self, program: &Program, args: &[u8]) -> Result<(), Failure> {
        check_objects(&program.name, program.objects, self.objects.len())?;
        if args.len() > program.args_max as usize {
            return Err(Failure::usage(format!(
                "program {} takes at most {} bytes of arguments and was given {}",
                program.name,
                program.args_max,
                args.len()
            )));
        }
        Ok(())
    }

    fn print(&self, outcome: &CallOutcome, output: &mut Output) -> Result<(), Failure> {
        let CallOutcome {
            result,
            reply,
            instructions,
            reads,
        } = outcome;
        if self.cost {
            eprint_line(&format!(
                "{} bytes, {} instructions, {} reads",
                reply.len(),
                grouped(*instructions),
                grouped(u64::from(*reads))
            ));
        }
        if output.is_json() {
            return output.json(&json!({
                "result": result,
                "reply_hex": hex(reply),
                "reply_text": std::str::from_utf8(reply).ok(),
                "instructions": instructions,
                "reads": reads,
            }));
        }
        let unsaid = if output.is_terminal() {
            Format::Hex
        } else {
            Format::Raw
        };
        match self.output.unwrap_or(unsaid) {
            Format::Raw => output.bytes(reply),
            Format::Text => output.line(&String::from_utf8_lossy(reply)),
            Format::Hex => hex_dump(reply).try_for_each(|row| output.line(&row)),
        }
    }
}

/// Refuses to attach a program with fewer objects than it declares.
pub(crate) fn check_objects(name: &str, needed: u32, given: usize) -> Result<(), Failure> {
    if given >= needed as usize {
        return Ok(());
    }
    let objects = if needed == 1 { "object" } else { "objects" };
    Err(Failure::usage(format!(
        "program {name} needs {needed} {objects} and was given {given}. Add --object NAMESPACE, such as --object 1"
    )))
}

/// Nobody is left to tell if this fails.
fn eprint_line(text: &str) {
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{text}\n"));
}
