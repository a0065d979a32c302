import { afterEach, describe, expect, test } from '@jest/globals';
import { type Simulator, type SimulatorOptions, startSimulator } from '../../../simulator/server.ts';
import { ask, askLines, chat, linesOf, type Reply, send } from './client.ts';

let simulator: Simulator;
const start = async (options: SimulatorOptions = {}) => {
  simulator = await startSimulator(options);
};
afterEach(() => simulator.close());

/** Holds a slot until it leaves. */
const occupy = (more: object = {}) =>
  send(simulator, '/api/chat', chat('[[sim:{"hangBeforeHeaders":true}]]', more));
const inFlight = (count: number) => simulator.until((stats) => stats.inFlight === count);
const queued = (count: number) => simulator.until((stats) => stats.queued === count);
const loaded = async () =>
  (
    JSON.parse((await ask(simulator, '/api/ps')).text) as {
      models: readonly { name: string; context_length: number }[];
    }
  ).models;
const loadedNames = async () => (await loaded()).map((model) => model.name).toSorted();
const errorOf = (reply: Reply) => [reply.status, (JSON.parse(reply.text) as { error: string }).error];

describe('slots', () => {
  test('a model works on one request at a time, and the others wait without a word', async () => {
    await start();
    const first = occupy();
    await inFlight(1);
    const second = ask(simulator, '/api/chat', chat());
    await queued(1);
    expect(simulator.stats()).toMatchObject({ inFlight: 1, queued: 1 });
    first.leave();
    expect((await second).status).toBe(200);
    expect(simulator.stats()).toMatchObject({ inFlight: 0, queued: 0, aborted: 1 });
  });

  test('waiting requests are served in their order', async () => {
    await start();
    const first = occupy();
    await inFlight(1);
    const order: number[] = [];
    const others = [0, 1, 2].map(async (number) => {
      await queued(number);
      const reply = ask(simulator, '/api/chat', chat());
      await simulator.until((stats) => stats.queued > number);
      return reply.then(() => order.push(number));
    });
    await queued(3);
    first.leave();
    await Promise.all(others);
    expect(order).toEqual([0, 1, 2]);
  });

  test('as many run together as are allowed', async () => {
    await start({ parallel: 3 });
    const running = [occupy(), occupy(), occupy(), occupy()];
    await simulator.until((stats) => stats.inFlight === 3 && stats.queued === 1);
    for (const one of running) one.leave();
    await simulator.until((stats) => stats.inFlight === 0 && stats.queued === 0 && stats.aborted === 4);
  });

  test('different models do not wait for each other', async () => {
    await start();
    occupy();
    occupy({ model: 'mistral:7b' });
    await inFlight(2);
  });

  test('a model that embeds always takes one request at a time', async () => {
    await start({ parallel: 4, models: [{ name: 'nomic-embed-text' }] });
    simulator.setDefault({ hangBeforeHeaders: true });
    const body = { model: 'nomic-embed-text', input: 'x' };
    send(simulator, '/api/embed', body);
    send(simulator, '/api/embed', body);
    await simulator.until((stats) => stats.inFlight === 1 && stats.queued === 1);
  });

  test('the queue behind a loaded model has no end', async () => {
    await start({ maxQueue: 2 });
    occupy();
    await inFlight(1);
    const waiting = Array.from({ length: 20 }, () => send(simulator, '/api/chat', chat()));
    await queued(20);
    for (const one of waiting) one.leave();
    await queued(0);
  });
});

describe('a client that leaves', () => {
  test('frees its slot at once while a token is awaited', async () => {
    await start();
    const slow = send(simulator, '/api/chat', chat('[[sim:{"tokens":9,"paceMs":3600000}]]'));
    await inFlight(1);
    const next = ask(simulator, '/api/chat', chat());
    await queued(1);
    slow.leave();
    expect((await next).status).toBe(200);
    expect(simulator.stats().aborted).toBe(1);
  });

  test('frees it in the middle of a stream, of an answer without streaming and of the prompt', async () => {
    await start();
    for (const script of [
      '{"tokens":9,"hangAfter":2}',
      '{"promptMs":3600000}',
      '{"tokens":9,"paceMs":3600000}',
    ]) {
      const one = send(
        simulator,
        '/api/chat',
        chat(`[[sim:${script}]]`, { stream: script.includes('hang') }),
      );
      await inFlight(1);
      one.leave();
      await inFlight(0);
    }
    await simulator.until((stats) => stats.aborted === 3);
  });

  test('is waited for while it does not read, so that nothing piles up', async () => {
    await start();
    // More than the system buffers on the way; a server that does not wait is through with it before the headers arrive.
    simulator.script({ tokens: Array.from({ length: 2000 }, () => 'x'.repeat(10_000)) });
    const slow = send(simulator, '/api/chat', chat());
    const response = await slow.response;
    response.on('error', () => undefined);
    expect(simulator.stats().inFlight).toBe(1);
    slow.leave();
    await inFlight(0);
  });

  test('frees it when it stops reading and goes', async () => {
    await start();
    const deaf = send(simulator, '/api/chat', chat('[[sim:{"hugeLineBytes":20000000}]]'));
    const response = await deaf.response;
    response.on('error', () => undefined);
    response.pause();
    deaf.leave();
    await simulator.until((stats) => stats.inFlight === 0 && stats.aborted === 1);
  });

  test('leaves the queue', async () => {
    await start();
    const first = occupy();
    await inFlight(1);
    const second = send(simulator, '/api/chat', chat());
    await queued(1);
    second.leave();
    await queued(0);
    expect(simulator.stats()).toMatchObject({ inFlight: 1, aborted: 1 });
    first.leave();
    await inFlight(0);
  });

  test('stops the load of its model, and the next one gets its own', async () => {
    await start({ loadMs: 500 });
    const first = send(simulator, '/api/chat', chat());
    await simulator.until((stats) => stats.loading === 1);
    // Longer than the first load would have taken, so that one which went on would be seen.
    const second = ask(simulator, '/api/chat', chat('[[sim:{"loadMs":700}]]', { model: 'mistral:7b' }));
    await queued(1);
    first.leave();
    expect((await second).status).toBe(200);
    expect(await loadedNames()).toEqual(['mistral:7b']);
    expect(simulator.stats()).toMatchObject({ loading: 0, queued: 0, inFlight: 0, aborted: 1 });
  });
});

describe('loading', () => {
  test('takes its time on first use only, and the answer says how long', async () => {
    await start({ loadMs: 60 });
    const cold = (await askLines(simulator, chat())).at(-1);
    const warm = (await askLines(simulator, chat())).at(-1);
    expect(cold?.['load_duration']).toBeGreaterThan(50_000_000);
    expect(warm?.['load_duration']).toBeLessThan(50_000_000);
    expect(warm?.['load_duration']).toBeGreaterThan(0);
    expect(cold?.['total_duration']).toBeGreaterThanOrEqual(Number(cold?.['load_duration']));
  });

  test('goes one model at a time, and a queue that is full gets the exact 503', async () => {
    await start({ maxQueue: 1, loadMs: 3_600_000 });
    const first = send(simulator, '/api/chat', chat());
    await simulator.until((stats) => stats.loading === 1);
    const second = send(simulator, '/api/chat', chat('', { model: 'mistral:7b' }));
    await queued(1);
    const third = await ask(simulator, '/api/chat', chat('', { model: 'phi3:mini' }));
    expect(errorOf(third)).toEqual([
      503,
      'server busy, please try again.  maximum pending requests exceeded',
    ]);
    expect(third.headers['retry-after']).toBeUndefined();
    first.leave();
    second.leave();
    await simulator.until((stats) => stats.loading === 0 && stats.queued === 0);
  });

  test('requests for a model that is being loaded are answered when it is', async () => {
    await start({ loadMs: 30 });
    const replies = await Promise.all([1, 2, 3].map(() => ask(simulator, '/api/chat', chat())));
    expect(replies.map((reply) => reply.status)).toEqual([200, 200, 200]);
  });

  test.each([{ options: { num_ctx: 8192 } }, { options: { num_gpu: 1 } }, { shift: false }])(
    'happens again for %j, after the requests that run',
    async (more) => {
      await start();
      const first = occupy();
      await inFlight(1);
      const second = ask(simulator, '/api/chat', chat('[[sim:{"loadMs":40}]]', more));
      await queued(1);
      expect(simulator.stats()).toMatchObject({ inFlight: 1, queued: 1, loading: 0 });
      first.leave();
      expect(linesOf(await second).at(-1)?.['load_duration']).toBeGreaterThan(30_000_000);
    },
  );

  test('does not happen again for options of sampling', async () => {
    await start({ loadMs: 0 });
    await ask(simulator, '/api/chat', chat());
    simulator.script({ loadMs: 3_600_000 });
    expect((await ask(simulator, '/api/chat', chat('', { options: { seed: 1, top_k: 3 } }))).status).toBe(
      200,
    );
  });

  test('the context is what was asked for, within what the model knows', async () => {
    await start();
    await ask(simulator, '/api/chat', chat('', { options: { num_ctx: 8192 } }));
    await ask(simulator, '/api/chat', chat('', { model: 'mistral:7b', options: { num_ctx: 1_000_000 } }));
    const contexts = (await loaded()).map((model) => [model.name, model.context_length]).toSorted();
    expect(contexts).toEqual([
      ['llama3.1:8b', 8192],
      ['mistral:7b', 32_768],
    ]);
  });

  test('makes room: the fourth model puts out the one that would leave first, once it is idle', async () => {
    await start();
    await ask(simulator, '/api/chat', chat('', { model: 'mistral:7b', keep_alive: 60 }));
    await ask(simulator, '/api/chat', chat('', { model: 'phi3:mini' }));
    await ask(simulator, '/api/chat', chat('', { model: 'qwen2.5:7b' }));
    await ask(simulator, '/api/chat', chat());
    expect(await loadedNames()).toEqual(['llama3.1:8b', 'phi3:mini', 'qwen2.5:7b']);
  });

  test('waits for room while every model is in use', async () => {
    await start({ maxLoaded: 1 });
    const first = occupy();
    await inFlight(1);
    const second = ask(simulator, '/api/chat', chat('', { model: 'mistral:7b' }));
    await queued(1);
    expect(simulator.stats()).toMatchObject({ inFlight: 1, queued: 1, loading: 0 });
    first.leave();
    expect((await second).status).toBe(200);
    expect(await loadedNames()).toEqual(['mistral:7b']);
  });
});

describe('keep_alive', () => {
  const request = (more: object) => ask(simulator, '/api/chat', { model: 'llama3.1:8b', ...more });

  test('a request without messages loads the model, and answers with one object even as a stream', async () => {
    await start();
    const reply = await request({});
    expect(reply.headers['content-type']).toBe('application/json; charset=utf-8');
    expect(linesOf(reply)).toMatchObject([
      { message: { role: 'assistant', content: '' }, done: true, done_reason: 'load' },
    ]);
    expect(await loadedNames()).toEqual(['llama3.1:8b']);
  });

  test('with 0 and no messages it unloads the model, loaded or not', async () => {
    await start();
    await request({});
    for (let i = 0; i < 2; i++) {
      expect(linesOf(await request({ keep_alive: 0 }))).toMatchObject([
        { done: true, done_reason: 'unload' },
      ]);
      expect(await loadedNames()).toEqual([]);
    }
    const generated = await ask(simulator, '/api/generate', { model: 'llama3.1:8b', keep_alive: 0 });
    expect(linesOf(generated)).toMatchObject([{ response: '', done_reason: 'unload' }]);
  });

  test('0 on a real request unloads the model after it', async () => {
    await start();
    await ask(simulator, '/api/chat', chat('', { keep_alive: '0s' }));
    expect(await loadedNames()).toEqual([]);
  });

  test.each([
    ['1h30m', 5400],
    [60, 60],
    [undefined, 300],
  ])('%j is when the model leaves, counted from its last request', async (keepAlive, seconds) => {
    await start();
    await ask(simulator, '/api/chat', chat('', { keep_alive: keepAlive }));
    const { models } = JSON.parse((await ask(simulator, '/api/ps')).text) as {
      models: { expires_at: string }[];
    };
    const left = (Date.parse(models[0]?.expires_at ?? '') - Date.now()) / 1000;
    expect(left).toBeGreaterThan(seconds - 30);
    expect(left).toBeLessThanOrEqual(seconds);
  });

  test('a model that nobody uses leaves by itself, and is loaded again', async () => {
    await start({ keepAliveMs: 20, loadMs: 10 });
    await ask(simulator, '/api/chat', chat());
    // Nothing on the wire announces it, so the test asks until it is so.
    while ((await loaded()).length > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect((await askLines(simulator, chat())).at(-1)?.['load_duration']).toBeGreaterThan(9_000_000);
  });
});
