//! The weeks that evidence is partitioned by.
//!
//! Weeks are made ahead, at start and as time goes by. A record of another
//! week (one that waited on a disk for long, one of a clock ahead) finds no
//! partition and must not fail those beside it: its week is made when it
//! comes. Ingest bounds how old or early a record may be, and so the number of
//! weeks. Making one blocks neither readers nor writers.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use uuid::Uuid;

use crate::store::StoreError;

/// Weeks that are there before their time, this one apart.
pub(super) const AHEAD: i64 = 4;

const WEEK_MS: i64 = 7 * 24 * 3_600_000;

/// The Unix epoch was a Thursday; weeks begin on Mondays.
const MONDAY_MS: i64 = 4 * 24 * 3_600_000;

const TABLES: [&str; 2] = ["evidence", "evidence_rules"];

/// A week, counted from the first Monday of 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Week(i64);

impl Week {
    fn of_millis(millis: i64) -> Week {
        Week((millis - MONDAY_MS).div_euclid(WEEK_MS))
    }

    pub(super) fn of(id: Uuid) -> Week {
        // The first 48 bits of a UUIDv7 are milliseconds.
        Week::of_millis((id.as_u128() >> 80) as i64)
    }

    /// This week and those to be made ahead.
    pub(super) fn around(now: Timestamp) -> impl Iterator<Item = Week> {
        let Week(this) = Week::of_millis(now.as_millisecond());
        (this..=this + AHEAD).map(Week)
    }

    fn begin(self) -> Timestamp {
        let begin = SignedDuration::from_millis(self.0 * WEEK_MS + MONDAY_MS);
        Timestamp::UNIX_EPOCH
            .checked_add(begin)
            .unwrap_or(Timestamp::MAX)
    }

    /// The least id of the week.
    fn least(self) -> Uuid {
        let millis = u64::try_from(self.begin().as_millisecond()).unwrap_or(0);
        Uuid::from_u128(u128::from(millis) << 80)
    }

    fn next(self) -> Week {
        Week(self.0 + 1)
    }
}

/// The partitions of one region, as far as they are known to exist.
#[derive(Debug)]
pub(super) struct Partitions {
    region: String,
    known: Mutex<BTreeSet<Week>>,
}

impl Partitions {
    pub(super) fn new(region: &str) -> Partitions {
        Partitions {
            region: region.to_owned(),
            known: Mutex::default(),
        }
    }

    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// Makes those weeks that are not there yet.
    pub(super) async fn ensure(
        &self,
        conn: &mut PgConnection,
        weeks: impl Iterator<Item = Week>,
    ) -> Result<(), StoreError> {
        let weeks: BTreeSet<Week> = weeks.collect();
        let missing: Vec<Week> = weeks.difference(&self.lock()).copied().collect();
        if missing.is_empty() {
            return Ok(());
        }
        create(conn, &self.region, &missing).await?;
        self.lock().extend(missing);
        Ok(())
    }

    /// Drops weeks that ended before then and hold no record. Whoever reads or writes
    /// waits half a second for it at most; what is in use is left for the next time.
    pub(super) async fn drop_empty(
        &self,
        conn: &mut PgConnection,
        before: Timestamp,
    ) -> Result<(), StoreError> {
        let of_region = format!("{}_{}", TABLES[0], slug(&self.region));
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT relid::text FROM pg_partition_tree(to_regclass($1)) WHERE isleaf",
        )
        .bind(&of_region)
        .fetch_all(&mut *conn)
        .await?;
        let begin = |name: &str| name.rsplit_once('_').map(|(_, begin)| begin.to_owned());
        let last = Week::of_millis(before.as_millisecond()).begin();
        let last = last.strftime("%Y%m%d").to_string();
        let old = names.iter().filter_map(|name| begin(name));
        for week in old.filter(|begin| *begin < last) {
            drop_if_empty(conn, &slug(&self.region), &week).await?;
        }
        self.forget();
        Ok(())
    }

    /// Somebody may have dropped one.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<Week>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn create(conn: &mut PgConnection, region: &str, weeks: &[Week]) -> Result<(), sqlx::Error> {
    let mut tx = conn.begin().await?;
    // Others may be at it too.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('mercator.partitions'))")
        .execute(&mut *tx)
        .await?;
    for table in TABLES {
        let of_region = format!("{table}_{}", slug(region));
        if !is_partition(&mut tx, &of_region).await? {
            let region = region.replace('\'', "''");
            let create = format!(
                "CREATE TABLE {of_region} PARTITION OF {table} FOR VALUES IN ('{region}')
                 PARTITION BY RANGE (id)"
            );
            sqlx::query(AssertSqlSafe(create)).execute(&mut *tx).await?;
        }
        for week in weeks {
            let name = format!("{of_region}_{}", week.begin().strftime("%Y%m%d"));
            if is_partition(&mut tx, &name).await? {
                continue;
            }
            // Attached, rather than created as a partition: that waits for nobody.
            let create =
                format!("CREATE TABLE IF NOT EXISTS {name} (LIKE {of_region} INCLUDING ALL)");
            let attach = format!(
                "ALTER TABLE {of_region} ATTACH PARTITION {name} FOR VALUES FROM ('{}') TO ('{}')",
                week.least(),
                week.next().least()
            );
            for statement in [create, attach] {
                sqlx::query(AssertSqlSafe(statement))
                    .execute(&mut *tx)
                    .await?;
            }
        }
    }
    tx.commit().await
}

async fn drop_if_empty(
    conn: &mut PgConnection,
    region: &str,
    week: &str,
) -> Result<(), sqlx::Error> {
    let mut tx = conn.begin().await?;
    sqlx::query("SET LOCAL lock_timeout = '500ms'")
        .execute(&mut *tx)
        .await?;
    let names = TABLES.map(|table| format!("{table}_{region}_{week}"));
    let [evidence, rules] = &names;
    // Nobody waits for a week that still has records.
    for locked in [false, true] {
        if locked {
            let lock = format!("LOCK TABLE {evidence}, {rules} IN ACCESS EXCLUSIVE MODE");
            match sqlx::query(AssertSqlSafe(lock)).execute(&mut *tx).await {
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03") => {
                    return tx.rollback().await;
                }
                done => {
                    done?;
                }
            }
        }
        let any = format!("SELECT EXISTS (SELECT 1 FROM {evidence})");
        if sqlx::query_scalar(AssertSqlSafe(any))
            .fetch_one(&mut *tx)
            .await?
        {
            return tx.rollback().await;
        }
    }
    for name in &names {
        let drop_table = format!("DROP TABLE {name}");
        match sqlx::query(AssertSqlSafe(drop_table))
            .execute(&mut *tx)
            .await
        {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03") => {
                return tx.rollback().await;
            }
            done => {
                done?;
            }
        }
    }
    tx.commit().await
}

async fn is_partition(tx: &mut PgConnection, name: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT coalesce((SELECT relispartition FROM pg_class WHERE oid = to_regclass($1)), false)",
    )
    .bind(name)
    .fetch_one(tx)
    .await
}

/// Part of a table's name: what of the region's can be read, and what tells it
/// from others.
fn slug(region: &str) -> String {
    let legible = region.chars().take(20).map(|c| match c {
        'a'..='z' | '0'..='9' => c,
        'A'..='Z' => c.to_ascii_lowercase(),
        _ => '_',
    });
    let hash = Sha256::digest(region);
    let hash: String = hash.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("{}_{hash}", legible.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(time: &str) -> Uuid {
        let time: Timestamp = time.parse().unwrap();
        Uuid::from_u128(u128::from(time.as_millisecond() as u64) << 80 | 0x7000_8000_0000_0000_0000)
    }

    #[test]
    fn week_begins_on_monday_in_utc_and_holds_its_ids() {
        let week = Week::of(id("2026-11-26T18:00:00Z"));
        assert_eq!(week.begin().to_string(), "2026-11-23T00:00:00Z");
        for inside in ["2026-11-23T00:00:00Z", "2026-11-29T23:59:59.999Z"] {
            assert_eq!(Week::of(id(inside)), week);
            assert!(id(inside) >= week.least() && id(inside) < week.next().least());
        }
        assert_eq!(Week::of(id("2026-11-30T00:00:00Z")), week.next());
        assert_eq!(Week::of(Uuid::nil()).least(), Uuid::nil());
        Week::of(Uuid::max()).begin();
    }

    #[test]
    fn table_names_are_plain_and_tell_regions_apart() {
        let long = "Region.With-A-Very-Long-Name-Of-Sixty-Four-Characters-In-All-0123";
        for region in ["local", "eu-west", "EU-WEST", long] {
            let name = format!("evidence_rules_{}_20261123", slug(region));
            assert!(name.len() <= 63, "{name}");
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            );
        }
        assert_ne!(slug("eu-west"), slug("EU-WEST"));
    }
}
