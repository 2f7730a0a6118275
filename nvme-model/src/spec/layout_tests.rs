//! Layouts against the byte offsets of the specification, told apart from the declarations.

use core::mem::offset_of;
use std::format;

use zerocopy::{FromBytes, IntoBytes};

use super::*;

/// Each pair is a field and the offset the specification prints for it.
macro_rules! offsets {
    ($type:ty, $( $field:ident = $offset:expr ),* $(,)?) => {
        $( assert_eq!(offset_of!($type, $field), $offset, stringify!($field)); )*
    };
}

#[test]
fn submission_entry_is_figure_87() {
    offsets!(
        SubmissionEntry,
        opcode = 0,
        flags = 1,
        command_id = 2,
        namespace = 4,
        cdw2 = 8,
        cdw3 = 12,
        metadata = 16,
        prp1 = 24,
        prp2 = 32,
        cdw10 = 40,
        cdw11 = 44,
        cdw12 = 48,
        cdw13 = 52,
        cdw14 = 56,
        cdw15 = 60,
    );
    assert_eq!(align_of::<SubmissionEntry>(), 1);
}

#[test]
fn completion_entry_is_figure_89() {
    offsets!(
        CompletionEntry,
        dw0 = 0,
        dw1 = 4,
        submission_head = 8,
        submission_queue = 10,
        command_id = 12,
        status = 14,
    );
    let mut bytes = [0u8; 16];
    bytes[12..14].copy_from_slice(&0x1234u16.to_le_bytes());
    // DNR, SCT 2, SC 85h and the phase tag.
    bytes[14..16].copy_from_slice(&(1u16 | 0x85 << 1 | 2 << 9 | 1 << 15).to_le_bytes());
    let entry = CompletionEntry::read_from_bytes(&bytes).unwrap();
    assert!(entry.phase());
    assert_eq!(entry.command_id.get(), 0x1234);
    assert_eq!(entry.status().code(), StatusCode::COMPARE_FAILURE);
    assert_eq!(entry.status().code().kind(), StatusType::MEDIA);
    assert!(entry.status().do_not_retry() && !entry.status().more());
    let mut again = CompletionEntry {
        command_id: 0x1234.into(),
        ..Default::default()
    };
    again.set_status(
        Status::new(StatusCode::COMPARE_FAILURE).with_do_not_retry(),
        true,
    );
    assert_eq!(again.as_bytes(), bytes);
}

#[test]
fn identify_controller_is_figure_275() {
    offsets!(
        IdentifyController,
        pci_vendor = 0,
        pci_subsystem_vendor = 2,
        serial = 4,
        model = 24,
        firmware = 64,
        arbitration_burst = 72,
        ieee_oui = 73,
        multipath = 76,
        max_transfer_shift = 77,
        controller_id = 78,
        version = 80,
        resume_latency_us = 84,
        entry_latency_us = 88,
        optional_events = 92,
        attributes = 96,
        read_recovery_levels = 100,
        controller_type = 111,
        fru_guid = 112,
        retry_delay_100ms = 128,
        subsystem_report = 253,
        vpd_write_cycles = 254,
        management_endpoint = 255,
        optional_admin_commands = 256,
        abort_limit_0 = 258,
        event_request_limit_0 = 259,
        firmware_updates = 260,
        log_page_attributes = 261,
        error_log_entries_0 = 262,
        power_states_0 = 263,
        admin_vendor_config = 264,
        autonomous_power_states = 265,
        warning_temperature_kelvin = 266,
        critical_temperature_kelvin = 268,
        firmware_activation_100ms = 270,
        host_memory_preferred_4k = 272,
        host_memory_min_4k = 276,
        total_capacity_bytes = 280,
        unallocated_capacity_bytes = 296,
        replay_protected_memory = 312,
        self_test_minutes = 316,
        self_test_options = 318,
        firmware_granularity = 319,
        keep_alive_100ms = 320,
        thermal_management = 322,
        thermal_min_kelvin = 324,
        thermal_max_kelvin = 326,
        sanitize = 328,
        host_memory_descriptor_min = 332,
        host_memory_descriptors_max = 336,
        nvm_set_max = 338,
        endurance_group_max = 340,
        ana_transition_s = 342,
        ana_capabilities = 343,
        ana_group_max = 344,
        ana_groups = 348,
        persistent_event_log_64k = 352,
        domain = 356,
        max_endurance_group_capacity = 368,
        submission_entry_sizes = 512,
        completion_entry_sizes = 513,
        max_commands = 514,
        namespaces = 516,
        optional_nvm_commands = 520,
        fused_operations = 522,
        format_attributes = 524,
        volatile_write_cache = 525,
        atomic_write_blocks_0 = 526,
        atomic_write_power_fail_blocks_0 = 528,
        nvm_vendor_config = 530,
        write_protection = 531,
        atomic_compare_write_blocks_0 = 532,
        copy_formats = 534,
        sgl_support = 536,
        max_allowed_namespaces = 540,
        max_domain_namespaces = 544,
        max_controller_namespaces = 560,
        subsystem_nqn = 768,
        fabrics = 1792,
        power_states = 2048,
        vendor = 3072,
    );
}

#[test]
fn identify_namespace_is_figure_97() {
    offsets!(
        IdentifyNamespace,
        size_blocks = 0,
        capacity_blocks = 8,
        used_blocks = 16,
        features = 24,
        formats_0 = 25,
        format = 26,
        metadata_capabilities = 27,
        protection_capabilities = 28,
        protection = 29,
        multipath = 30,
        reservations = 31,
        format_progress = 32,
        deallocate = 33,
        atomic_write_blocks_0 = 34,
        atomic_write_power_fail_blocks_0 = 36,
        atomic_compare_write_blocks_0 = 38,
        atomic_boundary_blocks_0 = 40,
        atomic_boundary_offset = 42,
        atomic_boundary_power_fail_blocks_0 = 44,
        optimal_boundary_blocks = 46,
        capacity_bytes = 48,
        preferred_write_granularity_0 = 64,
        preferred_write_alignment_0 = 66,
        preferred_deallocate_granularity_0 = 68,
        preferred_deallocate_alignment_0 = 70,
        optimal_write_size_0 = 72,
        copy_range_blocks_max = 74,
        copy_blocks_max = 76,
        copy_ranges_max_0 = 80,
        ana_group = 92,
        attributes = 99,
        nvm_set = 100,
        endurance_group = 102,
        nguid = 104,
        eui64 = 120,
        formats = 128,
        vendor = 384,
    );
    offsets!(
        IndependentNamespace,
        features = 0,
        multipath = 1,
        reservations = 2,
        format_progress = 3,
        ana_group = 4,
        attributes = 8,
        nvm_set = 10,
        endurance_group = 12,
        status = 14,
    );
    let mut namespace = IdentifyNamespace::default();
    namespace.formats_0 = 20;
    namespace.format = 0x21;
    namespace.formats[17] = LbaFormat::new().with_block_shift(12).into_bits().into();
    assert_eq!(namespace.current_format().block_shift(), 12);
    // Without more than sixteen formats bits 6:5 are no part of the index.
    namespace.formats_0 = 1;
    assert_eq!(namespace.current_format().block_shift(), 0);
}

#[test]
fn logs_are_figures_206_to_210() {
    offsets!(
        ErrorLogEntry,
        error_count = 0,
        submission_queue = 8,
        command_id = 10,
        status = 12,
        parameter_location = 14,
        lba = 16,
        namespace = 24,
        vendor_log = 28,
        transport = 29,
        command_specific = 32,
        transport_specific = 40,
    );
    offsets!(
        SmartLog,
        critical_warning = 0,
        temperature_kelvin = 1,
        spare_percent = 3,
        spare_threshold_percent = 4,
        used_percent = 5,
        endurance_warning = 6,
        data_units_read = 32,
        data_units_written = 48,
        host_reads = 64,
        host_writes = 80,
        busy_minutes = 96,
        power_cycles = 112,
        power_on_hours = 128,
        unsafe_shutdowns = 144,
        media_errors = 160,
        error_log_entries = 176,
        warning_temperature_minutes = 192,
        critical_temperature_minutes = 196,
        sensors_kelvin = 200,
        thermal_transitions = 216,
        thermal_seconds = 224,
    );
    offsets!(FirmwareSlotLog, active = 0, revisions = 8);
    offsets!(EffectsLog, admin = 0, io = 1024);
    assert_eq!(size_of::<FeatureEffectsLog>(), 1024);
    offsets!(DatasetRange, attributes = 0, blocks = 4, first_block = 8);
    offsets!(NamespaceDescriptor, kind = 0, bytes = 1);
}

#[test]
fn registers_have_the_bits_of_the_specification() {
    // What QEMU's controller reports: 2 048 entries, contiguous, 7.5 s, NVM and "no I/O" command sets.
    let cap = Capabilities::from_bits(0x0040_1820_0f01_07ff);
    assert_eq!(cap.max_queue_entries_0(), 2047);
    assert!(cap.contiguous_queues_required());
    assert_eq!(cap.timeout_500ms(), 15);
    assert_eq!(
        (
            cap.doorbell_stride(),
            cap.page_size_min(),
            cap.page_size_max()
        ),
        (0, 0, 4)
    );
    assert!(cap.nvm_command_set() && cap.no_io_command_set() && cap.io_command_sets());
    assert!(!cap.subsystem_reset() && !cap.controller_memory_buffer());

    let cc = Configuration::new()
        .with_enable(true)
        .with_submission_entry_size(6)
        .with_completion_entry_size(4)
        .with_shutdown(Configuration::SHUTDOWN_NORMAL);
    assert_eq!(cc.into_bits(), 0x0046_4001);
    assert_eq!(Configuration::new().with_page_size(1).into_bits(), 1 << 7);
    assert_eq!(
        Configuration::new().with_arbitration(1).into_bits(),
        1 << 11
    );
    let csts = ControllerStatus::from_bits(0b1011);
    assert!(csts.ready() && csts.fatal());
    assert_eq!(csts.shutdown(), ControllerStatus::SHUTDOWN_COMPLETE);
    let aqa = AdminQueueAttributes::new()
        .with_submission_entries_0(31)
        .with_completion_entries_0(63);
    assert_eq!(aqa.into_bits(), 63 << 16 | 31);
    assert_eq!(Version::from_bits(0x0002_0000).major(), 2);
    assert_eq!(SUBSYSTEM_RESET_VALUE.to_be_bytes(), *b"NVMe");
    let cap = Capabilities::from_bits(0b01 << 59 | 1 << 58 | 1 << 57);
    assert_eq!(cap.ready_modes(), 0b01);
    assert!(cap.subsystem_shutdown() && cap.controller_memory_buffer());
    let crto = ReadyTimeouts::from_bits(7 << 16 | 300);
    assert_eq!(crto.media_ready_500ms(), 300);
    assert_eq!(crto.media_independent_500ms(), 7);
}

#[test]
fn doorbells_follow_the_stride() {
    assert_eq!(submission_doorbell(0, 0), 0x1000);
    assert_eq!(completion_doorbell(0, 0), 0x1004);
    assert_eq!(submission_doorbell(3, 0), 0x1018);
    assert_eq!(completion_doorbell(3, 0), 0x101c);
    assert_eq!(submission_doorbell(3, 2), 0x1060);
    assert_eq!(completion_doorbell(3, 2), 0x1070);
    assert_eq!(
        completion_doorbell(u16::MAX, 0),
        0x1000 + (2 * 65535 + 1) * 4
    );
    // The largest stride and queue number pass 32 bits: no such register.
    assert_eq!(completion_doorbell(u16::MAX, 15), u32::MAX);
}

#[test]
fn command_dwords_have_the_bits_of_the_specification() {
    let create = QueueDword10::new()
        .with_queue(3)
        .with_entries_0(63)
        .into_bits();
    assert_eq!(create, 63 << 16 | 3);
    let completion = CreateCompletionQueueDword11::new()
        .with_contiguous(true)
        .with_interrupts(true);
    assert_eq!(completion.with_vector(5).into_bits(), 5 << 16 | 0b11);
    let submission = CreateSubmissionQueueDword11::new()
        .with_contiguous(true)
        .with_completion_queue(7);
    assert_eq!(
        submission.with_priority(2).into_bits(),
        7 << 16 | 2 << 1 | 1
    );
    let log = GetLogPageDword10::new()
        .with_log(LogId::SMART)
        .with_retain_event(true);
    assert_eq!(
        log.with_dwords_0_low(127).into_bits(),
        127 << 16 | 1 << 15 | 2
    );
    assert_eq!(
        IdentifyDword10::new()
            .with_structure(Cns::CONTROLLER)
            .into_bits(),
        1
    );
    assert_eq!(
        IdentifyDword11::new().with_command_set(2).into_bits(),
        2 << 24
    );
    let set = SetFeaturesDword10::new()
        .with_feature(FeatureId::NUMBER_OF_QUEUES)
        .with_save(true);
    assert_eq!(set.into_bits(), 1 << 31 | 7);
    let get = GetFeaturesDword10::new()
        .with_feature(FeatureId::ARBITRATION)
        .with_select(3);
    assert_eq!(get.into_bits(), 3 << 8 | 1);
    assert_eq!(
        AbortDword10::new()
            .with_queue(1)
            .with_command_id(9)
            .into_bits(),
        9 << 16 | 1
    );
    let read = ReadWriteFlags::new()
        .with_blocks_0(7)
        .with_force_unit_access(true);
    assert_eq!(read.with_limited_retry(true).into_bits(), 7 | 0b11 << 30);
    assert_eq!(
        ReadWriteFlags::new().with_deallocate(true).into_bits(),
        1 << 25
    );
    assert_eq!(
        ReadWriteFlags::new().with_protection(0xf).into_bits(),
        0xf << 26
    );
    assert_eq!(
        ReadWriteFlags::new().with_directive(0xf).into_bits(),
        0xf << 20
    );
    assert_eq!(
        DatasetDword11::new().with_deallocate(true).into_bits(),
        0b100
    );
    let event = EventDword0::new()
        .with_kind(1)
        .with_information(2)
        .with_log(3);
    assert_eq!(event.into_bits(), 3 << 16 | 2 << 8 | 1);
    let threshold = TemperatureThreshold::new()
        .with_kelvin(343)
        .with_sensor(1)
        .with_kind(1);
    assert_eq!(threshold.into_bits(), 1 << 20 | 1 << 16 | 343);
    assert_eq!(LbaFormat::new().with_block_shift(9).into_bits(), 9 << 16);
    assert_eq!(
        CommandFlags::new().with_data_pointer_kind(1).into_bits(),
        1 << 6
    );
    let effects = CommandEffects::new()
        .with_supported(true)
        .with_changes_data(true)
        .with_exclusion(1);
    assert_eq!(effects.into_bits(), 1 << 16 | 0b11);
    let scoped = CommandEffects::new().with_scope(CommandEffects::SCOPE_CONTROLLER);
    assert_eq!(scoped.into_bits(), 1 << 21);
    let feature = FeatureEffects::new()
        .with_supported(true)
        .with_scope(CommandEffects::SCOPE_NAMESPACE);
    assert_eq!(feature.into_bits(), 1 << 20 | 1);
    let events = EventConfiguration::new().with_endurance_groups(true);
    assert_eq!(events.into_bits(), 1 << 14);
    assert_eq!(
        LogPageAttributes::new()
            .with_effects_scopes(true)
            .into_bits(),
        1 << 5
    );
    let oncs = OptionalNvmCommands::new()
        .with_compare(true)
        .with_write_zeroes(true);
    assert_eq!(oncs.with_dataset_management(true).into_bits(), 0b1101);
}

#[test]
fn open_enums_name_what_they_know_and_keep_what_they_do_not() {
    assert_eq!(format!("{}", IoOpcode::WRITE_ZEROES), "Write Zeroes");
    assert_eq!(format!("{:?}", IoOpcode::READ), "IoOpcode::READ");
    assert_eq!(format!("{}", IoOpcode(0xc1)), "unknown I/O opcode 0xc1");
    assert_eq!(format!("{:?}", AdminOpcode(0xc1)), "AdminOpcode(0xc1)");
    let status = Status::new(StatusCode::LBA_OUT_OF_RANGE).with_do_not_retry();
    assert_eq!(format!("{status}"), "LBA out of range (do not retry)");
    assert_eq!(format!("{}", Status(0x7ff)), "unknown status 0x7ff");
    assert_eq!(Status(0x7ff).code().kind(), StatusType::VENDOR);
    assert!(Status(0x1800).is_success());
    assert_eq!(Status(0x1800).retry_delay(), 3);
}
