//! Parley's contract for Rust: tonic's client and prost's messages, made from `proto/parley/v1` when the crate is
//! built. There is nothing else in it; README.md says how to use it, and `examples/session.rs` is a session to copy.

/// The package `parley.v1`.
pub mod v1 {
    tonic::include_proto!("parley.v1");
}

/// The contract itself, with what it imports and google/rpc/error_details.proto: a serialized
/// `google.protobuf.FileDescriptorSet`, for JSON or reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("parley");
