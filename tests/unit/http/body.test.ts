import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { readJsonBody } from '../../../src/http/body.ts';
import { JsonScan } from '../../../src/http/json-bounds.ts';

const CHUNK_BYTES = 64 * 1024;

/** A request whose body has come in, chunk by chunk, before anybody reads it. */
function received(body: string): IncomingMessage {
  const request = new IncomingMessage(new Socket());
  const bytes = Buffer.from(body);
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) request.push(bytes.subarray(at, at + CHUNK_BYTES));
  request.push(null);
  return request;
}

const read = (request: IncomingMessage, maxBytes = 10_000_000) =>
  readJsonBody(request, maxBytes, new JsonScan(), () => undefined);

describe('the body of a request', () => {
  const text = 'x'.repeat(20 * CHUNK_BYTES);
  const body = JSON.stringify({ variables: { text } });

  test('is read a chunk a turn, so that others have theirs', async () => {
    const request = received(body);
    let chunks = 0;
    request.on('data', () => chunks++);
    const json = read(request);
    const perTurn: number[] = [];
    for (let before = 0; !request.readableEnded; before = chunks) {
      await turn();
      perTurn.push(chunks - before);
    }
    expect(await json).toEqual({ variables: { text } });
    expect(chunks).toBeGreaterThanOrEqual(20);
    expect(Math.max(...perTurn)).toBeLessThanOrEqual(2);
  });

  test('is not looked at any further once it has been refused', async () => {
    const request = received(body);
    let looks = 0;
    const refuse = () => {
      looks++;
      throw new Error('too much');
    };
    await expect(readJsonBody(request, 10_000_000, new JsonScan(), refuse)).rejects.toThrow('too much');
    while (!request.readableEnded) await turn();
    expect(looks).toBe(1);
  });

  test('is refused at the chunk that makes it too large, and read to its end', async () => {
    const request = received(body);
    await expect(read(request, 5 * CHUNK_BYTES)).rejects.toMatchObject({ code: 'body_too_large' });
    expect(request.readableEnded).toBe(false);
    while (!request.readableEnded) await turn();
  });
});
