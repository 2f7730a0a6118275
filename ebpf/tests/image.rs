//! Images: the layout, and what is refused, in which words.

use ebpf::limits::IMAGE_BYTES_MAX;
use ebpf::{EntryKind, Image, ImageBuilder, ImageError, MapSpec};

fn minimal() -> ImageBuilder {
    ImageBuilder::new()
        .entry(EntryKind::Call, 0)
        .code(&[0xb7, 0x95])
}

fn words(builder: &ImageBuilder) -> String {
    builder.build().expect_err("it is refused").to_string()
}

#[test]
fn the_layout_is_as_documented() {
    let spec = MapSpec {
        kind: 2,
        key_bytes: 4,
        value_bytes: 3,
        entries_max: 1,
        flags: 128,
        initial_bytes: 0,
    };
    let builder = minimal()
        .scratch(0x1234, 0x10)
        .args_max(0x20)
        .reply_max(0x30)
        .objects(2);
    let bytes = builder.map(spec, b"xyz").build().unwrap();
    let expected = [
        &b"OBPF"[..],
        &[1, 0, 64, 0],
        &[64 + 8 + 24 + 16 + 3, 0, 0, 0],
        &[2, 0, 0, 0],
        &[
            0x34, 0x12, 0, 0, 0x10, 0, 0, 0, 0x20, 0, 0, 0, 0x30, 0, 0, 0, 0, 0, 0, 0,
        ],
        &[2, 0, 1, 0, 1, 0, 0, 0, 3, 0, 0, 0],
        &[0; 16],
        &[1, 0, 0, 0, 0, 0, 0, 0],
        &[
            2, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 128, 0, 0, 0, 3, 0, 0, 0,
        ],
        &[0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0],
        b"xyz",
    ]
    .concat();
    assert_eq!(bytes, expected);
    let image = Image::parse(&bytes).unwrap();
    assert_eq!(image.header().scratch_zero(), 0x1224..0x1234);
    assert_eq!(image.entry(EntryKind::Call), Some(0));
    assert_eq!(image.entry(EntryKind::Scan), None);
    assert_eq!((image.slot(1), image.slot(2)), (Some(0x95), None));
    let maps: Vec<_> = image.maps().collect();
    assert_eq!(
        maps,
        [(
            MapSpec {
                initial_bytes: 3,
                ..spec
            },
            &b"xyz"[..]
        )]
    );
}

#[test]
fn numbers_beyond_their_limits_are_refused() {
    let most = |what: &str, value: u64, max: u64| {
        format!("{what} is {value}, and {max} is the most there may be")
    };
    assert_eq!(
        words(&minimal().scratch(81_921, 0)),
        most("the bytes of scratch", 81_921, 81_920)
    );
    let zeroed = "the bytes of zeroed scratch";
    assert_eq!(
        words(&minimal().scratch(8192, 4097)),
        most(zeroed, 4097, 4096)
    );
    assert_eq!(words(&minimal().scratch(100, 101)), most(zeroed, 101, 100));
    assert_eq!(
        words(&minimal().args_max(4097)),
        most("the bytes of arguments", 4097, 4096)
    );
    assert_eq!(
        words(&minimal().reply_max(65_537)),
        most("the bytes of reply", 65_537, 65_536)
    );
    assert_eq!(
        words(&minimal().objects(9)),
        most("the number of objects", 9, 8)
    );
    let long = minimal().code(&[0x95; 4095]);
    assert_eq!(words(&long), most("the number of slots", 4097, 4096));
    let four = [EntryKind::Scan, EntryKind::Finish, EntryKind::Finish];
    let four = four
        .into_iter()
        .fold(minimal(), |builder, kind| builder.entry(kind, 0));
    assert_eq!(words(&four), most("the number of entries", 4, 3));
    let outside = ImageBuilder::new().entry(EntryKind::Call, 1).code(&[0x95]);
    assert_eq!(words(&outside), most("the slot of an entry", 1, 0));
    let huge = vec![0; IMAGE_BYTES_MAX + 1];
    let error = Image::parse(&huge).unwrap_err().to_string();
    assert_eq!(error, most("the image's length", 65_537, 65_536));
}

#[test]
fn entries_make_sense() {
    let no_code = ImageBuilder::new().entry(EntryKind::Call, 0);
    assert_eq!(words(&no_code), "the number of slots may not be 0");
    let no_entry = ImageBuilder::new().code(&[0x95]);
    assert_eq!(words(&no_entry), "there is neither a call nor a scan entry");
    let twice = minimal().entry(EntryKind::Call, 1);
    assert_eq!(words(&twice), "there are two entries dpu/call");
    let finish = minimal().entry(EntryKind::Finish, 0);
    assert_eq!(words(&finish), "there is a finish entry but no scan");
    let scan = ImageBuilder::new().entry(EntryKind::Scan, 0).code(&[0x95]);
    for unit in [0, 256, 1000, 131_072] {
        let expected = format!("the scan unit may not be {unit}");
        assert_eq!(words(&scan.clone().scan_unit(unit)), expected);
    }
    assert!(scan.scan_unit(512).build().is_ok());
    assert_eq!(
        words(&minimal().scan_unit(512)),
        "the scan unit may not be 512"
    );
}

#[test]
fn maps_make_sense() {
    let spec = MapSpec {
        kind: 2,
        key_bytes: 4,
        value_bytes: 8,
        entries_max: 2,
        ..MapSpec::default()
    };
    assert!(minimal().map(spec, &[0; 16]).build().is_ok());
    let over = minimal().map(spec, &[0; 17]);
    assert_eq!(
        words(&over),
        "the initial bytes of a map are 17, and 16 is the most there may be"
    );
    let none = minimal().map(
        MapSpec {
            entries_max: 0,
            ..spec
        },
        &[],
    );
    assert_eq!(words(&none), "the number of entries of a map may not be 0");
    let huge = minimal().map(
        MapSpec {
            entries_max: u32::MAX,
            value_bytes: u32::MAX,
            ..spec
        },
        &[],
    );
    assert!(words(&huge).starts_with("the bytes of all keys of a map are 17179869180"));
    for (kind, flags, wanted) in [
        (
            3,
            0,
            "there are no maps of type 3, only hash (1), array (2) and LRU hash (9)",
        ),
        (2, 4, "a map of type array cannot have the flags 0x4"),
    ] {
        let other = minimal().map(
            MapSpec {
                kind,
                flags,
                ..spec
            },
            &[],
        );
        assert_eq!(words(&other), wanted);
    }
    let many = (0..17).fold(minimal(), |builder, _| builder.map(spec, &[]));
    assert_eq!(
        words(&many),
        "the number of maps is 17, and 16 is the most there may be"
    );
}

/// A minimal image with one byte set.
fn with_byte(at: usize, value: u8) -> Result<(), ImageError> {
    let mut bytes = minimal().build().unwrap();
    bytes[at] = value;
    Image::parse(&bytes).map(|_| ())
}

#[test]
fn every_byte_of_the_header_counts() {
    assert_eq!(with_byte(0, 0), Err(ImageError::Magic));
    assert_eq!(with_byte(4, 2), Err(ImageError::Abi { abi: 2 }));
    assert_eq!(
        with_byte(6, 65),
        Err(ImageError::Value {
            what: "the header's length",
            value: 65
        })
    );
    assert_eq!(
        with_byte(8, 87),
        Err(ImageError::Long {
            needed: 87,
            found: 88
        })
    );
    assert_eq!(
        with_byte(8, 89),
        Err(ImageError::Short {
            needed: 89,
            found: 88
        })
    );
    assert_eq!(
        with_byte(12, 3),
        Err(ImageError::Short {
            needed: 96,
            found: 88
        })
    );
    assert_eq!(
        with_byte(44, 1),
        Err(ImageError::Short {
            needed: 89,
            found: 88
        })
    );
    for at in (42..44).chain(48..64).chain(65..68) {
        assert_eq!(with_byte(at, 1), Err(ImageError::Reserved { offset: at }));
    }
    let kind = "the kind of an entry";
    assert_eq!(
        with_byte(64, 4),
        Err(ImageError::Value {
            what: kind,
            value: 4
        })
    );
    let bytes = minimal().build().unwrap();
    for len in 0..bytes.len() {
        assert!(
            matches!(Image::parse(&bytes[..len]), Err(ImageError::Short { .. })),
            "{len}"
        );
    }
}
