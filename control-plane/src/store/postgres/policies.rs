//! Policies and the bundle that is made of them.

use sqlx::postgres::PgRow;
use sqlx::{Connection, FromRow, PgConnection, Row};
use std::collections::HashMap;

use super::{to_count, to_time};
use crate::store::{
    ActivePolicies, ChangeError, NewBundle, NewPolicy, PolicyRevision, SetRevision, Stamp,
    StoreError, StoredBundle,
};

const LAST_ACTIVATION: &str = "SELECT coalesce(max(revision), 0) FROM bundle_activations";

pub(super) async fn active(conn: &mut PgConnection) -> Result<ActivePolicies, StoreError> {
    // One snapshot: the revision must be that of the list.
    let mut tx = conn
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    let set: i64 = sqlx::query_scalar(LAST_ACTIVATION)
        .fetch_one(&mut *tx)
        .await?;
    let rows = sqlx::query(
        "SELECT r.name, r.revision, r.source, r.version, r.description, r.author,
                r.created_us, r.commit_id
         FROM active_policies a
         JOIN policy_revisions r ON r.name = a.name AND r.revision = a.revision
         ORDER BY a.name COLLATE \"C\"",
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(ActivePolicies {
        set: SetRevision(to_count(set)?),
        policies: rows.iter().map(revision).collect::<Result<_, _>>()?,
    })
}

pub(super) async fn set(conn: &mut PgConnection) -> Result<SetRevision, StoreError> {
    let set: i64 = sqlx::query_scalar(LAST_ACTIVATION).fetch_one(conn).await?;
    Ok(SetRevision(to_count(set)?))
}

pub(super) async fn get(
    conn: &mut PgConnection,
    name: &str,
) -> Result<Option<PolicyRevision>, StoreError> {
    let row = sqlx::query(
        "SELECT r.name, r.revision, r.source, r.version, r.description, r.author,
                r.created_us, r.commit_id
         FROM active_policies a
         JOIN policy_revisions r ON r.name = a.name AND r.revision = a.revision
         WHERE a.name = $1",
    )
    .bind(name)
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(revision).transpose()
}

fn revision(row: &PgRow) -> Result<PolicyRevision, StoreError> {
    Ok(PolicyRevision {
        name: row.try_get("name")?,
        revision: to_count(row.try_get("revision")?)?,
        source: row.try_get("source")?,
        version: row.try_get("version")?,
        description: row.try_get("description")?,
        author: row.try_get("author")?,
        created_at: to_time(row.try_get("created_us")?)?,
        commit: row.try_get("commit_id")?,
    })
}

pub(super) async fn put(
    conn: &mut PgConnection,
    seen: SetRevision,
    policy: NewPolicy,
    bundle: NewBundle,
    stamp: Stamp,
) -> Result<(PolicyRevision, StoredBundle), ChangeError> {
    let mut tx = conn.begin().await?;
    let stored = activate(&mut tx, seen, bundle, &stamp).await?;
    let number = insert_revision(&mut tx, &policy, &stamp).await?;
    tx.commit().await?;
    let revision = PolicyRevision {
        name: policy.name,
        revision: to_count(number)?,
        source: policy.source,
        version: policy.version,
        description: policy.description,
        author: stamp.author,
        created_at: stamp.at,
        commit: stamp.commit,
    };
    Ok((revision, stored))
}

/// The next revision of a policy, active from now on.
async fn insert_revision(
    tx: &mut PgConnection,
    policy: &NewPolicy,
    stamp: &Stamp,
) -> Result<i64, sqlx::Error> {
    let number = next_revision(tx, &policy.name).await?;
    sqlx::query(
        "INSERT INTO policy_revisions
         (name, revision, source, version, description, author, created_us, commit_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&policy.name)
    .bind(number)
    .bind(&policy.source)
    .bind(&policy.version)
    .bind(&policy.description)
    .bind(&stamp.author)
    .bind(stamp.at.as_microsecond())
    .bind(&stamp.commit)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO active_policies (name, revision) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET revision = excluded.revision",
    )
    .bind(&policy.name)
    .bind(number)
    .execute(&mut *tx)
    .await?;
    Ok(number)
}

pub(super) async fn delete(
    conn: &mut PgConnection,
    seen: SetRevision,
    name: &str,
    bundle: Option<NewBundle>,
    stamp: Stamp,
) -> Result<Option<StoredBundle>, ChangeError> {
    let mut tx = conn.begin().await?;
    let stored = match bundle {
        Some(bundle) => Some(activate(&mut tx, seen, bundle, &stamp).await?),
        None => {
            record_activation(&mut tx, seen, None, &stamp).await?;
            None
        }
    };
    if !insert_deletion(&mut tx, name, &stamp).await? {
        // The caller saw a policy that this set does not have.
        return Err(ChangeError::Stale);
    }
    tx.commit().await?;
    Ok(stored)
}

/// `false` when no policy of this name is active.
async fn insert_deletion(
    tx: &mut PgConnection,
    name: &str,
    stamp: &Stamp,
) -> Result<bool, sqlx::Error> {
    let removed = sqlx::query("DELETE FROM active_policies WHERE name = $1")
        .bind(name)
        .execute(&mut *tx)
        .await?;
    if removed.rows_affected() == 0 {
        return Ok(false);
    }
    let number = next_revision(tx, name).await?;
    sqlx::query(
        "INSERT INTO policy_revisions (name, revision, author, created_us, commit_id)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(name)
    .bind(number)
    .bind(&stamp.author)
    .bind(stamp.at.as_microsecond())
    .bind(&stamp.commit)
    .execute(&mut *tx)
    .await?;
    Ok(true)
}

pub(super) async fn replace_all(
    conn: &mut PgConnection,
    seen: SetRevision,
    policies: Vec<NewPolicy>,
    bundle: NewBundle,
    stamp: Stamp,
) -> Result<StoredBundle, ChangeError> {
    let mut tx = conn.begin().await?;
    let stored = activate(&mut tx, seen, bundle, &stamp).await?;
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT a.name, r.source FROM active_policies a
         JOIN policy_revisions r ON r.name = a.name AND r.revision = a.revision",
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut before: HashMap<String, String> = rows.into_iter().collect();
    for policy in &policies {
        let same = before.remove(&policy.name).as_ref() == Some(&policy.source);
        if !same {
            insert_revision(&mut tx, policy, &stamp).await?;
        }
    }
    for name in before.into_keys() {
        insert_deletion(&mut tx, &name, &stamp).await?;
    }
    tx.commit().await?;
    Ok(stored)
}

pub(super) async fn replace_bundle(
    conn: &mut PgConnection,
    seen: SetRevision,
    bundle: NewBundle,
    stamp: Stamp,
) -> Result<StoredBundle, ChangeError> {
    let mut tx = conn.begin().await?;
    let stored = activate(&mut tx, seen, bundle, &stamp).await?;
    tx.commit().await?;
    Ok(stored)
}

async fn next_revision(tx: &mut PgConnection, name: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT coalesce(max(revision), 0) + 1 FROM policy_revisions WHERE name = $1",
    )
    .bind(name)
    .fetch_one(tx)
    .await
}

async fn activate(
    tx: &mut PgConnection,
    seen: SetRevision,
    bundle: NewBundle,
    stamp: &Stamp,
) -> Result<StoredBundle, ChangeError> {
    sqlx::query(
        "INSERT INTO bundles (digest, bytes, created_us) VALUES ($1, $2, $3)
         ON CONFLICT (digest) DO NOTHING",
    )
    .bind(&bundle.digest)
    .bind(&bundle.bytes)
    .bind(stamp.at.as_microsecond())
    .execute(&mut *tx)
    .await?;
    let revision = record_activation(tx, seen, Some(&bundle.digest), stamp).await?;
    Ok(StoredBundle {
        digest: bundle.digest,
        bytes: bundle.bytes,
        activated_at: stamp.at,
        revision,
        commit: stamp.commit.clone(),
    })
}

/// The next activation after the one that was `seen`, unless there is one already.
async fn record_activation(
    tx: &mut PgConnection,
    seen: SetRevision,
    digest: Option<&str>,
    stamp: &Stamp,
) -> Result<SetRevision, ChangeError> {
    // Whoever comes second waits here, then sees what the first has made.
    sqlx::query("LOCK TABLE bundle_activations IN SHARE ROW EXCLUSIVE MODE")
        .execute(&mut *tx)
        .await?;
    let last: i64 = sqlx::query_scalar(LAST_ACTIVATION)
        .fetch_one(&mut *tx)
        .await?;
    if to_count(last)? != seen.0 {
        return Err(ChangeError::Stale);
    }
    sqlx::query(
        "INSERT INTO bundle_activations (revision, digest, author, activated_us, commit_id)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(last + 1)
    .bind(digest)
    .bind(&stamp.author)
    .bind(stamp.at.as_microsecond())
    .bind(&stamp.commit)
    .execute(&mut *tx)
    .await?;
    Ok(SetRevision(seen.0 + 1))
}

#[derive(FromRow)]
struct Current {
    revision: i64,
    activated_us: i64,
    commit_id: Option<String>,
    digest: Option<String>,
    bytes: Option<Vec<u8>>,
}

pub(super) async fn current_bundle(
    conn: &mut PgConnection,
) -> Result<Option<StoredBundle>, StoreError> {
    let current: Option<Current> = sqlx::query_as(
        "SELECT a.revision, a.activated_us, a.commit_id, b.digest, b.bytes
         FROM bundle_activations a LEFT JOIN bundles b ON b.digest = a.digest
         ORDER BY a.revision DESC LIMIT 1",
    )
    .fetch_optional(conn)
    .await?;
    let Some(current) = current else {
        return Ok(None);
    };
    let (Some(digest), Some(bytes)) = (current.digest, current.bytes) else {
        return Ok(None);
    };
    Ok(Some(StoredBundle {
        digest,
        bytes,
        activated_at: to_time(current.activated_us)?,
        revision: SetRevision(to_count(current.revision)?),
        commit: current.commit_id,
    }))
}
