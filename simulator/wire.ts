/** What every answer of an Ollama server has in common on the wire: Go's JSON, Go's timestamps, its error bodies. */
export type Json = string | number | boolean | null | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

/** A failure as Ollama answers it: a status and one string. */
export class ApiError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
  }
}

const ESCAPED_BY_GO = /[<>&\u2028\u2029]/;
const ALL_ESCAPED_BY_GO = /[<>&\u2028\u2029]/g;

/** JSON as Go's encoder writes it, which escapes what could end an HTML script or a JavaScript line. */
export function encodeJson(value: unknown): string {
  const json = JSON.stringify(value);
  if (!ESCAPED_BY_GO.test(json)) return json;
  return json.replace(ALL_ESCAPED_BY_GO, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** A string as Go's `%q` prints it. */
export function quote(text: string): string {
  return JSON.stringify(text);
}

const ORIGIN_MS = Math.floor(performance.timeOrigin);
const ORIGIN_REST_MS = performance.timeOrigin - ORIGIN_MS;
let second = -1;
let secondText = '';

/**
 * Now, as RFC 3339 in UTC with up to nine fractional digits, trailing zeros cut. Called once a line, so the part that
 * stays the same for a second is kept.
 */
export function timestamp(): string {
  const sinceOrigin = performance.now() + ORIGIN_REST_MS;
  const wholeMs = Math.floor(sinceOrigin);
  const epochMs = ORIGIN_MS + wholeMs;
  const epochSecond = Math.floor(epochMs / 1000);
  if (epochSecond !== second) {
    second = epochSecond;
    secondText = new Date(epochSecond * 1000).toISOString().slice(0, 19);
  }
  const nanoseconds = (epochMs - epochSecond * 1000) * 1e6 + Math.floor((sinceOrigin - wholeMs) * 1e6);
  if (nanoseconds === 0) return `${secondText}Z`;
  let digits = String(nanoseconds).padStart(9, '0');
  let end = 9;
  while (digits.charCodeAt(end - 1) === 48) end--;
  if (end < 9) digits = digits.slice(0, end);
  return `${secondText}.${digits}Z`;
}

/** Whole nanoseconds, at least 1: a duration of 0 would be left out of the answer. */
export function nanoseconds(ms: number): number {
  return Math.max(1, Math.round(ms * 1e6));
}

const DURATION_UNITS_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/**
 * Milliseconds of a `keep_alive`: a number of seconds, or a Go duration such as `1h30m`. Negative is forever.
 * @throws ApiError 400 with the text of Go's parser.
 */
export function parseKeepAlive(value: unknown): number {
  if (typeof value === 'number') return value < 0 ? Number.POSITIVE_INFINITY : value * 1000;
  if (typeof value !== 'string') throw new ApiError(400, `Unsupported type: '${goTypeOf(value)}'`);
  const ms = parseGoDuration(value);
  return ms < 0 ? Number.POSITIVE_INFINITY : ms;
}

function parseGoDuration(text: string): number {
  const invalid = () => new ApiError(400, `time: invalid duration ${quote(text)}`);
  const negative = text.startsWith('-');
  let rest = negative || text.startsWith('+') ? text.slice(1) : text;
  if (rest === '0') return 0;
  if (rest === '') throw invalid();
  let total = 0;
  while (rest !== '') {
    const number = /^(\d+\.?\d*|\.\d+)/.exec(rest)?.[0];
    if (number === undefined) throw invalid();
    rest = rest.slice(number.length);
    const unit = /^[^\d.]+/.exec(rest)?.[0];
    if (unit === undefined) throw new ApiError(400, `time: missing unit in duration ${quote(text)}`);
    const scale = Object.hasOwn(DURATION_UNITS_MS, unit) ? DURATION_UNITS_MS[unit] : undefined;
    if (scale === undefined) {
      throw new ApiError(400, `time: unknown unit ${quote(unit)} in duration ${quote(text)}`);
    }
    total += Number(number) * scale;
    rest = rest.slice(unit.length);
  }
  return negative ? -total : total;
}

/** The name of the Go type that a decoded JSON value has. */
function goTypeOf(value: unknown): string {
  if (typeof value === 'boolean') return 'bool';
  return Array.isArray(value) ? '[]interface {}' : 'map[string]interface {}';
}
