//! How an installation of our own is broken, and mended.

use super::super::Kind;
use super::super::course::{Done, Fault};
use super::installation::Installation;
use crate::exit::Failure;
use jupiter_installation::{InstallationError, Partition, Server};
use serde_json::json;

/// What is to be mended, the last first.
#[derive(Debug)]
enum Broken {
    /// It does not run, or is drained.
    Instance(usize),
    Frozen(usize),
    /// A server that was the primary.
    Node(usize),
    Provider,
    Network(Partition),
}

/// A fault on an installation of our own.
#[derive(Debug)]
pub struct LocalFault<'a> {
    kind: Kind,
    installation: &'a mut Installation,
    /// The instance that it hits.
    victim: usize,
    broken: Vec<Broken>,
}

/// Why a fault cannot be made on this machine.
pub fn obstacle(kind: Kind) -> Option<String> {
    match kind {
        Kind::Partition => Partition::try_out().err().map(|error| {
            let help = error.help().map(|help| format!(" ({help})"));
            format!(
                "packets cannot be dropped, which takes root and nft: {error}{}",
                help.unwrap_or_default()
            )
        }),
        _ => None,
    }
}

impl<'a> LocalFault<'a> {
    pub fn new(kind: Kind, installation: &'a mut Installation) -> LocalFault<'a> {
        let victim = match kind {
            // A zone has an instance and a server of Postgres: the one with the primary.
            Kind::ZoneFailure => installation.primary,
            _ => random_below(installation.instances.len()),
        };
        LocalFault {
            kind,
            installation,
            victim,
            broken: Vec::new(),
        }
    }

    fn what(&self) -> String {
        let name = format!("jupiter{}", self.victim + 1);
        match self.kind {
            Kind::KillInstance => format!("kill -9 of {name}, control plane and Envoy"),
            Kind::FreezeInstance => format!("SIGSTOP to {name}, control plane and Envoy"),
            Kind::ZoneFailure => {
                format!("kill -9 of {name} and of the primary of Postgres; a standby is promoted")
            }
            Kind::Partition => format!("packets between HAProxy and {name} are dropped"),
            Kind::DatabaseFailover => {
                "kill -9 of the primary of Postgres; a standby is promoted".to_owned()
            }
            Kind::ProviderOutage => "kill -9 of the provider".to_owned(),
            Kind::PlannedDrain => format!("{name} is drained and stopped"),
        }
    }

    async fn break_it(&mut self) -> Result<(), Failure> {
        let victim = self.victim;
        match self.kind {
            Kind::KillInstance => Ok(self.kill_instance(victim).await?),
            Kind::FreezeInstance => {
                self.broken.push(Broken::Frozen(victim));
                let instance = self.installation.instance(victim)?;
                Ok(instance.freeze().await?)
            }
            Kind::ZoneFailure => {
                self.kill_instance(victim).await?;
                Ok(self.fail_over().await?)
            }
            Kind::Partition => {
                let instance = self.installation.instance(victim)?;
                let ports = instance.ports();
                let cut = Partition::drop_packets(&[ports.traffic, ports.agent]);
                self.broken.push(Broken::Network(cut?));
                Ok(())
            }
            Kind::DatabaseFailover => Ok(self.fail_over().await?),
            Kind::ProviderOutage => {
                self.broken.push(Broken::Provider);
                self.installation.provider.kill();
                Ok(())
            }
            Kind::PlannedDrain => self.drain(victim).await,
        }
    }

    async fn kill_instance(&mut self, number: usize) -> Result<(), InstallationError> {
        self.broken.push(Broken::Instance(number));
        self.installation.instance_mut(number)?.kill().await
    }

    /// As a cluster manager does it.
    async fn fail_over(&mut self) -> Result<(), InstallationError> {
        let installation = &mut *self.installation;
        let old = installation.primary;
        self.broken.push(Broken::Node(old));
        installation.postgres.kill(old).await?;
        installation.primary = installation.postgres.promote_best(old).await?;
        Ok(())
    }

    async fn drain(&mut self, number: usize) -> Result<(), Failure> {
        self.broken.push(Broken::Instance(number));
        let client = self.installation.client(number)?;
        client
            .post(&["v1", "instance", "drain"], &json!({}))
            .await?;
        let name = format!("jupiter{}", number + 1);
        let drained = self
            .installation
            .haproxy
            .wait_for(&name, "drained", Server::is_drained);
        drained.await?;
        let instance = self.installation.instance_mut(number)?;
        let status = instance.stop().await?;
        match status.success() {
            true => Ok(()),
            false => Err(Failure::new(format!("{name} ended with {status}"))),
        }
    }

    /// What was done, in words.
    async fn mend_one(&mut self, broken: Broken) -> Result<String, Failure> {
        let installation = &mut *self.installation;
        match broken {
            Broken::Instance(number) => {
                let name = format!("jupiter{}", number + 1);
                if installation
                    .instance(number)
                    .is_ok_and(|instance| instance.control_plane_pid().is_ok())
                {
                    let client = installation.client(number)?;
                    client
                        .post(&["v1", "instance", "undrain"], &json!({}))
                        .await?;
                    return Ok(format!("{name} is undrained"));
                }
                let instance = installation.instance_mut(number)?;
                instance.start().await?;
                Ok(format!("{name} runs again"))
            }
            Broken::Frozen(number) => {
                let instance = installation.instance(number)?;
                instance.thaw()?;
                Ok(format!("SIGCONT to jupiter{}", number + 1))
            }
            Broken::Node(number) => {
                let primary = installation.primary;
                let rejoined = installation.postgres.rejoin(number, primary).await;
                rejoined?;
                Ok("the old primary follows the new one".to_owned())
            }
            Broken::Provider => {
                installation.provider.start().await?;
                Ok("the provider runs again".to_owned())
            }
            Broken::Network(partition) => {
                drop(partition);
                Ok("packets pass again".to_owned())
            }
        }
    }
}

impl Fault for LocalFault<'_> {
    async fn make(&mut self) -> Done {
        let what = self.what();
        done(what, self.break_it().await)
    }

    async fn mend(&mut self) -> Option<Done> {
        let mut did = Vec::new();
        let mut went = Ok(());
        while let Some(broken) = self.broken.pop() {
            match self.mend_one(broken).await {
                Ok(what) => did.push(what),
                Err(error) => went = Err(error),
            }
        }
        Some(done(did.join("; "), went))
    }
}

fn done(what: String, went: Result<(), Failure>) -> Done {
    Done {
        what,
        code: Some(i32::from(went.is_err())),
        said: went
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default(),
    }
}

/// Which one, nobody can tell before.
fn random_below(count: usize) -> usize {
    // Without a source of randomness it is always the first.
    let random = getrandom::u32().unwrap_or_default();
    usize::try_from(random).unwrap_or_default() % count.max(1)
}
