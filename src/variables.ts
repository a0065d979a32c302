import { DURATION } from './domain/keep-alive.ts';
import { canonicalModelName } from './domain/model.ts';

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** One environment variable as documentation shows it. */
export interface VariableDescription {
  readonly name: string;
  readonly default: string;
  readonly meaning: string;
}

/** An environment variable: how to read it and how to explain it. */
export interface Variable<T> {
  readonly name: string;
  readonly meaning: string;
  /** The value where the variable is unset or empty. */
  readonly fallback: T;
  /** How documentation words the fallback, where it is not a plain value. */
  readonly shown?: string;
  /** Completes "expected …". */
  readonly expected: string;
  /** The value given is never repeated in a message. */
  readonly secret?: boolean;
  /** @returns undefined where the text is not as expected. */
  readonly parse: (text: string) => T | undefined;
}

const DEFAULT_OLLAMA_URLS: readonly string[] = Object.freeze(['http://127.0.0.1:11434']);
const MAX_TIMER_MS = 2 ** 31 - 1;

export const VARIABLES = {
  port: variable<number>({
    name: 'PORT',
    meaning: 'TCP port to listen on; 0 picks a free one',
    fallback: 3000,
    ...integer(0, 65_535),
  }),
  host: variable<string>({
    name: 'HOST',
    meaning: 'Address to listen on (`0.0.0.0` in the container)',
    fallback: '127.0.0.1',
    expected: 'an IP address or a host name',
    parse: (text: string) => (/^[\w.:%-]+$/.test(text) ? text : undefined),
  }),
  databaseUrl: variable<string | undefined>({
    name: 'DATABASE_URL',
    meaning: 'PostgreSQL, for keys and the usage ledger',
    fallback: undefined,
    shown: 'unset: an embedded database in `DATA_DIR`',
    secret: true,
    ...url('postgres:', 'postgresql:'),
  }),
  dataDir: variable<string>({
    name: 'DATA_DIR',
    meaning: 'Folder of the embedded database',
    fallback: '.data',
    expected: 'a path',
    parse: (text: string) => (text.includes('\0') ? undefined : text),
  }),
  redisUrl: variable<string | undefined>({
    name: 'REDIS_URL',
    meaning:
      'Redis, for limits and signals across replicas; of a cluster several nodes, comma-separated, or one with `?cluster=true`',
    fallback: undefined,
    shown: 'unset: both stay in the process',
    secret: true,
    expected:
      'a URL that starts with redis:// or rediss://, or several of a cluster, comma-separated, that differ in their address only',
    parse: parseRedis,
  }),
  ollamaUrls: variable<readonly string[]>({
    name: 'OLLAMA_URLS',
    meaning: 'Ollama servers, comma-separated',
    fallback: DEFAULT_OLLAMA_URLS,
    // Credentials in a URL end in process lists and logs, and Ollama itself checks none.
    expected: 'comma-separated http:// or https:// addresses, each once, without path, query or credentials',
    parse: parseBackends,
  }),
  numCtx: variable<ReadonlyMap<string, number>>({
    name: 'OLLAMA_NUM_CTX',
    meaning: 'Context length per model, e.g. `llama3.1:8b=8192,*=4096`; a model without one gets none',
    fallback: new Map(),
    shown: 'unset: the servers decide',
    expected: 'comma-separated model=tokens, each model once, `*` for all others',
    parse: parseContextLengths,
  }),
  keepAlive: variable<string | undefined>({
    name: 'OLLAMA_KEEP_ALIVE',
    meaning: 'How long a model stays in memory after a request: `5m`, `3600` (seconds), `-1` (for ever)',
    fallback: undefined,
    shown: 'unset: the servers decide',
    expected: 'whole seconds, or a duration such as 30s, 5m or 1h30m',
    parse: parseDuration,
  }),
  parallel: variable<number>({
    name: 'OLLAMA_NUM_PARALLEL',
    meaning:
      'Requests that each Ollama server works on at a time for one model, as set there too: the others wait here, keys taking turns, and are told how many are ahead',
    fallback: 0,
    shown: '`0`: the servers let them wait',
    ...integer(0, 10_000),
  }),
  maxQueue: variable<number>({
    name: 'OLLAMA_MAX_QUEUE',
    meaning: 'Most requests that a replica lets wait for those places; others get 503',
    fallback: 512,
    ...integer(0, 100_000),
  }),
  corsOrigins: variable<'*' | readonly string[]>({
    name: 'CORS_ORIGINS',
    meaning: 'Origins whose pages may call the gateway, comma-separated, or `*`',
    fallback: '*',
    expected: '* or comma-separated origins such as https://chat.example.org, without path',
    parse: parseOrigins,
  }),
  adminKey: variable<string | undefined>({
    name: 'GATEWAY_ADMIN_KEY',
    meaning: 'Admin key, created at start where it does not exist yet',
    fallback: undefined,
    shown: 'unset: none',
    secret: true,
    // 43 letters and digits hold 256 bits. The published demo keys are a word, and then the digits in order.
    expected: 'llmgw_ and 43 to 200 random letters and digits, not a published demo key',
    parse: (text: string) =>
      /^llmgw_(?!test|[a-z]+123456789)[A-Za-z0-9]{43,200}$/.test(text) ? text : undefined,
  }),
  seedDemoKeys: variable<boolean | undefined>({
    name: 'SEED_DEMO_KEYS',
    meaning: 'Create the published demo keys at start',
    fallback: undefined,
    shown: '`true` only on the embedded database outside production',
    expected: 'true or false',
    parse: parseBoolean,
  }),
  replicas: variable<number>({
    name: 'REPLICAS',
    meaning: 'How many replicas share the places at the Ollama servers, and the limits while Redis is away',
    fallback: 1,
    ...integer(1, 1000),
  }),
  replicaId: variable<string | undefined>({
    name: 'REPLICA_ID',
    meaning: 'Name of this replica in logs, metrics and `/health`; unique among the replicas',
    fallback: undefined,
    shown: 'host name and process id',
    expected: '1 to 64 letters, digits, dots, - or _',
    parse: (text: string) => (/^[\w.-]{1,64}$/.test(text) ? text : undefined),
  }),
  connectMs: variable<number>({
    name: 'CONNECT_TIMEOUT_MS',
    meaning: 'Longest wait for a connection to an Ollama server',
    fallback: 2000,
    ...integer(1, MAX_TIMER_MS),
  }),
  firstEventMs: variable<number>({
    name: 'FIRST_EVENT_TIMEOUT_MS',
    meaning: 'Longest wait for a place, and for the first line of an answer, while a model may be loading',
    fallback: 600_000,
    ...integer(1, MAX_TIMER_MS),
  }),
  betweenEventsMs: variable<number>({
    name: 'BETWEEN_EVENTS_TIMEOUT_MS',
    meaning: 'Longest silence within an answer',
    fallback: 120_000,
    ...integer(1, MAX_TIMER_MS),
  }),
  totalMs: variable<number>({
    name: 'TOTAL_TIMEOUT_MS',
    meaning: 'Longest whole answer',
    fallback: 1_800_000,
    ...integer(1, MAX_TIMER_MS),
  }),
  clientStallMs: variable<number>({
    name: 'CLIENT_STALL_MS',
    meaning: 'How long a client may leave an answer unread before it is cut',
    fallback: 30_000,
    ...integer(1, MAX_TIMER_MS),
  }),
  shutdownGraceMs: variable<number>({
    name: 'SHUTDOWN_GRACE_MS',
    meaning: 'How long running requests may go on after SIGTERM',
    fallback: 30_000,
    ...integer(0, MAX_TIMER_MS),
  }),
  maxBodyBytes: variable<number>({
    name: 'MAX_BODY_BYTES',
    meaning: 'Largest request body',
    fallback: 20 * 1024 * 1024,
    ...integer(1024, 256 * 1024 * 1024),
  }),
  persistedDocuments: variable<string | undefined>({
    name: 'PERSISTED_DOCUMENTS',
    meaning: 'JSON file of GraphQL documents that clients may name by their ids',
    fallback: undefined,
    shown: 'unset: none',
    expected: 'a path',
    parse: (text: string) => (text.includes('\0') ? undefined : text),
  }),
  persistedOnly: variable<boolean>({
    name: 'PERSISTED_ONLY',
    meaning: 'Accept no other GraphQL documents than those',
    fallback: false,
    expected: 'true or false',
    parse: parseBoolean,
  }),
  trustedProxies: variable<number>({
    name: 'TRUSTED_PROXIES',
    meaning:
      'Reverse proxies in front that can be believed in `X-Forwarded-For` where a WebSocket comes from',
    fallback: 0,
    ...integer(0, 10),
  }),
  logLevel: variable<LogLevel>({
    name: 'LOG_LEVEL',
    meaning: `Least severe log lines to write: ${LOG_LEVELS.map((level) => `\`${level}\``).join(', ')}`,
    fallback: 'info',
    expected: `one of ${LOG_LEVELS.join(', ')}`,
    parse: (text: string) => LOG_LEVELS.find((level) => level === text.toLowerCase()),
  }),
  nodeEnv: variable<string>({
    name: 'NODE_ENV',
    meaning: '`production` switches off what is only meant for trying out',
    fallback: 'development',
    expected: 'a word',
    parse: (text: string) => text,
  }),
};

/** Every variable the gateway reads, in the order to show them. */
export function describeVariables(): readonly VariableDescription[] {
  return Object.values(VARIABLES).map((variable) => ({
    name: variable.name,
    default: variable.shown ?? `\`${variable.fallback}\``,
    meaning: variable.meaning,
  }));
}

/** Only says which type a row of the table has. */
function variable<T>(row: Variable<T>): Variable<T> {
  return row;
}

function integer(min: number, max: number) {
  return {
    expected: `a whole number from ${min} to ${max}`,
    parse: (text: string) => parseInteger(text, min, max),
  };
}

function parseInteger(text: string, min: number, max: number): number | undefined {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  return value >= min && value <= max ? value : undefined;
}

function parseBoolean(text: string): boolean | undefined {
  if (/^(true|1|yes|on)$/i.test(text)) return true;
  return /^(false|0|no|off)$/i.test(text) ? false : undefined;
}

function url(...protocols: readonly string[]) {
  return {
    expected: `a URL that starts with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}`,
    parse: (text: string) => {
      const isOfProtocol = protocols.some((protocol) => text.startsWith(`${protocol}//`));
      return isOfProtocol && URL.canParse(text) ? text : undefined;
    },
  };
}

function parseRedis(text: string): string | undefined {
  const nodes = parseList(text, url('redis:', 'rediss:').parse);
  if (!nodes || nodes.length === 1) return nodes?.[0];
  const parsed = nodes.map((node) => new URL(node));
  // One way to log in serves all nodes, also those that nobody has named, and none of them has databases to choose from.
  const logins = new Set(
    parsed.map(({ protocol, username, password }) => [protocol, username, password].join()),
  );
  const isBare = parsed.every(({ pathname }) => pathname === '' || pathname === '/');
  return logins.size === 1 && isBare ? nodes.join(',') : undefined;
}

function parseBackends(text: string): readonly string[] | undefined {
  return parseList(text, (item) => {
    const address = URL.parse(item);
    if (address?.protocol !== 'http:' && address?.protocol !== 'https:') return undefined;
    // Whatever is there beyond an origin would be lost silently, such as the `/v1` of another API.
    return address.href === `${address.origin}/` ? address.origin : undefined;
  });
}

function parseOrigins(text: string): '*' | readonly string[] | undefined {
  if (text === '*') return '*';
  return parseList(text, (item) => {
    const origin = item.toLowerCase().replace(/\/$/, '');
    // Other schemes belong to desktop applications and browser extensions, for which URL knows no origin.
    return /^[a-z][a-z\d+.-]*:\/\/[^\s/?#@*]+$/.test(origin) ? (httpOrigin(origin) ?? origin) : undefined;
  });
}

function httpOrigin(text: string): string | undefined {
  const origin = URL.parse(text)?.origin;
  return origin === 'null' ? undefined : origin;
}

/** Every item parsed, or undefined where one is wrong, comes twice or there is none. */
function parseList(text: string, parse: (item: string) => string | undefined): readonly string[] | undefined {
  const found = new Set<string>();
  for (const item of text.split(',')) {
    const value = parse(item.trim());
    if (value === undefined || found.has(value)) return undefined;
    found.add(value);
  }
  return Object.freeze([...found]);
}

function parseContextLengths(text: string): ReadonlyMap<string, number> | undefined {
  const lengths = new Map<string, number>();
  for (const item of text.split(',')) {
    const [model = '', count = '', ...rest] = item.split('=').map((part) => part.trim());
    const tokens = parseInteger(count, 1, 2 ** 24);
    const name = model === '*' ? '*' : canonicalModelName(model);
    if (!model || rest.length > 0 || tokens === undefined || lengths.has(name)) return undefined;
    lengths.set(name, tokens);
  }
  return lengths;
}

/** Ollama reads a bare number only as JSON number, so seconds get their unit here. */
function parseDuration(text: string): string | undefined {
  if (/^-?\d{1,9}$/.test(text)) return `${text}s`;
  return DURATION.test(text) ? text : undefined;
}
