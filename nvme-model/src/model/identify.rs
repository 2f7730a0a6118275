//! Identify: what this controller says of itself (Base §5.17, NVM §4.1.5).

use zerocopy::IntoBytes;

use crate::spec::{
    COMPLETION_ENTRY_SHIFT, Cns, IDENTIFY_BYTES, IdentifyController, IdentifyDword10,
    IdentifyDword11, IdentifyNamespace, IndependentNamespace, LbaFormat, LogPageAttributes,
    NAMESPACE_LIST_ENTRIES, NamespaceDescriptor, NamespaceList, OptionalNvmCommands,
    SUBMISSION_ENTRY_SHIFT, Status, StatusCode, SubmissionEntry,
};

use super::controller::{Controller, Namespace, refuse};
use super::features::WARNING_KELVIN;
use super::limits::{ABORTS_MAX, COMMANDS_MAX, ERROR_LOG_ENTRIES, EVENT_REQUESTS_MAX};

/// CSI of the NVM command set (Base §5.17.1, Figure 274).
const NVM_COMMAND_SET: u8 = 0;

/// Copies text into a field padded with spaces (Base §1.4.2).
pub(super) fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    let printable = text
        .bytes()
        .map(|byte| if byte.is_ascii_graphic() { byte } else { b' ' });
    field
        .iter_mut()
        .zip(printable)
        .for_each(|(to, from)| *to = from);
    field
}

impl Controller {
    /// Puts the structure asked for into the scratch bytes.
    pub(super) fn identify(&mut self, entry: &SubmissionEntry, version: u32) -> Result<(), Status> {
        let asked = IdentifyDword10::from_bits(entry.cdw10.get());
        let command_set = IdentifyDword11::from_bits(entry.cdw11.get()).command_set();
        let id = entry.namespace.get();
        let mut page = core::mem::take(&mut self.scratch);
        page.clear();
        let outcome = match asked.structure() {
            Cns::CONTROLLER => {
                page.extend_from_slice(self.identify_controller(version).as_bytes());
                Ok(())
            }
            Cns::NAMESPACE => self.namespace_index(id).map(|index| {
                let namespace = identify_namespace(&self.namespaces[index], index);
                page.extend_from_slice(namespace.as_bytes());
            }),
            Cns::INDEPENDENT_NAMESPACE => self.namespace_index(id).map(|index| {
                let namespace = independent_namespace(&self.namespaces[index]);
                page.extend_from_slice(namespace.as_bytes());
            }),
            Cns::ACTIVE_NAMESPACES => self.active_namespaces(id).map(|list| {
                page.extend_from_slice(list.as_bytes());
            }),
            Cns::COMMAND_SET_ACTIVE_NAMESPACES if command_set == NVM_COMMAND_SET => self
                .active_namespaces(id)
                .map(|list| page.extend_from_slice(list.as_bytes())),
            Cns::NAMESPACE_DESCRIPTORS => self.namespace_index(id).map(|index| {
                page.extend_from_slice(
                    NamespaceDescriptor::new(NamespaceDescriptor::NGUID, 16).as_bytes(),
                );
                page.extend_from_slice(&nguid(index));
                let header = NamespaceDescriptor::new(NamespaceDescriptor::COMMAND_SET, 1);
                page.extend_from_slice(header.as_bytes());
                page.push(NVM_COMMAND_SET);
            }),
            // All fields optional and none used (NVM §4.1.5.3, §4.1.5.4).
            Cns::COMMAND_SET_NAMESPACE if command_set == NVM_COMMAND_SET => {
                self.namespace_index(id).map(drop)
            }
            Cns::COMMAND_SET_CONTROLLER if command_set == NVM_COMMAND_SET => Ok(()),
            _ => Err(refuse(StatusCode::INVALID_FIELD)),
        };
        page.resize(IDENTIFY_BYTES, 0);
        self.scratch = page;
        outcome
    }

    fn identify_controller(&self, version: u32) -> IdentifyController {
        let mut page = IdentifyController::default();
        page.serial = padded(&self.setup.serial);
        page.model = padded(&self.setup.model);
        page.firmware = padded(&self.setup.firmware);
        page.max_transfer_shift = self.setup.mdts;
        page.version = version.into();
        page.controller_type = 1;
        page.abort_limit_0 = ABORTS_MAX - 1;
        page.event_request_limit_0 = (EVENT_REQUESTS_MAX - 1) as u8;
        // One firmware slot, read-only.
        page.firmware_updates = 1 << 1 | 1;
        page.log_page_attributes = LogPageAttributes::new()
            .with_effects_log(true)
            .with_extended_data(true)
            .with_effects_scopes(true)
            .into_bits();
        page.error_log_entries_0 = (ERROR_LOG_ENTRIES - 1) as u8;
        page.warning_temperature_kelvin = WARNING_KELVIN.into();
        page.critical_temperature_kelvin = (WARNING_KELVIN + 10).into();
        let capacity: u128 = self.namespaces.iter().map(Namespace::capacity_bytes).sum();
        page.total_capacity_bytes = capacity.into();
        page.submission_entry_sizes = SUBMISSION_ENTRY_SHIFT << 4 | SUBMISSION_ENTRY_SHIFT;
        page.completion_entry_sizes = COMPLETION_ENTRY_SHIFT << 4 | COMPLETION_ENTRY_SHIFT;
        page.max_commands = (COMMANDS_MAX as u16).into();
        page.namespaces = (self.namespaces.len() as u32).into();
        page.optional_nvm_commands = OptionalNvmCommands::new()
            .with_compare(true)
            .with_dataset_management(true)
            .with_write_zeroes(true)
            .with_save_features(true)
            .into_bits()
            .into();
        // Flush of all namespaces is supported (bits 2:1 = 11b).
        page.volatile_write_cache = 0b110 | u8::from(self.features.has_cache());
        page.subsystem_nqn = self.nqn();
        // PSD0: 5 W (Base §5.17.2.1, Figure 276: in hundredths of a watt).
        page.power_states[0][..2].copy_from_slice(&500u16.to_le_bytes());
        page
    }

    fn nqn(&self) -> [u8; 256] {
        let mut field = [0; 256];
        let name = std::format!("nqn.2014-08.org.nvmexpress:outboard:{}", self.setup.serial);
        // One byte stays zero, as the name ends with one.
        field
            .iter_mut()
            .take(255)
            .zip(name.bytes())
            .for_each(|(to, from)| *to = from);
        field
    }

    /// Ids above `after`, rising (Base §5.17.2.2).
    fn active_namespaces(&self, after: u32) -> Result<NamespaceList, Status> {
        if after >= 0xffff_fffe {
            return Err(refuse(StatusCode::INVALID_NAMESPACE_OR_FORMAT));
        }
        let mut list = NamespaceList::default();
        let ids = (after + 1..=self.attached() as u32).take(NAMESPACE_LIST_ENTRIES);
        list.ids
            .iter_mut()
            .zip(ids)
            .for_each(|(entry, id)| *entry = id.into());
        Ok(list)
    }
}

impl Namespace {
    fn capacity_bytes(&self) -> u128 {
        u128::from(self.blocks) << self.block_shift
    }
}

fn identify_namespace(namespace: &Namespace, index: usize) -> IdentifyNamespace {
    let mut page = IdentifyNamespace::default();
    page.size_blocks = namespace.blocks.into();
    page.capacity_blocks = namespace.blocks.into();
    page.used_blocks = namespace.blocks.into();
    // Deallocated blocks read as zeroes, and Write Zeroes may deallocate.
    page.deallocate = 1 << 3 | 1;
    page.capacity_bytes = namespace.capacity_bytes().into();
    if namespace.store.read_only() {
        page.attributes = IdentifyNamespace::ATTRIBUTE_WRITE_PROTECTED;
    }
    page.nguid = nguid(index);
    page.formats[0] = LbaFormat::new()
        .with_block_shift(namespace.block_shift)
        .into_bits()
        .into();
    page
}

fn independent_namespace(namespace: &Namespace) -> IndependentNamespace {
    let mut page = IndependentNamespace::default();
    page.status = IndependentNamespace::STATUS_READY;
    if namespace.store.read_only() {
        page.attributes = IdentifyNamespace::ATTRIBUTE_WRITE_PROTECTED;
    }
    page
}

/// A name that differs between the namespaces of one controller.
fn nguid(index: usize) -> [u8; 16] {
    let mut name = *b"outboard-nvm\0\0\0\0";
    name[12..].copy_from_slice(&(index as u32 + 1).to_be_bytes());
    name
}
