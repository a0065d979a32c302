import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { endLeases } from '../support/abandoned.ts';
import { chat, type OpenStream, openStream, statusOf } from '../support/caller.ts';
import { eventually } from '../support/eventually.ts';
import { type Stack, startStack } from '../support/stack.ts';
import {
  type Asker,
  startLoad,
  streamedByGraphQL,
  streamedByRest,
  streamedByWebSocket,
  wholeByRest,
} from '../support/traffic.ts';

let stack: Stack;
let ends: (() => unknown)[] = [];

beforeAll(async () => {
  stack = await startStack();
}, 120_000);
afterEach(async () => {
  for (const end of ends) await end();
  ends = [];
});
afterAll(() => stack.close());

/** Runs for longer than it takes to kill a replica. */
const LONG = { tokens: 150, paceMs: 40 };
const ENDLESS = { tokens: 100_000, paceMs: 40 };
/** More than is under way at once below, what the killed replica leaves behind and what has just ended included. */
const SLOTS = 30;

test('a replica that is killed takes only its own requests along, each visibly; its slots come free, its usage is kept', async () => {
  const { key, secret } = await stack.createKey({ limits: { concurrentRequests: SLOTS } });
  const target = { url: stack.url, secret };

  // Three of a kind at a time, of which nginx gives one to each replica.
  const answers: { readonly requestId: string; readonly text: Promise<string> }[] = [];
  for (const create of [streamedByWebSocket, streamedByGraphQL, streamedByRest, wholeByRest]) {
    for (let index = 0; index < 3; index++) {
      const asker: Asker = create(target);
      ends.push(() => asker.close());
      const requestId = `${create.name}-${index}`;
      const text = asker.ask(LONG, requestId);
      text.catch(() => undefined);
      answers.push({ requestId, text });
    }
    await stack.simulators[0]?.until(({ inFlight }) => inFlight === answers.length);
  }
  const load = startLoad(target, {
    stream: { create: streamedByRest, clients: 3, script: { tokens: 10, paceMs: 20 } },
    whole: { create: wholeByRest, clients: 2, script: { tokens: 5, paceMs: 20 } },
  });
  ends.push(() => load.stop());
  await load.untilCompleted(10);

  const victim = stack.replicas[0];
  await victim?.kill();
  const killedAt = Date.now();
  await load.untilCompleted(30);
  const { completed, failed } = await load.stop();

  const outcomes = await Promise.allSettled(answers.map(({ text }) => text));
  const whole = answers.filter((_answer, index) => outcomes[index]?.status === 'fulfilled');
  const countByKind = Map.groupBy(whole, ({ requestId }) => requestId.split('-')[0]);
  expect([...countByKind.values()].map((ofKind) => ofKind.length)).toEqual([2, 2, 2, 2]);
  const texts = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
  expect(new Set(texts).size).toBe(1);
  // Of the others, only what the killed one was just at.
  const servedBy = (id: string) =>
    stack.nginx.accessLog().find((line) => line['request_id'] === id)?.['upstream'];
  const address = new URL(victim?.url ?? '').host;
  expect(failed.filter(({ requestId }) => servedBy(requestId) !== address)).toEqual([]);
  expect(failed.filter(({ askedAt }) => askedAt > killedAt)).toEqual([]);

  const cut = answers.length - whole.length;
  await untilHeld(key.keyId, cut + failed.length);
  expect(await endLeases(stack.redis, key.keyId)).toBeGreaterThanOrEqual(cut);
  expect(await openAll(secret)).toBe(SLOTS);

  const successor = await stack.restart(0);
  const ids = [...completed, ...whole.map(({ requestId }) => requestId)];
  const bySocket = ids.filter((id) => id.startsWith(streamedByWebSocket.name));
  // Over WebSocket a request's id is the gateway's.
  const kept = ids.filter((id) => !bySocket.includes(id));
  await eventually('the rows of all that was answered', async () => {
    const rows = await stack.operator.rows(key.keyId);
    const written = new Set(rows.map((row) => row.request_id));
    return rows.length >= ids.length && kept.every((id) => written.has(id));
  });

  // nginx finds it by itself, within a second or two.
  let serves = false;
  void successor
    .untilLog(({ msg }) => msg === 'request')
    .then(() => {
      serves = true;
    });
  await eventually('a request at the successor', async () => {
    expect(await statusOf(chat(stack, secret))).toBe(200);
    return serves;
  });
}, 90_000);

/** Resolves when no more requests than so many count as running. */
async function untilHeld(keyId: string, most: number): Promise<void> {
  await eventually('the slots of what has ended', async () => {
    return Number(await stack.redis.command('HLEN', `llmgw:{${keyId}}:held`)) <= most;
  });
}

/** Opens as many streams as the key has slots. @returns how many of them were let in. */
async function openAll(secret: string): Promise<number> {
  const streams: readonly OpenStream[] = await Promise.all(
    Array.from({ length: SLOTS }, () => openStream(stack, secret, { script: ENDLESS })),
  );
  for (const stream of streams) stream.leave();
  await stack.simulators[0]?.until(({ inFlight }) => inFlight === 0);
  return streams.filter(({ response }) => response.status === 200).length;
}
