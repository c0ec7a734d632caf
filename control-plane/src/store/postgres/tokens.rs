//! Tokens, by the hash of their text.

use jiff::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

use super::to_time;
use crate::auth::Role;
use crate::store::{NewToken, StoreError, TokenInfo};

pub(super) async fn create(
    conn: &mut PgConnection,
    token: NewToken,
) -> Result<TokenInfo, StoreError> {
    insert(conn, token).await
}

pub(super) async fn rotate(
    conn: &mut PgConnection,
    token: NewToken,
) -> Result<TokenInfo, StoreError> {
    let mut tx = conn.begin().await?;
    sqlx::query("UPDATE tokens SET revoked_us = $1 WHERE name = $2 AND revoked_us IS NULL")
        .bind(token.created_at.as_microsecond())
        .bind(&token.name)
        .execute(&mut *tx)
        .await?;
    let info = insert(&mut tx, token).await?;
    tx.commit().await?;
    Ok(info)
}

async fn insert(tx: &mut PgConnection, token: NewToken) -> Result<TokenInfo, StoreError> {
    sqlx::query(
        "INSERT INTO tokens (id, name, role, sha256, created_us, created_by)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(token.id)
    .bind(&token.name)
    .bind(token.role.as_str())
    .bind(token.sha256.as_slice())
    .bind(token.created_at.as_microsecond())
    .bind(&token.created_by)
    .execute(&mut *tx)
    .await?;
    Ok(TokenInfo {
        id: token.id,
        name: token.name,
        role: token.role,
        created_at: token.created_at,
        created_by: token.created_by,
        revoked_at: None,
    })
}

pub(super) async fn revoke(
    conn: &mut PgConnection,
    id: Uuid,
    at: Timestamp,
) -> Result<bool, StoreError> {
    // The time of the first revocation stays.
    let done = sqlx::query("UPDATE tokens SET revoked_us = coalesce(revoked_us, $1) WHERE id = $2")
        .bind(at.as_microsecond())
        .bind(id)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn list(conn: &mut PgConnection) -> Result<Vec<TokenInfo>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, name, role, created_us, created_by, revoked_us FROM tokens
         ORDER BY created_us, id",
    )
    .fetch_all(conn)
    .await?;
    rows.iter().map(info).collect()
}

pub(super) async fn by_hash(
    conn: &mut PgConnection,
    sha256: &[u8; 32],
) -> Result<Option<TokenInfo>, StoreError> {
    let row = sqlx::query(
        "SELECT id, name, role, created_us, created_by, revoked_us FROM tokens
         WHERE sha256 = $1",
    )
    .bind(sha256.as_slice())
    .fetch_optional(conn)
    .await?;
    row.as_ref().map(info).transpose()
}

fn info(row: &PgRow) -> Result<TokenInfo, StoreError> {
    let role: &str = row.try_get("role")?;
    let revoked_us: Option<i64> = row.try_get("revoked_us")?;
    Ok(TokenInfo {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        role: Role::parse(role).ok_or(StoreError::Corrupt("an unknown role"))?,
        created_at: to_time(row.try_get("created_us")?)?,
        created_by: row.try_get("created_by")?,
        revoked_at: revoked_us.map(to_time).transpose()?,
    })
}
