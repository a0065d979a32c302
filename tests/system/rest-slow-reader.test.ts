import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type Deployment, startDeployment } from '../support/deployment.ts';
import { TEST_KEY } from '../support/gateway.ts';

const READERS = 4;
/** What garbage collection and start-up may add by themselves; unread, the streams would be several times that. */
const ROOM_BYTES = 96 * 2 ** 20;

let server: Deployment;
beforeAll(async () => {
  server = await startDeployment({
    env: { CLIENT_STALL_MS: '1500' },
    simulator: { parallel: READERS + 1 },
  });
});
afterAll(() => server.close());

test('clients that stop reading endless streams cost a bounded amount of memory, then are cut, and nobody else notices', async () => {
  const body = JSON.stringify({
    model: 'llama3.1:8b',
    messages: [{ role: 'user', content: 'Write, and never stop.' }],
    stream: true,
  });
  const head = (id: string) =>
    `POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${TEST_KEY}\r\n` +
    `Content-Type: application/json\r\nX-Client-Request-Id: ${id}\r\nContent-Length: ${body.length}\r\n\r\n`;
  const fast = { tokens: ['x'.repeat(20_000)], neverEnding: true };
  server.simulator.script(...Array.from({ length: READERS }, () => fast));
  const ids = Array.from({ length: READERS }, (_, index) => `slow-${index}`);
  const sockets = await Promise.all(ids.map(() => server.connect()));
  const before = server.residentBytes();
  for (const [index, socket] of sockets.entries()) {
    socket.send(head(ids[index] ?? '') + body);
    await socket.until(/"content":"x/);
    socket.stopReading();
  }

  const { secret } = await server.createKey();
  const headers = { authorization: `Bearer ${secret}` };
  let most = 0;
  const cut = server.simulator.until(({ aborted }) => aborted === READERS);
  let isCut = false;
  void cut.then(() => {
    isCut = true;
  });
  while (!isCut) {
    most = Math.max(most, server.residentBytes());
    const messages = [{ role: 'user', content: 'Say hello.' }];
    const other = await server.post('/v1/chat/completions', { model: 'llama3.1:8b', messages }, { headers });
    expect(other.status).toBe(200);
    await other.text();
  }
  expect(most - before).toBeLessThan(ROOM_BYTES);
  await server.simulator.until(({ inFlight }) => inFlight === 0);
  for (const id of ids) {
    expect(await server.row(id)).toMatchObject({ status: 'cancelled', estimated: true });
  }
  for (const socket of sockets) socket.destroy();
});
