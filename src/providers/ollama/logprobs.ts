import type { TokenLogprob } from '../../domain/event.ts';
import { isWireObject } from './wire.ts';

/** The log probabilities of a line. What is not one is left out: an answer does not fail for a statistic. */
export function decodeLogprobs(value: unknown): readonly TokenLogprob[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((entry: unknown) => {
    const token = decodeToken(entry);
    if (!token || !isWireObject(entry)) return [];
    const alternatives = entry['top_logprobs'];
    const top = Array.isArray(alternatives) ? alternatives.flatMap((other) => decodeToken(other) ?? []) : [];
    return [{ ...token, top }];
  });
}

function decodeToken(entry: unknown): Omit<TokenLogprob, 'top'> | undefined {
  if (!isWireObject(entry)) return undefined;
  const { token, logprob, bytes } = entry;
  if (typeof token !== 'string' || typeof logprob !== 'number' || !Number.isFinite(logprob)) return undefined;
  return isBytes(bytes) ? { token, logprob, bytes } : { token, logprob };
}

function isBytes(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((byte) => Number.isInteger(byte) && byte >= 0 && byte <= 255);
}
