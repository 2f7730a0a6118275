//! What an agent says of a program is what the client finds without one: refusals, and counts.

use std::path::{Path, PathBuf};

use client::Reply;
use client::diagnosis::{Code, Finding};
use client::linker;
use client::verify::{Report, verify};
use outboard_tests::world::{PeerId, Settings, World, sha256};
use protocol::Status;
use protocol::message::{LoadPieceRequest, LoadRequest};

/// The objects of the client's tests: each with a mistake, but for two.
fn objects() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/tests/objects/verify");
    let files = std::fs::read_dir(folder).expect("it is there");
    files
        .map(|file| file.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|it| it == "o"))
        .collect()
}

fn load(world: &mut World, peer: PeerId, name: &str, image: &[u8], strict: bool) -> Reply {
    let request = LoadRequest {
        name,
        total_bytes: image.len() as u32,
        sha256: sha256(image),
        strict,
    };
    let begun = world.ask(peer, &request, &[]);
    assert_eq!(begun.status, Status::Ok, "{name}: {}", begun.detail());
    world.ask(peer, &LoadPieceRequest { offset: 0 }, image)
}

/// It was refused, for one of these findings.
fn refused(reply: &Reply, code: &Code, findings: &[Finding]) {
    assert_eq!(reply.status, Status::ProgramRefused);
    let found = Finding::of_error(&reply.detail(), code).expect("it names an instruction");
    assert!(
        findings.contains(&found),
        "{found:#?} is none of {findings:#?}"
    );
}

fn accepted(reply: &Reply, report: &Report) {
    assert_eq!(reply.status, Status::Ok, "{}", reply.detail());
    let loaded = reply.decode::<LoadPieceRequest>().expect("it is a reply");
    assert!(loaded.program.is_some());
    assert_eq!(loaded.proof, report.counts.map(|counts| counts.proof));
}

#[test]
fn agent_and_client_come_to_the_same() {
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    let (mut accepts, mut strict_refusals, mut refusals) = (0, 0, 0);
    for path in objects() {
        let name = path.file_stem().and_then(|it| it.to_str()).expect("a name");
        let object = std::fs::read(&path).expect("it can be read");
        let image = linker::link(&object).expect("it links").image;
        let code = Code::of(&ebpf::Image::parse(&image).expect("it is an image"));
        let report = verify(&image).expect("it is an image");
        let reply = load(&mut world, peer, name, &image, false);
        let name = &format!("{name}.s");
        let strict = load(&mut world, peer, name, &image, true);
        if !report.is_accepted() {
            refused(&reply, &code, &report.refusals);
            assert_eq!(strict.detail(), reply.detail());
            refusals += 1;
            continue;
        }
        accepted(&reply, &report);
        accepts += 1;
        if report.guarded.is_empty() {
            accepted(&strict, &report);
        } else {
            refused(&strict, &code, &report.guarded);
            strict_refusals += 1;
        }
    }
    assert_eq!((accepts, strict_refusals), (2, 1));
    assert!(refusals >= 12, "{refusals}");
    world.end();
}
