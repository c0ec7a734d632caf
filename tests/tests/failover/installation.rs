//! HAProxy, three instances, a primary and two standbys.

use jupiter_testkit::Instance;
use jupiter_testkit::postgres::PostgresCluster;

use crate::front::Front;

/// Fields are dropped in order: what asks before what is asked.
pub(crate) struct Installation {
    pub(crate) front: Front,
    pub(crate) postgres: PostgresCluster,
    /// Which node of `postgres` takes writes.
    pub(crate) primary: usize,
}

impl Installation {
    pub(crate) async fn start() -> Installation {
        let postgres = PostgresCluster::start(2, "").await;
        let front = Front::start(&postgres.evidence_lines()).await;
        Installation {
            front,
            postgres,
            primary: 0,
        }
    }

    pub(crate) fn instances(&mut self) -> &mut [Instance] {
        &mut self.front.instances
    }

    pub(crate) fn first(&mut self) -> &mut Instance {
        self.instances().first_mut().expect("three instances")
    }

    /// The nodes that follow the primary.
    pub(crate) fn standbys(&self) -> impl Iterator<Item = usize> + use<> {
        let primary = self.primary;
        (0..3).filter(move |node| *node != primary)
    }

    /// Makes the best standby the primary, as a cluster manager would.
    pub(crate) async fn promote(&mut self) {
        self.primary = self.postgres.promote_best(self.primary).await;
    }

    /// A stopped node follows the primary again.
    pub(crate) async fn rejoin(&mut self, node: usize) {
        self.postgres.rejoin(node, self.primary).await;
        self.postgres.wait_for_standbys(self.primary, 2).await;
    }

    pub(crate) async fn wait_for(&self, number: usize, status: &str) {
        let name = format!("jupiter{}", number + 1);
        self.front.haproxy.wait_for(&name, status).await;
    }
}
