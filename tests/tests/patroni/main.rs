//! The drill with a database that manages itself: `just drill-patroni`.
//!
//! Patroni's leader is killed, frozen, robbed of its server and asked to hand
//! over, under load. Clients notice nothing, nothing acknowledged is lost, and
//! writes go on when Patroni has promoted. Minutes, and packages of their own:
//! no part of what every change runs.

#[cfg(test)]
#[path = "../failover/front.rs"]
mod front;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use jupiter_testkit::postgres::PatroniCluster;
    use jupiter_testkit::wait;

    use crate::front::{EVEN, Front, RECOVERS_WITHIN};

    #[derive(Debug, Clone, Copy)]
    enum Fault {
        SwitchOver,
        KillServer,
        KillNode,
        FreezeNode,
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn leader_may_be_lost_in_any_way() {
        let mut cluster = PatroniCluster::start().await;
        let front = Front::start(&cluster.evidence_lines()).await;
        let mut leader = cluster.wait_for_leader(None).await;
        for fault in [
            Fault::SwitchOver,
            Fault::KillServer,
            Fault::KillNode,
            Fault::FreezeNode,
        ] {
            let load = front.load(EVEN).await;
            let began = Instant::now();
            let before = leader;
            match fault {
                Fault::SwitchOver => cluster.switch_over(leader).await,
                Fault::KillServer => cluster.kill_server(leader),
                Fault::KillNode => cluster.kill_node(leader),
                Fault::FreezeNode => cluster.freeze_node(leader),
            }
            // A server alone may be started again where it was.
            let but = (!matches!(fault, Fault::KillServer)).then_some(leader);
            leader = cluster.wait_for_leader(but).await;
            let count = || cluster.sql(leader, "SELECT count(*) FROM evidence");
            let what = "the leader to answer";
            let first = wait::until_within(RECOVERS_WITHIN, what, async || count()).await;
            let what = "records to be stored again";
            wait::until_within(RECOVERS_WITHIN, what, async || match count() {
                Ok(more) if more != first => Ok(()),
                same => Err(same),
            })
            .await;
            let again = began.elapsed();
            match fault {
                Fault::KillNode => cluster.start_node(before),
                Fault::FreezeNode => cluster.thaw_node(before),
                Fault::SwitchOver | Fault::KillServer => {}
            }
            leader = cluster.wait_for_leader(None).await;
            cluster.wait_for_standbys(leader).await;
            front.wait_until_well().await;
            let tally = load.stop().await;
            let ids = || cluster.sql(leader, "SELECT id FROM evidence");
            let evidence = front.evidence_of(&tally, ids).await;
            eprintln!("{fault:?}: records were stored again after {again:.1?}\n{tally}");
            front.judge(&tally, evidence, |_| false);
            assert_eq!(evidence.listed, 0, "no Envoy was killed");
        }
        front.verify();
    }
}
