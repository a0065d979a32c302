import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, expect, test } from '@jest/globals';
import { headerLines, writeHeadWith } from '../../../src/http/head.ts';

const OWN = ['X-Frame-Options', 'DENY', 'x-count', '3'];

const opened: Server[] = [];
afterEach(() => {
  for (const server of opened.splice(0)) server.close().closeAllConnections();
});

/** All that comes back for these requests on one connection, with the lines of each head in the order of the alphabet. */
async function answersTo(requests: string, listener: RequestListener): Promise<readonly string[]> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  opened.push(server);
  await once(server, 'listening');
  const address = server.address();
  if (typeof address !== 'object' || !address) throw new Error('there is no port');
  const socket = connect(address.port, '127.0.0.1');
  socket.end(requests);
  const whole = await text(socket);
  return whole
    .split(/(?=HTTP\/1\.1 )/)
    .map((answer) => answer.replace(/^Date: .*\r\n/m, ''))
    .map((answer) => {
      const end = answer.indexOf('\r\n\r\n');
      const [status, ...lines] = answer.slice(0, end).split('\r\n');
      return [status, ...lines.sort(), answer.slice(end)].join('\r\n');
    });
}

const BODY = 'Grüße';
const LENGTH = ['Content-Length', String(Buffer.byteLength(BODY))];

test.each([
  ['a connection that goes on', 200, LENGTH, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['a connection that ends', 200, LENGTH, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'],
  ['HTTP/1.0', 200, LENGTH, 'GET / HTTP/1.0\r\n\r\n'],
  ['a body in chunks', 200, ['x-request-id', 'a'], 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['a head alone', 404, LENGTH, 'HEAD / HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['no body', 204, [], 'OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n'],
])('for %s, the answer is that of Node with all headers', async (_what, status, headers, request) => {
  const answered = await answersTo(request.repeat(2), (_req, res) => {
    writeHeadWith(res, status, [...headers], headerLines(OWN));
    res.end(status === 204 ? undefined : BODY);
  });
  const expected = await answersTo(request.repeat(2), (_req, res) => {
    res.writeHead(status, [...headers, ...OWN]);
    res.end(status === 204 ? undefined : BODY);
  });
  expect(answered).toEqual(expected);
  expect(answered[0]).toContain('\r\nX-Frame-Options: DENY\r\n');
});

test('a head that is sent before there is a body has all of them, too', async () => {
  const [answer] = await answersTo('GET / HTTP/1.1\r\nHost: a\r\n\r\n', (_req, res) => {
    writeHeadWith(res, 200, ['x-request-id', 'a'], headerLines(OWN));
    res.flushHeaders();
    res.end(BODY);
  });
  expect(answer).toContain('\r\nx-count: 3\r\n');
  expect(answer).toContain(`\r\n${BODY}\r\n`);
});

test('what has come from somebody is still looked at by Node', async () => {
  let refused: unknown;
  await answersTo('GET / HTTP/1.1\r\nHost: a\r\n\r\n', (_req, res) => {
    try {
      writeHeadWith(res, 200, ['x-request-id', 'a\r\nSet-Cookie: b'], headerLines(OWN));
    } catch (thrown) {
      refused = thrown;
    }
    res.destroy();
  });
  expect(refused).toMatchObject({ code: 'ERR_INVALID_CHAR' });
});
