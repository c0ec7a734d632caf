//! What became of policies: every revision, active or not.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::{to_count, to_time};
use crate::store::{HistoryPage, PastRevision, RevisionSummary, StoreError};

pub(super) async fn page(
    conn: &mut PgConnection,
    name: &str,
    before: Option<u64>,
    limit: u32,
) -> Result<HistoryPage, StoreError> {
    // A number beyond bigint's is beyond every revision.
    let before = before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
    let rows = sqlx::query(
        "SELECT name, revision, source IS NULL AS deleted, version, description, author,
                created_us, commit_id
         FROM policy_revisions WHERE name = $1 AND revision < $2
         ORDER BY revision DESC LIMIT $3",
    )
    .bind(name)
    .bind(before)
    // One more than asked for tells whether there is a next page.
    .bind(i64::from(limit) + 1)
    .fetch_all(conn)
    .await?;
    let mut revisions: Vec<RevisionSummary> = rows.iter().map(summary).collect::<Result<_, _>>()?;
    let more = revisions.len() > limit as usize;
    revisions.truncate(limit as usize);
    let next = revisions.last().map(|last| last.revision).filter(|_| more);
    Ok(HistoryPage { revisions, next })
}

pub(super) async fn get(
    conn: &mut PgConnection,
    name: &str,
    revision: u64,
) -> Result<Option<PastRevision>, StoreError> {
    let Ok(revision) = i64::try_from(revision) else {
        return Ok(None);
    };
    let row = sqlx::query(
        "SELECT name, revision, source, source IS NULL AS deleted, version, description, author,
                created_us, commit_id
         FROM policy_revisions WHERE name = $1 AND revision = $2",
    )
    .bind(name)
    .bind(revision)
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    Ok(Some(PastRevision {
        summary: summary(&row)?,
        source: row.try_get("source")?,
    }))
}

fn summary(row: &PgRow) -> Result<RevisionSummary, StoreError> {
    Ok(RevisionSummary {
        name: row.try_get("name")?,
        revision: to_count(row.try_get("revision")?)?,
        deleted: row.try_get("deleted")?,
        version: row.try_get("version")?,
        description: row.try_get("description")?,
        author: row.try_get("author")?,
        created_at: to_time(row.try_get("created_us")?)?,
        commit: row.try_get("commit_id")?,
    })
}
