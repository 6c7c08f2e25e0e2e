mod certs;
fn main() {}
