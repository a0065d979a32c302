import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import { type Simulator, type SimulatorOptions, startSimulator } from '../../simulator/server.ts';
import type { ChatProvider } from '../../src/core/ports.ts';
import { createOllamaFleet, type FleetOptions } from '../../src/providers/ollama/fleet.ts';
import { loadModel } from '../support/caller.ts';
import { createTestClock, type TestClock } from '../support/clock.ts';
import { createPipeline } from '../support/pipeline.ts';
import { drain, type LogLine, never, recordTelemetry, wallClock } from '../support/provider.ts';
import { chatRequest } from '../unit/ollama/requests.ts';

const closers: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function simulate(options: SimulatorOptions = {}): Promise<Simulator> {
  const simulator = await startSimulator(options);
  closers.push(() => simulator.close());
  return simulator;
}

function createFleet(urls: readonly string[], options: Partial<FleetOptions> = {}) {
  const telemetry = recordTelemetry();
  const fleet = createOllamaFleet({ urls, clock: wallClock, telemetry, pollMs: 20, ...options });
  closers.push(() => fleet.close());
  return { fleet, telemetry };
}

function health(fleet: ChatProvider): readonly boolean[] {
  return fleet.backends().map((backend) => backend.healthy);
}

const says =
  (message: string, backend = 'ollama-1') =>
  (line: LogLine) =>
    line.message === message && line.fields['backend'] === backend;

/** A server of a version, and of a habit, that the simulator does not play. */
async function serve(answers: Readonly<Record<string, unknown>>): Promise<{ url: string; asked: string[] }> {
  const asked: string[] = [];
  const server: Server = createServer((request, response) => {
    const path = request.url ?? '';
    asked.push(path);
    request.resume();
    response.setHeader('content-type', 'application/json');
    response.statusCode = path in answers ? 200 : 404;
    response.end(JSON.stringify(answers[path] ?? { error: 'not found' }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

interface Front {
  readonly url: string;
  /** What becomes of whoever only looks. */
  looks: 'answered' | 'refused' | 'ignored';
}

/** Stands before a backend, and lets requests for answers pass. */
async function stand(backend: string): Promise<Front> {
  const server = createServer((asked, answer) => {
    if (front.looks !== 'answered' && asked.url !== '/api/chat') {
      if (front.looks === 'refused') answer.writeHead(500).end();
      return;
    }
    const { method = 'GET', headers } = asked;
    const passed = request(backend + asked.url, { method, headers }, (response) => {
      answer.writeHead(response.statusCode ?? 502, response.headers);
      response.on('error', () => answer.destroy()).pipe(answer);
    });
    passed.on('error', () => answer.destroy());
    answer.on('close', () => passed.destroy());
    asked.pipe(passed);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const front: Front = { url, looks: 'answered' };
  return front;
}

/** An address where nobody listens. */
async function nowhere(): Promise<string> {
  const simulator = await startSimulator();
  await simulator.close();
  return simulator.url;
}

describe('health', () => {
  test('backends have labels in the order of their addresses, and none shows its address', async () => {
    const { fleet, telemetry } = createFleet([await nowhere(), (await simulate()).url]);
    await fleet.refresh();
    expect(fleet.backends().map((backend) => backend.id)).toEqual(['ollama-1', 'ollama-2']);
    expect(health(fleet)).toEqual([false, true]);
    expect(JSON.stringify([fleet.backends(), telemetry.lines])).not.toContain('127.0.0.1');
  });

  test('a backend that goes and comes back is noticed by itself, with one log line each way', async () => {
    const simulator = await simulate();
    const { fleet, telemetry } = createFleet([simulator.url]);
    await telemetry.line(says('a backend is up'));
    await simulator.stop();
    await telemetry.line(says('a backend is down'));
    expect(health(fleet)).toEqual([false]);
    expect(fleet.backends()[0]?.models.has('llama3.1:8b')).toBe(true);
    await simulator.restart();
    await telemetry.line(says('a backend is up'));
    expect(health(fleet)).toEqual([true]);
    expect(telemetry.lines).toHaveLength(3);
  });

  test('a request that finds nobody there takes the backend out at once', async () => {
    const simulator = await simulate();
    const { fleet, telemetry } = createFleet([simulator.url], { clock: createTestClock() });
    await fleet.refresh();
    await simulator.stop();
    const { error } = await drain(fleet.chat('ollama-1', chatRequest(), never()));
    expect(error?.code).toBe('upstream_unavailable');
    expect(health(fleet)).toEqual([false]);
    expect(telemetry.lines.map((line) => line.message)).toEqual(['a backend is up', 'a backend is down']);
  });

  test('a request that is reset does not: the backend is still there', async () => {
    const simulator = await simulate();
    const { fleet } = createFleet([simulator.url], { clock: createTestClock() });
    await fleet.refresh();
    simulator.script({ resetAt: 'headers' });
    await drain(fleet.chat('ollama-1', chatRequest(), never()));
    expect(health(fleet)).toEqual([true]);
  });

  test('a frozen backend is down after two looks without an answer, and delays no other', async () => {
    const frozen = await simulate();
    const other = await simulate();
    const { fleet, telemetry } = createFleet([frozen.url, other.url], { probeTimeoutMs: 50 });
    await fleet.refresh();
    expect(health(fleet)).toEqual([true, true]);
    frozen.freeze();
    await other.stop();
    await telemetry.line(says('a backend is down', 'ollama-2'));
    await other.restart();
    await telemetry.line(says('a backend is up', 'ollama-2'));
    await telemetry.line(says('a backend is down'));
    frozen.thaw();
    await telemetry.line((line) => telemetry.lines.indexOf(line) > 1 && says('a backend is up')(line));
  });

  test('one look without an answer is not an outage, two in a row are', async () => {
    const simulator = await simulate();
    const clock = createTestClock();
    const { fleet } = createFleet([simulator.url], { clock, pollMs: 2000, probeTimeoutMs: 1000 });
    await fleet.refresh();
    simulator.freeze();
    await clock.advance(3000);
    expect(health(fleet)).toEqual([true]);
    await clock.advance(3000);
    expect(health(fleet)).toEqual([false]);
  });

  test('a backend whose answers go on is busy and not away, until they stop', async () => {
    const simulator = await simulate({ script: { tokens: 100_000, paceMs: 5 } });
    const front = await stand(simulator.url);
    const clock = createTestClock();
    const { fleet } = createFleet([front.url], { clock, pollMs: 2000, probeTimeoutMs: 1000 });
    await fleet.refresh();
    const leaving = new AbortController();
    const answer = fleet.chat('ollama-1', chatRequest(), leaving.signal)[Symbol.asyncIterator]();
    front.looks = 'ignored';
    for (let look = 0; look < 4; look++) {
      await clock.advance(2000);
      await answer.next();
      await answer.next();
      await clock.advance(1000);
      expect(health(fleet)).toEqual([true]);
    }
    leaving.abort(new Error('left'));
    await answer.next().catch(() => undefined);
    await clock.advance(6000);
    expect(health(fleet)).toEqual([false]);
  });

  describe('twenty seconds of silence', () => {
    const left = new Error('left');
    const seconds = async (clock: TestClock, count: number) => {
      for (let n = 0; n < count; n++) await clock.advance(1000);
    };
    const watched = async (urls: readonly string[]) => {
      const clock = createTestClock();
      const { fleet } = createFleet(urls, { clock, pollMs: 2000, probeTimeoutMs: 1000 });
      await fleet.refresh();
      return { fleet, clock };
    };

    test('send requests whose answers have not begun elsewhere, and no others', async () => {
      const [silent, other] = [await simulate({ parallel: 2 }), await simulate()];
      await loadModel(silent);
      const { fleet, clock } = await watched([silent.url, other.url]);
      silent.setDefault({ hangAfter: 2 });
      const leaving = new AbortController();
      const begun = fleet.chat('ollama-1', chatRequest(), leaving.signal)[Symbol.asyncIterator]();
      await begun.next();
      const rest = drain({ [Symbol.asyncIterator]: () => begun });
      silent.setDefault({ hangBeforeHeaders: true });
      const outcome = drain(createPipeline(fleet).run());
      await silent.until((stats) => stats.inFlight === 2);
      silent.freeze();
      await seconds(clock, 20);
      expect(other.stats().requests).toBe(0);
      await seconds(clock, 10);
      const { events, error } = await outcome;
      expect(error).toBeUndefined();
      expect(events).toContainEqual(expect.objectContaining({ type: 'started', backend: 'ollama-2' }));
      leaving.abort(left);
      await expect(rest).rejects.toBe(left);
    });

    test.each(['answered', 'refused'] as const)('are over with a look that is %s', async (looks) => {
      const simulator = await simulate({ script: { hangBeforeHeaders: true } });
      const front = await stand(simulator.url);
      const { fleet, clock } = await watched([front.url]);
      const leaving = new AbortController();
      const outcome = drain(fleet.chat('ollama-1', chatRequest(), leaving.signal));
      for (let round = 0; round < 3; round++) {
        front.looks = 'ignored';
        await seconds(clock, 12);
        front.looks = looks;
        await seconds(clock, 1);
        await fleet.refresh();
      }
      expect(fleet.backends()[0]?.inFlight).toBe(1);
      leaving.abort(left);
      await expect(outcome).rejects.toBe(left);
    });
  });

  test('nothing is asked any more after a close', async () => {
    const { url, asked } = await serve({ '/api/version': { version: '1' } });
    const clock = createTestClock();
    const { fleet } = createFleet([url], { clock });
    await fleet.refresh();
    await fleet.close();
    const before = asked.length;
    await clock.advance(60_000);
    expect(asked).toHaveLength(before);
    expect(clock.pending()).toBe(0);
  });

  test('what says no version is no Ollama', async () => {
    const { url } = await serve({ '/api/version': ['1'], '/api/ps': { models: [] } });
    const { fleet } = createFleet([url]);
    await fleet.refresh();
    expect(health(fleet)).toEqual([false]);
  });
});

describe('the catalogue', () => {
  test('a model pulled a moment ago is there after a refresh, and looks within a second are one', async () => {
    const simulator = await simulate();
    const clock = createTestClock();
    const { fleet } = createFleet([simulator.url], { clock });
    await fleet.refresh();
    simulator.addModel({ name: 'new:1b' });
    await fleet.refresh();
    expect(fleet.backends()[0]?.models.has('new:1b')).toBe(false);
    await clock.advance(1000);
    await fleet.refresh();
    expect(fleet.backends()[0]?.models.has('new:1b')).toBe(true);
  });

  test('a server that tells capabilities only one model at a time is asked once for each', async () => {
    const { url, asked } = await serve({
      '/api/version': { version: '0.9.0' },
      '/api/ps': { models: [] },
      '/api/tags': { models: [{ name: 'old:7b', digest: 'a'.repeat(64), details: { family: 'llama' } }] },
      '/api/show': {
        capabilities: ['completion', 'tools'],
        model_info: { 'general.architecture': 'llama', 'llama.context_length': 8192 },
      },
    });
    const clock = createTestClock();
    const { fleet } = createFleet([url], { clock });
    await fleet.refresh();
    await clock.advance(1000);
    await fleet.refresh();
    expect(fleet.backends()[0]?.models.get('old:7b')).toMatchObject({
      family: 'llama',
      capabilities: ['completion', 'tools'],
      contextLength: 8192,
    });
    expect(asked.filter((path) => path === '/api/show')).toHaveLength(1);
    expect(asked.filter((path) => path === '/api/tags')).toHaveLength(2);
  });

  test('a listing that cannot be had leaves what was known', async () => {
    const answers: Record<string, unknown> = {
      '/api/version': { version: '1' },
      '/api/ps': { models: [{ name: 'm:1b' }] },
      '/api/tags': { models: [{ name: 'm:1b', capabilities: ['completion'] }] },
    };
    const { url } = await serve(answers);
    const clock = createTestClock();
    const { fleet } = createFleet([url], { clock });
    await fleet.refresh();
    answers['/api/tags'] = 'broken';
    delete answers['/api/ps'];
    await clock.advance(1000);
    await fleet.refresh();
    expect(fleet.backends()[0]).toMatchObject({ healthy: true });
    expect([...(fleet.backends()[0]?.models.keys() ?? [])]).toEqual(['m:1b']);
    expect([...(fleet.backends()[0]?.loaded ?? [])]).toEqual(['m:1b']);
  });

  test('an address may have a path in front of Ollama’s own', async () => {
    const { url } = await serve({ '/behind/proxy/api/version': { version: '1' } });
    const { fleet } = createFleet([`${url}/behind/proxy/`]);
    await fleet.refresh();
    expect(health(fleet)).toEqual([true]);
  });
});
