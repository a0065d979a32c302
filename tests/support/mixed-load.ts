/** Load of every kind on a whole stack, and what has to be true of it whatever fails meanwhile. */
import { expect } from '@jest/globals';
import { chat, type OpenStream, openStream } from './caller.ts';
import { streamedByEvents } from './event-stream.ts';
import { eventually } from './eventually.ts';
import type { Stack } from './stack.ts';
import {
  countTo,
  type Load,
  startLoad,
  streamedByGraphQL,
  streamedByWebSocket,
  wholeByRest,
} from './traffic.ts';

/** More than any test asks for, of everything, so that each request is counted and none is refused. */
export const AMPLE = {
  requestsPerMinute: 1_000_000,
  tokensPerMinute: 100_000_000,
  concurrentRequests: 3000,
};

const SHORT = { tokens: countTo(10), paceMs: 10 };
/** Runs from before an outage until it is left. */
const ENDLESS = { tokens: 100_000, paceMs: 20 };

/** How many requests are under way at any time. */
export const UNDER_WAY = 8;

export function startMixedLoad(stack: Stack, secret: string): Load {
  return startLoad(
    { url: stack.url, secret },
    {
      stream: { create: streamedByEvents, clients: 3, script: SHORT },
      whole: { create: wholeByRest, clients: 2, script: { tokens: countTo(3) } },
      graphql: { create: streamedByGraphQL, script: SHORT },
      socket: { create: streamedByWebSocket, atOnce: 2, script: SHORT },
    },
  );
}

/** Over WebSocket a request's id is the gateway's. */
export function hasOwnId(requestId: string): boolean {
  return !requestId.startsWith('socket-');
}

/** An entry that a replica had read from Redis when it went away is read again after a minute at the latest. */
const ROWS_WITHIN_MS = 75_000;

/** The ledger has each of these requests once, and of the key besides only so many others; at some time at least. */
export async function expectRows(
  stack: Stack,
  keyId: string,
  completed: readonly string[],
  others = 0,
): Promise<void> {
  const count = completed.length + others;
  const rows = await eventually(
    `${count} rows`,
    async () => {
      const found = await stack.operator.rows(keyId);
      return found.length >= count && found;
    },
    ROWS_WITHIN_MS,
  );
  const ids = rows.map((row) => row.request_id ?? '');
  expect(ids.filter((id) => completed.includes(id)).sort()).toEqual([...completed].filter(hasOwnId).sort());
  expect(rows).toHaveLength(count);
}

/** Each replica has looked this key up, and so knows it through an outage of the database. */
export async function knowEverywhere(stack: Stack, secret: string): Promise<void> {
  await Promise.all(stack.replicas.map((replica) => modeOf(replica, secret)));
}

export type Mode = 'exact' | 'degraded';

export async function modeOf(gateway: { readonly url: string }, secret: string): Promise<Mode> {
  const response = await chat(gateway, secret, { script: { tokens: 1 } });
  await response.arrayBuffer();
  expect(response.status).toBe(200);
  return response.headers.get('x-ratelimit-mode') === 'degraded' ? 'degraded' : 'exact';
}

/** Resolves when every replica limits in this way. */
export async function untilMode(stack: Stack, mode: Mode, secret: string): Promise<void> {
  for (const replica of stack.replicas) {
    await eventually(`${mode} limits`, async () => (await modeOf(replica, secret)) === mode);
  }
}

/** Of so many requests a median is taken. */
export const MEDIAN_OF = 15;

/** How long one request after the other takes, in milliseconds: the median. */
export async function medianMs(ask: () => Promise<unknown>): Promise<number> {
  const taken: number[] = [];
  for (let index = 0; index < MEDIAN_OF; index++) {
    const askedAt = performance.now();
    await ask();
    taken.push(performance.now() - askedAt);
  }
  return taken.sort((one, other) => one - other)[(MEDIAN_OF - 1) / 2] ?? 0;
}

/** A stream at each replica, which does not end by itself. */
export function openEverywhere(stack: Stack, secret: string): Promise<readonly OpenStream[]> {
  return Promise.all(stack.replicas.map((replica) => openStream(replica, secret, { script: ENDLESS })));
}

/** They run still, and no piece of them is missing: they all say the same. Leaves them. */
export async function expectUnbroken(streams: readonly OpenStream[]): Promise<void> {
  await Promise.all(streams.map((stream) => stream.untilEvents(stream.events() + 5)));
  for (const stream of streams) stream.leave();
  const ends = await Promise.all(streams.map((stream) => stream.ended()));
  expect(ends.map(({ errorCode }) => errorCode)).toEqual(streams.map(() => undefined));
  const longest = ends.reduce((one, { text }) => (text.length > one.length ? text : one), '');
  expect(ends.filter(({ text }) => !longest.startsWith(text))).toEqual([]);
}
