import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { chat, loadModel } from '../support/caller.ts';
import { eventually } from '../support/eventually.ts';
import { untilIdle } from '../support/holdings.ts';
import { AMPLE, expectRows, MEDIAN_OF, medianMs, startMixedLoad, UNDER_WAY } from '../support/mixed-load.ts';
import { type Stack, startStack } from '../support/stack.ts';
import type { Load } from '../support/traffic.ts';

let stack: Stack;
let load: Load | undefined;

beforeAll(async () => {
  stack = await startStack({ simulators: [{ parallel: 100 }, { parallel: 100 }] });
}, 60_000);
afterEach(async () => void (await load?.stop()));
afterAll(() => stack.close(), 60_000);

/** Resolves when every replica has seen it. */
async function untilSeen(index: number, up: boolean): Promise<void> {
  const line = new RegExp(
    `^llm_gateway_backend_up\\{.*backend="ollama-${index + 1}".*\\} ${up ? 1 : 0}$`,
    'm',
  );
  for (const replica of stack.replicas) {
    await eventually(`ollama-${index + 1} ${up ? 'up' : 'down'}`, async () =>
      line.test(await (await fetch(`${replica.url}/metrics`)).text()),
    );
  }
}

describe('under load', () => {
  test('one of two Ollama servers that ends breaks only the answers it had begun, each visibly', async () => {
    const { key, secret } = await stack.createKey({ limits: AMPLE });
    load = startMixedLoad(stack, secret);
    await load.untilCompleted(2 * UNDER_WAY);
    const [first] = stack.simulators;
    await first?.stop();
    const endedAt = Date.now();
    await load.untilCompleted(2 * UNDER_WAY);
    await untilSeen(0, false);
    await load.untilCompleted(2 * UNDER_WAY);
    await first?.restart();
    await untilSeen(0, true);
    // Without its models in memory it would be asked again only under more load than this.
    if (first) await loadModel(first);
    const served = first?.stats().served ?? 0;
    await first?.until((stats) => stats.served > served);
    const { completed, failed } = await load.stop();
    expect(failed.filter(({ askedAt }) => askedAt > endedAt)).toEqual([]);
    expect(failed.length).toBeLessThanOrEqual(UNDER_WAY);
    for (const { cause } of failed) expect(cause).toMatch(/upstream_incomplete|ended early|incomplete/i);
    await untilIdle(stack);
    await expectRows(stack, key.keyId, completed, failed.length);
  }, 120_000);

  test('all Ollama servers away: 503 that says when to try again, at once, until one is back', async () => {
    const { key, secret } = await stack.createKey({ limits: AMPLE });
    load = startMixedLoad(stack, secret);
    await load.untilCompleted(UNDER_WAY);
    const usualMs = await medianMs(async () => (await chat(stack, secret)).text());
    const stopped = load.stop();
    await Promise.all(stack.simulators.map((simulator) => simulator.stop()));
    const before = await stopped;

    const refusedMs = await medianMs(async () => {
      const refused = await chat(stack, secret);
      expect(refused.status).toBe(503);
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
      expect(await refused.json()).toMatchObject({ error: { code: 'upstream_unavailable' } });
    });
    expect(refusedMs).toBeLessThan(8 * usualMs);

    await stack.simulators[1]?.restart();
    await untilSeen(1, true);
    load = startMixedLoad(stack, secret);
    await load.untilCompleted(2 * UNDER_WAY);
    await stack.simulators[0]?.restart();
    await untilSeen(0, true);
    const { completed, failed } = await load.stop();
    expect(failed).toEqual([]);
    await untilIdle(stack);
    const others = before.failed.length + 2 * MEDIAN_OF;
    await expectRows(stack, key.keyId, [...before.completed, ...completed], others);
  }, 120_000);
});
