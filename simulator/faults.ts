import type { Script } from './script.ts';
import { ApiError } from './wire.ts';

/** An error of the process below the server, as JSON. The server puts it, whole, into its own error's string. */
export function nestedError(status: number, message: string, type: string, more: object = {}): string {
  return JSON.stringify({ error: { code: status, message, type, ...more } });
}

/** A failure as the script words it. */
export function scriptedError(script: Script, status: number): ApiError {
  const text =
    script.errorText ??
    'model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, check ollama server logs for details';
  return new ApiError(status, script.nestedJsonError ? nestedError(status, text, 'server_error') : text);
}

/** What ends a stream early, and after how many lines. */
export interface Fault {
  readonly after: number;
  readonly kind: 'error' | 'eof' | 'reset' | 'hang';
}

export function faultOf(script: Script): Fault | undefined {
  if (script.hangBeforeHeaders === true) return { after: 0, kind: 'hang' };
  if (script.resetAt === 'headers' || script.resetAt === 'body') return { after: 0, kind: 'reset' };
  if (typeof script.resetAt === 'number') return { after: script.resetAt, kind: 'reset' };
  if (script.errorAfter !== undefined) return { after: script.errorAfter, kind: 'error' };
  if (script.eofAfter !== undefined) return { after: script.eofAfter, kind: 'eof' };
  if (script.hangAfter !== undefined) return { after: script.hangAfter, kind: 'hang' };
  return undefined;
}

/** Bytes in place of a line. */
export function garbageLine(garbage: true | string): string {
  return garbage === true ? '<html>\u0000this is not JSON\n' : garbage;
}
