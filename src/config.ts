import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { type LogLevel, VARIABLES, type Variable } from './variables.ts';

/** Everything an operator can decide, parsed and frozen. Times are in milliseconds. */
export interface Config {
  readonly host: string;
  readonly port: number;
  /** `NODE_ENV=production`: nothing that is only meant for trying out. */
  readonly production: boolean;
  /** `LOG_LEVEL` is `debug` or `trace`. */
  readonly debug: boolean;
  readonly logLevel: LogLevel;
  /** Absent: the embedded database in `dataDir`. */
  readonly databaseUrl?: string;
  /** An absolute path. */
  readonly dataDir: string;
  /** Absent: limits and signals stay in this process. */
  readonly redisUrl?: string;
  /** Origins, each once, e.g. `http://10.0.0.7:11434`. */
  readonly ollamaUrls: readonly string[];
  /** False where `ollamaUrls` is only the default. */
  readonly ollamaUrlsGiven: boolean;
  readonly corsOrigins: '*' | readonly string[];
  readonly adminKey?: string;
  readonly seedDemoKeys: boolean;
  readonly replicas: number;
  readonly replicaId: string;
  readonly shutdownGraceMs: number;
  readonly maxBodyBytes: number;
  /** An absolute path. */
  readonly persistedDocuments?: string;
  readonly persistedOnly: boolean;
  readonly trustedProxies: number;
  /** Context length in tokens by canonical model name; `*` is every other model. */
  readonly numCtx: ReadonlyMap<string, number>;
  /** A Go duration. Absent: the backends' own default. */
  readonly keepAlive?: string;
  /** Requests for one model that a backend works on at a time. 0: that is the backend's own affair. */
  readonly parallel: number;
  /** Requests that wait for a backend at most. */
  readonly maxQueue: number;
  readonly timeouts: Timeouts;
  /** How long a client may leave an answer unread. */
  readonly clientStallMs: number;
}

/** How long a backend may take. */
export interface Timeouts {
  readonly connectMs: number;
  readonly firstEventMs: number;
  readonly betweenEventsMs: number;
  readonly totalMs: number;
}

/** Every problem of a configuration at once, one a line in `message`. */
export class ConfigError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    const count = problems.length === 1 ? 'a problem' : `${problems.length} problems`;
    super(`The configuration has ${count}:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

/** @throws ConfigError */
export function configFromEnvironment(): Config {
  return loadConfig(process.env);
}

/**
 * Reads the whole configuration. An empty variable counts as unset.
 * @throws ConfigError with every problem found, secrets left out.
 */
export function loadConfig(env: NodeJS.ProcessEnv): Config {
  const problems: string[] = [];
  const isGiven = (variable: Variable<unknown>) => textOf(variable, env) !== undefined;
  const read = <T>(variable: Variable<T>): T => {
    const text = textOf(variable, env);
    if (text === undefined) return variable.fallback;
    const value = variable.parse(text);
    if (value !== undefined) return value;
    problems.push(`${variable.name} ${describeWrong(variable, text)}; expected ${variable.expected}.`);
    return variable.fallback;
  };

  const databaseUrl = read(VARIABLES.databaseUrl);
  const redisUrl = read(VARIABLES.redisUrl);
  const adminKey = read(VARIABLES.adminKey);
  const keepAlive = read(VARIABLES.keepAlive);
  const persistedDocuments = read(VARIABLES.persistedDocuments);
  const logLevel = read(VARIABLES.logLevel);
  const production = read(VARIABLES.nodeEnv) === 'production';
  const config: Config = {
    host: read(VARIABLES.host),
    port: read(VARIABLES.port),
    production,
    debug: logLevel === 'debug' || logLevel === 'trace',
    logLevel,
    ...(databaseUrl !== undefined && { databaseUrl }),
    dataDir: resolve(read(VARIABLES.dataDir)),
    ...(redisUrl !== undefined && { redisUrl }),
    ollamaUrls: read(VARIABLES.ollamaUrls),
    ollamaUrlsGiven: isGiven(VARIABLES.ollamaUrls),
    corsOrigins: read(VARIABLES.corsOrigins),
    ...(adminKey !== undefined && { adminKey }),
    seedDemoKeys: read(VARIABLES.seedDemoKeys) ?? (!production && !isGiven(VARIABLES.databaseUrl)),
    replicas: read(VARIABLES.replicas),
    replicaId: read(VARIABLES.replicaId) ?? defaultReplicaId(),
    clientStallMs: read(VARIABLES.clientStallMs),
    shutdownGraceMs: read(VARIABLES.shutdownGraceMs),
    maxBodyBytes: read(VARIABLES.maxBodyBytes),
    ...(persistedDocuments !== undefined && { persistedDocuments: resolve(persistedDocuments) }),
    persistedOnly: read(VARIABLES.persistedOnly),
    trustedProxies: read(VARIABLES.trustedProxies),
    numCtx: read(VARIABLES.numCtx),
    ...(keepAlive !== undefined && { keepAlive }),
    parallel: read(VARIABLES.parallel),
    maxQueue: read(VARIABLES.maxQueue),
    timeouts: Object.freeze({
      connectMs: read(VARIABLES.connectMs),
      firstEventMs: read(VARIABLES.firstEventMs),
      betweenEventsMs: read(VARIABLES.betweenEventsMs),
      totalMs: read(VARIABLES.totalMs),
    }),
  };

  problems.push(...findContradictions(config, isGiven), ...findPlaceholders(config));
  if (problems.length > 0) throw new ConfigError(problems);
  return Object.freeze(config);
}

/** What is wrong with values of which each is right. */
function findContradictions(
  config: Config,
  isGiven: (variable: Variable<unknown>) => boolean,
): readonly string[] {
  const problems: string[] = [];
  if (config.replicas > 1 && !isGiven(VARIABLES.redisUrl)) {
    problems.push(
      'REPLICAS above 1 needs REDIS_URL: without it every replica grants the whole of each limit.',
    );
  }
  if (config.replicas > 1 && !isGiven(VARIABLES.databaseUrl)) {
    problems.push(
      'REPLICAS above 1 needs DATABASE_URL: without it no replica knows the keys made on another.',
    );
  }
  if (config.persistedOnly && !isGiven(VARIABLES.persistedDocuments)) {
    problems.push(
      'PERSISTED_ONLY needs PERSISTED_DOCUMENTS: without it no GraphQL document would be accepted.',
    );
  }
  return problems;
}

/** What `.env.example` has in place of every secret, and `docker-compose.yml` where there is no `.env`. */
const PLACEHOLDER = 'change-me';

/** What everybody knows and was never changed, which is for trying out only. */
function findPlaceholders({ production, databaseUrl, redisUrl, seedDemoKeys }: Config): readonly string[] {
  if (!production) return [];
  const urls = [
    [VARIABLES.databaseUrl.name, databaseUrl],
    [VARIABLES.redisUrl.name, redisUrl],
  ] as const;
  const problems = urls
    .filter(([, url]) => url?.split(',').some((node) => URL.parse(node)?.password === PLACEHOLDER))
    .map(
      ([name]) =>
        `${name} still has the placeholder ${PLACEHOLDER} as its password; in production it needs one of your own.`,
    );
  if (seedDemoKeys) {
    problems.push(
      'SEED_DEMO_KEYS is true in production; the demo keys are published, that of an administrator among them.',
    );
  }
  return problems;
}

function describeWrong({ secret }: Variable<unknown>, text: string): string {
  if (text === PLACEHOLDER) return `is still the placeholder ${PLACEHOLDER}`;
  return secret ? 'has a wrong value (not shown)' : `is ${quote(text)}`;
}

function textOf(variable: Variable<unknown>, env: NodeJS.ProcessEnv): string | undefined {
  return env[variable.name]?.trim() || undefined;
}

function defaultReplicaId(): string {
  const host = hostname().replace(/[^\w.-]/g, '-');
  return `${host.slice(0, 48)}-${process.pid}`;
}

/** A value as given, made safe to show: no credentials, no control characters, not endless. */
function quote(text: string): string {
  const harmless = text.replace(/\/\/.*@/s, '//…@').replace(/llmgw_[\w-]+/g, 'llmgw_…');
  return JSON.stringify(harmless.length > 80 ? `${harmless.slice(0, 80)}…` : harmless);
}
