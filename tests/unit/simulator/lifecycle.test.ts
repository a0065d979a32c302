import { Agent, get, request } from 'node:http';
import { connect } from 'node:net';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { type Simulator, startSimulator } from '../../../simulator/server.ts';
import { ask, chat, contentOf, linesOf, send } from './client.ts';

let simulator: Simulator;
beforeEach(async () => {
  simulator = await startSimulator();
});
afterEach(() => simulator.close());

test('stop ends listener and streams at once, and restart listens at the same address with nothing loaded', async () => {
  const stream = send(simulator, '/api/chat', chat('[[sim:{"tokens":9,"hangAfter":1}]]'));
  const response = await stream.response;
  const broken = new Promise<void>((resolve) => response.once('error', () => resolve()));
  response.resume();
  const { url } = simulator;
  await simulator.stop();
  await broken;
  await expect(ask(simulator, '/api/version')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  expect(simulator.stats().inFlight).toBe(0);

  await simulator.restart();
  expect(simulator.url).toBe(url);
  expect(JSON.parse((await ask(simulator, '/api/ps')).text)).toEqual({ models: [] });
  expect((await ask(simulator, '/api/chat', chat())).status).toBe(200);
});

test('stop and restart may be called twice', async () => {
  await simulator.stop();
  await simulator.stop();
  await simulator.restart();
  await simulator.restart();
  expect((await ask(simulator, '/')).status).toBe(200);
});

test('frozen, it takes connections and answers nothing until it thaws', async () => {
  simulator.freeze();
  let answered = false;
  const reply = ask(simulator, '/api/version').finally(() => {
    answered = true;
  });
  const left = send(simulator, '/api/version', undefined);
  await new Promise<void>((resolve) =>
    left.request.once('socket', (socket) => socket.once('connect', resolve)),
  );
  expect(answered).toBe(false);
  left.leave();
  simulator.thaw();
  expect((await reply).status).toBe(200);
});

test('frozen, a running stream stands still', async () => {
  const stream = send(simulator, '/api/chat', chat('[[sim:{"tokens":400,"paceMs":2}]]'));
  const response = await stream.response;
  let lines = 0;
  const seen = (count: number) =>
    new Promise<void>((resolve) => {
      const check = () => {
        if (lines < count) return;
        response.off('data', check);
        resolve();
      };
      response.on('data', check);
    });
  response.on('data', (piece: Buffer) => {
    lines += piece.toString().split('\n').length - 1;
  });
  await seen(3);
  simulator.freeze();
  // What had left before the freeze arrives within a turn or two; then the count stands.
  await new Promise((resolve) => setTimeout(resolve, 50));
  const standing = lines;
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(lines).toBe(standing);
  simulator.thaw();
  await seen(401);
});

test('it can be stopped while frozen', async () => {
  simulator.freeze();
  const stuck = ask(simulator, '/api/version');
  const ended = expect(stuck).rejects.toThrow();
  await new Promise((resolve) => setTimeout(resolve, 20));
  await simulator.stop();
  await ended;
});

test('models come and go', async () => {
  simulator.addModel({ name: 'tiny', capabilities: ['completion'], contextLength: 512 });
  expect(contentOf(linesOf(await ask(simulator, '/api/chat', chat('Hi', { model: 'tiny' }))))).toMatch(
    /as tiny:/,
  );
  expect(simulator.removeModel('Tiny:latest')).toBe(true);
  expect(simulator.removeModel('tiny')).toBe(false);
  expect((await ask(simulator, '/api/chat', chat('Hi', { model: 'tiny' }))).status).toBe(404);
});

test('unloadAll empties the memory', async () => {
  await ask(simulator, '/api/chat', chat());
  simulator.unloadAll();
  expect(JSON.parse((await ask(simulator, '/api/ps')).text)).toEqual({ models: [] });
});

test('a connection is kept for the next request', async () => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ports = new Set<number | undefined>();
  for (let i = 0; i < 3; i++) {
    await new Promise<void>((resolve, reject) => {
      get(`${simulator.url}/api/version`, { agent }, (response) => {
        ports.add(response.socket.localPort);
        response.resume().once('end', resolve);
      }).once('error', reject);
    });
  }
  agent.destroy();
  expect(ports.size).toBe(1);
});

test('until tells of a predicate that throws instead of waiting for ever', async () => {
  const waiting = simulator.until((stats) => {
    if (stats.requests === 1) throw new Error('enough');
    return false;
  });
  const refused = expect(waiting).rejects.toThrow('enough');
  await ask(simulator, '/api/chat', chat());
  await refused;
});

test('a client that leaves in the middle of its own body is counted, and nothing else happens', async () => {
  const half = request(`${simulator.url}/api/chat`, { method: 'POST', headers: { 'Content-Length': 1000 } });
  half.on('error', () => undefined);
  half.write('{"model":');
  await simulator.until((stats) => stats.requests === 1);
  half.destroy();
  await simulator.until((stats) => stats.aborted === 1);
  expect((await ask(simulator, '/api/chat', chat())).status).toBe(200);
});

test('what is not HTTP is hung up on', async () => {
  const { port } = new URL(simulator.url);
  const socket = connect(Number(port), '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write('\u0000\u0001 nothing\r\n\r\n');
  await new Promise<void>((resolve) => socket.resume().once('close', () => resolve()));
  expect((await ask(simulator, '/')).status).toBe(200);
});
