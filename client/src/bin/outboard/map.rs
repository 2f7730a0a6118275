//! `outboard map`.

use crate::Agent;
use crate::bytes::{self, GRAMMAR, Style};
use crate::call;
use crate::failure::Failure;
use crate::output::{Output, hex, hex_dump};
use crate::programs;
use crate::size::{self, Range};
use client::{Budgets, InstanceId, MapEntry, MapInfo, Presence};
use serde_json::{Value, json};
use std::path::Path;

/// Values of more bytes are dumped, not put into a table.
const CELL_BYTES_MAX: usize = 32;

const ABOUT: &str = "\
Looks at the maps and global variables of a program, and sets them.

Maps belong to an instance, and an instance to the connection that attached it; both end with it,
and nothing of them is on the drive. So each of these commands attaches the program anew, with its
maps as its source has them; --put and --call bring them into a state before they are looked at. An
application does the same with the maps of its own instance, through the client library.

Global variables are maps too, of one entry with the key 0, one for each of .rodata, .data and
.bss; programs may only read .rodata.";

const EXAMPLES: &str = "\
Examples:
  outboard map list tally.o
  outboard map dump tally.o amounts --call u64:7,u64:50 --call u64:7,u64:60 --words 8
  outboard map get tally.o .data 0 --call u64:7,u64:50
  outboard map set tally.o amounts 7 u64:100,u64:2 --call u64:7,u64:5
  outboard map dump 65537 0";

#[derive(clap::Args)]
#[command(about = "Look at the maps and variables of a program, and set them", long_about = ABOUT)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Map {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// What maps a program has
    List(List),
    /// All entries of a map, or of all maps
    Dump(Dump),
    /// The value of a key
    Get(Get),
    /// Put a value there, and show it as it is after the calls
    Set(Set),
    /// Take an entry out of a hash map, and show what is left after the calls
    Delete(Delete),
}

#[derive(clap::Args)]
#[command(after_help = GRAMMAR)]
struct List {
    #[command(flatten)]
    sitting: Sitting,
}

#[derive(clap::Args)]
#[command(after_help = GRAMMAR)]
struct Dump {
    #[command(flatten)]
    sitting: Sitting,
    /// Its name, or its number; all maps if not given.
    map: Option<String>,
    #[command(flatten)]
    look: Look,
}

#[derive(clap::Args)]
#[command(after_help = GRAMMAR)]
struct Get {
    #[command(flatten)]
    sitting: Sitting,
    /// Its name, or its number.
    map: String,
    /// The key; of an array, the index.
    #[arg(allow_hyphen_values = true)]
    key: String,
    #[command(flatten)]
    look: Look,
}

#[derive(clap::Args)]
#[command(after_help = GRAMMAR)]
struct Set {
    #[command(flatten)]
    sitting: Sitting,
    /// Its name, or its number.
    map: String,
    /// The key; of an array, the index.
    #[arg(allow_hyphen_values = true)]
    key: String,
    /// The value.
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// Refuse it if there is an entry of the key.
    #[arg(long, conflicts_with = "existing")]
    new: bool,
    /// Refuse it if there is no entry of the key.
    #[arg(long)]
    existing: bool,
    /// Set only some bytes of the value, from this one on.
    #[arg(long, value_name = "OFFSET", value_parser = size::bytes)]
    at: Option<u64>,
    #[command(flatten)]
    look: Look,
}

#[derive(clap::Args)]
#[command(after_help = GRAMMAR)]
struct Delete {
    #[command(flatten)]
    sitting: Sitting,
    /// Its name, or its number.
    map: String,
    /// The key.
    #[arg(allow_hyphen_values = true)]
    key: String,
    #[command(flatten)]
    look: Look,
}

/// How entries are shown.
#[derive(clap::Args)]
struct Look {
    /// Show bytes in hexadecimal, numbers too.
    #[arg(long, conflicts_with = "words")]
    hex: bool,
    /// Show bytes as numbers of so many bytes each: 1, 2, 4 or 8.
    #[arg(long, value_name = "BYTES", value_parser = ["1", "2", "4", "8"])]
    words: Option<String>,
}

impl Look {
    fn style(&self) -> Style {
        let words = self.words.as_deref().and_then(|words| words.parse().ok());
        match words {
            Some(words) => Style::Words(words),
            None if self.hex => Style::Hex,
            None => Style::Usual,
        }
    }
}

/// The program that is attached, and what is done with it first.
#[derive(clap::Args)]
struct Sitting {
    /// The object file, which is loaded under its name if it is not yet; or a loaded program's name
    /// or id.
    #[arg(value_name = "FILE.o|NAME|ID")]
    program: String,
    /// What the program may touch, its object 0, then 1 …; without length, to the namespace's end.
    #[arg(short = 'b', long = "object", value_parser = size::range)]
    #[arg(value_name = "NAMESPACE[:OFFSET[:LENGTH]]")]
    objects: Vec<Range>,
    /// Put a value into a map first.
    #[arg(long = "put", value_name = "MAP:KEY=VALUE")]
    puts: Vec<String>,
    /// Call the program with these bytes as arguments, after what was put.
    #[arg(long = "call", value_name = "ARGUMENTS")]
    calls: Vec<String>,
    /// Make the calls so often, one after the other.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    times: u32,
}

impl Map {
    pub(crate) fn run(&self, client: &mut Agent, output: &mut Output) -> Result<(), Failure> {
        let sitting = match &self.action {
            Action::List(list) => &list.sitting,
            Action::Dump(dump) => &dump.sitting,
            Action::Get(get) => &get.sitting,
            Action::Set(set) => &set.sitting,
            Action::Delete(delete) => &delete.sitting,
        };
        let attached = sitting.attach(client)?;
        let done = self.act(sitting, &attached, client, output);
        // Or who unloads the program right after us could find it in use.
        let detached = client.detach(attached.instance);
        done?;
        Ok(detached?)
    }

    fn act(
        &self,
        sitting: &Sitting,
        attached: &Attached,
        client: &mut Agent,
        output: &mut Output,
    ) -> Result<(), Failure> {
        sitting.put(attached, client)?;
        match &self.action {
            Action::List(_) => {
                sitting.call(attached, client)?;
                let maps = client.maps(attached.instance)?;
                attached.list(&maps, output)
            }
            Action::Dump(dump) => {
                let maps = match &dump.map {
                    Some(map) => vec![*attached.find(map)?],
                    None => attached.maps.clone(),
                };
                sitting.call(attached, client)?;
                attached.dump(&maps, dump.look.style(), client, output)
            }
            Action::Get(get) => {
                let map = attached.find(&get.map)?;
                let key = key(map, &get.key)?;
                sitting.call(attached, client)?;
                attached.show(map, key, get.look.style(), client, output)
            }
            Action::Set(set) => {
                let map = attached.find(&set.map)?;
                let key = key(map, &set.key)?;
                set.put(attached, map, &key, client)?;
                sitting.call(attached, client)?;
                attached.show(map, key, set.look.style(), client, output)
            }
            Action::Delete(delete) => {
                let map = attached.find(&delete.map)?;
                let key = key(map, &delete.key)?;
                client.map_delete(attached.instance, map, &key)?;
                sitting.call(attached, client)?;
                attached.dump(&[*map], delete.look.style(), client, output)
            }
        }
    }
}

fn key(map: &MapInfo, text: &str) -> Result<Vec<u8>, Failure> {
    let length = map.key_bytes as usize;
    bytes::parse(text, Some(length)).map_err(|problem| Failure::usage(format!("key: {problem}")))
}

fn value(map: &MapInfo, text: &str) -> Result<Vec<u8>, Failure> {
    let length = map.value_bytes as usize;
    bytes::parse(text, Some(length)).map_err(|problem| Failure::usage(format!("value: {problem}")))
}

impl Set {
    fn put(
        &self,
        attached: &Attached,
        map: &MapInfo,
        key: &[u8],
        client: &mut Agent,
    ) -> Result<(), Failure> {
        let presence = match (self.new, self.existing) {
            (true, _) => Presence::New,
            (_, true) => Presence::Existing,
            _ => Presence::Any,
        };
        let Some(at) = self.at else {
            let value = value(map, &self.value)?;
            return Ok(client.map_set(attached.instance, map, key, &value, presence)?);
        };
        if !self.value.contains(':') {
            return Err(Failure::usage(
                "with --at, say how long the value is: u8:, u16:, u32:, u64:, hex: or text:",
            ));
        }
        let part = bytes::parse(&self.value, None);
        let part = part.map_err(|problem| Failure::usage(format!("value: {problem}")))?;
        let at = u32::try_from(at).map_err(|_| Failure::usage("--at is too large"))?;
        Ok(client.map_set_part(attached.instance, map, key, at, &part, presence)?)
    }
}

impl Sitting {
    fn attach(&self, client: &mut Agent) -> Result<Attached, Failure> {
        let path = Path::new(&self.program);
        let is_file = path.extension().is_some_and(|it| it == "o") || self.program.contains('/');
        let (program, names) = if is_file {
            let linked = programs::link(path, &programs::read(path)?)?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let id = client.load(&name, &linked.image)?;
            let names = linked.maps.into_iter().map(|(name, _)| name).collect();
            let known = client.programs()?;
            let program = known.into_iter().find(|program| program.id == id);
            let missing = || Failure::NoSuchProgram(name.into_owned());
            (program.ok_or_else(missing)?, Some(names))
        } else {
            (programs::find(client, &self.program)?, None)
        };
        call::check_objects(&program.name, program.objects, self.objects.len())?;
        let mut objects = Vec::new();
        for range in &self.objects {
            objects.push(client.open(range.namespace, range.offset, range.length)?.id);
        }
        let instance = client.attach(program.id, &objects, Budgets::default())?;
        let maps = client.maps(instance)?;
        Ok(Attached {
            instance,
            maps,
            names,
        })
    }

    fn put(&self, attached: &Attached, client: &mut Agent) -> Result<(), Failure> {
        for put in &self.puts {
            let parts = put.split_once(':');
            let parts = parts.and_then(|(map, rest)| Some((map, rest.split_once('=')?)));
            let Some((map, (key_text, value_text))) = parts else {
                return Err(Failure::usage(format!(
                    "--put {put:?} is not MAP:KEY=VALUE"
                )));
            };
            let map = attached.find(map)?;
            let (key, value) = (key(map, key_text)?, value(map, value_text)?);
            client.map_set(attached.instance, map, &key, &value, Presence::Any)?;
        }
        Ok(())
    }

    fn call(&self, attached: &Attached, client: &mut Agent) -> Result<(), Failure> {
        for _ in 0..self.times {
            for call in &self.calls {
                let args = bytes::parse(call, None);
                let args = args.map_err(|problem| Failure::usage(format!("--call: {problem}")))?;
                client.call(attached.instance, &args)?;
            }
        }
        Ok(())
    }
}

/// An instance of this connection, and its maps.
struct Attached {
    instance: InstanceId,
    maps: Vec<MapInfo>,
    /// Their names, where the object is at hand.
    names: Option<Vec<String>>,
}

impl Attached {
    fn name(&self, map: &MapInfo) -> Option<&str> {
        let name = self.names.as_ref()?.get(map.number as usize)?;
        Some(name)
    }

    fn find(&self, wanted: &str) -> Result<&MapInfo, Failure> {
        let named = self.maps.iter().find(|map| self.name(map) == Some(wanted));
        if let Some(map) = named {
            return Ok(map);
        }
        let number = wanted.parse::<usize>().ok();
        if let Some(map) = number.and_then(|number| self.maps.get(number)) {
            return Ok(map);
        }
        if number.is_none() && self.names.is_none() && !self.maps.is_empty() {
            return Err(Failure::MapName(wanted.to_owned()));
        }
        let known: Vec<String> = self
            .maps
            .iter()
            .map(|map| self.name(map).map_or(map.number.to_string(), str::to_owned))
            .collect();
        Err(Failure::NoSuchMap {
            map: wanted.to_owned(),
            known: if known.is_empty() {
                "none at all".to_owned()
            } else {
                known.join(", ")
            },
        })
    }

    fn list(&self, maps: &[MapInfo], output: &mut Output) -> Result<(), Failure> {
        if output.is_json() {
            let maps = maps.iter().map(|map| self.describe(map));
            return output.json(&json!({ "maps": maps.collect::<Vec<_>>() }));
        }
        if maps.is_empty() {
            return output.line("the program has neither maps nor global variables");
        }
        let header = [
            ">MAP",
            "NAME",
            "TYPE",
            ">KEY",
            ">VALUE",
            ">ENTRIES",
            ">AT MOST",
            "PROGRAM MAY",
        ];
        let rows = maps.iter().map(|map| {
            vec![
                map.number.to_string(),
                self.name(map).unwrap_or("?").to_owned(),
                map.kind_name().to_owned(),
                map.key_bytes.to_string(),
                map.value_bytes.to_string(),
                map.entries.to_string(),
                map.entries_max.to_string(),
                if map.read_only { "read" } else { "read, write" }.to_owned(),
            ]
        });
        output.table(&header, rows)
    }

    fn describe(&self, map: &MapInfo) -> Value {
        json!({
            "map": map.number,
            "name": self.name(map),
            "type": map.kind_name(),
            "key_bytes": map.key_bytes,
            "value_bytes": map.value_bytes,
            "entries": map.entries,
            "entries_max": map.entries_max,
            "read_only": map.read_only,
        })
    }

    fn dump(
        &self,
        maps: &[MapInfo],
        style: Style,
        client: &mut Agent,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let mut all = Vec::new();
        for (index, map) in maps.iter().enumerate() {
            let mut entries = client.map_dump(self.instance, map)?;
            // Places in a hash map tell nobody anything.
            entries.sort_by_cached_key(|entry| (bytes::number(&entry.key), entry.key.clone()));
            if output.is_json() {
                let entries: Vec<Value> = entries.iter().map(to_json).collect();
                let name = self.name(map);
                all.push(json!({ "map": map.number, "name": name, "entries": entries }));
                continue;
            }
            if maps.len() > 1 {
                if index > 0 {
                    output.line("")?;
                }
                let number = map.number.to_string();
                output.line(&format!("map {}:", self.name(map).unwrap_or(&number)))?;
            }
            print(&entries, style, output)?;
        }
        if output.is_json() {
            return output.json(&json!({ "maps": all }));
        }
        Ok(())
    }

    /// The value of one key.
    fn show(
        &self,
        map: &MapInfo,
        key: Vec<u8>,
        style: Style,
        client: &mut Agent,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let value = client.map_get(self.instance, map, &key)?;
        let entry = MapEntry { key, value };
        if output.is_json() {
            return output.json(&to_json(&entry));
        }
        if is_long(&entry, style) {
            return hex_dump(&entry.value).try_for_each(|row| output.line(&row));
        }
        output.line(&style.show(&entry.value))
    }
}

fn to_json(entry: &MapEntry) -> Value {
    json!({
        "key_hex": hex(&entry.key),
        "key": bytes::number(&entry.key),
        "value_hex": hex(&entry.value),
        "value": bytes::number(&entry.value),
    })
}

fn is_long(entry: &MapEntry, style: Style) -> bool {
    entry.value.len() > CELL_BYTES_MAX && style == Style::Usual
}

fn print(entries: &[MapEntry], style: Style, output: &mut Output) -> Result<(), Failure> {
    if entries.is_empty() {
        return output.line("no entries");
    }
    if entries.iter().any(|entry| is_long(entry, style)) {
        return entries.iter().try_for_each(|entry| {
            output.line(&format!("key {}:", style.show(&entry.key)))?;
            hex_dump(&entry.value).try_for_each(|row| output.line(&format!("  {row}")))
        });
    }
    let rows = entries
        .iter()
        .map(|entry| vec![style.show(&entry.key), style.show(&entry.value)]);
    output.table(&[">KEY", ">VALUE"], rows)
}
