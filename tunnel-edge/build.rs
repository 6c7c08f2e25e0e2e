//! Compiles the messages of the Cluster Service, without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const FILE: &str = "causeway/cluster/v1/cluster_service.proto";
    println!("cargo:rerun-if-changed=proto/{FILE}");
    let descriptors = protox::compile([FILE], ["proto"])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
