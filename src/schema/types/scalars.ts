import { GraphQLError } from 'graphql';
import type { Json } from '../../domain/chat.ts';
import { builder } from '../builder.ts';

const MAX_JSON_DEPTH = 64;

/** RFC 3339, as `Date` also writes it; the offset is not optional, because a time without one is a guess. */
const DATE_TIME = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})$/i;

builder.scalarType('DateTime', {
  description: 'A moment, as RFC 3339 writes it with its offset from UTC: `2026-01-31T12:00:00Z`.',
  specifiedByURL: 'https://www.rfc-editor.org/rfc/rfc3339',
  coerceOutputValue: (value) => value.toISOString(),
  coerceInputValue: (value) => {
    const date = typeof value === 'string' ? parseDateTime(value) : undefined;
    if (date) return date;
    throw new GraphQLError('DateTime must be a time with its offset, such as 2026-01-31T12:00:00Z.');
  },
});

builder.scalarType('JSON', {
  description: `Any JSON value, nested at most ${MAX_JSON_DEPTH} deep. Used only for what is JSON by nature: a JSON Schema.`,
  coerceOutputValue: (value) => value,
  coerceInputValue: (value) => {
    if (isJson(value, MAX_JSON_DEPTH)) return value;
    throw new GraphQLError(`JSON must be nested at most ${MAX_JSON_DEPTH} deep.`);
  },
});

builder.scalarType('SafeInt', {
  description:
    'A whole number between -(2^53 - 1) and 2^53 - 1, written as a JSON number. Counts of tokens and bytes outgrow `Int`.',
  coerceOutputValue: (value) => Math.round(value),
  coerceInputValue: (value) => {
    if (typeof value === 'number' && Number.isSafeInteger(value)) return value;
    throw new GraphQLError('SafeInt must be a whole number between -(2^53 - 1) and 2^53 - 1.');
  },
});

builder.scalarType('Vector', {
  description: 'A list of floating-point numbers, written as one JSON array.',
  // One scalar rather than a list of `Float`: an executor spends more on each of a list's items than they are worth.
  coerceOutputValue: (value) => value,
  coerceInputValue: () => {
    throw new GraphQLError('Vector is only ever answered.');
  },
});

function parseDateTime(text: string): Date | undefined {
  const [, local = ''] = DATE_TIME.exec(text) ?? [];
  const date = new Date(text);
  if (local === '' || Number.isNaN(date.getTime())) return undefined;
  // `Date` takes the 30th of February for a day of March, and 24:00 for one of the next day.
  const moment = new Date(`${local}Z`);
  return moment.toISOString().startsWith(local.toUpperCase()) ? date : undefined;
}

/** Where a document is looked at before its variables are known, those within a literal are undefined. */
function isJson(value: unknown, depth: number): value is Json {
  if (typeof value !== 'object' || value === null) return true;
  if (depth === 0) return false;
  return Object.values(value).every((item) => isJson(item, depth - 1));
}
