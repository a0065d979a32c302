import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import pg from 'pg';
import type { IssuedKey } from '../../src/core/keys.ts';
import { migrate } from '../../src/storage/migrate.ts';
import { openPostgres } from '../../src/storage/postgres.ts';
import { chat, statusOf } from '../support/caller.ts';
import { readCommands } from '../support/commands.ts';
import { eventually } from '../support/eventually.ts';
import { type GatewayProcess, startGateway, TEST_KEY } from '../support/gateway.ts';
import { type PrivatePostgres, startPostgres } from '../support/postgres.ts';
import { startRedis } from '../support/redis.ts';
import { type Stack, startStack } from '../support/stack.ts';

const commands = readCommands('docs/operations.md', 'docs/security.md');

let stack: Stack;
let directory: string;
const opened = new AsyncDisposableStack();

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'llm-gateway-operations-'));
  opened.defer(() => rmSync(directory, { recursive: true, force: true }));
  stack = await startStack({ replicas: 2 });
  opened.defer(() => stack.close());
}, 60_000);
afterAll(() => opened.disposeAsync());

const pathOf = (name: string) => join(directory, name);

/** The address of a server, as somebody else or of another database. */
function addressOf(url: string, change: { user?: string; password?: string; database?: string }): string {
  const address = new URL(url);
  address.username = change.user ?? address.username;
  address.password = change.password ?? address.password;
  if (change.database !== undefined) address.pathname = `/${change.database}`;
  return address.href;
}

/** A gateway with the simulator of the stack, and with what else is given, for as long as `act` takes. */
async function withGateway(
  env: Readonly<Record<string, string>>,
  act: (gateway: GatewayProcess) => Promise<void>,
): Promise<void> {
  const gateway = await startGateway({ OLLAMA_URLS: stack.simulators[0]?.url ?? '', ...env });
  try {
    await act(gateway);
  } finally {
    await gateway.stop();
  }
}

async function askGraphQL(url: string, secret: string, query: string): Promise<Record<string, unknown>> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query }),
  });
  const { data } = (await response.json()) as { data: Record<string, unknown> };
  return data;
}

const requestIds = async (secret: string, url: string) => {
  const query = '{ requests(first: 100) { nodes { requestId status } } }';
  const { requests } = (await askGraphQL(url, secret, query)) as {
    requests: { nodes: readonly { requestId: string }[] };
  };
  return requests.nodes.map(({ requestId }) => requestId).sort();
};

describe('a backup', () => {
  let target: PrivatePostgres;
  beforeAll(async () => {
    target = await startPostgres();
    opened.defer(() => target.close());
  });

  test('brings keys and ledger to another server, on which a gateway goes on', async () => {
    const { key, secret } = await stack.createKey({ scopes: ['chat', 'usage:read'] });
    for (const requestId of ['before-1', 'before-2', 'before-3']) {
      expect(await statusOf(chat(stack, secret, { requestId }))).toBe(200);
    }
    await stack.operator.untilRows(key.keyId, 3);
    const env = {
      DATABASE_URL: stack.postgres.url,
      BACKUP: pathOf('gateway.dump'),
      SERVER_URL: target.url,
      RESTORED_URL: addressOf(target.url, { database: 'gateway_restored' }),
    };
    const running = Promise.all(Array.from({ length: 10 }, () => statusOf(chat(stack, secret))));
    await commands.run('back-up', env);
    expect(new Set(await running)).toEqual(new Set([200]));
    // What was in it, and not what came of it later.
    await stack.operator.database.query('delete from usage_records where key_id = $1', [key.keyId]);
    expect(await commands.run('restore', env)).toMatch(/keys.*\n.*\n +\d+ \| +\d+ \| 2/);

    await withGateway({ DATABASE_URL: env.RESTORED_URL }, async (gateway) => {
      expect(await requestIds(secret, gateway.url)).toEqual(expect.arrayContaining(['before-1', 'before-3']));
      expect(await statusOf(chat(gateway, secret, { requestId: 'after' }))).toBe(200);
      await eventually('the ledger to go on', async () =>
        (await requestIds(secret, gateway.url)).includes('after'),
      );
    });
  });
});

describe('the ledger', () => {
  const insertRows = (count: number, age: string) =>
    query(
      stack.postgres.url,
      `insert into usage_records (id, request_id, key_id, protocol, operation, model, backend, status, finish_reason,
         streamed, prompt_tokens, completion_tokens, estimated, queue_ms, load_ms, prompt_ms, first_token_ms, total_ms,
         tokens_per_second, started_at)
       select replace(gen_random_uuid()::text, '-', ''), 'req_' || md5(n::text), 'key_' || md5((n % 50)::text), 'rest', 'chat',
         'llama3.1:8b', 'ollama-1', 'ok', 'stop', true, n % 900, n % 700, false, random(), random(), random(), random(),
         random(), random(), now() - $2::interval - n * interval '1 second'
       from generate_series(1, $1) n`,
      [count, age],
    );
  const countRows = async (condition: string): Promise<number> => {
    const sql = `select count(*)::integer as count from usage_records where ${condition}`;
    const [row] = (await query(stack.postgres.url, sql)) as readonly { readonly count: number }[];
    return row?.count ?? Number.NaN;
  };

  test('takes up about as much as the documentation says', async () => {
    await insertRows(12_000, '1 day');
    const output = await commands.run('ledger-size', { DATABASE_URL: stack.postgres.url });
    const bytes = Number(/^ *\d+ \| [^|]+ \| +(\d+)$/m.exec(output)?.[1]);
    expect(bytes).toBeGreaterThan(550 / 2);
    expect(bytes).toBeLessThan(550 * 2);
  });

  test('loses what is older than it is to be kept, in pieces, and nothing else', async () => {
    await insertRows(12_000, '90 days');
    const before = await countRows('true');
    const output = await commands.run('retention', { DATABASE_URL: stack.postgres.url });
    expect(output).toBe('deleted 10000\ndeleted 2000\n');
    expect(await countRows("started_at < now() - interval '90 days'")).toBe(0);
    expect(await countRows('true')).toBe(before - 12_000);
  });

  test('waits in Redis while the database is away, in about as much room as the documentation says', async () => {
    const { key, secret } = await stack.createKey();
    expect(await statusOf(chat(stack, secret))).toBe(200);
    await stack.operator.untilRows(key.keyId, 1);
    // Both replicas have to know the key.
    for (const replica of stack.replicas) expect(await statusOf(chat(replica, secret))).toBe(200);
    await stack.operator.untilRows(key.keyId, 3);
    await stack.postgres.stop();
    const statuses = await Promise.all(Array.from({ length: 150 }, () => statusOf(chat(stack, secret))));
    expect(new Set(statuses)).toEqual(new Set([200]));
    const [waiting, bytes] = (await commands.run('backlog-size', redisHost(stack.redis.url)))
      .split('\n')
      .map(Number);
    await stack.postgres.start();
    expect(waiting).toBe(150);
    // Up to all of these few have been read already, and what Redis keeps of that takes some of the room.
    expect(Number(bytes) / 150).toBeLessThan(550 * 3);
    expect(await stack.operator.untilRows(key.keyId, 153)).toHaveLength(153);
  });
});

describe('a request', () => {
  test('can be followed by its id through the log of nginx, that of the gateway, and the ledger', async () => {
    const { key, secret } = await stack.createKey();
    const response = await chat(stack, secret);
    await response.arrayBuffer();
    const requestId = response.headers.get('x-request-id') ?? '';
    await stack.operator.untilRows(key.keyId, 1);
    const isOfIt = (one: Record<string, unknown>) => one['request_id'] === requestId;
    const line = await stack.nginx.untilLogged(isOfIt);
    await Promise.any(stack.replicas.map((replica) => replica.untilLog(isOfIt)));
    const env = {
      REQUEST_ID: requestId,
      NGINX_LOG: pathOf('nginx.log'),
      GATEWAY_LOG: pathOf('gateway.log'),
      DATABASE_URL: stack.postgres.url,
    };
    writeFileSync(env.NGINX_LOG, `{"another":1}\n${JSON.stringify(line)}\n`);
    writeFileSync(env.GATEWAY_LOG, stack.replicas.flatMap(({ output }) => output).join('\n'));
    const output = await commands.run('follow-a-request', env);
    const [atNginx = '', atGateway = '', ...ledger] = output.split('\n');
    expect(JSON.parse(atNginx)).toMatchObject({ path: '/v1/chat/completions', status: 200, completed: true });
    expect(JSON.parse(atGateway)).toMatchObject({ msg: 'request', key_id: key.keyId, status: 'ok' });
    expect(ledger.join('\n')).toMatch(new RegExp(`^key_id +\\| ${key.keyId}$`, 'm'));
    expect(output.match(/RECORD/g)).toHaveLength(1);
  });
});

describe('a rotated key', () => {
  async function expectBothToWork(old: IssuedKey, output: string): Promise<void> {
    const secrets = output.match(/llmgw_[A-Za-z0-9_-]{30,}/g) ?? [];
    expect(secrets).toHaveLength(1);
    expect(secrets[0]).not.toBe(old.secret);
    for (const secret of [old.secret, secrets[0] ?? '']) {
      expect(await statusOf(chat(stack, secret))).toBe(200);
    }
    const [row] = await stack.operator.database.query<{ hours: string }>(
      `select extract(epoch from expires_at - now()) / 3600 as hours from api_key_secrets
       where key_id = $1 and expires_at is not null`,
      [old.key.keyId],
    );
    expect(Number(row?.hours)).toBeCloseTo(24, 1);
  }

  test('from the command line has two secrets for a day', async () => {
    const issued = await stack.createKey({ name: 'my-app' });
    const env = { KEY_ID: issued.key.keyId, DATABASE_URL: stack.postgres.url, REDIS_URL: stack.redis.url };
    const output = await commands.run('rotate-with-cli', env);
    expect(output).toContain('my-app');
    await expectBothToWork(issued, output);
  });

  test('over GraphQL has two secrets for a day', async () => {
    const issued = await stack.createKey({ name: 'my-app' });
    const env = { GATEWAY_URL: stack.url, ADMIN_KEY: stack.adminKey };
    const query = '{ apiKeys(first: 1, filter: { name: "my-app" }) { nodes { id } } }';
    const { apiKeys } = (await askGraphQL(stack.url, stack.adminKey, query)) as {
      apiKeys: { nodes: readonly [{ id: string }] };
    };
    const [{ id }] = apiKeys.nodes;
    const output = await commands.run('rotate-with-graphql', { ...env, NODE_ID: id });
    expect(output).toContain(`"id":"${id}"`);
    await expectBothToWork(issued, output);
  });
});

describe('database users', () => {
  let server: PrivatePostgres;
  beforeAll(async () => {
    server = await startPostgres();
    opened.defer(() => server.close());
    await query(server.url, "create role gateway login password 'old'");
    await query(server.url, 'create database gateway owner gateway');
    await (await openPostgres({ url: urlOf('gateway'), prepare: migrate })).close();
  });
  const urlOf = (user: string) => addressOf(server.url, { user, password: 'x', database: 'gateway' });

  test('take turns, and leave what they make to the first of them', async () => {
    const env = { SERVER_URL: server.url, NEW_PASSWORD: "it's new" };
    await commands.run('rotate-database-user', env);
    await query(urlOf('gateway_2'), 'create table made_later (n integer)');
    const made = "select tableowner from pg_tables where tablename = 'made_later'";
    expect(await query(urlOf('gateway_2'), made)).toEqual([{ tableowner: 'gateway' }]);
    await commands.run('retire-database-user', env);
    await expect(query(urlOf('gateway'), 'select 1')).rejects.toThrow('not permitted to log in');
    await withGateway({ DATABASE_URL: urlOf('gateway_2'), SEED_DEMO_KEYS: 'true' }, async (gateway) => {
      expect(await statusOf(chat(gateway, TEST_KEY))).toBe(200);
    });
  });

  test('that may do no more than they must are enough for a gateway', async () => {
    const env = { DATABASE_URL: addressOf(server.url, { database: 'gateway' }), APP_PASSWORD: 'new' };
    await commands.run('restrict-database-user', env);
    const url = urlOf('gateway_app');
    await withGateway({ DATABASE_URL: url, SEED_DEMO_KEYS: 'true' }, async (gateway) => {
      const secret = 'llmgw_admin123456789abcdef0123456789abcdef0123456789abcdef0123456789';
      const rotate = `mutation { createApiKey(input: { name: "x", scopes: [CHAT] }) { ... on IssuedApiKey { secret apiKey { id } } } }`;
      const { createApiKey } = (await askGraphQL(gateway.url, secret, rotate)) as {
        createApiKey: { secret: string; apiKey: { id: string } };
      };
      expect(await statusOf(chat(gateway, createApiKey.secret, { requestId: 'restricted' }))).toBe(200);
      await eventually('its row', async () => (await requestIds(secret, gateway.url)).includes('restricted'));
      const id = createApiKey.apiKey.id;
      for (const mutation of ['rotateApiKey', 'revokeApiKey']) {
        const done = await askGraphQL(
          gateway.url,
          secret,
          `mutation { ${mutation}(input: { id: "${id}" }) { __typename } }`,
        );
        expect(done[mutation]).toEqual({ __typename: expect.stringMatching(/^(IssuedApiKey|ApiKey)$/) });
      }
    });
    for (const sql of [
      'delete from usage_records',
      'drop table api_keys',
      'update usage_records set model = model',
    ]) {
      await expect(query(url, sql)).rejects.toThrow(/permission denied|must be owner/);
    }
  });
});

test('passwords of Redis are both good until the former one is taken away', async () => {
  const redis = await startRedis();
  opened.defer(() => redis.close());
  await redis.command('CONFIG', 'SET', 'requirepass', 'old');
  const env = { ...redisHost(redis.url), REDISCLI_AUTH: 'old', NEW_PASSWORD: 'new' };
  const letIn = () =>
    Promise.all(['old', 'new'].map((password) => isLetIn(addressOf(redis.url, { password }))));
  expect(await letIn()).toEqual([true, false]);
  await commands.run('add-redis-password', env);
  expect(await letIn()).toEqual([true, true]);
  await commands.run('remove-redis-password', env);
  expect(await letIn()).toEqual([false, true]);
});

function redisHost(url: string): Readonly<Record<string, string>> {
  const { hostname, port } = new URL(url);
  return { REDIS_HOST: hostname, REDIS_PORT: port };
}

async function isLetIn(url: string): Promise<boolean> {
  const redis = new Redis(url, { lazyConnect: true, retryStrategy: () => null });
  redis.on('error', () => undefined);
  try {
    return (await redis.ping()) === 'PONG';
  } catch {
    return false;
  } finally {
    redis.disconnect();
  }
}

describe('docs/operations.md', () => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/operations.md'), 'utf8');

  test('counts the connections of a replica right', async () => {
    const { secret } = await stack.createKey();
    await Promise.all(Array.from({ length: 200 }, () => statusOf(chat(stack, secret))));
    const rows = await query(
      stack.postgres.url,
      "select pid from pg_stat_activity where application_name = 'llm-gateway'",
    );
    // The operator's own pool is one more.
    expect(rows.length).toBeLessThanOrEqual(11 * (stack.replicas.length + 1));
    const clients = String(await stack.redis.command('CLIENT', 'LIST'))
      .trim()
      .split('\n');
    // The command is a client too.
    expect(clients.length - 1).toBe(3 * stack.replicas.length);
    expect(page).toContain('replicas × 11');
    expect(page).toContain('3 for each replica');
  });

  test('says what to do about every failure that README.md lists', () => {
    const readme = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8');
    const failures = (text: string) =>
      (text.split('## When something fails\n')[1]?.split('\n## ')[0] ?? '')
        .split('\n')
        .filter((line) => line.startsWith('| '))
        .map((line) => line.split('|')[1]?.trim());
    expect(failures(readme).length).toBeGreaterThan(6);
    expect(failures(page)).toEqual(expect.arrayContaining(failures(readme)));
  });

  test('shows no command as tested that has not been run here', () => {
    expect(commands.names.filter((name) => !commands.tried.has(name))).toEqual([]);
  });
});

async function query(url: string, sql: string, params: unknown[] = []): Promise<readonly unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql, params)).rows;
  } finally {
    await client.end();
  }
}
