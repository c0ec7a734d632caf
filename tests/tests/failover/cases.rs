//! What is broken, how it is mended, and what clients may notice meanwhile.

use std::time::Duration;

use jupiter_testkit::load::Kind;

use crate::front::EVEN;
use crate::installation::Installation;
use crate::network::{drop_packets, drop_packets_of};

/// One thing that happens to an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    DrainInstance,
    RestartInstances,
    SwitchPrimary,
    RestartStandbys,
    KillEnvoy,
    FreezeEnvoy,
    KillControlPlane,
    FreezeControlPlane,
    KillInstance,
    FreezeInstance,
    KillPrimary,
    FreezePrimary,
    KillStandby,
    FreezeStandby,
    NoControlPlaneAndNoDatabase,
    CutEnvoyFromHaproxy,
    CutAgentFromHaproxy,
    CutControlPlaneFromEnvoy,
    CutPrimaryFromControlPlanes,
    CutPrimaryFromStandbys,
    CutPrimaryFromAll,
    CutProviderFromEnvoy,
}

/// What clients may notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    Nothing,
    /// What the part had in hand, or was sent until it was found out, and could not be
    /// sent again.
    InHand,
}

/// As many of each as [`EVEN`] has, and above them so many with a key that some are at every
/// point of their way whenever a packet is dropped.
const MOSTLY_KEYED: (u32, &[Kind]) = (
    EVEN.0 * 3,
    &[
        Kind::Get,
        Kind::Keyed,
        Kind::SlowKeyed,
        Kind::Post,
        Kind::Keyed,
        Kind::SlowKeyed,
        Kind::Keyed,
        Kind::Refused,
        Kind::Keyed,
        Kind::SlowKeyed,
        Kind::Keyed,
        Kind::Stream,
        Kind::Keyed,
        Kind::SlowKeyed,
        Kind::Keyed,
    ],
);

impl Cost {
    pub(crate) fn allows(self, kind: Kind) -> bool {
        // A GET is sent again, and so is a POST that has a key.
        let again = matches!(kind, Kind::Get | Kind::Keyed | Kind::SlowKeyed);
        self == Cost::InHand && !again
    }
}

impl Case {
    pub(crate) const ALL: [Case; 22] = [
        Case::DrainInstance,
        Case::RestartInstances,
        Case::SwitchPrimary,
        Case::RestartStandbys,
        Case::KillEnvoy,
        Case::FreezeEnvoy,
        Case::KillControlPlane,
        Case::FreezeControlPlane,
        Case::KillInstance,
        Case::FreezeInstance,
        Case::KillPrimary,
        Case::FreezePrimary,
        Case::KillStandby,
        Case::FreezeStandby,
        Case::NoControlPlaneAndNoDatabase,
        Case::CutEnvoyFromHaproxy,
        Case::CutAgentFromHaproxy,
        Case::CutControlPlaneFromEnvoy,
        Case::CutPrimaryFromControlPlanes,
        Case::CutPrimaryFromStandbys,
        Case::CutPrimaryFromAll,
        Case::CutProviderFromEnvoy,
    ];

    /// Those that every run tries.
    pub(crate) const CHEAP: [Case; 4] = [
        Case::KillEnvoy,
        Case::FreezeControlPlane,
        Case::KillPrimary,
        Case::NoControlPlaneAndNoDatabase,
    ];

    /// As it is spelt here.
    pub(crate) fn named(name: &str) -> Case {
        let found = Case::ALL.iter().find(|case| format!("{case:?}") == name);
        *found.unwrap_or_else(|| panic!("no case `{name}`, there are {:?}", Case::ALL))
    }

    /// Component and fault, as the table names them.
    pub(crate) fn names(self) -> (&'static str, &'static str) {
        match self {
            Case::DrainInstance => ("instance", "planned: drain, and back"),
            Case::RestartInstances => ("all instances", "planned: one restart after another"),
            Case::SwitchPrimary => ("Postgres primary", "planned: switchover"),
            Case::RestartStandbys => ("both standbys", "planned: one restart after another"),
            Case::KillEnvoy => ("Envoy", "`kill -9`"),
            Case::FreezeEnvoy => ("Envoy", "SIGSTOP"),
            Case::KillControlPlane => ("control plane", "`kill -9`"),
            Case::FreezeControlPlane => ("control plane", "SIGSTOP"),
            Case::KillInstance => ("instance", "`kill -9` of both"),
            Case::FreezeInstance => ("instance", "SIGSTOP of both"),
            Case::KillPrimary => ("Postgres primary", "`kill -9`"),
            Case::FreezePrimary => ("Postgres primary", "SIGSTOP"),
            Case::KillStandby => ("a standby", "`kill -9`"),
            Case::FreezeStandby => ("a standby", "SIGSTOP"),
            Case::NoControlPlaneAndNoDatabase => {
                ("all control planes and all of Postgres", "gone for a while")
            }
            Case::CutEnvoyFromHaproxy => ("HAProxy to one Envoy", "packets dropped"),
            Case::CutAgentFromHaproxy => ("HAProxy to one agent", "packets dropped"),
            Case::CutControlPlaneFromEnvoy => ("Envoy to its control plane", "packets dropped"),
            Case::CutPrimaryFromControlPlanes => {
                ("all control planes to the primary", "packets dropped")
            }
            Case::CutPrimaryFromStandbys => ("both standbys to the primary", "packets dropped"),
            Case::CutPrimaryFromAll => ("everything to the primary", "packets dropped"),
            Case::CutProviderFromEnvoy => ("one Envoy to its provider", "packets dropped"),
        }
    }

    pub(crate) fn cost(self) -> Cost {
        match self {
            Case::KillEnvoy
            | Case::KillInstance
            | Case::FreezeEnvoy
            | Case::FreezeInstance
            | Case::CutEnvoyFromHaproxy => Cost::InHand,
            Case::DrainInstance
            | Case::RestartInstances
            | Case::SwitchPrimary
            | Case::RestartStandbys
            | Case::KillControlPlane
            | Case::FreezeControlPlane
            | Case::KillPrimary
            | Case::FreezePrimary
            | Case::KillStandby
            | Case::FreezeStandby
            | Case::NoControlPlaneAndNoDatabase
            | Case::CutAgentFromHaproxy
            | Case::CutControlPlaneFromEnvoy
            | Case::CutPrimaryFromControlPlanes
            | Case::CutPrimaryFromStandbys
            | Case::CutPrimaryFromAll
            | Case::CutProviderFromEnvoy => Cost::Nothing,
        }
    }

    /// May it cost records that are then listed?
    pub(crate) fn kills_an_envoy(self) -> bool {
        matches!(self, Case::KillEnvoy | Case::KillInstance)
    }

    /// How much is asked a second, and what in turn.
    pub(crate) fn asked(self) -> (u32, &'static [Kind]) {
        match self {
            Case::FreezeEnvoy
            | Case::FreezeInstance
            | Case::CutEnvoyFromHaproxy
            | Case::CutAgentFromHaproxy
            | Case::CutControlPlaneFromEnvoy
            | Case::CutProviderFromEnvoy => MOSTLY_KEYED,
            _ => EVEN,
        }
    }

    /// Breaks it, lets it be broken for `held`, and mends it.
    pub(crate) async fn happen(self, to: &mut Installation, held: Duration) {
        match self {
            Case::DrainInstance => {
                drain(to, "drain").await;
                to.front.haproxy.wait_until_drained("jupiter1").await;
                rest(held).await;
                drain(to, "undrain").await;
            }
            Case::RestartInstances => {
                for number in 0..to.instances().len() {
                    let instance = to.instances().get_mut(number).expect("an instance");
                    assert!(instance.stop().await.success(), "exit status");
                    instance.start_control_plane().await;
                    to.wait_for(number, "UP").await;
                }
            }
            Case::SwitchPrimary => {
                let old = to.primary;
                to.postgres.stop(old).await;
                to.promote().await;
                rest(held).await;
                to.rejoin(old).await;
            }
            Case::RestartStandbys => {
                for node in to.standbys() {
                    to.postgres.stop(node).await;
                    to.postgres.start_node(node).await;
                    to.postgres.wait_for_standbys(to.primary, 2).await;
                }
            }
            Case::KillEnvoy => {
                to.first().kill_envoy().await;
                rest(held).await;
                to.first().wait_for_traffic().await;
            }
            Case::FreezeEnvoy => {
                let pid = to.first().freeze_envoy().await;
                to.wait_for(0, "DOWN").await;
                rest(held).await;
                to.first().thaw_envoy(pid);
            }
            Case::KillControlPlane => {
                to.first().kill_control_plane();
                rest(held).await;
                to.first().start_control_plane().await;
            }
            Case::FreezeControlPlane => {
                to.first().freeze_control_plane();
                rest(held).await;
                to.first().thaw_control_plane();
            }
            Case::KillInstance => {
                to.first().kill().await;
                rest(held).await;
                to.first().start_control_plane().await;
            }
            Case::FreezeInstance => {
                to.first().freeze_control_plane();
                let pid = to.first().freeze_envoy().await;
                to.wait_for(0, "DOWN").await;
                rest(held).await;
                to.first().thaw_envoy(pid);
                to.first().thaw_control_plane();
            }
            Case::KillPrimary => {
                let old = to.primary;
                to.postgres.kill(old).await;
                to.promote().await;
                rest(held).await;
                to.rejoin(old).await;
            }
            Case::FreezePrimary => {
                let old = to.primary;
                to.postgres.freeze(old);
                to.promote().await;
                rest(held).await;
                to.postgres.thaw(old);
                to.postgres.kill(old).await;
                to.rejoin(old).await;
            }
            Case::KillStandby => {
                let node = to.standbys().next().expect("a standby");
                to.postgres.kill(node).await;
                rest(held).await;
                to.postgres.start_node(node).await;
                to.postgres.wait_for_standbys(to.primary, 2).await;
            }
            Case::FreezeStandby => {
                let node = to.standbys().next().expect("a standby");
                to.postgres.freeze(node);
                rest(held).await;
                to.postgres.thaw(node);
                to.postgres.wait_for_standbys(to.primary, 2).await;
            }
            Case::NoControlPlaneAndNoDatabase => nothing_behind(to, held).await,
            Case::CutEnvoyFromHaproxy => {
                let cut = drop_packets(to.first().traffic().port());
                to.wait_for(0, "DOWN").await;
                rest(held).await;
                drop(cut);
            }
            Case::CutAgentFromHaproxy => {
                let cut = drop_packets(to.first().agent_port());
                rest(held).await;
                drop(cut);
            }
            Case::CutPrimaryFromControlPlanes => {
                let port = to.postgres.node(to.primary).port;
                let cut = drop_packets_of("root", port);
                rest(held).await;
                drop(cut);
            }
            Case::CutPrimaryFromStandbys => {
                let port = to.postgres.node(to.primary).port;
                let cut = drop_packets_of("postgres", port);
                rest(held).await;
                drop(cut);
                to.postgres.wait_for_standbys(to.primary, 2).await;
            }
            Case::CutControlPlaneFromEnvoy => {
                let cut = drop_packets(to.first().admin_port());
                rest(held).await;
                drop(cut);
            }
            Case::CutPrimaryFromAll => {
                let old = to.primary;
                let cut = drop_packets(to.postgres.node(old).port);
                to.promote().await;
                rest(held).await;
                to.postgres.kill(old).await;
                drop(cut);
                to.rejoin(old).await;
            }
            Case::CutProviderFromEnvoy => {
                let cut = drop_packets(to.first().provider().address().port());
                rest(held).await;
                drop(cut);
            }
        }
    }
}

/// How long something stays broken: the fault itself, not a wait for anything.
async fn rest(held: Duration) {
    tokio::time::sleep(held).await;
}

async fn drain(to: &mut Installation, how: &str) {
    let path = format!("/v1/instance/{how}");
    let admin = to.first().admin();
    let answer = admin.send(reqwest::Method::POST, &path, "", Vec::new());
    answer.await.expect(200);
}

async fn nothing_behind(to: &mut Installation, held: Duration) {
    for instance in to.instances() {
        instance.kill_control_plane();
    }
    for node in 0..3 {
        to.postgres.kill(node).await;
    }
    rest(held).await;
    to.postgres.start_node(to.primary).await;
    for node in to.standbys() {
        to.postgres.start_node(node).await;
    }
    to.postgres.wait_for_standbys(to.primary, 2).await;
    for instance in to.instances() {
        instance.start_control_plane().await;
    }
}
