//! Makes the stubs from the contract when the crate is built. protox reads the .proto files, so no protoc is needed;
//! google/rpc comes from tonic-types, whose types the stubs use. `proto` is a link to the repository's folder, so that
//! a packaged crate has the contract in it.

use std::path::PathBuf;
use std::{env, error::Error, fs};

use prost::{DecodeError, Message};
use prost_types::FileDescriptorSet;
use protox::Compiler;
use protox::file::{ChainFileResolver, DescriptorSetFileResolver, GoogleFileResolver, IncludeFileResolver};

/// The last one is imported by nothing; it makes FILE_DESCRIPTOR_SET tell what the details of errors are.
const FILES: [&str; 3] = ["parley/v1/chat_service.proto", "parley/v1/error.proto", "google/rpc/error_details.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(IncludeFileResolver::new(PathBuf::from("proto")));
    resolver.add(GoogleFileResolver::new());
    resolver.add(DescriptorSetFileResolver::new(google_rpc()?));
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_files(FILES)?;
    for path in compiler.files().filter_map(|file| file.path()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }

    let descriptor_set = PathBuf::from(env::var("OUT_DIR")?).join("parley.bin");
    fs::write(descriptor_set, compiler.encode_file_descriptor_set())?;

    let mut prost = tonic_prost_build::Config::new();
    prost.enable_type_names();
    // The comments of the contract become documentation.
    compiler.include_source_info(true);
    tonic_prost_build::configure()
        .build_server(false)
        .extern_path(".google.rpc", "::tonic_types::pb")
        .compile_fds_with_config(compiler.file_descriptor_set(), prost)?;
    Ok(())
}

/// tonic-types has the files without their folder; the contract imports them with it.
fn google_rpc() -> Result<FileDescriptorSet, DecodeError> {
    let mut set = FileDescriptorSet::decode(tonic_types::pb::FILE_DESCRIPTOR_SET)?;
    for file in set.file.iter_mut().filter(|file| file.package() == "google.rpc") {
        file.name = Some(format!("google/rpc/{}", file.name()));
    }
    Ok(set)
}
