import { once } from 'node:events';
import { type ClientHttp2Session, connect as connectHttp2, constants } from 'node:http2';
import { get as getHttps } from 'node:https';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { WebSocket } from 'ws';
import { type Deployment, startDeployment } from '../support/deployment.ts';
import { eventually } from '../support/eventually.ts';
import { TEST_KEY } from '../support/gateway.ts';
import { type Nginx, type NginxTls, startNginx } from '../support/nginx.ts';
import { openRawSocket } from '../support/raw-socket.ts';

/** nginx started with `tls.conf`, in front of one gateway. */

let deployment: Deployment;
let nginx: Nginx;
let tls: NginxTls;
const opened = new AsyncDisposableStack();

beforeAll(async () => {
  deployment = await startDeployment({ env: { TRUSTED_PROXIES: '1' } });
  opened.defer(() => deployment.close());
  nginx = await startNginx({ upstreams: [`127.0.0.1:${deployment.port}`], tls: true });
  opened.defer(() => nginx.stop());
  if (nginx.tls === undefined) throw new Error('nginx was started without TLS');
  tls = nginx.tls;
}, 60_000);
afterAll(() => opened.disposeAsync());

interface Answer {
  readonly status: number;
  /** Names and values in turn, lower case. */
  readonly headers: readonly string[];
  readonly body: string;
}

async function get(path: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
  const [response] = await once(
    getHttps(nginx.url + path, { ca: tls.certificate, headers, agent: false }),
    'response',
  );
  const body = (await response.setEncoding('utf8').toArray()).join('');
  return {
    status: response.statusCode,
    headers: response.rawHeaders.map((text: string) => text.toLowerCase()),
    body,
  };
}

/** @returns the protocol that was agreed on, or the code of the failure. */
async function handshake(
  options: ConnectionOptions,
): Promise<{ readonly agreed: string | null; readonly socket: TLSSocket }> {
  const socket = connectTls({ host: '127.0.0.1', port: nginx.port, ca: tls.certificate, ...options });
  const failed = once(socket, 'error').then(([error]) => String(error.code));
  const agreed = await Promise.race([once(socket, 'secureConnect').then(() => socket.getProtocol()), failed]);
  return { agreed, socket };
}

describe('TLS', () => {
  test.each(['TLSv1.2', 'TLSv1.3'] as const)('of version %s is spoken', async (version) => {
    const { agreed, socket } = await handshake({ minVersion: version, maxVersion: version });
    expect(agreed).toBe(version);
    expect(socket.getCipher().name).toMatch(/GCM|CHACHA20/);
    socket.destroy();
  });

  test.each([
    ['versions before 1.2', { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT:@SECLEVEL=0' }],
    [
      'ciphers without authentication of what they encrypt',
      { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA' },
    ],
  ] as const)('is refused to %s', async (_case, options) => {
    const { agreed } = await handshake(options);
    expect(agreed).toMatch(/^ERR_SSL_/);
  });

  test('gives no tickets, whose key would have to be kept', async () => {
    const { socket } = await handshake({ maxVersion: 'TLSv1.2' });
    expect(socket.getTLSTicket()).toBeUndefined();
    socket.destroy();
  });
});

describe('a stream over HTTP/2', () => {
  let session: ClientHttp2Session;
  beforeAll(async () => {
    session = connectHttp2(nginx.url, { ca: tls.certificate });
    await once(session, 'connect');
  });
  afterAll(() => session.destroy());

  test('begins at the client while the model is still at work, and ends there when the client leaves', async () => {
    const script = JSON.stringify({ tokens: 20, hangAfter: 5 });
    const stream = session.request({
      ':method': 'POST',
      ':path': '/v1/chat/completions',
      authorization: `Bearer ${TEST_KEY}`,
      'content-type': 'application/json',
    });
    stream.end(
      JSON.stringify({
        model: 'llama3.1:8b',
        stream: true,
        messages: [{ role: 'user', content: `Hello [[sim:${script}]]` }],
      }),
    );
    const [headers] = await once(stream, 'response');
    expect(headers).toMatchObject({ ':status': 200, 'strict-transport-security': 'max-age=63072000' });
    let heard = '';
    stream.setEncoding('utf8').on('data', (text: string) => {
      heard += text;
    });
    await eventually('three events', () => heard.split('\n\n').length > 3);
    expect(deployment.simulator.stats().inFlight).toBe(1);
    stream.close(constants.NGHTTP2_CANCEL);
    await deployment.simulator.until(({ inFlight }) => inFlight === 0);
  });

  test('does not stand in the way of others on its connection', async () => {
    const streams = Array.from({ length: 100 }, () => session.request({ ':path': '/health' }));
    const responses = await Promise.all(streams.map((stream) => once(stream, 'response')));
    expect(responses.map(([headers]) => headers[':status'])).toEqual(Array(100).fill(200));
    for (const stream of streams) stream.close();
  });
});

test('WebSockets are opened over HTTPS', async () => {
  const socket = new WebSocket(`${nginx.url.replace('https', 'wss')}/graphql`, ['graphql-transport-ws'], {
    ca: tls.certificate,
  });
  await once(socket, 'open');
  socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${TEST_KEY}` } }));
  const [message] = await once(socket, 'message');
  expect(JSON.parse(String(message))).toMatchObject({ type: 'connection_ack' });
  socket.terminate();
});

test.each(['/health', '/metrics', '/v1/models'])(
  '%s asks browsers to come by HTTPS only, once',
  async (path) => {
    const { headers } = await get(path);
    expect(headers.filter((name) => name === 'strict-transport-security')).toHaveLength(1);
  },
);

test('hosts that are not ours are dropped without a word', async () => {
  const { socket } = await handshake({});
  let heard = '';
  socket.on('data', (data) => {
    heard += data;
  });
  // Reset, which is an error and a close.
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.write('GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n');
  await closed;
  expect(heard).toBe('');
  const client = await openRawSocket(Number(new URL(tls.httpUrl).port));
  client.send('GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n');
  expect(await client.closed()).toBe('');
});

test('the access log says by which protocol a request came', async () => {
  await get('/health', { 'x-client-request-id': 'by-https' });
  const line = await nginx.untilLogged(({ request_id }) => request_id === 'by-https');
  expect(line).toMatchObject({ protocol: 'HTTP/1.1', path: '/health', status: 200 });
  await nginx.untilLogged(({ protocol, path }) => protocol === 'HTTP/2.0' && path === '/v1/chat/completions');
});

describe('plain HTTP', () => {
  test('leads to HTTPS, to the same path', async () => {
    const response = await fetch(`${tls.httpUrl}/v1/models?limit=1`, { redirect: 'manual' });
    expect(response.status).toBe(308);
    expect(response.headers.get('location')).toBe(`${nginx.url}/v1/models?limit=1`);
    expect(response.headers.get('strict-transport-security')).toBeNull();
  });

  test('with a key is refused, as that key has been seen by whoever wanted to', async () => {
    const response = await fetch(`${tls.httpUrl}/v1/models`, {
      headers: { authorization: `Bearer ${TEST_KEY}` },
    });
    expect(response.status).toBe(403);
    expect(await response.json()).toMatchObject({ error: { message: expect.stringContaining('Use https') } });
  });

  test('answers for the health of nginx', async () => {
    expect((await fetch(`${tls.httpUrl}/nginx-health`)).status).toBe(200);
  });

  test('on the port of HTTPS is refused in words', async () => {
    const client = await openRawSocket(nginx.port);
    client.send('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
    expect(await client.until(/\}\}/)).toMatch(/^HTTP\/1\.1 400 .*invalid_request_error/s);
    client.destroy();
  });
});
