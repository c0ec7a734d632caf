//! One server for all tests of a program, a database for each.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::OnceCell;

use jupiter_installation::postgres::{self as server, Owner};

use super::{PASSWORD, USER, access};
use crate::places::free_port;
use crate::wait::{self, OrFail};

/// Runs the server for as long as somebody holds the other end of its standard
/// input: when the tests end, however they do, so does the server.
const KEEPER: &str = r#"
folder=$1; shift
"$@" </dev/null >"$folder/log" 2>&1 &
server=$!
cat >/dev/null
kill -QUIT "$server"
wait "$server"
rm -rf "$folder"
"#;

#[derive(Debug)]
struct Server {
    port: u16,
    _keeper: Child,
}

static SERVER: OnceCell<Server> = OnceCell::const_new();

/// An empty database of its own, on the server that all share.
#[derive(Debug, Clone)]
pub struct Database {
    pub port: u16,
    pub name: String,
}

/// A new, empty database.
pub async fn database() -> Database {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let server = SERVER.get_or_init(start).await;
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    server::create_database(access(server.port), &name).or_fail("cannot make a database");
    Database {
        port: server.port,
        name,
    }
}

async fn start() -> Server {
    let owner = Owner::find().or_fail("Postgres");
    let folder = tempfile::Builder::new()
        .prefix("jupiter-postgres-")
        .tempdir()
        .or_fail("cannot make a folder for Postgres");
    // The keeper removes it.
    let folder = folder.keep();
    owner.own(&folder).or_fail("Postgres");
    let data = folder.join("data");
    let port = free_port();
    let settings = format!("port = {port}\n");
    server::init(owner, &data, PASSWORD, &settings).or_fail("Postgres");
    let mut keeper = Command::new("sh");
    keeper.args(["-c", KEEPER, "keeper"]).arg(&folder);
    keeper.arg(server::programs().or_fail("Postgres").join("postgres"));
    keeper.arg("-D").arg(&data);
    owner.take(&mut keeper);
    let keeper = keeper
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .or_fail("cannot start Postgres");
    wait::until("Postgres to answer", async || {
        server::psql(access(port), "postgres", "SELECT 1")
    })
    .await;
    server::create_role(access(port)).or_fail("cannot make the tests' role");
    Server {
        port,
        _keeper: keeper,
    }
}

impl Database {
    /// Asks as the superuser; rows as lines, columns separated by `|`.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        server::psql(access(self.port), &self.name, sql).or_fail("a query failed")
    }

    /// The lines of an instance's `evidence` section.
    pub fn evidence_lines(&self) -> [String; 2] {
        [
            "backend: postgres".to_owned(),
            format!(
                "postgres: {{host: 127.0.0.1, port: {}, database: {}, user: {USER}, \
                 password: \"{PASSWORD}\", ssl_mode: disable}}",
                self.port, self.name
            ),
        ]
    }
}
