import { expect, test } from '@jest/globals';
import { createAuthenticator } from '../../../src/core/authenticate.ts';
import { digestOf } from '../../../src/core/keys.ts';
import type { KeyStore } from '../../../src/core/ports.ts';
import type { ApiKey } from '../../../src/domain/principal.ts';
import { createTestClock } from '../../support/clock.ts';
import { PRINCIPAL, SILENT } from '../../support/pipeline.ts';

const SECRET = `llmgw_${'0123456789abcdef'.repeat(4)}`;
const ROUNDS = 10_000;
/** Beyond this, two samples of this size have different means: the bound that timing-leak tests agree on. */
const LEAK = 4.5;

/** Mean and variance, with the slowest hundredth left out: pauses of the machine are not what is measured. */
function describeSample(sample: readonly number[]): { mean: number; variance: number; size: number } {
  const kept = [...sample].sort((a, b) => a - b).slice(0, Math.floor(sample.length * 0.99));
  const mean = kept.reduce((sum, value) => sum + value, 0) / kept.length;
  const variance = kept.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (kept.length - 1);
  return { mean, variance, size: kept.length };
}

test('hostile 8: a secret that is wrong at its start takes as long as one that is wrong at its end', async () => {
  const key: ApiKey = { ...PRINCIPAL, prefix: 'llmgw_012345', createdAt: new Date(0), metadata: {} };
  const rows = new Map([[digestOf(SECRET), key]]);
  const authenticator = createAuthenticator({
    keys: {
      findByDigest: async (digest: string) => rows.get(digest),
      touch: async () => undefined,
    } as Partial<KeyStore> as KeyStore,
    signals: { publish: () => undefined, subscribe: () => () => undefined },
    telemetry: SILENT,
    clock: createTestClock(),
  });
  // Each guess is a new one, so that none is answered from the memory of guesses.
  const guess = {
    start: (n: number) => `llmgw_${n.toString(16).padStart(8, 'f')}${SECRET.slice(14)}`,
    end: (n: number) => `${SECRET.slice(0, -8)}${n.toString(16).padStart(8, 'f')}`,
  };
  const times: Record<keyof typeof guess, number[]> = { start: [], end: [] };
  for (let n = 0; n < 2 * ROUNDS; n++) {
    // Both in turn and each first as often as the other, so that whatever drifts, drifts for both.
    const order = (['start', 'end'] as const)[(n + (n >> 1)) % 2] ?? 'start';
    const authorization = `Bearer ${guess[order](n)}`;
    const before = process.hrtime.bigint();
    await Promise.try(authenticator.authenticate, authorization).catch(() => undefined);
    times[order].push(Number(process.hrtime.bigint() - before));
  }
  const [a, b] = [describeSample(times.start), describeSample(times.end)];
  const t = (a.mean - b.mean) / Math.sqrt(a.variance / a.size + b.variance / b.size);
  expect(Math.min(a.size, b.size)).toBeGreaterThan(ROUNDS * 0.98);
  expect(Math.abs(t)).toBeLessThan(LEAK);
  await authenticator.close();
});
