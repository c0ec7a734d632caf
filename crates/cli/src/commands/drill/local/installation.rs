//! HAProxy, three instances, a Postgres primary with two standbys, a fake provider:
//! on loopback, in one folder, gone when this is dropped.

use crate::client::{self, Client, Token};
use crate::commands::benchmark::show::Aside;
use crate::exit::{Failure, with_causes};
use crate::output;
use crate::quickstart::{self, ENVOY_HELP, FILTER_HELP};
use indicatif::{ProgressBar, ProgressStyle};
use jupiter_installation::postgres::{self, Owner};
use jupiter_installation::{
    HaProxy, InstallationError, Instance, Keeper, Ports, PostgresCluster, Program, Settings,
    free_port, haproxy_binary, on_path, wait,
};
use std::fs;
use std::future::Future;
use std::io::IsTerminal;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const HAPROXY_CONFIG: &str = include_str!("../../../../../../envoy/haproxy/haproxy.cfg");
const STANDBYS: usize = 2;
const INSTANCES: usize = 3;

/// Fields are dropped in order: what asks before what is asked, the keeper last.
#[derive(Debug)]
pub struct Installation {
    pub haproxy: HaProxy,
    pub instances: Vec<Instance>,
    pub provider: Provider,
    pub postgres: PostgresCluster,
    /// Which node of `postgres` takes writes.
    pub primary: usize,
    pub mercator: PathBuf,
    pub folder: PathBuf,
    keeper: Keeper,
}

impl Installation {
    pub async fn start(dir: Option<&Path>) -> Result<Installation, Failure> {
        let programs = Programs::find()?;
        let folder = folder(dir)?;
        output::say(&format!("starting an installation in {}", folder.display()));
        let mut keeper = Keeper::start(&folder, dir.is_none())?;
        match Installation::parts(&programs, &folder).await {
            Ok((haproxy, instances, provider, postgres)) => Ok(Installation {
                haproxy,
                instances,
                provider,
                postgres,
                primary: 0,
                mercator: programs.mercator,
                folder,
                keeper,
            }),
            Err(failure) => {
                keeper.keep_folder();
                output::say(&format!("its logs are kept in {}", folder.display()));
                Err(failure)
            }
        }
    }

    async fn parts(
        programs: &Programs,
        folder: &Path,
    ) -> Result<(HaProxy, Vec<Instance>, Provider, PostgresCluster), Failure> {
        let steps = Steps::begin();
        let place = below(folder, "provider")?;
        let provider = steps.step("fake provider", async {
            let mut provider = Provider {
                program: None,
                port: free_port()?,
                mercator: programs.mercator.clone(),
                folder: place,
            };
            provider.start().await?;
            Ok::<_, InstallationError>(provider)
        });
        let provider = provider.await?;

        let password = password()?;
        let place = below(folder, "postgres")?;
        let postgres = PostgresCluster::start(&place, STANDBYS, &password, "");
        let postgres = steps
            .step("Postgres: a primary and two standbys", postgres)
            .await?;

        let member = |number: usize, key: Option<&str>| -> Result<Instance, Failure> {
            let place = below(folder, &format!("jupiter{number}"))?;
            let settings = programs.settings(number, &postgres, provider.port, key);
            let ports = Ports::free()?;
            Ok(Instance::new(&programs.mercator, &place, ports, &settings)?)
        };
        let mut first = member(1, None)?;
        steps
            .step("jupiter1, with its Envoy", first.start())
            .await?;
        // One region, one log, one key.
        let file = first.data_dir().join("evidence.key");
        let key = fs::read_to_string(&file)
            .map_err(|e| Failure::new(format!("`{}` cannot be read: {e}", file.display())))?;
        let mut second = member(2, Some(key.trim()))?;
        let mut third = member(3, Some(key.trim()))?;
        let both = async { tokio::try_join!(second.start(), third.start()).map(drop) };
        steps.step("jupiter2 and jupiter3", both).await?;

        let admin = client(&first)?;
        quickstart::install_sample(&admin).await?;
        let digest = admin.bundle_digest().await?;
        let digest = digest.ok_or_else(|| Failure::new("the control plane has no bundle"))?;
        let instances = vec![first, second, third];
        let everywhere = async {
            for instance in &instances {
                instance.wait_for_bundle(&digest).await?;
            }
            Ok::<_, InstallationError>(())
        };
        steps.step("its policy, in every Envoy", everywhere).await?;

        let ports: Vec<Ports> = instances.iter().map(Instance::ports).collect();
        let place = below(folder, "haproxy")?;
        let haproxy = HaProxy::start(&programs.haproxy, &place, HAPROXY_CONFIG, &ports);
        let haproxy = steps.step("HAProxy", haproxy).await?;
        Ok((haproxy, instances, provider, postgres))
    }

    /// Where clients ask.
    pub fn traffic_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.haproxy.port())
    }

    pub fn instance(&self, number: usize) -> Result<&Instance, InstallationError> {
        let instance = self.instances.get(number);
        instance.ok_or_else(|| not_there(number))
    }

    pub fn instance_mut(&mut self, number: usize) -> Result<&mut Instance, InstallationError> {
        let instance = self.instances.get_mut(number);
        instance.ok_or_else(|| not_there(number))
    }

    /// Of the admin API of one instance, with the right to do everything.
    pub fn client(&self, number: usize) -> Result<Client, Failure> {
        client(self.instance(number)?)
    }

    /// Every instance is in rotation, every part of it is well, both standbys follow.
    pub async fn wait_until_well(&self, within: Duration) -> Result<(), Failure> {
        let mut clients = Vec::new();
        for number in 0..INSTANCES {
            clients.push((self.instance(number)?.name(), self.client(number)?));
        }
        let well = wait::until_within(within, "all parts to be well", async || {
            for (name, server) in self.haproxy.servers()? {
                if server.status != "UP" {
                    return Err(format!("HAProxy holds {name} to be {}", server.status));
                }
            }
            for (name, client) in &clients {
                let health = client.get(&["health", "deep"], &[]).await;
                let health = health.map_err(|e| format!("{name}: {}", Failure::from(e)))?;
                if health.get("status").and_then(|s| s.as_str()) != Some("healthy") {
                    return Err(format!("{name}: {health}"));
                }
            }
            Ok(())
        });
        well.await?;
        let standbys = self.postgres.wait_for_standbys(self.primary, STANDBYS);
        Ok(standbys.await?)
    }

    /// Ends all of it. Its folder goes, too, when it was made for this and nobody needs
    /// to look at it.
    pub fn end(mut self, held: bool) {
        if !held {
            self.keeper.keep_folder();
            output::say(&format!(
                "its data and logs are kept in {}",
                self.folder.display()
            ));
        }
    }
}

fn client(instance: &Instance) -> Result<Client, Failure> {
    let token: Token = client::read_token(&instance.token_file())?;
    let server = format!("http://127.0.0.1:{}", instance.ports().admin);
    Ok(Client::new(&server, Some(&token))?)
}

fn not_there(number: usize) -> InstallationError {
    InstallationError::NotRunning {
        program: format!("jupiter{}", number + 1),
    }
}

impl From<InstallationError> for Failure {
    fn from(error: InstallationError) -> Failure {
        let failure = Failure::new(with_causes(&error));
        match error.help() {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}

/// The program that answers in the place of models.
#[derive(Debug)]
pub struct Provider {
    program: Option<Program>,
    port: u16,
    mercator: PathBuf,
    folder: PathBuf,
}

impl Provider {
    pub async fn start(&mut self) -> Result<(), InstallationError> {
        let address = format!("127.0.0.1:{}", self.port);
        let mut command = Command::new(&self.mercator);
        command.args(["fake-provider", "--listen", &address]);
        // The keeper knows what is of this installation by the folder it names.
        command.arg0(self.folder.join("mercator"));
        command.current_dir(&self.folder);
        let log = self.folder.join("provider.log");
        let mut program = Program::start("fake provider", command, log)?;
        wait::until("the fake provider to listen", async || {
            if let Err(ended) = program.check_alive() {
                return Ok(Err(ended));
            }
            TcpStream::connect(&address).map(|_| Ok(()))
        })
        .await??;
        self.program = Some(program);
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.program = None;
    }
}

/// What is started; looked for before anything is.
#[derive(Debug)]
struct Programs {
    mercator: PathBuf,
    envoy: PathBuf,
    filter: PathBuf,
    haproxy: PathBuf,
}

impl Programs {
    fn find() -> Result<Programs, InstallationError> {
        let start = |cause| InstallationError::Start {
            program: "mercator".to_owned(),
            cause,
        };
        // Where a quick start finds them.
        let config = quickstart::load_quickstart_config(None);
        let (envoy, filter) = config.map_or_else(
            |_| (PathBuf::from("envoy"), PathBuf::new()),
            |config| (config.envoy.binary, config.envoy.filter),
        );
        let named = envoy.to_string_lossy().into_owned();
        let envoy = match envoy.components().count() {
            1 => on_path(&named, &[]),
            _ => envoy.is_file().then_some(envoy),
        };
        let missing = |program, help| InstallationError::Missing { program, help };
        let envoy = envoy.ok_or(missing("envoy", ENVOY_HELP))?;
        if !filter.is_file() {
            return Err(missing("jupiter_filter.wasm", FILTER_HELP));
        }
        postgres::programs()?;
        Ok(Programs {
            mercator: std::env::current_exe().map_err(start)?,
            envoy: std::path::absolute(envoy).map_err(start)?,
            filter: std::path::absolute(filter).map_err(start)?,
            haproxy: haproxy_binary()?,
        })
    }

    fn settings(
        &self,
        number: usize,
        postgres: &PostgresCluster,
        provider: u16,
        key: Option<&str>,
    ) -> Settings {
        let [backend, servers] = postgres.evidence_lines();
        let key = key.map(|key| format!("  signing_key: \"{key}\"\n"));
        let provider = format!("http://127.0.0.1:{provider}");
        Settings {
            name: format!("jupiter{number}"),
            environment: "drill".to_owned(),
            envoy: self.envoy.clone(),
            filter: self.filter.clone(),
            // Three Envoys, and their clients, share a machine.
            envoy_lines: vec!["concurrency: 1".to_owned()],
            sections: format!(
                "evidence:\n  {backend}\n  {servers}\n{key}\
                 providers:\n  \
                   - {{name: openai, kind: openai, base_url: \"{provider}/v1\", api_key: fake-provider}}\n  \
                   - {{name: anthropic, kind: anthropic, base_url: \"{provider}\", api_key: fake-provider}}\n",
                key = key.unwrap_or_default(),
            ),
        }
    }
}

/// The one that was asked for, which must hold nothing, or a new one.
fn folder(dir: Option<&Path>) -> Result<PathBuf, Failure> {
    let wrong = |path: &Path, why: &dyn std::fmt::Display| {
        Failure::new(format!("`{}` cannot be used: {why}", path.display()))
    };
    let folder = match dir {
        Some(dir) => {
            fs::create_dir_all(dir).map_err(|e| wrong(dir, &e))?;
            let mut there = fs::read_dir(dir).map_err(|e| wrong(dir, &e))?;
            if there.next().is_some() {
                return Err(wrong(dir, &"there is something in it")
                    .help("name an empty folder, or one that is not there yet"));
            }
            std::path::absolute(dir).map_err(|e| wrong(dir, &e))?
        }
        None => tempfile::Builder::new()
            .prefix("mercator-local-")
            .tempdir()
            .map_err(|e| Failure::new(format!("no temporary folder: {e}")))?
            .keep(),
    };
    // As root, Postgres runs as another user, who goes through here to its own folder.
    let mode = fs::Permissions::from_mode(0o711);
    fs::set_permissions(&folder, mode).map_err(|e| wrong(&folder, &e))?;
    if !Owner::find()?.enters(&folder) {
        return Err(wrong(
            &folder,
            &"Postgres does not run as root, and its user cannot enter this folder",
        )
        .help("name another by `--dir`, or by TMPDIR, with folders above it that all may enter"));
    }
    Ok(folder)
}

/// For the databases, which everybody on this machine can ask.
fn password() -> Result<String, Failure> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|e| Failure::new(format!("no random bytes for a password: {e}")))?;
    Ok(u128::from_le_bytes(bytes).to_string())
}

/// A folder for one part, closed to others.
fn below(folder: &Path, name: &str) -> Result<PathBuf, Failure> {
    let path = folder.join(name);
    fs::create_dir(&path)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o700)))
        .map_err(|e| Failure::new(format!("no folder `{}`: {e}", path.display())))?;
    Ok(path)
}

/// How far the start is, on stderr.
pub struct Steps(Aside);

impl Steps {
    pub fn begin() -> Steps {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            let style = ProgressStyle::with_template("  {spinner} {msg}");
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        if let Some(bar) = &bar {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        Steps(Aside(bar))
    }

    pub async fn step<T>(
        &self,
        what: &str,
        doing: impl Future<Output = Result<T, impl Into<Failure>>>,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        if let Some(bar) = &self.0.0 {
            bar.set_message(what.to_owned());
        }
        let done = doing.await.map_err(Into::into)?;
        let took = began.elapsed().as_secs_f64();
        self.0.say(&format!("  {took:4.1} s  {what}"));
        Ok(done)
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if let Some(bar) = &self.0.0 {
            bar.finish_and_clear();
        }
    }
}
