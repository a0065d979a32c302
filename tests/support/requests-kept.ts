/**
 * Sends requests through the whole core while young objects are collected, as a process: `node --expose-gc` and this.
 * Prints, of all that the requests hold, the share that only a full collection would free.
 */
import { getHeapSpaceStatistics } from 'node:v8';
import { systemClock as clock } from '../../src/clock.ts';
import { createAuthenticator } from '../../src/core/authenticate.ts';
import { createHandler } from '../../src/core/chat.ts';
import { createGateway } from '../../src/core/gateway.ts';
import { createPlaces } from '../../src/core/places.ts';
import { foldChat } from '../../src/domain/result.ts';
import { createMemoryLimiter } from '../../src/storage/memory.ts';
import { createLocalSignals } from '../../src/storage/signals.ts';
import { backend, chatRequest, content, finished, PRINCIPAL, SILENT, started } from './pipeline.ts';

const REQUESTS = 1500;
const AT_ONCE = 8;
/** Of each request, in bytes. */
const SIZE = 16_000;

const key = {
  ...PRINCIPAL,
  limits: { requestsPerMinute: 1e6, tokensPerMinute: 1e9, concurrentRequests: 100 },
};
const authenticator = createAuthenticator({
  keys: { findByDigest: async () => key, touch: async () => undefined } as never,
  signals: createLocalSignals(),
  telemetry: SILENT,
  clock,
});
const provider = {
  backends: () => [backend('ollama-1')],
  async *chat() {
    for (const event of [started(), content('Hello'), finished()]) {
      await new Promise(setImmediate);
      yield [event];
    }
  },
} as never;
const limiter = createMemoryLimiter(clock);
const gateway = createGateway({
  authenticator,
  administration: {} as never,
  limiter,
  provider,
  clock,
  createId: () => crypto.randomUUID(),
  handler: createHandler({
    provider,
    // So few that most requests wait for one.
    places: createPlaces({ perModel: 2, maxWaiting: 100_000, patienceMs: 60_000, clock }),
    limiter,
    usage: { record: () => undefined, flush: async () => undefined },
    telemetry: SILENT,
    clock,
    watch: authenticator.watch,
    deadlines: { firstEventMs: 60_000, betweenEventsMs: 10_000, totalMs: 300_000 },
  }),
  report: () => ({ ready: true, draining: false, dependencies: [] }),
  shutdown: new AbortController().signal,
});

async function ask(): Promise<void> {
  const principal = await gateway.authenticate('Bearer llmgw_0123456789abcdef');
  const caller = { principal, requestId: 'r', protocol: 'rest', operation: 'chat', streamed: false } as const;
  const request = { ...chatRequest(), held: new Array(SIZE / 8).fill(0) };
  await foldChat(gateway.chat(request, { ...caller, signal: new AbortController().signal }).events);
}

let left = 0;
async function askOnAndOn(): Promise<void> {
  while (left-- > 0) {
    await ask();
    if (left % 40 === 0) gc?.({ type: 'minor' });
  }
}

async function askAll(requests: number): Promise<void> {
  left = requests;
  await Promise.all(Array.from({ length: AT_ONCE }, askOnAndOn));
}

const oldBytes = () =>
  getHeapSpaceStatistics().find((space) => space.space_name === 'old_space')?.space_used_size ?? 0;

await askAll(500);
gc?.();
const before = oldBytes();
await askAll(REQUESTS);
process.stdout.write(String((oldBytes() - before) / (REQUESTS * SIZE)), () => process.exit());
