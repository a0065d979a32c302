import { GatewayError } from '../domain/error.ts';
import { type ApiKey, SCOPES, type Scope } from '../domain/principal.ts';
import type { KeyChange } from './ports.ts';

/** A key as somebody asks for it; nothing in it is to be trusted beyond its type. */
export interface KeyDraft {
  /** 1 to 200 characters. */
  readonly name: string;
  /** At least one of `SCOPES`. */
  readonly scopes: readonly string[];
  /** Model names in which `*` is any run of characters. None: all models. */
  readonly models?: readonly string[];
  /** Each 1 to 1,000,000,000. Absent: not limited. */
  readonly limits?: ApiKey['limits'];
  /** In the future. Absent: never. */
  readonly expiresAt?: Date;
  /** At most 50 entries: names to 64 characters, values to 500. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** A change as somebody asks for it. Absent: stays. Null: is taken away. */
export type KeyEdit = Omit<KeyChange, 'scopes'> & { readonly scopes?: readonly string[] };

const MAX_NAME = 200;
const MAX_MODELS = 100;
const MAX_MODEL = 200;
const MAX_LIMIT = 1_000_000_000;
const MAX_METADATA = 50;
const MAX_METADATA_NAME = 64;
const MAX_METADATA_VALUE = 500;

const LIMITS = ['requestsPerMinute', 'tokensPerMinute', 'concurrentRequests'] as const;

/** @throws GatewayError `invalid_request`, naming the field. */
export function parseKeyDraft(
  draft: KeyDraft,
  now: number,
): Pick<ApiKey, 'name' | 'scopes' | 'models' | 'limits' | 'expiresAt' | 'metadata'> {
  const limits = draft.limits ?? {};
  checkLimits(limits);
  return {
    name: parseName(draft.name),
    scopes: parseScopes(draft.scopes),
    models: parseModels(draft.models ?? []),
    limits,
    ...(draft.expiresAt && { expiresAt: parseExpiry(draft.expiresAt, now) }),
    metadata: parseMetadata(draft.metadata ?? {}),
  };
}

/** @throws GatewayError `invalid_request`, naming the field. */
export function parseKeyEdit(edit: KeyEdit, now: number): KeyChange {
  if (edit.limits) checkLimits(edit.limits);
  return {
    ...(edit.name !== undefined && { name: parseName(edit.name) }),
    ...(edit.scopes && { scopes: parseScopes(edit.scopes) }),
    ...(edit.models && { models: parseModels(edit.models) }),
    ...(edit.limits && { limits: edit.limits }),
    ...(edit.expiresAt !== undefined && {
      expiresAt: edit.expiresAt && parseExpiry(edit.expiresAt, now),
    }),
    ...(edit.metadata && { metadata: parseMetadata(edit.metadata) }),
  };
}

/** @throws GatewayError `invalid_request` unless `value` is a whole number from `min` to `max`. */
export function wholeNumber(value: number, min: number, max: number, param: string): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw invalid(`${param} must be a whole number from ${min} to ${max}.`, param);
}

export function invalid(message: string, param?: string): GatewayError {
  return new GatewayError('invalid_request', message, param === undefined ? {} : { param });
}

function parseName(name: string): string {
  const trimmed = name.trim();
  checkText(trimmed, MAX_NAME, 'name');
  return trimmed;
}

/** Control characters, NUL among them, and broken surrogate pairs have no place in what is stored and shown. */
export function isCleanText(text: string): boolean {
  return !/\p{Cc}/u.test(text) && text.isWellFormed();
}

function checkText(text: string, max: number, param: string): void {
  const length = [...text].length;
  if (length === 0 || length > max) throw invalid(`${param} must have 1 to ${max} characters.`, param);
  if (!isCleanText(text)) throw invalid(`${param} must not contain control characters.`, param);
}

function parseScopes(scopes: readonly string[]): readonly Scope[] {
  const known = SCOPES.join(', ');
  if (scopes.length === 0) throw invalid(`scopes must name at least one of ${known}.`, 'scopes');
  const index = scopes.findIndex((scope) => !(SCOPES as readonly string[]).includes(scope));
  if (index >= 0) throw invalid(`scopes must be among ${known}.`, `scopes[${index}]`);
  // In the catalogue's order, each once.
  return SCOPES.filter((scope) => scopes.includes(scope));
}

function parseModels(models: readonly string[]): readonly string[] {
  if (models.length > MAX_MODELS) throw invalid(`models must have at most ${MAX_MODELS} entries.`, 'models');
  for (const [index, model] of models.entries()) {
    const param = `models[${index}]`;
    if (model.length > MAX_MODEL || !/^[\w.:/*-]+$/.test(model)) {
      throw invalid(
        `${param} must be a model's name, of letters, digits, ".", "_", "-", ":", "/" and "*", up to ${MAX_MODEL} characters.`,
        param,
      );
    }
  }
  return [...new Set(models)];
}

function checkLimits(limits: NonNullable<KeyChange['limits']>): void {
  for (const name of LIMITS) {
    const limit = limits[name];
    if (limit !== undefined && limit !== null) wholeNumber(limit, 1, MAX_LIMIT, `limits.${name}`);
  }
}

function parseExpiry(expiresAt: Date, now: number): Date {
  // A comparison with an invalid date is false.
  if (expiresAt.getTime() > now && expiresAt.getUTCFullYear() < 10_000) return expiresAt;
  throw invalid('expiresAt must be a time in the future.', 'expiresAt');
}

function parseMetadata(metadata: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const entries = Object.entries(metadata);
  if (entries.length > MAX_METADATA) {
    throw invalid(`metadata must have at most ${MAX_METADATA} entries.`, 'metadata');
  }
  for (const [name, value] of entries) {
    checkText(name, MAX_METADATA_NAME, 'metadata');
    if (value !== '') checkText(value, MAX_METADATA_VALUE, 'metadata');
  }
  return Object.fromEntries(entries);
}
