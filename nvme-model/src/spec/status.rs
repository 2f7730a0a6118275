//! Completion statuses (Base §3.3.3.2.1).

use core::fmt;

use super::open_enum::open_enum;

/// The 15-bit status field of a completion, without its phase tag (Base §3.3.3.2.1, Figure 92):
/// code in bits 7:0, code type in 10:8, retry delay in 12:11, More in 13, Do Not Retry in 14.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Status(pub u16);

impl Status {
    const MORE: u16 = 1 << 13;
    const DO_NOT_RETRY: u16 = 1 << 14;

    /// Success.
    pub const SUCCESS: Self = Self(0);

    /// A status of this code, with More and Do Not Retry clear.
    pub const fn new(code: StatusCode) -> Self {
        Self(code.0 & 0x7ff)
    }

    /// The same with Do Not Retry set: the command would fail again.
    pub const fn with_do_not_retry(self) -> Self {
        Self(self.0 | Self::DO_NOT_RETRY)
    }

    /// The same with More set: the Error Information log knows more.
    pub const fn with_more(self) -> Self {
        Self(self.0 | Self::MORE)
    }

    /// Status code and status code type.
    pub const fn code(self) -> StatusCode {
        StatusCode(self.0 & 0x7ff)
    }

    /// CRD: which of Identify's three retry delays to wait; 0 for none.
    pub const fn retry_delay(self) -> u8 {
        ((self.0 >> 11) & 0b11) as u8
    }

    /// M: the Error Information log has an entry about this command.
    pub const fn more(self) -> bool {
        self.0 & Self::MORE != 0
    }

    /// DNR: the same command would fail again.
    pub const fn do_not_retry(self) -> bool {
        self.0 & Self::DO_NOT_RETRY != 0
    }

    /// Whether the command succeeded.
    pub const fn is_success(self) -> bool {
        self.code().0 == 0
    }
}

impl From<StatusCode> for Status {
    fn from(code: StatusCode) -> Self {
        Self::new(code)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code())?;
        if self.do_not_retry() {
            f.write_str(" (do not retry)")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Status({:?}", self.code())?;
        if self.more() {
            f.write_str(", more")?;
        }
        if self.do_not_retry() {
            f.write_str(", do not retry")?;
        }
        f.write_str(")")
    }
}

open_enum! {
    /// SCT, the status code type (Base §3.3.3.2.1, Figure 93).
    pub struct StatusType(u8) called "status code type";
    GENERIC = 0, "generic command status";
    COMMAND_SPECIFIC = 1, "command specific status";
    MEDIA = 2, "media and data integrity error";
    PATH = 3, "path related status";
    VENDOR = 7, "vendor specific status";
}

impl StatusCode {
    /// SCT.
    pub const fn kind(self) -> StatusType {
        StatusType(((self.0 >> 8) & 0b111) as u8)
    }

    /// SC, without its type.
    pub const fn code(self) -> u8 {
        self.0 as u8
    }
}

open_enum! {
    /// Status code type and status code together: `SCT << 8 | SC` (Base §3.3.3.2.1, Figures 94 to 96,
    /// 98 and 99; NVM §3.1, Figures 15 to 17).
    pub struct StatusCode(u16) called "status";
    SUCCESS = 0x000, "successful completion";
    INVALID_OPCODE = 0x001, "invalid command opcode";
    INVALID_FIELD = 0x002, "invalid field in command";
    COMMAND_ID_CONFLICT = 0x003, "command id conflict";
    DATA_TRANSFER_ERROR = 0x004, "data transfer error";
    ABORTED_POWER_LOSS = 0x005, "aborted: power loss notification";
    INTERNAL_ERROR = 0x006, "internal error";
    ABORT_REQUESTED = 0x007, "command abort requested";
    ABORTED_QUEUE_DELETION = 0x008, "aborted: submission queue deleted";
    ABORTED_FAILED_FUSED = 0x009, "aborted: failed fused command";
    ABORTED_MISSING_FUSED = 0x00a, "aborted: missing fused command";
    INVALID_NAMESPACE_OR_FORMAT = 0x00b, "invalid namespace or format";
    COMMAND_SEQUENCE_ERROR = 0x00c, "command sequence error";
    INVALID_SGL_SEGMENT = 0x00d, "invalid SGL segment descriptor";
    INVALID_SGL_COUNT = 0x00e, "invalid number of SGL descriptors";
    DATA_SGL_LENGTH_INVALID = 0x00f, "data SGL length invalid";
    METADATA_SGL_LENGTH_INVALID = 0x010, "metadata SGL length invalid";
    SGL_TYPE_INVALID = 0x011, "SGL descriptor type invalid";
    INVALID_CONTROLLER_MEMORY_USE = 0x012, "invalid use of controller memory buffer";
    PRP_OFFSET_INVALID = 0x013, "PRP offset invalid";
    ATOMIC_WRITE_UNIT_EXCEEDED = 0x014, "atomic write unit exceeded";
    OPERATION_DENIED = 0x015, "operation denied";
    SGL_OFFSET_INVALID = 0x016, "SGL offset invalid";
    HOST_ID_INCONSISTENT = 0x018, "host identifier inconsistent format";
    KEEP_ALIVE_EXPIRED = 0x019, "keep alive timer expired";
    KEEP_ALIVE_INVALID = 0x01a, "keep alive timeout invalid";
    ABORTED_PREEMPT = 0x01b, "aborted: preempt and abort";
    SANITIZE_FAILED = 0x01c, "sanitize failed";
    SANITIZE_IN_PROGRESS = 0x01d, "sanitize in progress";
    SGL_GRANULARITY_INVALID = 0x01e, "SGL data block granularity invalid";
    QUEUE_IN_CONTROLLER_MEMORY = 0x01f, "command not supported for queue in controller memory";
    WRITE_PROTECTED = 0x020, "namespace is write protected";
    COMMAND_INTERRUPTED = 0x021, "command interrupted";
    TRANSIENT_TRANSPORT_ERROR = 0x022, "transient transport error";
    PROHIBITED_BY_LOCKDOWN = 0x023, "command prohibited by lockdown";
    MEDIA_NOT_READY = 0x024, "admin command media not ready";
    LBA_OUT_OF_RANGE = 0x080, "LBA out of range";
    CAPACITY_EXCEEDED = 0x081, "capacity exceeded";
    NAMESPACE_NOT_READY = 0x082, "namespace not ready";
    RESERVATION_CONFLICT = 0x083, "reservation conflict";
    FORMAT_IN_PROGRESS = 0x084, "format in progress";

    COMPLETION_QUEUE_INVALID = 0x100, "completion queue invalid";
    INVALID_QUEUE_ID = 0x101, "invalid queue identifier";
    INVALID_QUEUE_SIZE = 0x102, "invalid queue size";
    ABORT_LIMIT_EXCEEDED = 0x103, "abort command limit exceeded";
    EVENT_REQUEST_LIMIT_EXCEEDED = 0x105, "asynchronous event request limit exceeded";
    INVALID_FIRMWARE_SLOT = 0x106, "invalid firmware slot";
    INVALID_FIRMWARE_IMAGE = 0x107, "invalid firmware image";
    INVALID_INTERRUPT_VECTOR = 0x108, "invalid interrupt vector";
    INVALID_LOG_PAGE = 0x109, "invalid log page";
    INVALID_FORMAT = 0x10a, "invalid format";
    FIRMWARE_NEEDS_CONVENTIONAL_RESET = 0x10b, "firmware activation requires conventional reset";
    INVALID_QUEUE_DELETION = 0x10c, "invalid queue deletion";
    FEATURE_NOT_SAVEABLE = 0x10d, "feature identifier not saveable";
    FEATURE_NOT_CHANGEABLE = 0x10e, "feature not changeable";
    FEATURE_NOT_NAMESPACE_SPECIFIC = 0x10f, "feature not namespace specific";
    FIRMWARE_NEEDS_SUBSYSTEM_RESET = 0x110, "firmware activation requires NVM subsystem reset";
    FIRMWARE_NEEDS_CONTROLLER_RESET = 0x111, "firmware activation requires controller level reset";
    FIRMWARE_TIME_VIOLATION = 0x112, "firmware activation requires maximum time violation";
    FIRMWARE_PROHIBITED = 0x113, "firmware activation prohibited";
    OVERLAPPING_RANGE = 0x114, "overlapping range";
    NAMESPACE_INSUFFICIENT_CAPACITY = 0x115, "namespace insufficient capacity";
    NAMESPACE_ID_UNAVAILABLE = 0x116, "namespace identifier unavailable";
    NAMESPACE_ALREADY_ATTACHED = 0x118, "namespace already attached";
    NAMESPACE_PRIVATE = 0x119, "namespace is private";
    NAMESPACE_NOT_ATTACHED = 0x11a, "namespace not attached";
    THIN_PROVISIONING_UNSUPPORTED = 0x11b, "thin provisioning not supported";
    CONTROLLER_LIST_INVALID = 0x11c, "controller list invalid";
    SELF_TEST_IN_PROGRESS = 0x11d, "device self-test in progress";
    INVALID_CONTROLLER_ID = 0x11f, "invalid controller identifier";
    IO_COMMAND_SET_UNSUPPORTED = 0x129, "I/O command set not supported";
    IO_COMMAND_SET_NOT_ENABLED = 0x12a, "I/O command set not enabled";
    INVALID_IO_COMMAND_SET = 0x12c, "invalid I/O command set";
    CONFLICTING_ATTRIBUTES = 0x180, "conflicting attributes";
    INVALID_PROTECTION_INFORMATION = 0x181, "invalid protection information";
    WRITE_TO_READ_ONLY_RANGE = 0x182, "attempted write to read only range";
    COMMAND_SIZE_LIMIT_EXCEEDED = 0x183, "command size limit exceeded";

    WRITE_FAULT = 0x280, "write fault";
    UNRECOVERED_READ_ERROR = 0x281, "unrecovered read error";
    GUARD_CHECK_ERROR = 0x282, "end-to-end guard check error";
    APPLICATION_TAG_CHECK_ERROR = 0x283, "end-to-end application tag check error";
    REFERENCE_TAG_CHECK_ERROR = 0x284, "end-to-end reference tag check error";
    COMPARE_FAILURE = 0x285, "compare failure";
    ACCESS_DENIED = 0x286, "access denied";
    DEALLOCATED_BLOCK = 0x287, "deallocated or unwritten logical block";
    STORAGE_TAG_CHECK_ERROR = 0x288, "end-to-end storage tag check error";

    INTERNAL_PATH_ERROR = 0x300, "internal path error";
    NAMESPACE_PERSISTENT_LOSS = 0x301, "asymmetric access persistent loss";
    NAMESPACE_INACCESSIBLE = 0x302, "asymmetric access inaccessible";
    NAMESPACE_TRANSITION = 0x303, "asymmetric access transition";
    CONTROLLER_PATH_ERROR = 0x360, "controller pathing error";
    HOST_PATH_ERROR = 0x370, "host pathing error";
    ABORTED_BY_HOST = 0x371, "command aborted by host";
}
