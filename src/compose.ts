import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import packageJson from '../package.json' with { type: 'json' };
import { systemClock as clock } from './clock.ts';
import type { Config } from './config.ts';
import { createAdministration } from './core/administration.ts';
import { createAuthenticator } from './core/authenticate.ts';
import { createHandler } from './core/chat.ts';
import { DEMO_KEYS } from './core/demo-keys.ts';
import { createGateway, type Gateway, type Report } from './core/gateway.ts';
import { createKeys, type Keys } from './core/keys.ts';
import { createPlaces } from './core/places.ts';
import type { ChatProvider, DependencyState, Telemetry } from './core/ports.ts';
import { GatewayError, toGatewayError } from './domain/error.ts';
import { createIds } from './domain/id.ts';
import type { Model } from './domain/model.ts';
import { servedModels } from './domain/routing.ts';
import { createOllamaFleet } from './providers/ollama/fleet.ts';
import { createRestApp } from './rest/app.ts';
import { createSchema } from './schema/index.ts';
import { createGraphQLServer, type GraphQLServer } from './schema/serving/index.ts';
import { parseManifest } from './schema/serving/persisted.ts';
import { createServer } from './server.ts';
import { createKeyStore } from './storage/keys.ts';
import { createLedger } from './storage/ledger.ts';
import { createLedgerReader } from './storage/ledger-reader.ts';
import { openDatabase } from './storage/open.ts';
import { openInProcess, openRedis } from './storage/redis.ts';
import { createTelemetry, type GatewayTelemetry } from './telemetry/index.ts';
import { findUpstream } from './upstream.ts';

const { version } = packageJson;
const GRAPHQL_PATH = '/graphql';

/** The gateway, put together and ready to listen. */
export interface App {
  readonly telemetry: GatewayTelemetry;
  /** True where the simulator stands in for Ollama. */
  readonly simulated: boolean;
  /** The models that some backend has right now. */
  models(): readonly Model[];
  /** @returns the port, which is news where 0 was configured. */
  listen(): Promise<{ readonly port: number }>;
  /** Lets what is under way end within the grace, then closes everything, in the reverse order of opening. */
  close(graceMs: number): Promise<void>;
}

/**
 * Composition root: opens every adapter, builds the core on them and mounts the protocols. The line after an opening
 * registers its end.
 * @throws GatewayError with a message for the operator.
 */
export async function compose(config: Config): Promise<App> {
  await using opened = new AsyncDisposableStack();
  const telemetry = createTelemetry({
    level: config.logLevel,
    replica: config.replicaId,
    version,
    backends: () => provider.backends(),
    report: () => report(),
    usageBacklog: () => shared.backlog(),
    waiting: () => places.waiting(),
  });
  opened.defer(() => telemetry.flush());
  const { database, shared, keys, keyStore } = await openStores(config, telemetry, opened);
  const authenticator = createAuthenticator({ keys: keyStore, signals: shared.signals, telemetry, clock });
  opened.defer(() => authenticator.close());
  const { upstream, provider, places } = await openFleet(config, telemetry, opened);

  const report = (): Report => {
    const upstreamUp = provider.backends().some((backend) => backend.healthy);
    const dependencies: DependencyState[] = [
      { name: 'database', state: database.state() },
      { name: 'redis', state: shared.state() },
      { name: 'upstream', state: !upstreamUp ? 'down' : upstream.simulated ? 'simulator' : 'up' },
    ];
    // The database and Redis may be away: keys are cached, limits are counted here. Without a model nothing works.
    return { ready: upstreamUp && !server.draining, draining: server.draining, dependencies };
  };
  const shutdown = new AbortController();
  const { limiter, usage } = shared;
  const adapters = { provider, places, limiter, usage, telemetry, clock };
  const gateway = createGateway({
    authenticator,
    administration: createAdministration(keys, createLedgerReader(database)),
    limiter,
    provider,
    clock,
    createId: createIds('', randomBytes),
    handler: createHandler({ ...adapters, watch: authenticator.watch, deadlines: config.timeouts }),
    report,
    shutdown: shutdown.signal,
  });

  const { maxBodyBytes, corsOrigins, production, debug, replicaId: replica } = config;
  const restConfig = { maxBodyBytes, corsOrigins, production, debug, version, replica };
  const graphql = await openGraphQL(config, gateway, telemetry, opened);
  const server = createServer({
    handlers: [{ path: GRAPHQL_PATH, handler: graphql.handler }],
    upgrade: graphql.upgrade,
    onDraining: graphql.drain,
    fallback: createRestApp({
      gateway,
      config: upstream.simulated ? { ...restConfig, upstream: 'simulator' } : restConfig,
      telemetry,
      metrics: telemetry.metrics,
      clock,
      stallMs: config.clientStallMs,
    }),
    onGraceOver: () => shutdown.abort(shuttingDown()),
    limits: { maxBodyBytes, stallMs: config.clientStallMs },
  });
  opened.defer(() => server.close());

  const resources = opened.move();
  return {
    telemetry,
    simulated: upstream.simulated,
    models: () => [...servedModels(provider.backends()).values()],
    listen: () => server.listen(config.host, config.port),
    close: (graceMs) => server.drain(graceMs).then(() => resources.disposeAsync()),
  };
}

function shuttingDown(): GatewayError {
  return new GatewayError('shutting_down', 'The gateway is restarting. Try again.');
}

/** The GraphQL API, with the documents that the configuration names. */
async function openGraphQL(
  config: Config,
  gateway: Gateway,
  telemetry: Telemetry,
  opened: AsyncDisposableStack,
): Promise<GraphQLServer> {
  const { production, corsOrigins, maxBodyBytes, trustedProxies, clientStallMs: stallMs } = config;
  const { persistedDocuments, persistedOnly: only, seedDemoKeys } = config;
  const manifest =
    persistedDocuments === undefined
      ? undefined
      : await readFile(persistedDocuments, 'utf8')
          .then(parseManifest)
          .catch((cause: Error) => {
            const message = `The persisted documents in ${persistedDocuments} cannot be read: ${cause.message}.`;
            throw new GatewayError('internal', message, { cause });
          });
  const graphql = createGraphQLServer({
    gateway,
    schema: createSchema(),
    config: {
      path: GRAPHQL_PATH,
      production,
      corsOrigins,
      maxBodyBytes,
      trustedProxies,
      ...(manifest && { persisted: { manifest, only } }),
      ...(seedDemoKeys && { exampleKey: DEMO_KEYS[0].secret }),
      limits: { stallMs, socket: { stallMs } },
    },
    telemetry,
    clock,
  });
  opened.defer(() => graphql.close());
  return graphql;
}

/** Keys and the ledger in the database, limits and signals in Redis: or the embedded kinds of both. */
async function openStores(config: Config, telemetry: Telemetry, opened: AsyncDisposableStack) {
  const { databaseUrl, dataDir, redisUrl, replicas } = config;
  let onDatabaseUp = () => {};
  const database = await openDatabase({
    ...(databaseUrl !== undefined && { databaseUrl }),
    dataDir,
    onStateChange(state, detail) {
      telemetry.log(state === 'up' ? 'info' : 'warn', `the database is ${state}`, { detail });
      if (state === 'up') onDatabaseUp();
    },
  });
  opened.defer(() => database.close());

  const ledger = createLedger(database);
  const shared =
    redisUrl === undefined
      ? openInProcess({ ledger, telemetry, clock })
      : await openRedis({ url: redisUrl, replicas, ledger, telemetry, clock });
  opened.defer(() => shared.close());

  const keyStore = createKeyStore(database);
  const keys = createKeys({ store: keyStore, signals: shared.signals, clock });
  onDatabaseUp = () => void provideKeys(config, keys, telemetry);
  await provideKeys(config, keys, telemetry);
  return { database, shared, keyStore, keys };
}

/** The keys that the configuration asks for. Where the database is away, it is tried again when that is back. */
async function provideKeys(config: Config, keys: Keys, telemetry: Telemetry): Promise<void> {
  try {
    if (config.adminKey !== undefined && (await keys.bootstrapAdminKey(config.adminKey))) {
      telemetry.log('info', 'created the admin key of GATEWAY_ADMIN_KEY');
    }
    if (config.seedDemoKeys) await keys.seedDemoKeys();
  } catch (error) {
    telemetry.log('warn', 'the configured keys could not be provided yet', {
      detail: toGatewayError(error).detail,
    });
  }
}

/** The Ollama servers, or the simulator in their place, looked at once. */
async function openFleet(config: Config, telemetry: Telemetry, opened: AsyncDisposableStack) {
  const upstream = await findUpstream(config);
  opened.defer(() => upstream.close());
  const provider: ChatProvider = createOllamaFleet({
    urls: upstream.urls,
    clock,
    telemetry,
    numCtx: config.numCtx,
    ...(config.keepAlive !== undefined && { keepAlive: config.keepAlive }),
    connectTimeoutMs: config.timeouts.connectMs,
  });
  opened.defer(() => provider.close());
  await provider.refresh();
  if (!provider.backends().some((backend) => backend.healthy)) {
    telemetry.log('warn', 'no Ollama server answers yet; start one, or set OLLAMA_URLS to where one is');
  }
  const places = createPlaces({
    perModel: upstream.parallel,
    maxWaiting: config.maxQueue,
    patienceMs: config.timeouts.firstEventMs,
    clock,
  });
  return { upstream, provider, places };
}
