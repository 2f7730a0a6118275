//! The eBPF programs Outboard ships: C sources, dpu.h and the built objects.
