import type { KeyChange, KeyStore } from '../core/ports.ts';
import type { ApiKey, Scope } from '../domain/principal.ts';
import type { Database, Queries } from './database.ts';

/** API keys in the tables `api_keys` and `api_key_secrets`. */
export function createKeyStore(database: Database): KeyStore {
  return {
    async findByDigest(digest) {
      const rows = await database.query<KeyRow>(SELECT_BY_DIGEST, [digest]);
      return rows[0] && decodeKey(rows[0]);
    },
    get: (keyId) => getKey(database, keyId),
    async list({ limit, after, name, revoked }) {
      const rows = await database.query<KeyRow>(SELECT_PAGE, [
        limit,
        after ?? null,
        name ?? null,
        revoked ?? null,
      ]);
      return rows.map(decodeKey);
    },
    async create(key, digest) {
      return (await database.query(INSERT_KEY, encodeKey(key, digest))).length > 0;
    },
    async update(keyId, change) {
      const { assignments, values } = encodeChange(change);
      if (assignments.length === 0) return getKey(database, keyId);
      const sql = `update api_keys set ${assignments.join(', ')} where id = $1 returning id`;
      const updated = await database.query(sql, [keyId, ...values]);
      return updated.length === 0 ? undefined : getKey(database, keyId);
    },
    rotate: (keyId, secret, graceUntil) =>
      database.transaction(async (transaction) => {
        // Two rotations at once would each end the other's secret early or not at all: one waits here.
        const [key] = await transaction.query('select id from api_keys where id = $1 for update', [keyId]);
        if (!key) return undefined;
        await transaction.query(
          'update api_key_secrets set expires_at = least(expires_at, $2) where key_id = $1',
          [keyId, graceUntil],
        );
        await transaction.query('insert into api_key_secrets (digest, key_id, prefix) values ($1, $2, $3)', [
          secret.digest,
          keyId,
          secret.prefix,
        ]);
        return getKey(transaction, keyId);
      }),
    async revoke(keyId, at) {
      await database.query('update api_keys set revoked_at = $2 where id = $1 and revoked_at is null', [
        keyId,
        at,
      ]);
      return getKey(database, keyId);
    },
    async touch(lastUsed) {
      if (lastUsed.size === 0) return;
      const rows = [...lastUsed].map(([id, at]) => ({ id, at }));
      await database.query(TOUCH, [JSON.stringify(rows)]);
    },
  };
}

const COLUMNS = `k.id, k.name, k.scopes, k.models, k.requests_per_minute, k.tokens_per_minute,
  k.concurrent_requests, k.created_at, k.last_used_at, k.revoked_at, k.metadata`;

/** The secret that was asked for ends with its key at the latest; `least` passes over nulls. */
const SELECT_BY_DIGEST = `
  select ${COLUMNS}, s.prefix, least(k.expires_at, s.expires_at) as expires_at
  from api_key_secrets s join api_keys k on k.id = s.key_id
  where s.digest = $1`;

/** A key is shown with the prefix of its newest secret. */
const SELECT_KEY = `
  select ${COLUMNS}, s.prefix, k.expires_at
  from api_keys k, lateral (
    select prefix from api_key_secrets where key_id = k.id order by issue desc limit 1
  ) s`;

const SELECT_PAGE = `${SELECT_KEY}
  where ($2::text is null or (k.created_at, k.id) < (select created_at, id from api_keys where id = $2))
    and ($3::text is null or position(lower($3) in lower(k.name)) > 0)
    and ($4::boolean is null or (k.revoked_at is not null) = $4)
  order by k.created_at desc, k.id desc limit $1`;

/** One statement, so that a secret that exists already leaves no key behind. */
const INSERT_KEY = `
  with secret as (
    insert into api_key_secrets (digest, key_id, prefix) values ($1, $2, $3)
    on conflict (digest) do nothing returning key_id
  )
  insert into api_keys (id, name, scopes, models, requests_per_minute, tokens_per_minute, concurrent_requests,
    created_at, last_used_at, expires_at, revoked_at, metadata)
  select key_id, $4, $5::text[], $6::text[], $7::integer, $8::integer, $9::integer,
    $10::timestamptz, $11::timestamptz, $12::timestamptz, $13::timestamptz, $14::jsonb
  from secret returning id`;

/** Locked in one order, so that replicas that note the same keys cannot block each other for good. */
const TOUCH = `
  with used as (select id, at from json_to_recordset($1::json) as r (id text, at timestamptz)),
    locked as (
      select k.id, used.at from api_keys k join used on used.id = k.id
      where k.last_used_at is null or k.last_used_at < used.at
      order by k.id for update of k
    )
  update api_keys k set last_used_at = locked.at
  from locked where k.id = locked.id`;

async function getKey(queries: Queries, keyId: string): Promise<ApiKey | undefined> {
  const rows = await queries.query<KeyRow>(`${SELECT_KEY} where k.id = $1`, [keyId]);
  return rows[0] && decodeKey(rows[0]);
}

interface KeyRow {
  readonly id: string;
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly models: readonly string[];
  readonly requests_per_minute: number | null;
  readonly tokens_per_minute: number | null;
  readonly concurrent_requests: number | null;
  readonly prefix: string;
  readonly created_at: Date;
  readonly last_used_at: Date | null;
  readonly expires_at: Date | null;
  readonly revoked_at: Date | null;
  readonly metadata: Readonly<Record<string, string>>;
}

function decodeKey(row: KeyRow): ApiKey {
  return {
    keyId: row.id,
    name: row.name,
    scopes: row.scopes,
    models: row.models,
    limits: {
      ...(row.requests_per_minute !== null && { requestsPerMinute: row.requests_per_minute }),
      ...(row.tokens_per_minute !== null && { tokensPerMinute: row.tokens_per_minute }),
      ...(row.concurrent_requests !== null && { concurrentRequests: row.concurrent_requests }),
    },
    prefix: row.prefix,
    createdAt: row.created_at,
    ...(row.last_used_at && { lastUsedAt: row.last_used_at }),
    ...(row.expires_at && { expiresAt: row.expires_at }),
    ...(row.revoked_at && { revokedAt: row.revoked_at }),
    metadata: row.metadata,
  };
}

/** In the order of `INSERT_KEY`'s parameters. */
function encodeKey(key: ApiKey, digest: string): readonly unknown[] {
  const { requestsPerMinute, tokensPerMinute, concurrentRequests } = key.limits;
  return [
    ...[digest, key.keyId, key.prefix],
    ...[key.name, key.scopes, key.models],
    ...[requestsPerMinute ?? null, tokensPerMinute ?? null, concurrentRequests ?? null],
    ...[key.createdAt, key.lastUsedAt ?? null, key.expiresAt ?? null, key.revokedAt ?? null],
    JSON.stringify(key.metadata),
  ];
}

/** The parts of an `update … set`, for parameters from `$2` on. */
function encodeChange(change: KeyChange): { assignments: readonly string[]; values: readonly unknown[] } {
  const columns: readonly (readonly [column: string, value: unknown])[] = [
    ['name', change.name],
    ['scopes', change.scopes],
    ['models', change.models],
    ['requests_per_minute', change.limits?.requestsPerMinute],
    ['tokens_per_minute', change.limits?.tokensPerMinute],
    ['concurrent_requests', change.limits?.concurrentRequests],
    ['expires_at', change.expiresAt],
    ['metadata', change.metadata && JSON.stringify(change.metadata)],
  ];
  const changed = columns.filter(([, value]) => value !== undefined);
  return {
    assignments: changed.map(([column], index) => `${column} = $${index + 2}`),
    values: changed.map(([, value]) => value),
  };
}
