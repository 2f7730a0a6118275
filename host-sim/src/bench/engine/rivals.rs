//! Who Outboard's engines are raced against, but for the kernel: native code, rbpf, wasmi.
#![allow(unsafe_code)] // rbpf's JIT checks nothing; it runs programs of this repository alone.

use std::hint::black_box;
use std::time::Instant;

use super::workload::{Workload, code};
use super::{Answer, Contender};

/// The C function, compiled for this machine at -O2.
pub(super) fn native(workload: &Workload) -> Contender {
    let run = workload.native;
    let mut memory = vec![0_u64; workload.bytes / 8];
    Contender::new("native", move |bytes, key| {
        let memory = as_bytes(&mut memory);
        memory.copy_from_slice(bytes);
        let started = Instant::now();
        let result = black_box(run)(black_box(memory), black_box(key));
        let took = started.elapsed();
        Ok(Answer { result, took })
    })
}

/// Words as bytes, so that these are aligned as C wants it.
fn as_bytes(words: &mut [u64]) -> &mut [u8] {
    let len = size_of_val(words);
    // SAFETY: any bytes are words and any words are bytes.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), len) }
}

/// rbpf's interpreter, or its JIT.
///
/// # Errors
/// It does not take the program.
pub(super) fn rbpf(workload: &Workload, jit: bool) -> Result<Contender, String> {
    let slots = code(workload.raw, "text.raw")?;
    let program: Vec<u8> = slots.iter().flat_map(|slot| slot.to_le_bytes()).collect();
    // It borrows its program, and races until the process ends.
    let program: &'static [u8] = program.leak();
    let mut machine = rbpf::EbpfVmRaw::new(Some(program)).map_err(|error| error.to_string())?;
    if jit {
        compile(&mut machine)?;
    }
    let mut memory = vec![0_u64; workload.bytes / 8 + 1];
    let who = if jit { "rbpf-jit" } else { "rbpf-interpreter" };
    Ok(Contender::new(who, move |bytes, key| {
        let memory = as_bytes(&mut memory);
        memory[..8].copy_from_slice(&key.to_le_bytes());
        memory[8..].copy_from_slice(bytes);
        let started = Instant::now();
        let result = if jit {
            // SAFETY: the program reads its key and its bytes, and nothing else.
            unsafe { machine.execute_program_jit(black_box(memory)) }
        } else {
            machine.execute_program(black_box(memory))
        };
        let took = started.elapsed();
        let result = result.map_err(|error| error.to_string())?;
        Ok(Answer { result, took })
    }))
}

#[cfg(target_arch = "x86_64")]
fn compile(machine: &mut rbpf::EbpfVmRaw<'_>) -> Result<(), String> {
    machine.jit_compile().map_err(|error| error.to_string())
}

#[cfg(not(target_arch = "x86_64"))]
fn compile(_: &mut rbpf::EbpfVmRaw<'_>) -> Result<(), String> {
    Err("rbpf's JIT knows no machine but x86-64".to_string())
}

/// wasmi 2.0.0, which counts fuel.
///
/// # Errors
/// It does not take the module.
pub(super) fn wasmi(workload: &Workload) -> Result<Contender, String> {
    use wasmi::{CompilationMode, Config, Engine, Linker, Module, Store};
    let told = |error: wasmi::Error| error.to_string();
    let mut config = Config::default();
    config.consume_fuel(true);
    config.compilation_mode(CompilationMode::Eager);
    let engine = Engine::new(&config);
    let module = Module::new(&engine, workload.wasm).map_err(told)?;
    let mut store = Store::new(&engine, ());
    store.set_fuel(FUEL).map_err(told)?;
    let linker = Linker::<()>::new(&engine);
    let instance = linker
        .instantiate_and_start(&mut store, &module)
        .map_err(told)?;
    let place = instance
        .get_typed_func::<(), i32>(&store, "bytes")
        .map_err(told)?;
    let place = place.call(&mut store, ()).map_err(told)? as usize;
    let run = instance
        .get_typed_func::<i64, i64>(&store, "run")
        .map_err(told)?;
    let memory = instance
        .get_memory(&store, "memory")
        .ok_or("the module has no memory")?;
    Ok(Contender::new("wasmi-fuel", move |bytes, key| {
        let write = memory.write(&mut store, place, bytes);
        write.map_err(|error| error.to_string())?;
        let started = Instant::now();
        store.set_fuel(FUEL).map_err(told)?;
        let result = run.call(&mut store, black_box(key as i64)).map_err(told)? as u64;
        let took = started.elapsed();
        Ok(Answer { result, took })
    }))
}

/// Fuel that is enough for every workload.
const FUEL: u64 = 100_000_000;
