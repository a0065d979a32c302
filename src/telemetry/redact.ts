import type { LogFields } from '../core/ports.ts';

/**
 * What text may be logged. Two guards, because either can be got round by an honest mistake: only fields on a list may
 * hold text at all, and whatever text remains is searched for secrets.
 */

/** The fields that may hold text. None of them is ever filled from a prompt, an answer or a header. */
const TEXT_FIELDS: ReadonlySet<string> = new Set([
  'at',
  'backend',
  'code',
  'consumer',
  'database',
  'dependency',
  'detail',
  'error',
  'finish_reason',
  'host',
  'id',
  'key_id',
  'limit',
  'mode',
  'model',
  'name',
  'node',
  'operation',
  'owner',
  'protocol',
  'reason',
  'redis',
  'replica',
  'request_id',
  'signal',
  'state',
  'status',
  'upstream',
  'url',
  'version',
]);

const MAX_TEXT_CHARS = 500;

/** Secrets, and the ways in which error messages quote what was being read. */
const GUARDS: readonly (readonly [RegExp, string])[] = [
  [/(llmgw_[\w-]{0,4})[\w-]*/g, '$1…'],
  [/\bsk-[\w-]{16,}/g, 'sk-…'],
  [/\b(Bearer|Basic)\s+[^\s"',]+/gi, '$1 …'],
  // User and password of a URL, up to its last @.
  [/\/\/\S*@/g, '//…@'],
  // JSON.parse quotes a piece of its input. Anchored, as each further quotation mark would be another beginning to try.
  [/^([^"]*)"[\s\S]*"(?=\S* is not valid JSON)/, '$1"…"'],
  // Names are short. A long quotation is data.
  [/"[^"]{65,}("|$)/g, '"…"'],
];

/** What every guard needs to match: most text has none of it, and is spared the search. */
const SUSPICIOUS = /llmgw_|sk-|[\s@"]/;

/** Text without secrets, at most 500 characters of it. */
export function redactText(text: string): string {
  // Cut generously before the search, which then costs the same whatever comes in, and exactly after it.
  let safe = text.slice(0, 2 * MAX_TEXT_CHARS);
  if (SUSPICIOUS.test(safe)) {
    for (const [pattern, replacement] of GUARDS) safe = safe.replace(pattern, replacement);
  }
  return safe.length > MAX_TEXT_CHARS ? `${safe.slice(0, MAX_TEXT_CHARS)}…` : safe;
}

/** Fields without secrets: numbers and booleans as they are, text only under a listed name. */
export function redactFields(fields: LogFields): LogFields {
  for (const name in fields) {
    if (!isHarmless(name, fields[name])) return redactEach(fields);
  }
  // Most lines have nothing to hide, and need no copy.
  return fields;
}

/** @returns false also for some text that `redactText` would leave as it is. */
function isHarmless(name: string, value: LogFields[string]): boolean {
  switch (typeof value) {
    case 'number':
    case 'boolean':
    case 'undefined':
      return true;
    case 'string':
      return TEXT_FIELDS.has(name) && value.length <= MAX_TEXT_CHARS && !SUSPICIOUS.test(value);
    default:
      return false;
  }
}

function redactEach(fields: LogFields): LogFields {
  const safe: Record<string, string | number | boolean> = {};
  for (const name in fields) {
    const value = fields[name];
    if (typeof value === 'number' || typeof value === 'boolean') safe[name] = value;
    else if (typeof value === 'string') safe[name] = TEXT_FIELDS.has(name) ? redactText(value) : '[withheld]';
  }
  return safe;
}
