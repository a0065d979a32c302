import type { GatewayError } from '../../src/domain/error.ts';
import { encodeError } from '../../src/rest/errors.ts';

/** The param and code of a refusal, as the caller sees them. */
export function faultOf(act: () => unknown): [string | null, string | null] {
  try {
    act();
  } catch (thrown) {
    const { param, code } = encodeError(thrown as GatewayError).error;
    return [param, code];
  }
  throw new Error('nothing was refused');
}
