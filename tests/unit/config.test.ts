import { describe, expect, test } from '@jest/globals';
import { ConfigError, configFromEnvironment, loadConfig } from '../../src/config.ts';
import { DEMO_KEYS } from '../../src/core/demo-keys.ts';
import { describeVariables } from '../../src/variables.ts';

const ADMIN_KEY = `llmgw_${'0123456789abcdef'.repeat(4)}`;

function problemsOf(env: NodeJS.ProcessEnv): readonly string[] {
  try {
    loadConfig(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe('defaults', () => {
  test('nothing set runs on one machine with nothing installed', () => {
    expect(loadConfig({})).toMatchObject({
      host: '127.0.0.1',
      port: 3000,
      production: false,
      debug: false,
      logLevel: 'info',
      dataDir: `${process.cwd()}/.data`,
      ollamaUrls: ['http://127.0.0.1:11434'],
      ollamaUrlsGiven: false,
      corsOrigins: '*',
      seedDemoKeys: true,
      replicas: 1,
      clientStallMs: 30_000,
      shutdownGraceMs: 30_000,
      maxBodyBytes: 20_971_520,
      numCtx: new Map(),
      timeouts: { connectMs: 2000, firstEventMs: 600_000, betweenEventsMs: 120_000, totalMs: 1_800_000 },
    });
  });

  test('what is optional and unset is absent', () => {
    const config = loadConfig({});
    for (const name of ['databaseUrl', 'redisUrl', 'adminKey', 'keepAlive', 'persistedDocuments'])
      expect(config).not.toHaveProperty(name);
  });

  test('an empty or blank variable counts as unset', () => {
    const env = Object.fromEntries(
      describeVariables().map(({ name }, index) => [name, index % 2 ? '' : '  ']),
    );
    expect(loadConfig(env)).toEqual(loadConfig({}));
  });

  test('the replica is named after its host and process', () => {
    expect(loadConfig({}).replicaId).toMatch(new RegExp(`^[\\w.-]+-${process.pid}$`));
  });

  test('the result cannot be changed', () => {
    const config = loadConfig({ CORS_ORIGINS: 'https://a.example' });
    for (const part of [config, config.timeouts, config.ollamaUrls, config.corsOrigins]) {
      expect(Object.isFrozen(part)).toBe(true);
    }
  });

  test('the environment of this process is read', () => {
    expect(configFromEnvironment().timeouts).toEqual(loadConfig(process.env).timeouts);
  });
});

describe('values', () => {
  test.each([
    [{ PORT: ' 0 ' }, { port: 0 }],
    [{ HOST: '::1' }, { host: '::1' }],
    [{ DATABASE_URL: 'postgresql://u:p@db:5432/x' }, { databaseUrl: 'postgresql://u:p@db:5432/x' }],
    [{ DATABASE_URL: 'postgres:///x?host=/run/pg' }, { databaseUrl: 'postgres:///x?host=/run/pg' }],
    [{ REDIS_URL: 'rediss://:p@cache:6380/1' }, { redisUrl: 'rediss://:p@cache:6380/1' }],
    [{ REDIS_URL: ' redis://a:1 , redis://b' }, { redisUrl: 'redis://a:1,redis://b' }],
    [{ REDIS_URL: 'rediss://u:p@a?cluster=true' }, { redisUrl: 'rediss://u:p@a?cluster=true' }],
    [{ DATA_DIR: '/var/lib/x' }, { dataDir: '/var/lib/x' }],
    [{ LOG_LEVEL: 'DEBUG' }, { logLevel: 'debug', debug: true }],
    [{ LOG_LEVEL: 'trace' }, { debug: true }],
    [{ NODE_ENV: 'staging' }, { production: false }],
    [
      { OLLAMA_URLS: 'http://a:1/, HTTPS://B' },
      { ollamaUrls: ['http://a:1', 'https://b'], ollamaUrlsGiven: true },
    ],
    [{ OLLAMA_KEEP_ALIVE: '3600' }, { keepAlive: '3600s' }],
    [{ OLLAMA_KEEP_ALIVE: '-1' }, { keepAlive: '-1s' }],
    [{ OLLAMA_KEEP_ALIVE: '1h30m' }, { keepAlive: '1h30m' }],
    [
      { OLLAMA_NUM_CTX: 'Llama3.1=8192, *=4096' },
      {
        numCtx: new Map([
          ['llama3.1:latest', 8192],
          ['*', 4096],
        ]),
      },
    ],
    [
      { CORS_ORIGINS: 'https://A.example:443/,http://b:80' },
      { corsOrigins: ['https://a.example', 'http://b'] },
    ],
    [{ CORS_ORIGINS: 'app://desk' }, { corsOrigins: ['app://desk'] }],
    [{ GATEWAY_ADMIN_KEY: ADMIN_KEY }, { adminKey: ADMIN_KEY }],
    [{ REPLICA_ID: 'blue-1' }, { replicaId: 'blue-1' }],
    [{ MAX_BODY_BYTES: '1024' }, { maxBodyBytes: 1024 }],
    [
      { PERSISTED_DOCUMENTS: '/etc/documents.json', PERSISTED_ONLY: 'true' },
      { persistedDocuments: '/etc/documents.json', persistedOnly: true },
    ],
    [{ TRUSTED_PROXIES: '2' }, { trustedProxies: 2 }],
    [{ TOTAL_TIMEOUT_MS: '5' }, { timeouts: { totalMs: 5 } }],
  ])('%j is read as %j', (env, expected) => {
    expect(loadConfig(env)).toMatchObject(expected);
  });

  test.each([
    [{}, true],
    [{ DATABASE_URL: 'postgres://db/x' }, false],
    [{ NODE_ENV: 'production' }, false],
    [{ NODE_ENV: 'production', SEED_DEMO_KEYS: 'false' }, false],
    [{ DATABASE_URL: 'postgres://db/x', SEED_DEMO_KEYS: '1' }, true],
    [{ SEED_DEMO_KEYS: 'no' }, false],
  ])('with %j, demo keys are seeded: %j', (env, expected) => {
    expect(loadConfig(env).seedDemoKeys).toBe(expected);
  });
});

describe('problems', () => {
  test.each([
    ['PORT', ['65536', '-1', '1e3', '0x10', 'http', '3000.5', '٣']],
    ['HOST', ['http://0.0.0.0', 'a b']],
    ['DATABASE_URL', ['mysql://db/x', 'db/x', 'postgres://[']],
    [
      'REDIS_URL',
      [
        ...[
          '127.0.0.1:6379',
          'http://cache',
          'redis://a,',
          'redis://a,redis://a',
          'redis://a,b',
          'redis://:x,y@a',
        ],
        ...['redis://a,rediss://b', 'redis://:x@a,redis://:y@b', 'redis://a/0,redis://b/0'],
      ],
    ],
    [
      'OLLAMA_URLS',
      ['127.0.0.1:11434', 'http://a/v1', 'http://a?x=1', 'http://u:p@a', 'http://a,', 'http://a,http://A'],
    ],
    ['OLLAMA_NUM_CTX', ['8192', 'a=', 'a=0', 'a=-1', '=1', 'a=1,a:latest=2', 'a=1=2', 'a=99999999']],
    ['OLLAMA_KEEP_ALIVE', ['5x', 'm', '1.5', 'for ever']],
    [
      'CORS_ORIGINS',
      ['example.org', 'https://a/x', 'https://*.a', '*,https://a', 'null', 'https://a,https://a'],
    ],
    ['GATEWAY_ADMIN_KEY', ['secret', 'llmgw_short', `sk-${'a'.repeat(64)}`, `llmgw_test${'a'.repeat(64)}`]],
    ['SEED_DEMO_KEYS', ['maybe']],
    ['REPLICAS', ['0', 'three']],
    ['REPLICA_ID', ['a b', 'x'.repeat(65)]],
    ['SHUTDOWN_GRACE_MS', ['30s', '2147483648']],
    ['MAX_BODY_BYTES', ['20MB', '1023']],
    ['FIRST_EVENT_TIMEOUT_MS', ['0']],
    ['LOG_LEVEL', ['loud']],
    ['PERSISTED_DOCUMENTS', ['a\0b']],
    ['PERSISTED_ONLY', ['perhaps']],
    ['TRUSTED_PROXIES', ['-1', '11', 'nginx']],
  ])('%s is refused where it is one of %j', (name, values) => {
    for (const value of values) {
      const problems = problemsOf({ [name]: value });
      expect([value, problems.length]).toEqual([value, 1]);
      expect(problems[0]).toMatch(new RegExp(`^${name} .*; expected .*\\.$`));
    }
  });

  test('all of them are reported together, in one readable message', () => {
    const env = { PORT: 'x', LOG_LEVEL: 'loud', REDIS_URL: 'cache' };
    expect(() => loadConfig(env)).toThrow(
      [
        'The configuration has 3 problems:',
        '  REDIS_URL has a wrong value (not shown); expected a URL that starts with redis:// or rediss://, or several of a cluster, comma-separated, that differ in their address only.',
        '  LOG_LEVEL is "loud"; expected one of trace, debug, info, warn, error, fatal, silent.',
        '  PORT is "x"; expected a whole number from 0 to 65535.',
      ].join('\n'),
    );
  });

  test('several replicas need a shared Redis and a shared database', () => {
    const redis = { REDIS_URL: 'redis://cache' };
    const database = { DATABASE_URL: 'postgres://db/x' };
    expect(problemsOf({ REPLICAS: '3' })).toEqual([
      expect.stringMatching(/^REPLICAS above 1 needs REDIS_URL: /),
      expect.stringMatching(/^REPLICAS above 1 needs DATABASE_URL: /),
    ]);
    expect(problemsOf({ REPLICAS: '3', ...redis })).toHaveLength(1);
    expect(problemsOf({ REPLICAS: '3', ...redis, ...database })).toEqual([]);
  });

  test('accepting only persisted documents needs some', () => {
    expect(problemsOf({ PERSISTED_ONLY: 'true' })).toEqual([
      expect.stringMatching(/^PERSISTED_ONLY needs PERSISTED_DOCUMENTS: /),
    ]);
  });

  test('no published demo key becomes the admin key', () => {
    for (const { secret } of DEMO_KEYS) {
      expect(problemsOf({ GATEWAY_ADMIN_KEY: secret })).toEqual([
        expect.stringMatching(/not shown.* demo key/),
      ]);
    }
  });

  test('in production, what everybody knows is refused by its name', () => {
    const untouched = {
      DATABASE_URL: 'postgresql://gateway:change-me@postgres:5432/gateway',
      REDIS_URL: 'redis://:change-me@redis:6379',
      SEED_DEMO_KEYS: 'true',
    };
    expect(problemsOf(untouched)).toEqual([]);
    expect(problemsOf({ ...untouched, NODE_ENV: 'production' })).toEqual([
      'DATABASE_URL still has the placeholder change-me as its password; in production it needs one of your own.',
      'REDIS_URL still has the placeholder change-me as its password; in production it needs one of your own.',
      'SEED_DEMO_KEYS is true in production; the demo keys are published, that of an administrator among them.',
    ]);
    const cluster = 'redis://:change-me@a:6379,redis://:change-me@b:6379';
    expect(problemsOf({ REDIS_URL: cluster, NODE_ENV: 'production' })).toHaveLength(1);
  });

  test('a placeholder for the admin key is told from a key that is merely wrong', () => {
    const problem = /^GATEWAY_ADMIN_KEY is still the placeholder change-me; expected llmgw_ and /;
    expect(problemsOf({ GATEWAY_ADMIN_KEY: 'change-me' })).toEqual([expect.stringMatching(problem)]);
  });

  test.each([
    ['DATABASE_URL', 'mysql://user:hunter2@db/x'],
    ['REDIS_URL', 'http://:hunter2@cache'],
    ['REDIS_URL', 'redis://:hunter2@a,redis://:other@b'],
    ['GATEWAY_ADMIN_KEY', 'hunter2'],
    ['OLLAMA_URLS', 'http://user:hunter2@host'],
    ['OLLAMA_URLS', 'http://user:hun/@ter2@host:x,http://b'],
    ['PORT', 'llmgw_hunter2'],
  ])('no secret in %s reaches the message', (name, value) => {
    const problems = problemsOf({ [name]: value });
    expect(problems).toHaveLength(1);
    expect(problems.join()).not.toMatch(/hun|ter2/);
  });

  test('a value is shown on one line and cut where it is long', () => {
    const [problem = ''] = problemsOf({ PORT: `1\n2${'x'.repeat(1000)}` });
    expect(problem).toContain('"1\\n2xxx');
    expect(problem.length).toBeLessThan(200);
  });
});

test('every variable is described, once', () => {
  const variables = describeVariables();
  expect(new Set(variables.map(({ name }) => name)).size).toBe(variables.length);
  expect(variables).toContainEqual({
    name: 'PORT',
    default: '`3000`',
    meaning: 'TCP port to listen on; 0 picks a free one',
  });
  for (const variable of variables) expect(variable.default).not.toMatch(/undefined|object/);
});
