//! Certificates for one server, made anew for each test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jupiter_installation::postgres::{self as server, Owner};
use tempfile::TempDir;

use crate::wait::OrFail;

/// An authority and a certificate of it for `localhost`, and no other name.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    pub fn make() -> Certificates {
        let owner = Owner::find().or_fail("Postgres");
        let folder = tempfile::Builder::new()
            .prefix("jupiter-tls-")
            .tempdir()
            .or_fail("cannot make a folder for certificates");
        let certificates = Certificates { folder };
        let path = |name: &str| certificates.path(name);
        let new_key = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ];

        let mut authority = openssl("req");
        authority.args(["-x509", "-days", "2", "-subj", "/CN=authority of a test"]);
        authority.args(new_key);
        authority.arg("-keyout").arg(path("ca.key"));
        authority.arg("-out").arg(path("ca.pem"));
        server::run(authority).or_fail("openssl");

        let mut request = openssl("req");
        request
            .args(["-new", "-subj", "/CN=localhost"])
            .args(new_key);
        request.arg("-keyout").arg(path("server.key"));
        request.arg("-out").arg(path("server.csr"));
        server::run(request).or_fail("openssl");

        fs::write(path("names"), "subjectAltName = DNS:localhost\n").or_fail("cannot write");
        let mut sign = openssl("x509");
        sign.args(["-req", "-days", "2", "-CAcreateserial"]);
        sign.arg("-in").arg(path("server.csr"));
        sign.arg("-CA").arg(path("ca.pem"));
        sign.arg("-CAkey").arg(path("ca.key"));
        sign.arg("-extfile").arg(path("names"));
        sign.arg("-out").arg(path("server.pem"));
        server::run(sign).or_fail("openssl");

        for file in ["", "server.key", "server.pem"] {
            owner.own(&path(file)).or_fail("openssl");
        }
        certificates
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the server's certificate is checked against.
    pub fn authority(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// What has a server use them.
    pub fn settings(&self) -> String {
        let quoted = |path: &Path| format!("'{}'", path.display());
        format!(
            "ssl = on\nssl_cert_file = {}\nssl_key_file = {}\n",
            quoted(&self.path("server.pem")),
            quoted(&self.path("server.key"))
        )
    }
}

fn openssl(what: &str) -> Command {
    let mut command = Command::new("openssl");
    command.arg(what);
    command
}
