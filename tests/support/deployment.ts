/** A whole gateway with everything behind it: its process, a simulated Ollama and a database of its own on PostgreSQL. */
import { type Simulator, type SimulatorOptions, startSimulator } from '../../simulator/server.ts';
import { systemClock } from '../../src/clock.ts';
import type { KeyDraft } from '../../src/core/key-rules.ts';
import { createKeys, type IssuedKey, type Keys } from '../../src/core/keys.ts';
import type { Database } from '../../src/storage/database.ts';
import { createKeyStore } from '../../src/storage/keys.ts';
import { openPostgres } from '../../src/storage/postgres.ts';
import { createLocalSignals } from '../../src/storage/signals.ts';
import type { UsageRow } from '../../src/storage/usage-row.ts';
import { type GatewayProcess, startGateway, TEST_KEY } from './gateway.ts';
import { residentBytes } from './holdings.ts';
import { createDatabase } from './postgres.ts';
import { openRawSocket, type RawSocket } from './raw-socket.ts';

export interface Deployment {
  readonly gateway: GatewayProcess;
  readonly simulator: Simulator;
  readonly url: string;
  readonly port: number;
  readonly database: Database;
  /** Manages keys as a second process would, which the gateway hears of when its cache asks again. */
  readonly keys: Keys;
  /** A key that this test has for itself; every scope of inference and no limit, unless told otherwise. */
  createKey(draft?: Partial<KeyDraft>): Promise<IssuedKey>;
  /** With `TEST_KEY` and a JSON content type, unless `init` brings its own. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>;
  connect(): Promise<RawSocket>;
  /** The ledger's row of a request, as soon as it is there. */
  row(requestId: string): Promise<UsageRow>;
  /** How many rows the ledger has, all of what ended before included. */
  rows(): Promise<number>;
  /** Bytes of memory that the gateway's process occupies. */
  residentBytes(): number;
  close(): Promise<void>;
}

const GIVE_UP_MS = 20_000;

export async function startDeployment(
  options: {
    readonly env?: Readonly<Record<string, string>>;
    readonly simulator?: SimulatorOptions;
    /** Stands between the gateway and the simulator: given the address of the one, it returns that of the other. */
    readonly upstream?: (simulatorUrl: string) => Promise<string> | string;
  } = {},
): Promise<Deployment> {
  await using opened = new AsyncDisposableStack();
  const simulator = await startSimulator(options.simulator);
  opened.defer(() => simulator.close());
  const { url: databaseUrl, drop } = await createDatabase();
  opened.defer(drop);
  const database = await openPostgres({ url: databaseUrl });
  opened.defer(() => database.close());
  const signals = createLocalSignals();
  opened.defer(() => signals.close());
  const keys = createKeys({ store: createKeyStore(database), signals, clock: systemClock });

  const gateway = await startGateway({
    DATABASE_URL: databaseUrl,
    OLLAMA_URLS: (await options.upstream?.(simulator.url)) ?? simulator.url,
    SEED_DEMO_KEYS: 'true',
    ...options.env,
  });
  opened.defer(async () => void (await gateway.stop()));
  const port = Number(new URL(gateway.url).port);

  const authorized = (path: string, init: RequestInit = {}) => {
    const headers = new Headers(init.headers);
    if (!headers.has('authorization')) headers.set('authorization', `Bearer ${TEST_KEY}`);
    if (init.body != null && !headers.has('content-type')) headers.set('content-type', 'application/json');
    return fetch(gateway.url + path, { ...init, headers });
  };
  const resources = opened.move();
  return {
    gateway,
    simulator,
    url: gateway.url,
    port,
    database,
    keys,
    createKey: (draft = {}) =>
      keys.create({ name: 'a test', scopes: ['chat', 'embeddings', 'models'], ...draft }),
    fetch: authorized,
    post: (path, body, init) => authorized(path, { ...init, method: 'POST', body: JSON.stringify(body) }),
    connect: () => openRawSocket(port),
    row: (requestId) => untilRow(database, requestId),
    rows: () => countRows(authorized, database),
    residentBytes: () => residentBytes(gateway.pid),
    close: () => resources.disposeAsync(),
  };
}

/** The ledger is written in batches, off the path of requests, and tells nobody: it has to be looked at. */
async function untilRow(database: Database, requestId: string): Promise<UsageRow> {
  const giveUp = Date.now() + GIVE_UP_MS;
  for (;;) {
    const [row] = await database.query<UsageRow>('select * from usage_records where request_id = $1', [
      requestId,
    ]);
    if (row) return row;
    if (Date.now() > giveUp) throw new Error(`the ledger has no row of ${requestId}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

let markers = 0;

/** Rows are written in the order in which requests end, so a request of our own marks the end of those before it. */
async function countRows(
  authorized: (path: string, init?: RequestInit) => Promise<Response>,
  database: Database,
): Promise<number> {
  const marker = `marker-${++markers}`;
  const body = JSON.stringify({
    model: 'there-is-no-such-model',
    messages: [{ role: 'user', content: 'x' }],
  });
  const headers = { 'x-client-request-id': marker };
  await (await authorized('/v1/chat/completions', { method: 'POST', body, headers })).text();
  await untilRow(database, marker);
  const [row] = await database.query<{ count: string }>(
    "select count(*) from usage_records where request_id not like 'marker-%'",
  );
  return Number(row?.count);
}
