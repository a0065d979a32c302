import type { ApiKey } from '../domain/principal.ts';

/** A key as JSON, for programs; what is absent is null. */
export function encodeKey(key: ApiKey, now: number) {
  return {
    id: key.keyId,
    name: key.name,
    prefix: key.prefix,
    status: statusOf(key, now),
    scopes: key.scopes,
    models: key.models,
    limits: {
      requestsPerMinute: key.limits.requestsPerMinute ?? null,
      tokensPerMinute: key.limits.tokensPerMinute ?? null,
      concurrentRequests: key.limits.concurrentRequests ?? null,
    },
    createdAt: key.createdAt,
    lastUsedAt: key.lastUsedAt ?? null,
    expiresAt: key.expiresAt ?? null,
    revokedAt: key.revokedAt ?? null,
    metadata: key.metadata,
  };
}

/** A key for people, one field a line. */
export function formatKey(key: ApiKey, now: number): string {
  const metadata = Object.entries(key.metadata).map(([name, value]) => `${name}=${value}`);
  return formatRows([
    ['id', key.keyId],
    ['name', key.name],
    ['secret begins', key.prefix],
    ['status', statusOf(key, now)],
    ['scopes', key.scopes.join(', ')],
    ['models', key.models.join(', ') || 'all'],
    ['requests per minute', formatLimit(key.limits.requestsPerMinute)],
    ['tokens per minute', formatLimit(key.limits.tokensPerMinute)],
    ['concurrent requests', formatLimit(key.limits.concurrentRequests)],
    ['created', formatTime(key.createdAt)],
    ['last used', formatTime(key.lastUsedAt)],
    ['expires', formatTime(key.expiresAt)],
    ['revoked', formatTime(key.revokedAt)],
    ['metadata', metadata.join(', ') || '-'],
  ]);
}

/** Keys for people, one a line. */
export function formatKeys(keys: readonly ApiKey[], now: number): string {
  if (keys.length === 0) return 'There are no keys.';
  const rows = keys.map((key) => [
    key.keyId,
    key.name,
    key.prefix,
    statusOf(key, now),
    formatLimit(key.limits.requestsPerMinute),
    formatLimit(key.limits.tokensPerMinute),
    formatLimit(key.limits.concurrentRequests),
    formatTime(key.expiresAt),
    formatTime(key.lastUsedAt),
  ]);
  const head = ['ID', 'NAME', 'SECRET', 'STATUS', 'REQ/MIN', 'TOK/MIN', 'CONCURRENT', 'EXPIRES', 'LAST USED'];
  return formatRows([head, ...rows]);
}

function statusOf(key: ApiKey, now: number): 'active' | 'expired' | 'revoked' {
  if (key.revokedAt) return 'revoked';
  return key.expiresAt && key.expiresAt.getTime() <= now ? 'expired' : 'active';
}

function formatLimit(limit: number | undefined): string {
  return limit === undefined ? 'no limit' : String(limit);
}

function formatTime(time: Date | undefined): string {
  return time ? time.toISOString().replace(/\.\d+Z$/, 'Z') : '-';
}

function formatRows(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '))
    .map((line) => line.trimEnd())
    .join('\n');
}
