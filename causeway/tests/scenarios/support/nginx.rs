//! nginx, as a server or as a proxy.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use super::{peers::peer, process::Process};

/// Starts nginx with these lines in `http { … }`, and everything that it writes in `directory`,
/// which it may serve. `None` if it is not there.
pub(crate) fn nginx(directory: &Path, http: &str) -> Option<Process> {
    let program = peer("nginx")?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let config = directory.join("nginx.conf");
    fs::write(&config, configuration(directory, http)).unwrap();
    Some(Process::start(
        "nginx",
        Command::new(program)
            .args(["-e", "stderr", "-c"])
            .arg(config)
            .arg("-p")
            .arg(directory),
        &directory.join("nginx.log"),
    ))
}

/// One process and no workers, so that ending it leaves nobody behind.
fn configuration(directory: &Path, http: &str) -> String {
    format!(
        "daemon off; master_process off; pid {0}/nginx.pid; user root;\n\
         events {{ worker_connections 256; }}\n\
         http {{\n\
           access_log off; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy;\n\
           fastcgi_temp_path {0}/fastcgi; uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;\n\
           {http}\n\
         }}\n",
        directory.display()
    )
}
