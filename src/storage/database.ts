import { GatewayError } from '../domain/error.ts';

/**
 * A SQL database as the rest of this folder sees it: PostgreSQL, or PGlite inside this process. Values reach it as
 * parameters only (`$1`), never as text within a statement.
 *
 * Every method rejects with GatewayError: `storage_unavailable` while the database is away, `internal` for a statement
 * that is wrong.
 */
export interface Database extends Queries {
  /**
   * Runs `work` in one transaction: committed when it resolves, rolled back when it rejects.
   * @param options `timeoutMs` bounds each statement, in place of the short limit that requests live with.
   */
  transaction<Result>(
    work: (transaction: Transaction) => Promise<Result>,
    options?: { readonly timeoutMs?: number },
  ): Promise<Result>;
  /** As last seen; asks nobody. */
  state(): DatabaseState;
  /** Lets running statements end, within bounds, and closes. Idempotent. */
  close(): Promise<void>;
}

export interface Queries {
  /** @typeParam Row what the statement selects: the caller vouches for it. */
  query<Row>(sql: string, params?: readonly unknown[]): Promise<readonly Row[]>;
}

export interface Transaction extends Queries {
  /** Runs any number of statements without parameters. */
  script(sql: string): Promise<void>;
}

export type DatabaseState = 'up' | 'down' | 'embedded';

/** How long callers are told to wait: an outage is noticed to be over within that time. */
const RETRY_AFTER_MS = 1000;

export function storageUnavailable(detail: string, cause?: unknown): GatewayError {
  return new GatewayError('storage_unavailable', 'The database is not available at the moment.', {
    detail,
    cause,
    retryAfterMs: RETRY_AFTER_MS,
  });
}

/** What became of a failed statement, in the gateway's terms. The database's own words are for logs only. */
export function toStorageError(thrown: unknown): GatewayError {
  if (thrown instanceof GatewayError) return thrown;
  const sqlState = sqlStateOf(thrown);
  const detail = `${sqlState ?? 'no SQLSTATE'}: ${String(thrown)}`;
  if (isOutage(thrown) || (sqlState && TRANSIENT.test(sqlState))) return storageUnavailable(detail, thrown);
  if (sqlState && UNSTORABLE.has(sqlState)) {
    return new GatewayError('invalid_request', 'Text must not contain NUL characters.', {
      detail,
      cause: thrown,
    });
  }
  return new GatewayError('internal', 'The gateway failed to handle this request.', {
    detail,
    cause: thrown,
  });
}

/**
 * The statement found the server, and the next try may well succeed: waits cut short, deadlocks and serialization
 * failures, exhausted resources, system errors, and a server that has become a read-only standby.
 */
const TRANSIENT = /^(57014|55P03|40...|53...|58...|25006)$/;

/** PostgreSQL keeps no NUL in text, and no escaped one in JSON. */
const UNSTORABLE: ReadonlySet<string> = new Set(['22021', '22P05']);

/** SQLSTATEs that speak of the server: lost connections, refused log-ins, no such database, shutdown and start-up. */
const SERVER_TROUBLE = /^(08...|28...|3D000|57P..)$/;

/**
 * Whether a driver's failure says that the database is away. One without a SQLSTATE never reached it or lost it; one
 * that has been understood already says nothing new.
 */
export function isOutage(thrown: unknown): boolean {
  if (thrown instanceof GatewayError) return false;
  if (thrown instanceof TypeError || thrown instanceof RangeError) return false;
  const sqlState = sqlStateOf(thrown);
  return sqlState === undefined || SERVER_TROUBLE.test(sqlState);
}

/** Whether a failure, as `Database` reports it, is that of a statement that ran into its own time limit. */
export function isCutShort(error: unknown): boolean {
  return error instanceof GatewayError && sqlStateOf(error.cause) === '57014';
}

function sqlStateOf(thrown: unknown): string | undefined {
  if (typeof thrown !== 'object' || thrown === null || !('code' in thrown)) return undefined;
  // Node's own codes, such as ECONNREFUSED, share the field; five characters with a digit are a SQLSTATE.
  const { code } = thrown;
  return typeof code === 'string' && /^(?=.*\d)[0-9A-Z]{5}$/.test(code) ? code : undefined;
}
