//! `mercator envoy`: prints the Envoy configuration an instance would use.
//!
//! Made by `jupiter_control_plane::envoy`, from the same configuration that
//! `mercator run` reads, so what is printed is what runs. Holds no secret.

use crate::exit::{Answer, Failure};
use crate::output::{self, Format};
use crate::quickstart;
use jupiter_control_plane::envoy::{bootstrap, ecds, yaml};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct EnvoyArgs {
    /// Configuration of the instance; the defaults without it
    #[arg(long, env = "MERCATOR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the filter's ECDS resource instead, as it is before any policy is published
    #[arg(long)]
    ecds: bool,
}

pub fn run(args: &EnvoyArgs, format: Format) -> Result<Answer, Failure> {
    let config = quickstart::load_config(args.config.as_deref())?;
    let value = match args.ecds {
        true => ecds::without_bundle(&ecds::PluginSettings::new(&config)),
        false => bootstrap::bootstrap(&config),
    };
    match format {
        Format::Text => output::print(&yaml::print(&value)),
        Format::Json => output::print_json(&value),
    }
    Ok(Answer::Yes)
}
