import pg from 'pg';
import { GatewayError } from '../domain/error.ts';
import { type Database, isOutage, storageUnavailable, type Transaction, toStorageError } from './database.ts';
import { createWatch } from './watch.ts';

export interface PostgresOptions {
  /** `postgresql://user:password@host:port/database`. */
  readonly url: string;
  /**
   * Connections of this replica at most, besides one for probes. All replicas together must stay below the server's
   * `max_connections`.
   */
  readonly maxConnections?: number;
  /**
   * Runs once, on the first contact with the server, before anything else may use it: migrations. Where it fails for
   * any other reason than an outage, opening fails.
   */
  readonly prepare?: (database: Database) => Promise<unknown>;
  /** At each change, for the log. */
  readonly onStateChange?: (state: 'up' | 'down', detail: string) => void;
}

/** A frozen server costs a caller one of each at most: one to connect, one for the statement. */
const CONNECT_TIMEOUT_MS = 1000;
const STATEMENT_TIMEOUT_MS = 800;
/**
 * The server gives up first, and this is how long its word may take to arrive: a statement that is merely slow must not
 * be taken for a lost server, on a busy machine either.
 */
const WORD_MS = 400;

/**
 * Opens a pool of connections. Resolves after the first contact, also where that fails: the gateway starts while its
 * database is away, and `state()` says so. While it is away every call fails at once, and one probe at a time looks
 * for its return.
 * @throws whatever `prepare` threw, unless that was `storage_unavailable`.
 */
export async function openPostgres(options: PostgresOptions): Promise<Database> {
  let pools = createPools(options);
  let prepared = options.prepare === undefined;
  let closing: Promise<void> | undefined;

  const direct: Database = {
    query: (sql, params = []) => send(() => pools.calls.query(sql, params)),
    transaction: (work, { timeoutMs = STATEMENT_TIMEOUT_MS } = {}) =>
      inTransaction(pools.calls, send, work, timeoutMs),
    state: () => (watch.isUp() ? 'up' : 'down'),
    async close() {
      watch.close();
      closing ??= pools.end();
      await closing;
    },
  };

  const watch = createWatch(
    async () => {
      if (prepared) await pools.probes.query('select 1', []).catch(fail);
      else await options.prepare?.(direct).catch(refuse);
      prepared = true;
    },
    (up, reason) => {
      // Idle connections to a server that went away may be dead without knowing it: each would cost a probe.
      if (!up) {
        void pools.end();
        pools = createPools(options);
      }
      options.onStateChange?.(up ? 'up' : 'down', reason === undefined ? '' : describe(reason));
    },
  );

  /** Where the server is back and unfit, which no longer stops the gateway from starting, somebody has to hear of it. */
  let refusal: string | undefined;
  function refuse(error: unknown): never {
    const isNews = !watch.isUp() && !isUnavailable(error) && describe(error) !== refusal;
    if (isNews) {
      refusal = describe(error);
      options.onStateChange?.('down', describe(error));
    }
    throw error;
  }

  /** Whatever talks to the server does it through here, so that each failure is understood, and noticed. */
  async function send<Result>(act: () => Promise<Result>): Promise<Result> {
    try {
      return await act();
    } catch (thrown) {
      if (isOutage(thrown)) watch.failed(thrown);
      throw toStorageError(thrown);
    }
  }

  const failure = await watch.check();
  if (failure !== undefined && !isUnavailable(failure)) {
    await direct.close();
    throw failure;
  }

  function whileUp<Result>(act: () => Promise<Result>): Promise<Result> {
    if (closing !== undefined) return Promise.reject(storageUnavailable('the database is closed'));
    if (!watch.isUp()) return Promise.reject(storageUnavailable('waiting for the database to come back'));
    return act();
  }
  return {
    ...direct,
    query: (sql, params) => whileUp(() => direct.query(sql, params)),
    transaction: (work, limits) => whileUp(() => direct.transaction(work, limits)),
  };
}

interface Pool {
  query<Row>(sql: string, params: readonly unknown[]): Promise<readonly Row[]>;
  connect(): Promise<pg.PoolClient>;
  /** Lets statements under way end for a while. A server that takes no part in it is left. */
  end(): Promise<void>;
}

function fail(thrown: unknown): never {
  throw toStorageError(thrown);
}

/** Probes have a connection of their own: a pool that is busy must not look like a server that is away. */
function createPools({ url, maxConnections = 10 }: PostgresOptions) {
  const calls = createPool(url, maxConnections);
  const probes = createPool(url, 1);
  const end = async () => {
    await Promise.all([calls.end(), probes.end()]);
  };
  return { calls, probes, end };
}

function createPool(url: string, maxConnections: number): Pool {
  const pool = new pg.Pool({
    connectionString: url,
    application_name: 'llm-gateway',
    max: maxConnections,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: STATEMENT_TIMEOUT_MS + WORD_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    idle_in_transaction_session_timeout: 5000,
    idleTimeoutMillis: 30_000,
    // Long enough to be cheap, short enough that a fail-over behind one name is followed.
    maxLifetimeSeconds: 1800,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
  });
  // An idle connection that breaks is an event of the pool, and unheard it would end the process. The pool has dropped
  // the connection already; the next call or probe finds out what it meant.
  pool.on('error', () => undefined);
  const clients = new Set<pg.PoolClient>();
  pool.on('connect', (client) => {
    clients.add(client);
    // The same for a connection that a transaction has, which the pool does not listen to meanwhile. Its statement, or the
    // next one, fails.
    client.on('error', () => undefined);
  });
  pool.on('remove', (client) => clients.delete(client));

  return {
    async query(sql, params) {
      const values = [...params];
      try {
        return (await pool.query(sql, values).catch(refuseBusy)).rows;
      } finally {
        // The library keeps them with a function that is made among the old objects: see `forgetContent` of Redis.
        values.length = 0;
      }
    },
    connect: () => pool.connect().catch(refuseBusy),
    async end() {
      const ended = [...clients].map((client) => new Promise((resolve) => client.once('end', resolve)));
      // A frozen server never closes its side, and its connections would keep this process alive.
      const timer = setTimeout(() => {
        for (const client of clients) client.connection.stream.destroy();
      }, END_TIMEOUT_MS);
      await Promise.all([pool.end(), ...ended]);
      clearTimeout(timer);
    },
  };
}

/** The pool's own time-out, as opposed to a connection's: every connection was in use for as long as one may wait. */
function refuseBusy(error: Error): never {
  if (error.message !== 'timeout exceeded when trying to connect') throw error;
  throw storageUnavailable('every connection of the pool is busy', error);
}

/** How long closing waits for statements under way. */
const END_TIMEOUT_MS = 2000;

async function inTransaction<Result>(
  pool: Pool,
  send: <Answer>(act: () => Promise<Answer>) => Promise<Answer>,
  work: (transaction: Transaction) => Promise<Result>,
  timeoutMs: number,
): Promise<Result> {
  const client = await send(() => pool.connect());
  let lost = false;
  const query = async (text: string, params?: readonly unknown[]) => {
    // A statement without parameters may be several. `query_timeout` is read from each query, and from nowhere typed.
    const config = { text, ...(params && { values: [...params] }), query_timeout: timeoutMs + WORD_MS };
    try {
      return (await send(() => client.query(config))).rows;
    } catch (error) {
      lost ||= isUnavailable(error);
      throw error;
    }
  };
  try {
    await query('begin');
    if (timeoutMs !== STATEMENT_TIMEOUT_MS) {
      await query("select set_config('statement_timeout', $1, true)", [String(timeoutMs)]);
    }
    const result = await work({
      query: (sql, params = []) => query(sql, params),
      script: async (sql) => {
        await query(sql);
      },
    });
    await query('commit');
    return result;
  } catch (error) {
    if (!lost) await query('rollback').catch(() => undefined);
    throw error;
  } finally {
    // A connection in doubt is closed, which also rolls back; a sound one goes back to the pool.
    client.release(lost);
  }
}

function isUnavailable(error: unknown): boolean {
  return error instanceof GatewayError && error.code === 'storage_unavailable';
}

function describe(reason: unknown): string {
  const error = toStorageError(reason);
  return error.detail ?? error.message;
}
