import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { GatewayError } from '../../src/domain/error.ts';
import type { Database, Transaction } from '../../src/storage/database.ts';
import { migrate } from '../../src/storage/migrate.ts';
import { openPostgres } from '../../src/storage/postgres.ts';
import { type PrivatePostgres, startPostgres } from '../support/postgres.ts';

const AWAY = { code: 'storage_unavailable', retryAfterMs: 1000, owner: 'gateway' };

describe('PostgreSQL in trouble', () => {
  let server: PrivatePostgres;
  let database: Database;
  let states: ReturnType<typeof createStates>;

  beforeAll(async () => {
    server = await startPostgres({ maxConnections: 12 });
  });
  afterAll(() => server.close());
  beforeEach(async () => {
    states = createStates();
    database = await openPostgres({ url: server.url, maxConnections: 4, onStateChange: states.note });
  });
  afterEach(async () => {
    await server.thaw();
    await database.close();
  });

  const ask = () => database.query('select 1 as one');
  const failsAtOnce = async (call: Promise<unknown>) => {
    const failed = jest.fn<(error: unknown) => void>();
    call.catch(failed);
    await new Promise(setImmediate);
    expect(failed).toHaveBeenCalledWith(expect.objectContaining(AWAY));
  };

  test('stopped: calls fail, then fail without trying, and succeed by themselves once it is back', async () => {
    await ask();
    await server.stop();
    await expect(ask()).rejects.toMatchObject(AWAY);
    expect(database.state()).toBe('down');
    await failsAtOnce(ask());
    await failsAtOnce(database.transaction(async () => 1));
    await server.start();
    await states.until('up');
    expect(database.state()).toBe('up');
    expect(await ask()).toEqual([{ one: 1 }]);
    expect(states.seen).toEqual(['down', 'up']);
  });

  test('frozen: every call fails in bounded time, then without trying, and it all heals', async () => {
    await Promise.all([ask(), ask(), ask(), ask()]);
    await server.freeze();
    const calls = [ask(), database.transaction((transaction) => transaction.query('select 1'))];
    for (let i = 0; i < 20; i++) calls.push(ask());
    for (const call of await Promise.allSettled(calls)) {
      expect(call).toMatchObject({ status: 'rejected', reason: AWAY });
    }
    expect(database.state()).toBe('down');
    await failsAtOnce(ask());
    await server.thaw();
    await states.until('up');
    expect(await ask()).toEqual([{ one: 1 }]);
    expect(states.seen).toEqual(['down', 'up']);
  });

  test('frozen while nobody asks: noticed all the same', async () => {
    await server.freeze();
    await states.until('down');
    await failsAtOnce(ask());
  });

  test('frozen: closing does not wait for it', async () => {
    await Promise.all([ask(), ask()]);
    await server.freeze();
    await database.close();
    await failsAtOnce(ask());
  });

  test('killed connections cost no more than the calls on them', async () => {
    await Promise.all([ask(), ask(), ask()]);
    const sleeping = database.query('select pg_sleep(0.8)');
    const admin = await openPostgres({ url: server.url });
    await admin.query(
      'select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = $1',
      ['client backend'],
    );
    await admin.close();
    await expect(sleeping).rejects.toMatchObject(AWAY);
    await states.until('up');
    expect(await ask()).toEqual([{ one: 1 }]);
  });

  test('a slow statement is cut short by the server, and is no outage', async () => {
    await expect(database.query('select pg_sleep(30)')).rejects.toMatchObject({
      ...AWAY,
      detail: expect.stringContaining('57014'),
    });
    expect(states.seen).toEqual([]);
    const [row] = await database.query<{ running: number }>(
      `select count(*)::integer as running from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'`,
    );
    expect(row?.running).toBe(0);
  });

  test('a transaction may be given longer, and its limit does not stay with the connection', async () => {
    const single = await openPostgres({ url: server.url, maxConnections: 1 });
    try {
      const slow = single.transaction((transaction) => transaction.query('select pg_sleep(1.2)'), {
        timeoutMs: 20_000,
      });
      await expect(slow).resolves.toHaveLength(1);
      await expect(single.query('select pg_sleep(30)')).rejects.toMatchObject(AWAY);
      const tooSlow = single.transaction((transaction) => transaction.query('select pg_sleep(30)'));
      await expect(tooSlow).rejects.toMatchObject(AWAY);
      expect(await single.query('select 1 as one')).toEqual([{ one: 1 }]);
    } finally {
      await single.close();
    }
  });

  test('a pool whose connections are all busy refuses who has waited too long, and is no outage', async () => {
    const patient = { timeoutMs: 20_000 };
    const busy = [1, 2, 3, 4].map(() =>
      database.transaction((transaction) => transaction.query('select pg_sleep(1.5)'), patient),
    );
    await expect(ask()).rejects.toMatchObject({ ...AWAY, detail: expect.stringContaining('busy') });
    await Promise.all(busy);
    expect(await ask()).toEqual([{ one: 1 }]);
    expect(states.seen).toEqual([]);
  });

  test('a server without a free connection is busy, which ends by itself', async () => {
    const others = await Promise.all(
      [1, 2, 3].map(() => openPostgres({ url: server.url, maxConnections: 4 })),
    );
    const hold = (other: Database) =>
      Array.from({ length: 4 }, () => other.query('select pg_sleep(0.7)').catch(() => undefined));
    const held = Promise.all(others.flatMap(hold));
    const results = await Promise.allSettled([ask(), ask(), ask(), ask(), ask(), ask()]);
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject(AWAY);
    }
    await held;
    await Promise.all(others.map((other) => other.close()));
    if (database.state() === 'down') await states.until('up');
    expect(await ask()).toEqual([{ one: 1 }]);
  });

  test('a read-only server still answers reads', async () => {
    await database.query('create table if not exists notes (note text)');
    await database.query('alter database postgres set default_transaction_read_only = on');
    const replica = await openPostgres({ url: server.url });
    try {
      await expect(replica.query("insert into notes values ('a')")).rejects.toMatchObject(AWAY);
      expect(await replica.query('select note from notes')).toEqual([]);
      expect(replica.state()).toBe('up');
    } finally {
      await replica.transaction(async (transaction) => {
        await transaction.script('set transaction read write');
        await transaction.script('alter database postgres reset default_transaction_read_only');
      });
      await replica.close();
    }
  });

  describe('in the middle of a transaction', () => {
    const patient = { timeoutMs: 20_000 };
    const backendOf = async (transaction: Transaction) => {
      const [row] = await transaction.query<{ pid: number }>('select pg_backend_pid() as pid');
      if (!row) throw new Error('PostgreSQL named no process');
      return row.pid;
    };
    const failsAlone = async (work: (transaction: Transaction) => Promise<unknown>) => {
      await expect(database.transaction(work, patient)).rejects.toMatchObject(AWAY);
      await server.thaw();
      await states.until('up');
      expect(await ask()).toEqual([{ one: 1 }]);
    };

    test('killed: the statement fails, and nothing else happens', () =>
      failsAlone(async (transaction) => {
        const backend = await backendOf(transaction);
        const sleeping = transaction.query('select pg_sleep(8)');
        process.kill(backend, 'SIGKILL');
        await sleeping;
      }));

    test('killed between two statements: the next one fails, and nothing else happens', () =>
      failsAlone(async (transaction) => {
        const backend = await backendOf(transaction);
        await database.query('select pg_terminate_backend($1, 500)', [backend]);
        await new Promise(setImmediate);
        await transaction.query('select 1');
      }));

    test('frozen until it is given up: the statement fails, and nothing else happens', () =>
      failsAlone(async (transaction) => {
        const sleeping = transaction.query('select pg_sleep(8)');
        await server.freeze();
        await sleeping;
      }));
  });
});

describe('PostgreSQL that is away when the gateway starts', () => {
  test('opening succeeds, and it is prepared before anyone may use it once it is there', async () => {
    const server = await startPostgres();
    await server.stop();
    const states = createStates();
    const database = await openPostgres({ url: server.url, prepare: migrate, onStateChange: states.note });
    try {
      expect(database.state()).toBe('down');
      await expect(database.query('select 1')).rejects.toMatchObject(AWAY);
      await server.start();
      await states.until('up');
      expect(await database.query('select id from api_keys')).toEqual([]);
    } finally {
      await database.close();
      await server.close();
    }
  });

  test('a schema that is not this code’s keeps it down once it is there, and says why, once', async () => {
    const server = await startPostgres();
    await server.stop();
    const details: string[] = [];
    let tries = 0;
    let wake = () => {};
    const triedOften = new Promise<void>((resolve) => {
      wake = resolve;
    });
    const database = await openPostgres({
      url: server.url,
      async prepare(direct) {
        await direct.query('select 1');
        tries++;
        if (tries === 3) wake();
        throw new GatewayError('internal', 'too new', { detail: 'too new' });
      },
      onStateChange: (state, detail) => details.push(`${state}: ${detail}`),
    });
    try {
      await server.start();
      await triedOften;
      expect(database.state()).toBe('down');
      expect(details).toEqual([expect.stringMatching(/^down: .*ECONNREFUSED/), 'down: too new']);
    } finally {
      await database.close();
      await server.close();
    }
  });

  test('a schema that is not this code’s is no outage: opening fails with the reason', async () => {
    const server = await startPostgres();
    try {
      const bug = new Error('a bug');
      const refuse = () => Promise.reject(bug);
      await expect(openPostgres({ url: server.url, prepare: refuse })).rejects.toBe(bug);
      const newer = async (database: Database) => {
        await migrate(database);
        await database.query("insert into schema_migrations values (9999, 'later', '')");
        return migrate(database);
      };
      await expect(openPostgres({ url: server.url, prepare: newer })).rejects.toThrow(
        /run the newer gateway/,
      );
    } finally {
      await server.close();
    }
  });
});

/** The states that a database has reported, and a way to wait for the next. */
function createStates() {
  const seen: string[] = [];
  let wake = () => {};
  return {
    seen,
    note: (state: string) => {
      seen.push(state);
      wake();
    },
    async until(state: string) {
      while (seen.at(-1) !== state) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}
