import { type Excess, findExcess } from '../../http/json-bounds.ts';
import { requireWithin } from './cost.ts';
import { type DocumentLimits, jsonBounds } from './limits.ts';
import { refusal } from './refusal.ts';

/** The parameters of a GraphQL request, whichever way they came. */
export interface Params {
  /** Absent or empty where a persisted document is meant. */
  readonly query: string | undefined;
  /** The persisted document that is meant. */
  readonly documentId: string | undefined;
  readonly operationName: string | undefined;
  readonly variables: Readonly<Record<string, unknown>>;
}

type Fields = Readonly<Record<string, unknown>>;

/**
 * Parameters as JSON gave them. What is not one of them is left aside, as the specification reserves it.
 * @throws GraphQLError `BAD_REQUEST`, which names the parameter.
 */
export function parseParams(raw: unknown): Params {
  if (Array.isArray(raw)) throw refusal('BAD_REQUEST', 'Batches of requests are not supported.');
  if (!isFields(raw)) throw refusal('BAD_REQUEST', 'The request must be a JSON object.');
  const extensions = objectOf(raw, 'extensions') ?? {};
  const query = stringOf(raw, 'query');
  const documentId = stringOf(raw, 'documentId') ?? hashOf(extensions);
  if (!query && documentId === undefined) {
    throw refusal('BAD_REQUEST', 'The parameter `query` is missing.');
  }
  return {
    query,
    documentId,
    operationName: stringOf(raw, 'operationName'),
    variables: objectOf(raw, 'variables') ?? {},
  };
}

/** The parameters in a URL, where objects are JSON. @throws GraphQLError `BAD_REQUEST`, `DOCUMENT_TOO_COMPLEX`. */
export function parseSearch(search: URLSearchParams, limits: DocumentLimits): Fields {
  const raw: Record<string, unknown> = {};
  for (const name of ['query', 'documentId', 'operationName']) {
    if (search.has(name)) raw[name] = search.get(name);
  }
  for (const name of ['variables', 'extensions']) {
    const text = search.get(name);
    if (!text) continue;
    const bytes = Buffer.from(text);
    requireNoExcess(findExcess(bytes, jsonBounds(limits)), limits);
    raw[name] = parseJson(bytes, `The parameter \`${name}\` is not valid JSON.`);
  }
  return raw;
}

/** @throws GraphQLError `BAD_REQUEST`, `DOCUMENT_TOO_COMPLEX` for what holds more than `jsonBounds` allow. */
export function requireNoExcess(excess: Excess | undefined, limits: DocumentLimits): void {
  if (excess?.bound === 'text') requireWithin('bytes', Number.POSITIVE_INFINITY, limits.bytes);
  if (excess) throw refusal('BAD_REQUEST', `The request ${excess.sentence}.`);
}

/** @throws GraphQLError `BAD_REQUEST` with this message; the parser's own would quote the text. */
export function parseJson(bytes: Buffer, message: string): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    throw refusal('BAD_REQUEST', message);
  }
}

function stringOf(raw: Fields, name: string): string | undefined {
  const value = raw[name] ?? undefined;
  if (value === undefined || typeof value === 'string') return value;
  throw refusal('BAD_REQUEST', `The parameter \`${name}\` must be a string.`);
}

function objectOf(raw: Fields, name: string): Fields | undefined {
  const value = raw[name] ?? undefined;
  if (value === undefined || isFields(value)) return value;
  throw refusal('BAD_REQUEST', `The parameter \`${name}\` must be an object.`);
}

/** Apollo's clients name a document by its hash, in `extensions.persistedQuery.sha256Hash`. */
function hashOf({ persistedQuery }: Fields): string | undefined {
  return isFields(persistedQuery) ? stringOf(persistedQuery, 'sha256Hash') : undefined;
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
